use super::super::message::DataIdentifier;
use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn read() -> Request {
    Request::read_data(DataIdentifier(0xF195))
}

/// A client whose `request` was sent and confirmed at `now`.
fn sent(now: Instant, request: Request) -> Client {
    let mut client = Client::new(ClientTimings::default());
    client.request(now, request).unwrap();
    assert!(client.poll_request().is_some());
    client.handle_sent(now);
    client
}

fn in_session(now: Instant) -> Client {
    let mut client = sent(now, Request::session(Session::Programming));
    client.handle_response(now, &[0x50, 0x02, 0x00, 0x32, 0x01, 0xF4]);
    assert!(matches!(client.poll_event(), Some(Event::Answered { .. })));
    client
}

#[test]
fn an_answer_one_moment_before_p2_counts_and_at_p2_does_not() {
    let start = Instant::now();
    let mut client = sent(start, read());
    let p2 = start + 150 * MS;
    assert_eq!(client.poll_timeout(), Some(p2));
    client.handle_timeout(p2 - MS);
    client.handle_response(p2 - MS, &[0x62, 0xF1, 0x95]);
    assert!(matches!(client.poll_event(), Some(Event::Answered { record, .. }) if record.is_empty()));

    let mut client = sent(start, read());
    client.handle_timeout(p2);
    let service = ServiceId::ReadDataByIdentifier;
    assert_eq!(client.poll_event(), Some(Event::Failed(ClientError::NoAnswer { service, discarded: 0 })));
    client.handle_response(p2, &[0x62, 0xF1, 0x95]);
    assert_eq!(client.poll_event(), None);
}

#[test]
fn p2_starts_at_the_confirmation_and_an_unconfirmed_request_fails() {
    let start = Instant::now();
    let mut client = Client::new(ClientTimings::default());
    client.request(start, read()).unwrap();
    assert_eq!(client.request(start, read()), Err(Busy { outstanding: ServiceId::ReadDataByIdentifier }));
    client.poll_request().unwrap();
    assert_eq!(client.poll_request(), None);
    assert_eq!(client.poll_timeout(), Some(start + Duration::from_secs(10)));
    client.handle_timeout(start + Duration::from_secs(10));
    let service = ServiceId::ReadDataByIdentifier;
    let error = ClientError::Transport { service, source: TransportFailure::NotConfirmed };
    assert_eq!(client.poll_event(), Some(Event::Failed(error)));
}

