//! The socket handler, with testers that do what the test says.

use super::*;
use crate::doip::codes::ActivationCode as Code;
use crate::doip::codes::ActivationType;
use crate::doip::payload::{RoutingActivationRequest, RoutingActivationResponse};
use crate::doip::{Eid, Vin};
use std::time::Duration;

const ECU: LogicalAddress = LogicalAddress(0x1001);
const GROUP: LogicalAddress = LogicalAddress(0xE400);
const ANNA: LogicalAddress = LogicalAddress(0x0E80);
const BEN: LogicalAddress = LogicalAddress(0x0E81);
const CARL: LogicalAddress = LogicalAddress(0x0E82);
const TICK: Duration = Duration::from_millis(1);
const VERSION: ProtocolVersion = ProtocolVersion::Iso2019;

struct Bench {
    now: Instant,
    server: Server,
    closed: Vec<SocketId>,
    requests: Vec<Request>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig { functional: vec![GROUP], max_sockets: 2, ..ServerConfig::new(ECU) };
        change(&mut config);
        let server = Server::new(config);
        Self { now: Instant::now(), server, closed: Vec::new(), requests: Vec::new() }
    }

    fn connect(&mut self) -> SocketId {
        self.server.handle_connected(self.now, false).unwrap()
    }

    /// Says something and returns what everybody hears of it.
    fn says(&mut self, id: SocketId, payload: Payload<'_>) -> Vec<(SocketId, Vec<u8>)> {
        self.server.handle_bytes(self.now, id, &payload.to_bytes(VERSION));
        self.drain()
    }

    fn drain(&mut self) -> Vec<(SocketId, Vec<u8>)> {
        let sent = std::iter::from_fn(|| self.server.poll_transmit()).collect();
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Close(id) => self.closed.push(id),
                Event::Request(request) => self.requests.push(request),
                Event::Activated { .. } | Event::ConfirmationRequired { .. } => {}
            }
        }
        sent
    }

    fn activate(&mut self, id: SocketId, tester: LogicalAddress) -> Vec<(SocketId, Vec<u8>)> {
        self.says(id, activation(tester, ActivationType::Default, None))
    }

    fn waits(&mut self, span: Duration) -> Vec<(SocketId, Vec<u8>)> {
        self.now += span;
        self.server.handle_timeout(self.now);
        self.drain()
    }
}

fn activation(
    source: LogicalAddress,
    activation_type: ActivationType,
    oem: Option<[u8; 4]>,
) -> Payload<'static> {
    Payload::RoutingActivationRequest(RoutingActivationRequest { source, activation_type, oem })
}

fn answer(id: SocketId, tester: LogicalAddress, code: Code) -> (SocketId, Vec<u8>) {
    let response = RoutingActivationResponse { tester, entity: ECU, code, oem: None };
    (id, Payload::RoutingActivationResponse(response).to_bytes(ProtocolVersion::Iso2012))
}

fn says(id: SocketId, payload: Payload<'_>) -> (SocketId, Vec<u8>) {
    (id, payload.to_bytes(ProtocolVersion::Iso2012))
}

fn alive_check(id: SocketId) -> (SocketId, Vec<u8>) {
    says(id, Payload::AliveCheckRequest)
}

#[test]
fn a_message_is_acknowledged_before_it_is_answered_to_its_tester_alone() {
    let mut bench = Bench::new(|_| ());
    let (a, b) = (bench.connect(), bench.connect());
    assert_eq!(bench.activate(a, ANNA), [answer(a, ANNA, Code::Success)]);
    assert_eq!(bench.activate(b, BEN), [answer(b, BEN, Code::Success)]);
    for (target, functional) in [(ECU, false), (GROUP, true)] {
        let heard = bench.says(a, Payload::Diagnostic { source: ANNA, target, data: &[0x3E, 0] });
        assert_eq!(heard, [says(a, Payload::DiagnosticAck { source: target, target: ANNA, previous: &[] })]);
        let request = Request { tester: ANNA, target, functional, data: vec![0x3E, 0] };
        assert_eq!(std::mem::take(&mut bench.requests), [request]);
    }
    bench.server.respond(bench.now, ECU, ANNA, &[0x7E, 0]);
    assert_eq!(bench.drain(), [says(a, Payload::Diagnostic { source: ECU, target: ANNA, data: &[0x7E, 0] })]);
    bench.server.respond(bench.now, ECU, CARL, &[0x7E, 0]);
    assert_eq!(bench.drain(), [], "nobody of that address is there");
}

