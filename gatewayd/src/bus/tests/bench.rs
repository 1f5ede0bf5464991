//! A bus master, a brain that says yes to everything, and scripted ECUs, on one simulated bus and simulated time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canfd::bit_timing::BitTiming;
use canfd::bus::Received;
use canfd::frame::{CanId, CanIds, FdFrame};
use canfd::isotp::pci::Pci;
use canfd::isotp::{Addressing, Event, Link, LinkConfig};
use canfd::pacing::PacingConfig;
use canfd::uds::profile::Profile;
use canfd::virtual_bus::{NodeId, VirtualBus, VirtualBusConfig};

use crate::bus::{BusMaster, EcuOrder, EcuReport, Program, SeatConfig};
use crate::config::addressing::AddressingPart;
use crate::gateway::message::EcuIndex;

/// Bytes in one [`EcuOrder::Data`], no multiple of a block.
const CHUNK: usize = 1_000;

pub(super) fn functional_id() -> CanId {
    CanId::standard(0x7DF).unwrap()
}

pub(super) fn ids(ecu: u16) -> CanIds {
    let id = |base| CanId::standard(base + ecu).unwrap();
    CanIds { request: id(0x7A0), response: id(0x7B0) }
}

/// The image of that ECU: no two share a block.
pub(super) fn image(ecu: usize) -> Vec<u8> {
    (0..20_000_usize).map(|at| (at * 7 + at / 251 + ecu * 101).to_le_bytes()[0]).collect()
}

pub(super) fn program(ecu: usize) -> EcuOrder {
    EcuOrder::Program(Program {
        image_len: image(ecu).len() as u64,
        version: "2.0.0".to_owned(),
        sha256: Vec::new(),
        crc32: 0,
        resume_from: None,
    })
}

/// Where an ECU is, and what stands in front of its frames.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) ids: CanIds,
    pub(super) functional: CanId,
    pub(super) addressing: AddressingPart,
}

impl Place {
    fn normal(ecu: u16) -> Self {
        Self { ids: ids(ecu), functional: functional_id(), addressing: AddressingPart::Normal }
    }

    /// As the ECU sees it.
    fn link(self) -> LinkConfig {
        let addressing = match self.addressing.physical() {
            Addressing::Normal => Addressing::Normal,
            Addressing::Prefixed { tx, rx } => Addressing::Prefixed { tx: rx, rx: tx },
        };
        LinkConfig { addressing, ..LinkConfig::ecu(self.ids) }
    }
}

/// An ECU that says yes to every step.
pub(super) struct Ecu {
    node: NodeId,
    place: Place,
    link: Link,
    pub(super) silent: bool,
    /// Its own time between two frames.
    pub(super) pace: Duration,
    /// When the frame was ready that it waits to get on the bus.
    ready: Option<Instant>,
    /// The longest wait of a frame of its, from ready to on the bus.
    pub(super) longest_wait: Duration,
    next_frame: Instant,
    pub(super) version: Vec<u8>,
    pub(super) hardware: Vec<u8>,
    pub(super) programmed: Vec<u8>,
    /// What it was asked, physically and functionally.
    pub(super) requests: Vec<Vec<u8>>,
    answers: VecDeque<Vec<u8>>,
}

impl Ecu {
    fn handle_frame(&mut self, now: Instant, frame: &FdFrame) {
        if frame.id() == self.place.functional {
            let address = self.place.addressing.functional();
            if let Ok((Pci::SingleFrame { .. }, request)) = Pci::parse_behind(address, frame.data()) {
                self.requests.push(request.to_vec());
            }
        }
        self.link.handle_frame(now, frame);
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.link.poll_event() {
            if let Event::Received(request) = event {
                let answer = self.answer(&request).filter(|_| !self.silent);
                self.answers.extend(answer);
                self.requests.push(request);
            }
        }
        if self.link.is_idle()
            && let Some(answer) = self.answers.pop_front()
        {
            self.link.send(now, answer).unwrap();
        }
    }

    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let echo = |len: usize| request[1..=len].to_vec();
        let parameters = match *request {
            [0x22, 0xF1, 0x95] => [echo(2), self.version.clone()].concat(),
            [0x22, 0xF1, 0x91] => [echo(2), self.hardware.clone()].concat(),
            [0x10, session] if session & 0x80 == 0 => vec![session, 0x00, 0x32, 0x01, 0xF4],
            [0x11 | 0x28 | 0x3E | 0x85, sub, ..] if sub & 0x80 != 0 => return None,
            [0x11, ..] => {
                self.version = b"2.0.0".to_vec();
                echo(1)
            }
            [0x28 | 0x3E | 0x85, ..] => echo(1),
            [0x2E, ..] => echo(2),
            [0x31, ..] => echo(3),
            // Blocks of 1024 bytes with service and counter.
            [0x34, ..] => vec![0x20, 0x04, 0x00],
            [0x36, counter, ref data @ ..] => {
                self.programmed.extend_from_slice(data);
                vec![counter]
            }
            [0x37] => Vec::new(),
            _ => return Some(vec![0x7F, request[0], 0x11]),
        };
        Some([vec![request[0] | 0x40], parameters].concat())
    }

    /// The next frame, at the ECU's own pace.
    fn poll_transmit(&mut self, now: Instant) -> Option<FdFrame> {
        self.settle(now);
        if now < self.next_frame {
            return None;
        }
        let frame = self.link.poll_transmit(now)?;
        self.next_frame = now + self.pace;
        Some(frame)
    }

    fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let pace = (self.next_frame > now).then_some(self.next_frame);
        self.link.poll_timeout().into_iter().chain(pace).min()
    }
}

