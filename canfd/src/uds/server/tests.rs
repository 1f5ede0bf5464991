mod services;

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// One identifier, one routine that takes two seconds, memory that takes everything.
#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    resets: u32,
}

impl Application for Memory {
    fn read_data(&mut self, _: Context, did: DataIdentifier) -> Result<Vec<u8>, Nrc> {
        if did.0 == 0xF195 { Ok(b"1".to_vec()) } else { Err(Nrc::RequestOutOfRange) }
    }

    fn write_data(&mut self, context: Context, _: DataIdentifier, _: &[u8]) -> Result<(), Nrc> {
        context.unlocked.map(|_| ()).ok_or(Nrc::SecurityAccessDenied)
    }

    fn routine(&mut self, context: Context, _: RoutineControl, id: RoutineId, _: &[u8]) -> Outcome {
        match id.0 {
            0xFF00 => Outcome::Working { until: Some(context.now + 12_000 * MS) },
            _ => Outcome::Refused(Nrc::RequestOutOfRange),
        }
    }

    fn seed(&mut self, level: SecurityLevel) -> Option<Vec<u8>> {
        (level.request_seed() == 1).then(|| vec![1, 2])
    }

    fn accepts_key(&mut self, _: SecurityLevel, _: &[u8], key: &[u8]) -> bool {
        key == [2, 1]
    }

    fn request_download(&mut self, _: Context, _: u8, _: u64, _: u64) -> Result<u32, Nrc> {
        Ok(6)
    }

    fn transfer_data(&mut self, _: Context, data: &[u8]) -> Outcome {
        self.bytes.extend_from_slice(data);
        Outcome::Done(Vec::new())
    }

    fn transfer_exit(&mut self, _: Context) -> Outcome {
        Outcome::Done(Vec::new())
    }

    fn finish(&mut self, _: Instant) -> Result<Vec<u8>, Nrc> {
        Ok(vec![0])
    }

    fn reset(&mut self, _: Context, _: u8) -> Result<Duration, Nrc> {
        self.resets += 1;
        Ok(300 * MS)
    }
}

fn server(now: Instant) -> Server<Memory> {
    Server::new(now, Memory::default(), ServerTimings::default())
}

fn ask(server: &mut Server<Memory>, now: Instant, pdu: &[u8]) -> Option<Vec<u8>> {
    server.handle_request(now, false, pdu);
    let response = server.poll_response();
    assert_eq!(server.poll_response(), None, "one answer at a time");
    response
}

fn programming(now: Instant) -> Server<Memory> {
    let mut server = server(now);
    assert_eq!(ask(&mut server, now, &[0x10, 0x02]), Some(vec![0x50, 0x02, 0x00, 0x32, 0x01, 0xF4]));
    server
}

#[test]
fn refusals_follow_session_length_and_order() {
    let now = Instant::now();
    let mut idle = server(now);
    let refused = |sid, nrc: Nrc| Some(vec![0x7F, sid, nrc.to_byte()]);
    assert_eq!(ask(&mut idle, now, &[0x99]), refused(0x99, Nrc::ServiceNotSupported));
    assert_eq!(ask(&mut idle, now, &[0x2E, 1, 2, 3]), refused(0x2E, Nrc::ServiceNotSupportedInActiveSession));
    assert_eq!(ask(&mut idle, now, &[0x10]), refused(0x10, Nrc::IncorrectMessageLengthOrInvalidFormat));
    assert_eq!(ask(&mut idle, now, &[0x10, 0x7E]), refused(0x10, Nrc::SubFunctionNotSupported));
    assert_eq!(ask(&mut idle, now, &[0x22, 0, 0]), refused(0x22, Nrc::RequestOutOfRange));
    let mut active = programming(now);
    assert_eq!(ask(&mut active, now, &[0x2E, 1, 2, 3]), refused(0x2E, Nrc::SecurityAccessDenied));
    assert_eq!(ask(&mut active, now, &[0x27, 0x02, 2, 1]), refused(0x27, Nrc::RequestSequenceError));
    assert_eq!(ask(&mut active, now, &[0x36, 0x01, 0]), refused(0x36, Nrc::RequestSequenceError));
    assert_eq!(ask(&mut active, now, &[0x37]), refused(0x37, Nrc::RequestSequenceError));
}

#[test]
fn functional_requests_for_other_ecus_get_no_refusal_and_suppressed_ones_no_answer() {
    let now = Instant::now();
    let mut server = server(now);
    for pdu in [&[0x99][..], &[0x22, 0, 0], &[0x2E, 1, 2, 3], &[0x10, 0x83]] {
        server.handle_request(now, true, pdu);
        assert_eq!(server.poll_response(), None, "{pdu:02X?}");
    }
    assert_eq!(server.session(), Session::Extended);
    server.handle_request(now, true, &[0x10]);
    assert_eq!(server.poll_response(), Some(vec![0x7F, 0x10, 0x13]));
}

#[test]
fn the_session_ends_at_s3_unless_the_tester_is_present() {
    let start = Instant::now();
    let mut server = programming(start);
    assert_eq!(ask(&mut server, start + 4000 * MS, &[0x3E, 0x80]), None);
    server.handle_timeout(start + 8999 * MS);
    assert_eq!(server.session(), Session::Programming);
    assert_eq!(server.poll_timeout(), Some(start + 9000 * MS));
    server.handle_timeout(start + 9000 * MS);
    assert_eq!((server.session(), server.poll_timeout()), (Session::Default, None));
}