#[test]
fn messages_from_or_to_the_wrong_address_are_refused() {
    let mut bench = Bench::new(|_| ());
    let a = bench.connect();
    bench.activate(a, ANNA);
    let unknown = LogicalAddress(0x1002);
    let nack = |code| Payload::DiagnosticNack { source: unknown, target: ANNA, code, previous: &[] };
    let heard = bench.says(a, Payload::Diagnostic { source: ANNA, target: unknown, data: &[1] });
    assert_eq!(heard, [says(a, nack(DiagnosticNackCode::UnknownTargetAddress))]);
    assert_eq!(bench.closed, []);
    let heard = bench.says(a, Payload::Diagnostic { source: BEN, target: ECU, data: &[1] });
    let code = DiagnosticNackCode::InvalidSourceAddress;
    assert_eq!(heard, [says(a, Payload::DiagnosticNack { source: ECU, target: BEN, code, previous: &[] })]);
    assert_eq!((bench.closed, bench.requests), (vec![a], vec![]));
}

#[test]
fn no_message_passes_before_activation() {
    let mut bench = Bench::new(|_| ());
    let a = bench.connect();
    bench.says(a, Payload::Diagnostic { source: ANNA, target: ECU, data: &[1] });
    assert_eq!((bench.closed, bench.requests), (vec![a], vec![]));
}

#[test]
fn each_request_that_cannot_be_met_has_its_code() {
    let mut bench = Bench::new(|_| ());
    for (tester, kind, code) in [
        (LogicalAddress(0x0DFF), ActivationType::Default, Code::UnknownSourceAddress),
        (LogicalAddress(0x1000), ActivationType::Default, Code::UnknownSourceAddress),
        (ANNA, ActivationType::CentralSecurity, Code::UnsupportedActivationType),
    ] {
        let a = bench.connect();
        assert_eq!(bench.says(a, activation(tester, kind, None)), [answer(a, tester, code)]);
        assert_eq!(std::mem::take(&mut bench.closed), [a]);
    }
    let a = bench.connect();
    bench.activate(a, ANNA);
    assert_eq!(bench.activate(a, ANNA), [answer(a, ANNA, Code::Success)], "once more is no harm");
    assert_eq!(bench.activate(a, BEN), [answer(a, BEN, Code::SourceAddressMismatch)]);
    assert_eq!(bench.closed, [a]);
}

#[test]
fn tls_is_required_of_those_without_it() {
    let mut bench = Bench::new(|config| config.tls = TlsPolicy::Required);
    let plain = bench.connect();
    assert_eq!(bench.activate(plain, ANNA), [answer(plain, ANNA, Code::TlsRequired)]);
    let secure = bench.server.handle_connected(bench.now, true).unwrap();
    assert_eq!(bench.activate(secure, ANNA), [answer(secure, ANNA, Code::Success)]);
    assert_eq!(bench.closed, [plain]);
}

#[test]
fn a_tester_that_proves_itself_late_is_let_in() {
    let mut bench = Bench::new(|config| config.authentication = Some([1, 2, 3, 4]));
    let a = bench.connect();
    for wrong in [None, Some([1, 2, 3, 5])] {
        let heard = bench.says(a, activation(ANNA, ActivationType::Default, wrong));
        assert_eq!(heard, [answer(a, ANNA, Code::MissingAuthentication)]);
    }
    let heard = bench.says(a, activation(ANNA, ActivationType::Default, Some([1, 2, 3, 4])));
    assert_eq!((heard, bench.closed), (vec![answer(a, ANNA, Code::Success)], vec![]));
}

