//! The tester's end against an entity that does what the test says.

use super::*;
use crate::doip::codes::{DiagnosticNackCode, NackCode};
use crate::doip::header::{PayloadType, ProtocolVersion};
use std::time::Duration;

const TESTER: LogicalAddress = LogicalAddress(0x0E80);
const ENTITY: LogicalAddress = LogicalAddress(0x1000);
const ECU: LogicalAddress = LogicalAddress(0x1001);
const DOOR: LogicalAddress = LogicalAddress(0x1002);

struct Bench {
    now: Instant,
    client: Client,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let mut bench = Self { now, client: Client::new(now, ClientConfig::new(TESTER)) };
        let request = RoutingActivationRequest {
            source: TESTER,
            activation_type: crate::doip::codes::ActivationType::Default,
            oem: None,
        };
        assert_eq!(bench.sent(), [Payload::RoutingActivationRequest(request).to_bytes(VERSION)]);
        bench
    }

    fn active() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.activation(ActivationCode::Success), [Event::Activated { entity: ENTITY }]);
        bench
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.client.poll_transmit(self.now)).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn hears(&mut self, payload: Payload<'_>) -> Vec<Event> {
        // The other edition than its own: both are understood.
        self.client.handle_bytes(self.now, &payload.to_bytes(ProtocolVersion::Iso2019));
        self.events()
    }

    fn activation(&mut self, code: ActivationCode) -> Vec<Event> {
        let response = RoutingActivationResponse { tester: TESTER, entity: ENTITY, code, oem: None };
        self.hears(Payload::RoutingActivationResponse(response))
    }

    fn ack(&mut self, source: LogicalAddress) -> Vec<Event> {
        self.hears(Payload::DiagnosticAck { source, target: TESTER, previous: &[] })
    }

    fn ask(&mut self, target: LogicalAddress) {
        self.client.request(target, vec![0x3E, 0x00]).unwrap();
        let bytes = Payload::Diagnostic { source: TESTER, target, data: &[0x3E, 0x00] }.to_bytes(VERSION);
        assert_eq!(self.sent(), [bytes]);
    }

    fn waits(&mut self, span: Duration) -> Vec<Event> {
        self.now += span;
        self.client.handle_timeout(self.now);
        self.events()
    }
}

const VERSION: ProtocolVersion = ProtocolVersion::Iso2012;
const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);

fn closed(reason: CloseReason) -> [Event; 1] {
    [Event::Closed(reason)]
}

#[test]
fn a_request_is_acknowledged_then_answered() {
    let mut bench = Bench::active();
    bench.ask(ECU);
    assert_eq!(bench.client.request(ECU, vec![1]), Err(RequestError::Busy { target: ECU }));
    bench.ask(DOOR);
    assert_eq!(bench.ack(ECU), [Event::Acknowledged { target: ECU }]);
    let answer = Payload::Diagnostic { source: ECU, target: TESTER, data: &[0x7E, 0x00] };
    assert_eq!(bench.hears(answer), [Event::Received { source: ECU, data: vec![0x7E, 0x00] }]);
    assert_eq!(bench.ack(DOOR), [Event::Acknowledged { target: DOOR }]);
    assert_eq!(bench.ack(DOOR), [], "nothing is outstanding any more");
    assert_eq!(bench.client.ignored(), 1);
}

#[test]
fn an_answer_that_overtakes_its_acknowledgement_stands_for_it() {
    let mut bench = Bench::active();
    bench.ask(ECU);
    let answer = Payload::Diagnostic { source: ECU, target: TESTER, data: &[0x7E, 0x00] };
    let received = Event::Received { source: ECU, data: vec![0x7E, 0x00] };
    assert_eq!(bench.hears(answer), [Event::Acknowledged { target: ECU }, received]);
    assert_eq!(bench.ack(ECU), []);
    bench.ask(ECU);
}

