//! A master against an entity in memory, with ECUs that say yes to every step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canfd::doip::LogicalAddress;
use canfd::doip::header::ProtocolVersion;
use canfd::doip::server::{Event, Request, Server, ServerConfig, SocketId};
use canfd::uds::profile::{Phase, Profile, SendTo};
use canfd::uds::programming::EcuState;

use super::{ConnectionOrder, DoipConfig, DoipMaster, DoipSeatConfig};
use crate::bus::{EcuError, EcuOrder, EcuReport, Program};
use crate::gateway::message::EcuIndex;

const GROUP: LogicalAddress = LogicalAddress(0xE400);
const TESTER: LogicalAddress = LogicalAddress(0x0F10);
const CHUNK: usize = 1_000;

fn address(ecu: usize) -> LogicalAddress {
    LogicalAddress(0x1001 + u16::try_from(ecu).unwrap())
}

fn image(ecu: usize) -> Vec<u8> {
    (0..20_000_usize).map(|at| (at * 7 + at / 251 + ecu * 101).to_le_bytes()[0]).collect()
}

fn program(ecu: usize) -> EcuOrder {
    EcuOrder::Program(Program {
        image_len: image(ecu).len() as u64,
        version: "2.0.0".to_owned(),
        sha256: Vec::new(),
        crc32: 0,
        resume_from: None,
    })
}

/// What one ECU has been told.
#[derive(Default)]
struct Ecu {
    version: Vec<u8>,
    programmed: Vec<u8>,
    requests: usize,
    /// It restarts at this request of its life, or says nothing from there on.
    ends_at: Option<(usize, End)>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    /// It takes every connection with it, and is back at once.
    Restart,
    /// It is never seen again.
    Gone,
}

/// The answer of an ECU that has a block size of 1024.
fn answer(ecu: &mut Ecu, request: &[u8]) -> Option<Vec<u8>> {
    let echo = |len: usize| request[1..=len].to_vec();
    let parameters = match *request {
        [0x22, 0xF1, 0x95] => [echo(2), ecu.version.clone()].concat(),
        [0x22, 0xF1, 0x91] => [echo(2), b"ECU".to_vec()].concat(),
        [0x10, session] if session & 0x80 == 0 => vec![session, 0x00, 0x32, 0x01, 0xF4],
        [0x10 | 0x11 | 0x28 | 0x3E | 0x85, sub, ..] if sub & 0x80 != 0 => return None,
        [0x11, ..] => {
            ecu.version = b"2.0.0".to_vec();
            echo(1)
        }
        [0x28 | 0x3E | 0x85, ..] => echo(1),
        [0x2E, ..] => echo(2),
        [0x31, ..] => echo(3),
        [0x34, ..] => {
            ecu.programmed.clear();
            vec![0x20, 0x04, 0x00]
        }
        [0x36, counter, ref data @ ..] => {
            ecu.programmed.extend_from_slice(data);
            vec![counter]
        }
        [0x37] => Vec::new(),
        _ => return Some(vec![0x7F, request[0], 0x11]),
    };
    Some([vec![request[0] | 0x40], parameters].concat())
}

struct Bench {
    now: Instant,
    master: DoipMaster,
    server: Server,
    socket: Option<SocketId>,
    /// Whether the entity takes connections.
    reachable: bool,
    connections: usize,
    ecus: Vec<Ecu>,
    reports: Vec<(usize, EcuReport)>,
}

impl Bench {
    fn new(count: usize, profile: Profile) -> Self {
        let profile = Arc::new(Profile { checksum: None, ..profile });
        let seats = (0..count).map(|at| DoipSeatConfig {
            ecu: EcuIndex(at),
            address: address(at),
            functional: Some(GROUP),
            profile: Arc::clone(&profile),
        });
        let config = DoipConfig { source: TESTER, version: ProtocolVersion::Iso2019 };
        let server = Server::new(ServerConfig {
            targets: (0..count).map(address).collect(),
            functional: vec![GROUP],
            ..ServerConfig::new(LogicalAddress(0x1000))
        });
        Self {
            now: Instant::now(),
            master: DoipMaster::new(seats, config),
            server,
            socket: None,
            reachable: true,
            connections: 0,
            ecus: (0..count).map(|_| Ecu { version: b"1.0.0".to_vec(), ..Ecu::default() }).collect(),
            reports: Vec::new(),
        }
    }