#[test]
fn long_work_is_announced_within_p2_and_p2_star_and_holds_the_session() {
    let start = Instant::now();
    let mut server = programming(start);
    server.handle_request(start, false, &[0x31, 0x01, 0xFF, 0x00]);
    let mut last = start;
    let mut pending = 0;
    let answer = loop {
        let due = server.poll_timeout().unwrap();
        server.handle_timeout(due);
        let response = server.poll_response().unwrap();
        let allowed = if pending == 0 { 50 * MS } else { 5000 * MS };
        assert!(due - last <= allowed, "{:?}", due - last);
        last = due;
        if response != [0x7F, 0x31, 0x78] {
            break response;
        }
        pending += 1;
        assert_eq!(ask(&mut server, due, &[0x22, 0xF1, 0x95]), Some(vec![0x7F, 0x22, 0x21]));
        assert_eq!(ask(&mut server, due, &[0x3E, 0x80]), None);
    };
    assert_eq!((answer, last, pending), (vec![0x71, 0x01, 0xFF, 0x00, 0x00], start + 12_000 * MS, 4));
    assert_eq!(server.session(), Session::Programming);
}

#[test]
fn a_repeated_block_is_acknowledged_and_written_once() {
    let now = Instant::now();
    let mut server = programming(now);
    assert_eq!(ask(&mut server, now, &[0x34, 0, 0x11, 0, 6]), Some(vec![0x74, 0x40, 0, 0, 0, 6]));
    assert_eq!(ask(&mut server, now, &[0x36, 0x02, 1]), Some(vec![0x7F, 0x36, 0x73]));
    assert_eq!(ask(&mut server, now, &[0x36, 0x00, 1]), Some(vec![0x7F, 0x36, 0x73]));
    assert_eq!(ask(&mut server, now, &[0x36, 0x01, 1, 2, 3, 4, 5]), Some(vec![0x7F, 0x36, 0x13]));
    assert_eq!(ask(&mut server, now, &[0x36, 0x01, 1, 2, 3, 4]), Some(vec![0x76, 0x01]));
    assert_eq!(ask(&mut server, now, &[0x36, 0x01, 1, 2, 3, 4]), Some(vec![0x76, 0x01]));
    assert_eq!(ask(&mut server, now, &[0x37]), Some(vec![0x7F, 0x37, 0x24]));
    assert_eq!(ask(&mut server, now, &[0x36, 0x02, 5, 6, 7]), Some(vec![0x7F, 0x36, 0x71]));
    assert_eq!(ask(&mut server, now, &[0x36, 0x02, 5, 6]), Some(vec![0x76, 0x02]));
    assert_eq!(ask(&mut server, now, &[0x37]), Some(vec![0x77]));
    assert_eq!(server.application().bytes, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn three_wrong_keys_lock_for_the_delay_and_a_right_one_unlocks() {
    let start = Instant::now();
    let mut server = programming(start);
    for nrc in [0x35, 0x35, 0x36] {
        assert_eq!(ask(&mut server, start, &[0x27, 0x01]), Some(vec![0x67, 0x01, 1, 2]));
        assert_eq!(ask(&mut server, start, &[0x27, 0x02, 0, 0]), Some(vec![0x7F, 0x27, nrc]));
    }
    assert_eq!(ask(&mut server, start, &[0x27, 0x01]), Some(vec![0x7F, 0x27, 0x37]));
    let later = start + 10_000 * MS;
    assert_eq!(ask(&mut server, start + 4999 * MS, &[0x3E, 0x80]), None);
    assert_eq!(ask(&mut server, start + 9997 * MS, &[0x27, 0x01]), Some(vec![0x7F, 0x27, 0x37]));
    assert_eq!(ask(&mut server, later, &[0x27, 0x01]), Some(vec![0x67, 0x01, 1, 2]));
    assert_eq!(ask(&mut server, later, &[0x27, 0x02, 2, 1]), Some(vec![0x67, 0x02]));
    assert_eq!(ask(&mut server, later, &[0x27, 0x01]), Some(vec![0x67, 0x01, 0, 0]));
    assert_eq!(ask(&mut server, later, &[0x2E, 1, 2, 3]), Some(vec![0x6E, 1, 2]));
}

#[test]
fn after_a_reset_the_ecu_is_deaf_and_then_in_its_default_session() {
    let start = Instant::now();
    let mut server = programming(start);
    assert_eq!(ask(&mut server, start, &[0x28, 0x03, 0x01]), Some(vec![0x68, 0x03]));
    assert!(!server.is_communication_enabled());
    assert_eq!(ask(&mut server, start, &[0x11, 0x01]), Some(vec![0x51, 0x01]));
    assert_eq!(ask(&mut server, start + 299 * MS, &[0x22, 0xF1, 0x95]), None);
    assert_eq!(ask(&mut server, start + 300 * MS, &[0x22, 0xF1, 0x95]), Some(vec![0x62, 0xF1, 0x95, b'1']));
    assert_eq!((server.session(), server.application().resets), (Session::Default, 1));
    assert!(server.is_communication_enabled());
}

proptest! {
    #[test]
    fn any_requests_are_answered_at_most_once_each(
        requests in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..10), 0..6000_u64), 0..60),
    ) {
        let mut now = Instant::now();
        let mut server = programming(now);
        for (functional, pdu, pause) in requests {
            now += Duration::from_millis(pause);
            server.handle_timeout(now);
            while server.poll_response().is_some() {}
            server.handle_request(now, functional, &pdu);
            let answers = std::iter::from_fn(|| server.poll_response()).count();
            prop_assert!(answers <= 1, "{answers} answers to {pdu:02X?}");
        }
    }
}
