//! The buses of a simulated vehicle: the gateway's master on each, and the ECUs.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use canfd::bit_timing::BitTiming;
use canfd::bus::Received;
use canfd::frame::{CanId, CanIds, FdFrame};
use canfd::virtual_bus::{NodeId, RandomFaults, VirtualBus, VirtualBusConfig};
use gatewayd::bus::{BusMaster, EcuOrder, EcuReport, SeatConfig};
use gatewayd::gateway::message::EcuIndex;

use crate::ecu::{EcuConfig, EcuPort, NodeConfig, SimEcu};

/// Frames a node may have queued: as many as a socket buffer holds.
const QUEUE_LEN: usize = 256;

/// One bus.
#[derive(Debug)]
pub(super) struct SimBus {
    bus: VirtualBus,
    gateway: Option<Gateway>,
    pub(super) ecus: Vec<EcuSlot>,
    up: bool,
}

#[derive(Debug)]
struct Gateway {
    node: NodeId,
    master: BusMaster,
    held: VecDeque<FdFrame>,
}

/// An ECU and the place it is plugged in.
#[derive(Debug)]
pub(super) struct EcuSlot {
    pub(super) ecu: EcuIndex,
    directory: PathBuf,
    config: Arc<EcuConfig>,
    ids: CanIds,
    node: NodeId,
    port: EcuPort,
    held: VecDeque<FdFrame>,
    /// After power-on it hears nothing before.
    deaf_until: Option<Instant>,
}

const FUNCTIONAL: u16 = 0x7DF;

impl SimBus {
    pub(super) fn new(now: Instant) -> Self {
        let config = VirtualBusConfig { timing: Some(BitTiming::FD_500K_2M), queue_len: QUEUE_LEN };
        Self { bus: VirtualBus::new(now, config), gateway: None, ecus: Vec::new(), up: true }
    }

    /// Plugs an ECU in.
    pub(super) fn add(&mut self, now: Instant, ecu: EcuIndex, directory: PathBuf, config: Arc<EcuConfig>) {
        let at = u16::try_from(ecu.0).unwrap_or(u16::MAX);
        let id = |raw| CanId::standard(raw).expect("a standard identifier");
        let ids = CanIds { request: id(0x700 + at * 2), response: id(0x700 + at * 2 + 1) };
        let node = self.bus.attach();
        let port = open(now, &directory, &config, ids);
        self.ecus.push(EcuSlot {
            ecu,
            directory,
            config,
            ids,
            node,
            port,
            held: VecDeque::new(),
            deaf_until: None,
        });
    }

    /// The gateway starts.
    pub(super) fn start_gateway(&mut self) {
        let seats = self.ecus.iter().map(|slot| {
            let functional = CanId::standard(FUNCTIONAL).expect("a standard identifier");
            SeatConfig::new(slot.ecu, slot.ids, functional, Arc::new(slot.config.profile.clone()))
        });
        let mut master = BusMaster::new(seats);
        if self.up {
            master.handle_bus_up();
        } else {
            master.handle_bus_down("network is down");
        }
        self.gateway = Some(Gateway { node: self.bus.attach(), master, held: VecDeque::new() });
    }

