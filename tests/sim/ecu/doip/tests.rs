//! An ECU on Ethernet by its bytes.

use super::{DoipFault, DoipPort};
use crate::ecu::{EcuConfig, SimEcu};
use canfd::doip::LogicalAddress;
use canfd::doip::client::{Client, ClientConfig, CloseReason, Event};
use canfd::doip::server::{ServerConfig, SocketId};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ECU: LogicalAddress = LogicalAddress(0x1001);
const BOOT: Duration = Duration::from_millis(300);
const VERSION: [u8; 3] = [0x22, 0xF1, 0x95];

struct Bench {
    now: Instant,
    port: DoipPort,
    client: Client,
    socket: SocketId,
}

impl Bench {
    fn new(directory: &Path) -> Self {
        let now = Instant::now();
        let config = EcuConfig { boot_time: BOOT, ..EcuConfig::default() };
        let ecu = SimEcu::open(now, directory, Arc::new(config)).unwrap();
        let mut port = DoipPort::new(ecu, ServerConfig::new(ECU), BOOT);
        let socket = port.handle_connected(now, false).unwrap();
        let client = Client::new(now, ClientConfig::new(LogicalAddress(0x0E80)));
        let mut bench = Self { now, port, client, socket };
        assert_eq!(bench.events(), [Event::Activated { entity: ECU }]);
        bench
    }

    /// Everything that happens at this instant.
    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let mut busy = false;
            while let Some(bytes) = self.client.poll_transmit(self.now) {
                busy = true;
                self.port.handle_bytes(self.now, self.socket, &bytes);
            }
            while let Some((_, bytes)) = self.port.poll_transmit() {
                busy = true;
                self.client.handle_bytes(self.now, &bytes);
            }
            while self.port.poll_close().is_some() {
                self.client.handle_closed();
            }
            events.extend(std::iter::from_fn(|| self.client.poll_event()));
            if !busy {
                return events;
            }
        }
    }

    fn ask(&mut self, request: &[u8]) -> Vec<Event> {
        self.client.request(ECU, request.to_vec()).unwrap();
        self.events()
    }

    fn waits(&mut self, span: Duration) -> Vec<Event> {
        self.now += span;
        self.client.handle_timeout(self.now);
        self.port.handle_timeout(self.now);
        self.events()
    }
}

#[test]
fn it_answers_after_its_acknowledgement() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(directory.path());
    let events = bench.ask(&VERSION);
    let [Event::Acknowledged { target: ECU }, Event::Received { source: ECU, data }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(data[..3], [0x62, 0xF1, 0x95]);
}

#[test]
fn a_reset_is_answered_and_takes_the_connection_along_until_it_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(directory.path());
    bench.ask(&[0x10, 0x03]);
    let events = bench.ask(&[0x11, 0x01]);
    let [.., Event::Received { data, .. }, Event::Closed(CloseReason::ByPeer)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(data[..], [0x51, 0x01]);
    assert!(!bench.port.is_reachable(bench.now + BOOT - Duration::from_millis(1)));
    assert!(bench.port.is_reachable(bench.now + BOOT));
}

#[test]
fn a_connection_breaks_on_command_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(directory.path());
    bench.port.inject(DoipFault::Disconnect { after: 1 });
    assert_eq!(bench.ask(&VERSION).len(), 2);
    assert_eq!(bench.ask(&VERSION), [Event::Closed(CloseReason::ByPeer)]);
    assert!(bench.port.is_reachable(bench.now));
}

#[test]
fn a_cable_that_is_out_is_silence() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(directory.path());
    bench.port.inject(DoipFault::Unplug { after: 1 });
    assert_eq!(bench.ask(&VERSION).len(), 2);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.ask(&VERSION), []);
    let waited = Duration::from_secs(2);
    assert_eq!(bench.waits(waited), [Event::Closed(CloseReason::Silent { waited })]);
    assert!(!bench.port.is_reachable(bench.now));
    bench.port.clear_faults();
    assert!(bench.port.is_reachable(bench.now));
}