pub(super) struct Bench {
    pub(super) now: Instant,
    base: Instant,
    pub(super) master: BusMaster,
    bus: VirtualBus,
    gateway: NodeId,
    pub(super) ecus: Vec<Ecu>,
    /// Who reported what, in order, and when since the start.
    pub(super) reports: Vec<(usize, Duration, EcuReport)>,
    /// Own frames in the order in which they came to their end.
    pub(super) sent: Vec<FdFrame>,
    in_flight: usize,
    /// Whether the master's rests are kept, and until when one lasts, with what it has not heard.
    pub(super) rests: bool,
    resting: Option<Instant>,
    unheard: VecDeque<Received>,
    /// How often the master was woken to hear something.
    pub(super) wakes: usize,
    /// The most frames of the master that were with the bus at a time.
    pub(super) most_in_flight: usize,
}

impl Bench {
    /// A bus that is up, with an ECU for each profile.
    pub(super) fn new(profiles: &[Profile]) -> Self {
        Self::with(profiles, 8)
    }

    pub(super) fn with(profiles: &[Profile], max_in_flight: u8) -> Self {
        Self::paced(profiles, max_in_flight, PacingConfig::default())
    }

    pub(super) fn paced(profiles: &[Profile], max_in_flight: u8, pacing: PacingConfig) -> Self {
        let places: Vec<_> = (0_u16..).zip(profiles).map(|(at, _)| Place::normal(at)).collect();
        Self::placed(profiles, &places, max_in_flight, pacing)
    }

    pub(super) fn placed(
        profiles: &[Profile],
        places: &[Place],
        max_in_flight: u8,
        pacing: PacingConfig,
    ) -> Self {
        let now = Instant::now();
        let config = VirtualBusConfig { timing: Some(BitTiming::FD_500K_2M), queue_len: 64 };
        let mut bus = VirtualBus::new(now, config);
        let gateway = bus.attach();
        let ecus = (0_u16..).zip(places).map(|(at, place)| Ecu {
            node: bus.attach(),
            place: *place,
            link: Link::new(place.link()),
            silent: false,
            pace: Duration::from_millis(1),
            ready: None,
            longest_wait: Duration::ZERO,
            next_frame: now,
            version: b"1.0.0\0\0".to_vec(),
            hardware: format!("ECU-{at}").into_bytes(),
            programmed: Vec::new(),
            requests: Vec::new(),
            answers: VecDeque::new(),
        });
        let ecus = ecus.collect();
        let seats = (0_usize..).zip(profiles.iter().zip(places)).map(|(at, (profile, place))| {
            let profile = Arc::new(profile.clone());
            let seat = SeatConfig::new(EcuIndex(at), place.ids, place.functional, profile);
            let (addressing, functional_address) =
                (place.addressing.physical(), place.addressing.functional());
            SeatConfig { max_in_flight, addressing, functional_address, ..seat }
        });
        let mut master = BusMaster::paced(seats, BitTiming::FD_500K_2M, pacing);
        master.handle_bus_up();
        let reports = Vec::new();
        Self {
            now,
            base: now,
            master,
            bus,
            gateway,
            ecus,
            reports,
            sent: Vec::new(),
            in_flight: 0,
            rests: false,
            resting: None,
            unheard: VecDeque::new(),
            wakes: 0,
            most_in_flight: 0,
        }
    }

    pub(super) fn order(&mut self, ecu: usize, order: EcuOrder) {
        self.master.handle_order(self.now, EcuIndex(ecu), order);
        self.settle();
    }

    /// Plays until nothing is due any more, at most for a minute.
    pub(super) fn run(&mut self) {
        self.run_while(|_| true);
    }