    /// The gateway stops. A frame of it that is on the wire comes to its end.
    pub(super) fn stop_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.bus.detach(gateway.node);
        }
    }

    /// All ECUs lose power and have it again; each is back after its boot time.
    pub(super) fn cycle_ecus(&mut self, now: Instant) {
        for slot in &mut self.ecus {
            self.bus.detach(slot.node);
            slot.node = self.bus.attach();
            slot.held.clear();
            slot.port = open(now, &slot.directory, &slot.config, slot.ids);
            slot.deaf_until = Some(now + slot.config.boot_time);
        }
    }

    /// The gateway's way to the bus breaks or is whole again.
    pub(super) fn set_up(&mut self, up: bool) {
        self.up = up;
        let Some(gateway) = &mut self.gateway else { return };
        gateway.held.clear();
        self.bus.detach(gateway.node);
        gateway.node = self.bus.attach();
        if up {
            gateway.master.handle_bus_up();
        } else {
            gateway.master.handle_bus_down("network is down");
        }
    }

    /// From now on frames get lost or come twice.
    pub(super) fn set_noise(&mut self, mut faults: RandomFaults) {
        self.bus.set_fault(move |_, _| faults.next_fault());
    }

    pub(super) fn ecu_mut(&mut self, ecu: EcuIndex) -> Option<&mut SimEcu> {
        self.ecus.iter_mut().find(|slot| slot.ecu == ecu).map(|slot| slot.port.ecu_mut())
    }

    pub(super) fn order(&mut self, now: Instant, ecu: EcuIndex, order: EcuOrder) {
        if let Some(gateway) = &mut self.gateway {
            gateway.master.handle_order(now, ecu, order);
        }
    }

    pub(super) fn poll_report(&mut self) -> Option<(EcuIndex, EcuReport)> {
        self.gateway.as_mut()?.master.poll_report()
    }

    /// Moves what can be moved at this instant.
    pub(super) fn pump(&mut self, now: Instant) -> bool {
        let mut moved = self.transmit(now);
        while let Some(delivery) = self.bus.poll_delivery(now) {
            moved = true;
            if let Some(gateway) = self.gateway.as_mut().filter(|it| self.up && delivery.reaches(it.node)) {
                let own = delivery.from == gateway.node;
                let received = Received { frame: delivery.frame, timestamp: Some(delivery.bus_time), own };
                gateway.master.handle_frame(now, &received);
            }
            for slot in self.ecus.iter_mut().filter(|slot| delivery.reaches(slot.node)) {
                if delivery.from == slot.node {
                    slot.port.handle_transmitted(now, &delivery.frame);
                } else if slot.deaf_until.is_none_or(|until| until <= now) {
                    slot.port.handle_frame(now, &delivery.frame);
                }
            }
            self.transmit(now);
        }
        moved
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(gateway) = &mut self.gateway
            && gateway.master.poll_timeout().is_some_and(|at| at <= now)
        {
            gateway.master.handle_timeout(now);
        }
        for slot in &mut self.ecus {
            if slot.port.poll_timeout().is_some_and(|at| at <= now) {
                slot.port.handle_timeout(now);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ports = self.ecus.iter().filter_map(|slot| slot.port.poll_timeout());
        ports.chain(self.master_timeout()).chain(self.bus.poll_timeout()).min()
    }

    /// Whether nobody is in the middle of anything.
    pub(super) fn is_idle(&self) -> bool {
        self.bus.poll_timeout().is_none() && self.master_timeout().is_none()
    }

    fn master_timeout(&self) -> Option<Instant> {
        self.gateway.as_ref().and_then(|it| it.master.poll_timeout())
    }

    fn transmit(&mut self, now: Instant) -> bool {
        let mut moved = false;
        if let Some(gateway) = self.gateway.as_mut().filter(|_| self.up) {
            while let Some(frame) = gateway.master.poll_transmit(now) {
                moved = true;
                gateway.held.push_back(frame);
            }
            flush(&mut self.bus, now, gateway.node, &mut gateway.held);
        }
        for slot in &mut self.ecus {
            while let Some(frame) = slot.port.poll_transmit(now) {
                moved = true;
                slot.held.push_back(frame);
            }
            flush(&mut self.bus, now, slot.node, &mut slot.held);
        }
        moved
    }
}

fn flush(bus: &mut VirtualBus, now: Instant, node: NodeId, held: &mut VecDeque<FdFrame>) {
    while bus.room(node) > 0
        && let Some(frame) = held.pop_front()
    {
        // There is room, so that the frame is taken.
        let _taken = bus.handle_transmit(now, node, frame);
    }
}

fn open(now: Instant, directory: &std::path::Path, config: &Arc<EcuConfig>, ids: CanIds) -> EcuPort {
    let ecu = SimEcu::open(now, directory, Arc::clone(config)).expect("the files of a simulated ECU");
    let functional = CanId::standard(FUNCTIONAL).expect("a standard identifier");
    EcuPort::new(ecu, NodeConfig::new(ids, Some(functional)))
}