#[test]
fn each_denial_ends_the_connection_with_its_code() {
    for byte in (0x00..=0x0F).chain(0x12..=0xFF) {
        let code = ActivationCode::from_byte(byte);
        let mut bench = Bench::new();
        assert_eq!(bench.activation(code), closed(CloseReason::ActivationDenied { code }));
        assert_eq!((bench.sent(), bench.client.poll_timeout()), (vec![], None));
        assert_eq!(bench.client.request(ECU, vec![1]), Err(RequestError::NotActive));
    }
}

#[test]
fn an_activation_is_waited_for_until_control_is_over() {
    let mut bench = Bench::new();
    assert_eq!(bench.client.request(ECU, vec![1]), Err(RequestError::NotActive));
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + 2 * SECOND));
    assert_eq!(bench.waits(2 * SECOND - TICK), []);
    assert_eq!(bench.waits(TICK), closed(CloseReason::ActivationTimeout { waited: 2 * SECOND }));
}

#[test]
fn a_confirmation_is_waited_for_longer() {
    let mut bench = Bench::new();
    assert_eq!(bench.activation(ActivationCode::ConfirmationRequired), [Event::ConfirmationRequired]);
    assert_eq!(bench.waits(10 * SECOND - TICK), []);
    assert_eq!(bench.activation(ActivationCode::Success), [Event::Activated { entity: ENTITY }]);
    let mut bench = Bench::new();
    bench.activation(ActivationCode::ConfirmationRequired);
    assert_eq!(bench.waits(10 * SECOND), closed(CloseReason::NotConfirmed { waited: 10 * SECOND }));
}

#[test]
fn the_activation_of_another_tester_is_not_ours() {
    let mut bench = Bench::new();
    let response = RoutingActivationResponse {
        tester: LogicalAddress(0x0E81),
        entity: ENTITY,
        code: ActivationCode::Success,
        oem: None,
    };
    assert_eq!(bench.hears(Payload::RoutingActivationResponse(response)), []);
    assert!(!bench.client.is_active());
}

#[test]
fn alive_checks_are_answered_before_and_after_activation_and_a_burst_of_them_once() {
    let mut bench = Bench::new();
    let answer = Payload::AliveCheckResponse { source: TESTER }.to_bytes(VERSION);
    for _ in 0..3 {
        assert_eq!(bench.hears(Payload::AliveCheckRequest), []);
    }
    assert_eq!(bench.sent(), std::slice::from_ref(&answer));
    bench.activation(ActivationCode::Success);
    bench.client.request(ECU, vec![1]).unwrap();
    bench.hears(Payload::AliveCheckRequest);
    assert_eq!(bench.sent()[0], answer, "before whatever else waits");
}

#[test]
fn a_refused_message_is_its_ecus_matter_alone() {
    let mut bench = Bench::active();
    bench.ask(ECU);
    let code = DiagnosticNackCode::TargetUnreachable;
    let nack = Payload::DiagnosticNack { source: ECU, target: TESTER, code, previous: &[] };
    let refusal = Refusal::Diagnostic(code);
    assert_eq!(bench.hears(nack), [Event::Refused { target: ECU, refusal }]);
    bench.ask(ECU);
    let refusal = Refusal::Header(NackCode::MessageTooLarge);
    assert_eq!(
        bench.hears(Payload::GenericNack(NackCode::MessageTooLarge)),
        [Event::Refused { target: ECU, refusal }]
    );
    assert!(bench.client.is_active());
}

#[test]
fn an_entity_that_cannot_read_us_ends_the_connection() {
    for code in [NackCode::IncorrectPatternFormat, NackCode::InvalidPayloadLength] {
        let mut bench = Bench::active();
        bench.ask(ECU);
        assert_eq!(bench.hears(Payload::GenericNack(code)), closed(CloseReason::Nack { code }));
    }
}