    /// Plays as long as `going` says, checked after every event of time.
    pub(super) fn run_while(&mut self, going: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(60);
        self.settle();
        while going(self) {
            let ecus = self.ecus.iter().filter_map(|ecu| ecu.poll_timeout(self.now));
            let gateway = self.master.poll_timeout().into_iter().chain(self.resting);
            let due = ecus.chain(gateway).chain(self.bus.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { return };
            self.now = self.now.max(due);
            self.master.handle_timeout(self.now);
            for ecu in &mut self.ecus {
                ecu.link.handle_timeout(self.now);
            }
            self.settle();
        }
    }

    /// What that ECU's seat reported.
    pub(super) fn reports_of(&self, ecu: usize) -> Vec<&EcuReport> {
        self.reports.iter().filter(|(whose, ..)| *whose == ecu).map(|(.., report)| report).collect()
    }

    /// When that ECU's seat first reported this.
    pub(super) fn when(&self, ecu: usize, wanted: &EcuReport) -> Option<Duration> {
        self.reports.iter().find(|(whose, _, report)| *whose == ecu && report == wanted).map(|(_, at, _)| *at)
    }

    /// The bus goes away with everything on it, and comes back at once.
    pub(super) fn lose_bus(&mut self, reason: &str) {
        self.bus.set_fault(|_, _| canfd::virtual_bus::Fault::DropAll);
        self.master.handle_bus_down(reason);
        self.settle();
        self.run_while(|bench| bench.bus.poll_timeout().is_some());
        for ecu in &mut self.ecus {
            ecu.link = Link::new(ecu.place.link());
            ecu.answers.clear();
        }
        self.bus.set_fault(|_, _| canfd::virtual_bus::Fault::None);
    }

    /// Lets everything happen that happens now.
    fn settle(&mut self) {
        loop {
            let mut moved = self.tell_the_brain();
            moved |= self.hear();
            while let Some(frame) = self.master.poll_transmit(self.now) {
                moved = true;
                self.in_flight += 1;
                self.most_in_flight = self.most_in_flight.max(self.in_flight);
                self.bus.handle_transmit(self.now, self.gateway, frame).unwrap();
            }
            for ecu in &mut self.ecus {
                while let Some(frame) = ecu.poll_transmit(self.now) {
                    moved = true;
                    ecu.ready.get_or_insert(self.now);
                    self.bus.handle_transmit(self.now, ecu.node, frame).unwrap();
                }
            }
            while let Some(delivery) = self.bus.poll_delivery(self.now) {
                moved = true;
                let own = delivery.from == self.gateway;
                self.in_flight -= usize::from(own);
                if own {
                    self.sent.push(delivery.frame);
                }
                if delivery.reaches(self.gateway) {
                    let timestamp = Some(delivery.bus_time);
                    self.unheard.push_back(Received { frame: delivery.frame, timestamp, own });
                }
                for ecu in self.ecus.iter_mut().filter(|ecu| delivery.reaches(ecu.node)) {
                    if delivery.from == ecu.node {
                        if let Some(ready) = ecu.ready.take() {
                            ecu.longest_wait = ecu.longest_wait.max(self.now - ready);
                        }
                        ecu.link.handle_transmitted(self.now);
                    } else {
                        ecu.handle_frame(self.now, &delivery.frame);
                    }
                }
            }
            if !moved {
                if self.rests && self.resting.is_none() {
                    self.resting = self.master.poll_rest(self.now);
                }
                return;
            }
        }
    }

    /// What has come for the master, unless it rests.
    fn hear(&mut self) -> bool {
        self.resting = self.resting.filter(|until| self.now < *until);
        if self.resting.is_some() || self.unheard.is_empty() {
            return false;
        }
        self.wakes += 1;
        for received in self.unheard.drain(..) {
            self.master.handle_frame(self.now, &received);
        }
        true
    }

    fn tell_the_brain(&mut self) -> bool {
        let mut moved = false;
        while let Some((EcuIndex(ecu), report)) = self.master.poll_report() {
            moved = true;
            match &report {
                EcuReport::TransferBegins { .. } => {
                    for (nth, bytes) in image(ecu).chunks(CHUNK).enumerate() {
                        let order = EcuOrder::Data { offset: (nth * CHUNK) as u64, bytes: bytes.to_vec() };
                        self.master.handle_order(self.now, EcuIndex(ecu), order);
                    }
                }
                EcuReport::ReadyToActivate => {
                    self.master.handle_order(self.now, EcuIndex(ecu), EcuOrder::Activate);
                }
                _ => {}
            }
            self.reports.push((ecu, self.now - self.base, report));
        }
        moved
    }
}