#[test]
fn a_confirmation_is_granted_or_rejected() {
    for (granted, code) in [(true, Code::Success), (false, Code::RejectedConfirmation)] {
        let mut bench = Bench::new(|config| config.confirmation = true);
        let a = bench.connect();
        assert_eq!(bench.activate(a, ANNA), [answer(a, ANNA, Code::ConfirmationRequired)]);
        bench.server.handle_confirmation(a, granted);
        assert_eq!(bench.drain(), [answer(a, ANNA, code)]);
        assert_eq!(bench.closed.is_empty(), granted);
    }
}

#[test]
fn a_source_address_in_use_is_kept_by_the_tester_that_is_alive() {
    let mut bench = Bench::new(|_| ());
    let (old, new) = (bench.connect(), bench.connect());
    bench.activate(old, ANNA);
    assert_eq!(bench.activate(new, ANNA), [alive_check(old)]);
    assert_eq!(
        bench.says(old, Payload::AliveCheckResponse { source: ANNA }),
        [answer(new, ANNA, Code::SourceAddressInUse)]
    );
    assert_eq!(bench.closed, [new]);
    assert_eq!(bench.waits(Duration::from_secs(1)), [], "the old one is not asked any more");
}

#[test]
fn a_source_address_in_use_by_a_dead_tester_goes_to_the_new_one() {
    let mut bench = Bench::new(|_| ());
    let (old, new) = (bench.connect(), bench.connect());
    bench.activate(old, ANNA);
    bench.activate(new, ANNA);
    assert_eq!(bench.waits(Duration::from_millis(500) - TICK), []);
    assert_eq!(bench.waits(TICK), [answer(new, ANNA, Code::Success)]);
    assert_eq!(bench.closed, [old]);
}

#[test]
fn a_full_house_asks_everybody_and_turns_the_newcomer_away_only_if_all_are_alive() {
    for (alive, code) in [(2, Code::AllSocketsActive), (1, Code::Success)] {
        let mut bench = Bench::new(|_| ());
        let ids = [bench.connect(), bench.connect(), bench.connect()];
        assert_eq!(bench.server.handle_connected(bench.now, false), Err(TooManyConnections { max: 3 }));
        bench.activate(ids[0], ANNA);
        bench.activate(ids[1], BEN);
        assert_eq!(bench.activate(ids[2], CARL), [alive_check(ids[0]), alive_check(ids[1])]);
        let mut heard = Vec::new();
        for (id, tester) in [(ids[0], ANNA), (ids[1], BEN)].into_iter().take(alive) {
            heard = bench.says(id, Payload::AliveCheckResponse { source: tester });
        }
        if alive == 1 {
            assert_eq!(heard, []);
            heard = bench.waits(Duration::from_millis(500));
            assert_eq!(bench.closed, [ids[1]]);
        } else {
            assert_eq!(bench.closed, [ids[2]]);
        }
        assert_eq!(heard, [answer(ids[2], CARL, code)]);
    }
}

#[test]
fn a_connection_that_breaks_while_it_is_asked_makes_room_at_once() {
    let mut bench = Bench::new(|_| ());
    let (old, new) = (bench.connect(), bench.connect());
    bench.activate(old, ANNA);
    bench.activate(new, ANNA);
    bench.server.handle_closed(bench.now, old);
    assert_eq!(bench.drain(), [answer(new, ANNA, Code::Success)]);
    assert_eq!(bench.closed, []);
}

#[test]
fn a_connection_without_activation_lasts_two_seconds_and_an_idle_one_five_minutes() {
    let mut bench = Bench::new(|_| ());
    let (a, b) = (bench.connect(), bench.connect());
    bench.activate(a, ANNA);
    bench.waits(Duration::from_secs(2) - TICK);
    assert_eq!(bench.closed, []);
    bench.waits(TICK);
    assert_eq!(std::mem::take(&mut bench.closed), [b]);
    bench.waits(Duration::from_secs(298) - TICK);
    bench.server.respond(bench.now, ECU, ANNA, &[0x7E, 0]);
    bench.drain();
    bench.waits(Duration::from_secs(300) - TICK);
    assert_eq!(bench.closed, [], "what the entity says counts, too");
    bench.waits(TICK);
    assert_eq!((bench.closed, bench.server.poll_timeout()), (vec![a], None));
}