#[test]
fn a_missing_acknowledgement_is_one_messages_matter_where_the_entity_talks() {
    let mut bench = Bench::active();
    bench.ask(ECU);
    bench.now += SECOND;
    assert_eq!(bench.hears(Payload::AliveCheckRequest), []);
    bench.sent();
    assert_eq!(bench.waits(SECOND - TICK), []);
    assert_eq!(bench.waits(TICK), [Event::Unacknowledged { target: ECU }]);
    bench.ask(ECU);
    assert_eq!(bench.ack(ECU), [Event::Acknowledged { target: ECU }]);
}

#[test]
fn a_missing_acknowledgement_in_silence_is_the_end() {
    let mut bench = Bench::active();
    bench.now += SECOND;
    bench.ask(ECU);
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + 2 * SECOND));
    assert_eq!(bench.waits(2 * SECOND - TICK), []);
    assert_eq!(bench.waits(TICK), closed(CloseReason::Silent { waited: 2 * SECOND }));
    assert_eq!((bench.client.poll_timeout(), bench.sent()), (None, vec![]));
}

#[test]
fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let span = Duration::from_secs(300);
    let mut bench = Bench::active();
    assert_eq!(bench.waits(span - TICK), []);
    bench.hears(Payload::AliveCheckRequest);
    bench.sent();
    assert_eq!(bench.waits(span - TICK), []);
    assert_eq!(bench.waits(TICK), closed(CloseReason::Inactive { waited: span }));
}

#[test]
fn what_cannot_be_read_or_held_ends_the_connection_and_other_kinds_pass() {
    let mut bench = Bench::active();
    bench.client.handle_bytes(bench.now, &[0x02, 0xFD, 0xF0, 0x00, 0, 0, 0, 1, 0xAA]);
    assert_eq!((bench.events(), bench.client.ignored()), (vec![], 1));
    let len = 128 * 1024 + 1;
    let header = crate::doip::header::Header { version: VERSION, payload_type: PayloadType::Diagnostic, len };
    bench.client.handle_bytes(bench.now, &header.to_bytes());
    let error = MessageError::TooLarge { payload_type: PayloadType::Diagnostic, len, max: len - 1 };
    assert_eq!(bench.events(), closed(CloseReason::Message(error)));
    bench.client.handle_bytes(bench.now, &[0; 100]);
    bench.client.handle_closed();
    assert_eq!(bench.events(), [], "closed once and for all");
}

#[test]
fn a_flood_is_cut_off() {
    let mut bench = Bench::active();
    let message = Payload::Diagnostic { source: ECU, target: TESTER, data: &[0x7E] }.to_bytes(VERSION);
    bench.client.handle_bytes(bench.now, &message.repeat(MAX_EVENTS - 1));
    assert_eq!(bench.events().len(), MAX_EVENTS - 1);
    bench.client.handle_bytes(bench.now, &message.repeat(MAX_EVENTS + 1));
    let events = bench.events();
    assert_eq!(events.len(), MAX_EVENTS + 1);
    assert_eq!(events.last(), Some(&Event::Closed(CloseReason::Flood { events: MAX_EVENTS })));
}

#[test]
fn messages_are_taken_up_to_the_longest_and_to_the_last_place() {
    let mut bench = Bench::active();
    let max = 128 * 1024;
    assert_eq!(bench.client.request(ECU, vec![0; max - 4]), Ok(()));
    let len = max - 3;
    assert_eq!(bench.client.request(DOOR, vec![0; len]), Err(RequestError::Length { len, max: 128 * 1024 }));
    assert!(matches!(bench.client.request(DOOR, vec![]), Err(RequestError::Length { len: 0, .. })));
    for at in 1..MAX_OUTSTANDING {
        let target = LogicalAddress(0x2000 + u16::try_from(at).unwrap());
        assert_eq!(bench.client.request(target, vec![1]), Ok(()));
    }
    assert_eq!(bench.client.request(DOOR, vec![1]), Err(RequestError::TooMany { max: MAX_OUTSTANDING }));
}