#[test]
fn an_answer_may_overtake_the_confirmation() {
    let start = Instant::now();
    let mut client = Client::new(ClientTimings::default());
    client.request(start, read()).unwrap();
    client.poll_request().unwrap();
    client.handle_response(start, &[0x62, 0xF1, 0x95, 1]);
    assert!(matches!(client.poll_event(), Some(Event::Answered { .. })));
    client.handle_sent(start);
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn response_pending_extends_to_p2_star_but_not_for_ever() {
    let mut now = Instant::now();
    let end = now + Duration::from_secs(120);
    let mut client = sent(now, read());
    let mut count = 0;
    while now < end {
        client.handle_response(now, &[0x7F, 0x22, 0x78]);
        count += 1;
        let timeout = client.poll_timeout().unwrap();
        assert_eq!(timeout, (now + 5100 * MS).min(end));
        now = (now + 4000 * MS).min(timeout);
    }
    client.handle_timeout(now);
    let service = ServiceId::ReadDataByIdentifier;
    assert_eq!(
        client.poll_event(),
        Some(Event::Failed(ClientError::ResponsePendingTooLong { service, count }))
    );
}

#[test]
fn a_flood_of_response_pending_ends_at_its_count() {
    let now = Instant::now();
    let mut client = sent(now, read());
    for _ in 0..200 {
        client.handle_response(now, &[0x7F, 0x22, 0x78]);
        assert_eq!(client.poll_event(), None);
    }
    client.handle_response(now, &[0x7F, 0x22, 0x78]);
    let service = ServiceId::ReadDataByIdentifier;
    let error = ClientError::ResponsePendingTooLong { service, count: 201 };
    assert_eq!(client.poll_event(), Some(Event::Failed(error)));
}

#[test]
fn silence_after_response_pending_is_no_answer() {
    let now = Instant::now();
    let mut client = sent(now, read());
    client.handle_response(now, &[0x7F, 0x22, 0x78]);
    client.handle_timeout(now + 5100 * MS);
    assert!(matches!(client.poll_event(), Some(Event::Failed(ClientError::NoAnswer { .. }))));
}

#[test]
fn a_busy_ecu_is_asked_again_a_bounded_number_of_times() {
    let mut now = Instant::now();
    let mut client = sent(now, read());
    for _ in 0..10 {
        client.handle_response(now, &[0x7F, 0x22, 0x21]);
        assert_eq!((client.poll_event(), client.poll_request()), (None, None));
        now += 200 * MS;
        assert_eq!(client.poll_timeout(), Some(now));
        client.handle_timeout(now);
        assert_eq!(client.poll_request().unwrap().pdu, [0x22, 0xF1, 0x95]);
        client.handle_sent(now);
    }
    client.handle_response(now, &[0x7F, 0x22, 0x21]);
    let service = ServiceId::ReadDataByIdentifier;
    assert_eq!(client.poll_event(), Some(Event::Failed(ClientError::BusyTooLong { service, count: 11 })));
}

#[test]
fn a_security_delay_is_reported_with_its_code() {
    let now = Instant::now();
    for nrc in [Nrc::ExceededNumberOfAttempts, Nrc::RequiredTimeDelayNotExpired] {
        let mut client = sent(now, Request::new(ServiceId::SecurityAccess, &[0x01]));
        client.handle_response(now, &[0x7F, 0x27, nrc.to_byte()]);
        let service = ServiceId::SecurityAccess;
        assert_eq!(client.poll_event(), Some(Event::Failed(ClientError::Refused { service, nrc })));
    }
}

#[test]
fn functional_requests_end_unanswered_after_p2() {
    let now = Instant::now();
    let request =
        Request::session(Session::Extended).addressed(Addressing::Functional).suppress_positive_response();
    let mut client = Client::new(ClientTimings::default());
    client.request(now, request).unwrap();
    assert_eq!(client.poll_request(), Some(Outgoing { functional: true, pdu: vec![0x10, 0x83] }));
    client.handle_sent(now);
    client.handle_timeout(now + 150 * MS);
    let service = ServiceId::DiagnosticSessionControl;
    assert_eq!(client.poll_event(), Some(Event::Unanswered { service }));
    assert_eq!(client.session(), Session::Extended);
}

#[test]
fn an_idle_session_is_kept_alive_and_the_default_one_is_not() {
    let start = Instant::now();
    let mut client = in_session(start);
    for beat in 1..4 {
        let due = start + beat * 2000 * MS;
        assert_eq!(client.poll_timeout(), Some(due));
        client.handle_timeout(due);
        assert_eq!(client.poll_request(), Some(Outgoing { functional: false, pdu: vec![0x3E, 0x80] }));
        client.handle_sent(due);
    }
    client.forget_session();
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn a_request_waits_for_the_confirmation_of_tester_present() {
    let start = Instant::now();
    let mut client = in_session(start);
    let due = start + 2000 * MS;
    client.handle_timeout(due);
    client.poll_request().unwrap();
    client.request(due, read()).unwrap();
    assert_eq!(client.poll_request(), None);
    client.handle_sent(due);
    assert_eq!(client.poll_request().unwrap().pdu, [0x22, 0xF1, 0x95]);
}

#[test]
fn longer_times_reported_by_the_ecu_are_taken() {
    let start = Instant::now();
    let mut client = sent(start, Request::session(Session::Programming));
    client.handle_response(start, &[0x50, 0x02, 0x01, 0x00, 0x04, 0x00]);
    client.poll_event().unwrap();
    client.request(start, read()).unwrap();
    client.poll_request().unwrap();
    client.handle_sent(start);
    assert_eq!(client.poll_timeout(), Some(start + 356 * MS));
    client.handle_response(start, &[0x7F, 0x22, 0x78]);
    assert_eq!(client.poll_timeout(), Some(start + 10_340 * MS));
}

#[test]
fn answers_to_other_requests_are_discarded_and_counted() {
    let start = Instant::now();
    let mut client = sent(start, read());
    client.handle_response(start, &[0x62, 0xF1, 0x91, 1]);
    client.handle_response(start, &[0x76, 0x01]);
    client.handle_timeout(start + 150 * MS);
    let service = ServiceId::ReadDataByIdentifier;
    assert_eq!(client.poll_event(), Some(Event::Failed(ClientError::NoAnswer { service, discarded: 2 })));
}

#[test]
fn an_answer_that_has_begun_is_awaited_beyond_p2_and_p2_star_but_not_for_ever() {
    let start = Instant::now();
    let service = ServiceId::ReadDataByIdentifier;
    let mut client = sent(start, read());
    client.handle_response_started(start + 149 * MS);
    client.handle_timeout(start + 60_000 * MS);
    client.handle_response(start + 60_000 * MS, &[0x62, 0xF1, 0x95, 1]);
    assert!(matches!(client.poll_event(), Some(Event::Answered { record, .. }) if record == [1]));

    let mut client = sent(start, read());
    client.handle_response_started(start + 149 * MS);
    assert_eq!(client.poll_timeout(), Some(start + 120_000 * MS));
    client.handle_timeout(start + 119_999 * MS);
    assert_eq!(client.poll_event(), None);
    client.handle_timeout(start + 120_000 * MS);
    assert_eq!(client.poll_event(), Some(Event::Failed(ClientError::NoAnswer { service, discarded: 0 })));
}

#[test]
fn an_answer_may_begin_before_the_confirmation() {
    let start = Instant::now();
    let mut client = Client::new(ClientTimings::default());
    client.request(start, read()).unwrap();
    client.poll_request().unwrap();
    client.handle_response_started(start);
    client.handle_sent(start);
    assert_eq!(client.poll_timeout(), Some(start + 120_000 * MS));
}

#[test]
fn a_long_answer_to_another_request_starts_p2_again() {
    let start = Instant::now();
    let mut client = sent(start, read());
    client.handle_response_started(start);
    client.handle_response(start + 400 * MS, &[0x62, 0xF1, 0x91, 1]);
    assert_eq!(client.poll_timeout(), Some(start + 550 * MS));
    // A short one has not kept the ECU from anything.
    client.handle_response(start + 500 * MS, &[0x62, 0xF1, 0x91, 1]);
    assert_eq!(client.poll_timeout(), Some(start + 550 * MS));
}

proptest! {
    #[test]
    fn any_answers_end_in_exactly_one_event(
        pdus in proptest::collection::vec(
            (proptest::collection::vec(prop_oneof![Just(0x7F), Just(0x22), Just(0x62), any::<u8>()], 0..6), 0..9000_u64),
            0..300,
        ),
    ) {
        let mut now = Instant::now();
        let end = now + Duration::from_secs(300);
        let mut client = sent(now, read());
        let mut events = 0;
        for (pdu, pause) in pdus {
            now += Duration::from_millis(pause);
            client.handle_response(now, &pdu);
            client.handle_timeout(now);
            while client.poll_request().is_some() {
                client.handle_sent(now);
            }
            events += std::iter::from_fn(|| client.poll_event()).count();
        }
        while let Some(timeout) = client.poll_timeout() {
            client.handle_timeout(timeout);
            while client.poll_request().is_some() {
                client.handle_sent(timeout);
            }
            events += std::iter::from_fn(|| client.poll_event()).count();
            prop_assert!(timeout < end + Duration::from_secs(2700));
        }
        prop_assert_eq!(events, 1);
    }
}