    fn order(&mut self, ecu: usize, order: EcuOrder) {
        self.master.handle_order(self.now, EcuIndex(ecu), order);
    }

    /// Until nothing is left to wait for.
    fn run(&mut self) {
        for _ in 0..100_000 {
            self.settle();
            let timeouts = self.master.poll_timeout().into_iter().chain(self.server.poll_timeout());
            let Some(next) = timeouts.min() else { return };
            self.now = self.now.max(next);
            self.master.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        panic!("it never ends");
    }

    fn settle(&mut self) {
        loop {
            let mut busy = self.drain_master();
            while let Some((_, bytes)) = self.server.poll_transmit() {
                busy = true;
                self.master.handle_bytes(self.now, &bytes);
            }
            while let Some(event) = self.server.poll_event() {
                busy = true;
                self.handle(event);
            }
            if !busy {
                return;
            }
        }
    }

    fn drain_master(&mut self) -> bool {
        let mut busy = false;
        while let Some(order) = self.master.poll_connection() {
            busy = true;
            match order {
                ConnectionOrder::Open if self.reachable => {
                    self.connections += 1;
                    self.socket = self.server.handle_connected(self.now, false).ok();
                    self.master.handle_connected(self.now);
                }
                ConnectionOrder::Open => self.master.handle_disconnected(self.now, "connection refused"),
                ConnectionOrder::Close => {
                    if let Some(socket) = self.socket.take() {
                        self.server.handle_closed(self.now, socket);
                    }
                }
            }
        }
        while let Some(bytes) = self.master.poll_transmit(self.now) {
            busy = true;
            if let Some(socket) = self.socket {
                self.server.handle_bytes(self.now, socket, &bytes);
            }
        }
        while let Some((ecu, report)) = self.master.poll_report() {
            busy = true;
            self.react(ecu, &report);
            self.reports.push((ecu.0, report));
        }
        busy
    }

    /// A brain that says yes to everything.
    fn react(&mut self, ecu: EcuIndex, report: &EcuReport) {
        match report {
            EcuReport::TransferBegins { offset } => {
                let image = image(ecu.0);
                let mut offset = usize::try_from(*offset).unwrap();
                while offset < image.len() {
                    let end = (offset + CHUNK).min(image.len());
                    let bytes = image[offset..end].to_vec();
                    let order = EcuOrder::Data { offset: offset as u64, bytes };
                    self.master.handle_order(self.now, ecu, order);
                    offset = end;
                }
            }
            EcuReport::ReadyToActivate => self.master.handle_order(self.now, ecu, EcuOrder::Activate),
            _ => {}
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(request) => self.request(&request),
            Event::Close(socket) => {
                if self.socket == Some(socket) {
                    self.socket = None;
                    self.master.handle_disconnected(self.now, "the DoIP entity closed the connection");
                }
            }
            Event::Activated { .. } | Event::ConfirmationRequired { .. } => {}
        }
    }

    fn request(&mut self, request: &Request) {
        for (at, ecu) in self.ecus.iter_mut().enumerate() {
            if request.target != address(at) && request.target != GROUP {
                continue;
            }
            ecu.requests += 1;
            match ecu.ends_at {
                Some((last, End::Restart)) if ecu.requests == last => {
                    self.server.reset();
                    continue;
                }
                Some((last, End::Gone)) if ecu.requests >= last => {
                    self.reachable = false;
                    self.server.reset();
                    continue;
                }
                _ => {}
            }
            if let Some(answer) = answer(ecu, &request.data) {
                self.server.respond(self.now, address(at), request.tester, &answer);
            }
        }
    }

    fn last(&self) -> BTreeMap<usize, &EcuReport> {
        self.reports.iter().map(|(ecu, report)| (*ecu, report)).collect()
    }
}

fn finished() -> EcuReport {
    EcuReport::Finished { version: "2.0.0".to_owned() }
}

#[test]
fn three_ecus_behind_one_entity_are_programmed_at_once_over_one_connection() {
    let all = SendTo::Functional;
    let profile =
        Profile { extended_session: all, dtc_setting: all, communication_control: all, ..Profile::default() };
    let mut bench = Bench::new(3, profile);
    (0..3).for_each(|at| bench.order(at, program(at)));
    bench.run();
    assert!(bench.last().values().all(|it| **it == finished()), "{:?}", bench.last());
    for (at, ecu) in bench.ecus.iter().enumerate() {
        assert!(ecu.programmed == image(at), "{at}");
    }
    assert_eq!(bench.connections, 1);
}

#[test]
fn an_ecu_is_identified_and_the_connection_is_closed_when_nobody_needs_it() {
    let mut bench = Bench::new(1, Profile::default());
    bench.order(0, EcuOrder::Identify);
    let start = bench.now;
    bench.run();
    let identified = EcuReport::Identified { version: Some("1.0.0".into()), hardware: Some("ECU".into()) };
    assert_eq!(bench.reports, [(0, identified)]);
    assert_eq!((bench.socket, bench.now - start), (None, Duration::from_secs(10)));
    bench.order(0, EcuOrder::Identify);
    bench.run();
    assert_eq!((bench.reports.len(), bench.connections), (2, 2));
}

#[test]
fn an_ecu_that_takes_its_connection_along_when_it_restarts_is_called_again() {
    let mut bench = Bench::new(1, Profile::default());
    bench.order(0, program(0));
    // It answers the reset, then the connection is gone.
    loop {
        bench.settle();
        if bench.ecus[0].version == b"2.0.0" {
            break;
        }
        bench.now = bench.master.poll_timeout().unwrap();
        bench.master.handle_timeout(bench.now);
    }
    bench.server.reset();
    bench.run();
    assert_eq!(bench.last()[&0], &finished());
    assert_eq!(bench.connections, 2);
}

#[test]
fn a_connection_that_breaks_at_any_request_ends_the_session_in_a_state_that_is_said() {
    let whole = {
        let mut bench = Bench::new(1, Profile::default());
        bench.order(0, program(0));
        bench.run();
        assert_eq!(bench.last()[&0], &finished());
        bench.ecus[0].requests
    };
    assert!(whole > 25, "{whole}");
    for end in [End::Restart, End::Gone] {
        for at in 1..=whole {
            let mut bench = Bench::new(1, Profile::default());
            bench.ecus[0].ends_at = Some((at, end));
            bench.order(0, program(0));
            bench.run();
            let ends: Vec<_> = bench
                .reports
                .iter()
                .filter(|(_, it)| matches!(it, EcuReport::Finished { .. } | EcuReport::Failed(_)))
                .collect();
            assert_eq!(ends.len(), 1, "request {at}: {:?}", bench.reports);
            let image_is_whole = bench.ecus[0].programmed == image(0);
            match &ends[0].1 {
                EcuReport::Finished { .. } => assert!(image_is_whole, "request {at}"),
                EcuReport::Failed(EcuError::Session { phase, state, .. }) => {
                    let erased = bench.reports.iter().any(|(_, it)| *it == EcuReport::Erased);
                    if *phase == Phase::TransferData {
                        assert_eq!((*state, erased), (EcuState::NoApplication, true), "request {at}");
                    }
                    assert!(erased || *state != EcuState::NoApplication, "request {at}");
                }
                other => panic!("request {at}: {other:?}"),
            }
            assert_eq!(bench.master.poll_timeout(), None);
        }
    }
}

#[test]
fn an_entity_that_cannot_be_reached_is_said_at_once_and_not_hammered() {
    let mut bench = Bench::new(1, Profile::default());
    bench.reachable = false;
    for _ in 0..3 {
        bench.order(0, EcuOrder::Identify);
    }
    bench.run();
    let (_, EcuReport::Failed(EcuError::Session { message, .. })) = &bench.reports[0] else {
        panic!("{:?}", bench.reports)
    };
    assert!(message.contains("connection refused"), "{message}");
    bench.order(0, EcuOrder::Identify);
    let start = bench.now;
    bench.run();
    assert_eq!(bench.reports.len(), 2);
    assert!(bench.now - start <= Duration::from_millis(200));
}

#[test]
fn an_entity_that_denies_routing_is_quoted() {
    let mut bench = Bench::new(1, Profile::default());
    bench.server = Server::new(ServerConfig {
        testers: vec![0x0E00..=0x0E7F],
        ..ServerConfig::new(LogicalAddress(0x1000))
    });
    bench.order(0, EcuOrder::Identify);
    bench.run();
    let (_, EcuReport::Failed(error)) = &bench.reports[0] else { panic!("{:?}", bench.reports) };
    assert!(error.to_string().contains("denied: unknown source address (0x00)"), "{error}");
}
