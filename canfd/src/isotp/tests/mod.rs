//! Two links over a bus in memory, on simulated time.

mod addresses;
mod any_input;
mod failures;
mod transfers;

use std::time::{Duration, Instant};

use super::pci::{FlowControl, FlowStatus};
use super::*;
use crate::bit_timing::BitTiming;
use crate::frame::{CanId, CanIds, FrameFormat};
use crate::random::Random;
use crate::virtual_bus::{Fault, NodeId, VirtualBus, VirtualBusConfig};

const TIMING: BitTiming = BitTiming::FD_500K_2M;

fn ids() -> CanIds {
    CanIds { request: CanId::standard(0x7E0).unwrap(), response: CanId::standard(0x7E8).unwrap() }
}

fn random_bytes(len: usize) -> Vec<u8> {
    let mut random = Random::new(len as u64);
    (0..len).map(|_| random.next().to_le_bytes()[0]).collect()
}

struct End {
    node: NodeId,
    link: Link,
    /// Without the beginnings of messages, which `started` has.
    events: Vec<Event>,
    started: Vec<usize>,
}

/// A tester and an ECU on one bus, and the time.
struct Pair {
    bus: VirtualBus,
    now: Instant,
    base: Instant,
    tester: End,
    ecu: End,
    /// Every frame that ended on the bus.
    log: Vec<(Instant, FdFrame)>,
}

impl Pair {
    fn new(timing: Option<BitTiming>, tester: LinkConfig, ecu: LinkConfig) -> Self {
        let base = Instant::now();
        let mut bus = VirtualBus::new(base, VirtualBusConfig { timing, queue_len: 64 });
        let mut end = |config| End {
            node: bus.attach(),
            link: Link::new(config),
            events: Vec::new(),
            started: Vec::new(),
        };
        let (tester, ecu) = (end(tester), end(ecu));
        Self { bus, now: base, base, tester, ecu, log: Vec::new() }
    }

    fn of(timing: Option<BitTiming>, link_layer: LinkLayer, change: impl Fn(&mut LinkConfig)) -> Self {
        let mut configs = [LinkConfig::tester(ids()), LinkConfig::ecu(ids())];
        for config in &mut configs {
            config.link_layer = link_layer;
            change(config);
        }
        let [tester, ecu] = configs;
        Self::new(timing, tester, ecu)
    }

    fn drain(&mut self) {
        for end in [&mut self.tester, &mut self.ecu] {
            while let Some(frame) = end.link.poll_transmit(self.now) {
                self.bus.handle_transmit(self.now, end.node, frame).unwrap();
            }
            while let Some(event) = end.link.poll_event() {
                match event {
                    Event::ReceptionStarted { len } => end.started.push(len),
                    event => end.events.push(event),
                }
            }
        }
    }

    /// Plays until nothing is due any more, or for an hour.
    fn run(&mut self) {
        self.run_until(self.base + Duration::from_secs(3_600));
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            self.drain();
            while let Some(delivery) = self.bus.poll_delivery(self.now) {
                self.log.push((delivery.at, delivery.frame));
                for end in [&mut self.tester, &mut self.ecu] {
                    if !delivery.reaches(end.node) {
                    } else if delivery.from == end.node {
                        end.link.handle_transmitted(self.now);
                    } else {
                        end.link.handle_frame(self.now, &delivery.frame);
                    }
                }
                self.drain();
            }
            let links = [&self.tester, &self.ecu].map(|end| end.link.poll_timeout());
            let Some(next) = links.into_iter().chain([self.bus.poll_timeout()]).flatten().min() else {
                return;
            };
            if next > end {
                self.now = end;
                return;
            }
            assert!(
                next >= self.now || links.into_iter().flatten().all(|it| it > self.now),
                "time stands still"
            );
            self.now = self.now.max(next);
            for end in [&mut self.tester, &mut self.ecu] {
                if end.link.poll_timeout().is_some_and(|at| at <= self.now) {
                    end.link.handle_timeout(self.now);
                }
            }
        }
    }

    fn send(&mut self, len: usize) {
        self.tester.link.send(self.now, random_bytes(len)).unwrap();
    }

    /// Sends a request of this length and expects nothing but its arrival.
    fn assert_transfer(&mut self, len: usize) {
        self.send(len);
        self.run();
        assert_eq!(std::mem::take(&mut self.tester.events), [Event::Sent(random_bytes(len))], "{len}");
        assert_eq!(std::mem::take(&mut self.ecu.events), [Event::Received(random_bytes(len))], "{len}");
    }

    /// Sends a request of this length and returns how both ends failed.
    fn failures(&mut self, len: usize) -> [Vec<LinkError>; 2] {
        self.send(len);
        self.run();
        [&mut self.tester, &mut self.ecu].map(|end| {
            std::mem::take(&mut end.events)
                .into_iter()
                .map(|event| match event {
                    Event::Failed(error) => error,
                    other => panic!("{other:?}"),
                })
                .collect()
        })
    }

    fn elapsed(&self) -> Duration {
        self.now - self.base
    }
}

/// A frame as the ECU would send it.
fn from_ecu(data: &[u8]) -> FdFrame {
    FdFrame::new(ids().response, FrameFormat::Fd { brs: true }, data).unwrap()
}

fn flow_control(status: FlowStatus, block_size: u8, st_min: u8) -> FdFrame {
    let mut field = [0xCC; 64];
    Pci::FlowControl(FlowControl { status, block_size, st_min: StMin::from_code(st_min) }).write(&mut field);
    from_ecu(&field[..8])
}

/// A lone tester whose bus confirms at once; the test plays the ECU.
struct Lone {
    link: Link,
    now: Instant,
}

impl Lone {
    fn new(change: impl Fn(&mut LinkConfig)) -> Self {
        let mut config = LinkConfig::tester(ids());
        change(&mut config);
        Self { link: Link::new(config), now: Instant::now() }
    }

    fn transmit(&mut self) -> Vec<FdFrame> {
        let frames: Vec<_> = std::iter::from_fn(|| self.link.poll_transmit(self.now)).collect();
        frames.iter().for_each(|_| self.link.handle_transmitted(self.now));
        frames
    }

    fn hear(&mut self, frame: &FdFrame) -> Vec<FdFrame> {
        self.link.handle_frame(self.now, frame);
        self.transmit()
    }

    /// Goes on to the next timeout; the duration it took.
    fn wait(&mut self) -> Duration {
        let next = self.link.poll_timeout().unwrap();
        let waited = next - self.now;
        self.now = next - Duration::from_nanos(1);
        self.link.handle_timeout(self.now);
        assert_eq!(self.link.poll_event(), None, "a timeout came early");
        self.now = next;
        self.link.handle_timeout(self.now);
        waited
    }

    fn start(&mut self, len: usize) {
        self.link.send(self.now, random_bytes(len)).unwrap();
        assert_eq!(self.transmit().len(), 1);
    }
}