#[test]
fn what_cannot_be_read_is_answered_and_where_the_stream_is_lost_it_is_closed() {
    let mut bench = Bench::new(|config| config.max_payload = 100);
    let a = bench.connect();
    bench.activate(a, ANNA);
    let nack = |code| says(a, Payload::GenericNack(code));
    bench.server.handle_bytes(bench.now, a, &[0x02, 0xFD, 0x12, 0x34, 0, 0, 0, 2, 0, 0]);
    assert_eq!(bench.drain(), [nack(NackCode::UnknownPayloadType)]);
    let heard = bench.says(a, Payload::Diagnostic { source: ANNA, target: ECU, data: &[0; 97] });
    assert_eq!(heard, [nack(NackCode::MessageTooLarge)]);
    let heard = bench.says(a, Payload::Diagnostic { source: ANNA, target: ECU, data: &[0; 96] });
    assert_eq!((heard.len(), bench.requests.len()), (1, 1));
    bench.server.handle_bytes(bench.now, a, &[0x02, 0xFD, 0x00, 0x07, 0, 0, 0, 1]);
    assert_eq!(bench.drain(), [nack(NackCode::InvalidPayloadLength)]);
    assert_eq!(bench.closed, [a]);
}

#[test]
fn datagrams_are_answered_by_whom_they_mean() {
    let mut bench = Bench::new(|config| config.identity.vin = Vin(*b"LSVAG2180E2100001"));
    let a = bench.connect();
    bench.activate(a, ANNA);
    let ask = |payload: Payload<'_>| {
        let answer = bench.server.handle_datagram(&payload.to_bytes(ProtocolVersion::Any));
        answer.or_else(|| bench.server.handle_datagram(&payload.to_bytes(ProtocolVersion::Iso2012)))
    };
    let announcement = Some(bench.server.announcement());
    let identity = *bench.server.identity();
    assert_eq!(ask(Payload::IdentificationRequest), announcement);
    assert_eq!(ask(Payload::IdentificationRequestEid(identity.eid)), announcement);
    assert_eq!(ask(Payload::IdentificationRequestVin(identity.vin)), announcement);
    assert_eq!(ask(Payload::IdentificationRequestEid(Eid([9; 6]))), None);
    assert_eq!(ask(Payload::IdentificationRequestVin(Vin([9; 17]))), None);
    let status = bench.server.handle_datagram(&Payload::EntityStatusRequest.to_bytes(VERSION)).unwrap();
    let (_, status) = Payload::parse_datagram(&status, 100).unwrap();
    let Payload::EntityStatusResponse(status) = status else { panic!("{status:?}") };
    assert_eq!((status.max_sockets, status.open_sockets, status.max_data_size), (2, 1, Some(128 << 10)));
    let nack = Payload::GenericNack(NackCode::IncorrectPatternFormat).to_bytes(ProtocolVersion::Iso2012);
    assert_eq!(bench.server.handle_datagram(&[0x02, 0x02, 0, 1, 0, 0, 0, 0]), Some(nack));
}

#[test]
fn a_flood_that_nobody_reads_the_answers_to_is_cut_off() {
    let mut bench = Bench::new(|_| ());
    let a = bench.connect();
    bench.activate(a, ANNA);
    let message = Payload::Diagnostic { source: ANNA, target: ECU, data: &[0x3E, 0x80] }.to_bytes(VERSION);
    bench.server.handle_bytes(bench.now, a, &message.repeat(MAX_WAITING));
    assert_eq!((bench.drain().len(), bench.closed.len()), (MAX_WAITING, 0));
    bench.server.handle_bytes(bench.now, a, &message.repeat(MAX_WAITING + 1));
    bench.drain();
    assert_eq!(bench.closed, [a]);
}
