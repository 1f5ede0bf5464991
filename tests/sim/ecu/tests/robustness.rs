//! Whatever arrives, nobody panics and every attempt ends.

use super::*;
use canfd::uds::client::TransportFailure;
use proptest::collection::vec;
use proptest::prelude::*;

/// Something an ECU or a tester might send, often with a plausible beginning.
fn pdu() -> impl Strategy<Value = Vec<u8>> {
    let plausible = prop::sample::select(vec![
        0x10, 0x11, 0x22, 0x27, 0x28, 0x2E, 0x31, 0x34, 0x36, 0x37, 0x3E, 0x85, 0x50, 0x51, 0x62, 0x67, 0x68,
        0x6E, 0x71, 0x74, 0x76, 0x77, 0x7F, 0xC5,
    ]);
    prop_oneof![
        vec(any::<u8>(), 0..12),
        (plausible, vec(prop_oneof![0_u8..5, any::<u8>()], 0..20)).prop_map(|(first, rest)| {
            let mut pdu = vec![first];
            pdu.extend(rest);
            pdu
        }),
    ]
}

/// What answers the request, mangled by `how`.
fn mangle(how: u8, answer: &[u8], noise: &[u8]) -> Option<Vec<u8>> {
    match how {
        0 => None,
        1 => Some(noise.to_vec()),
        2 => answer.split_last().map(|(_, rest)| rest.to_vec()),
        3 => Some([answer, noise].concat()),
        4 => answer
            .first()
            .map(|first| vec![0x7F, first.wrapping_sub(0x40), noise.first().copied().unwrap_or(0x10)]),
        _ => Some(answer.to_vec()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_answers_end_every_attempt(
        noises in vec((0_u8..40, pdu()), 1..60),
        failures in vec(any::<prop::sample::Index>(), 0..3),
        two_banks in any::<bool>(),
    ) {
        let mut bench = Bench::new(if two_banks { TWO_BANKS } else { ONE_BANK });
        let mut programmer = bench.programmer();
        programmer.begin_transfer(bench.now);
        programmer.activate(bench.now);
        let end = bench.now + Duration::from_secs(3600);
        let failures: Vec<usize> = failures.iter().map(|index| index.index(60)).collect();
        let mut noises = noises.into_iter().cycle();
        let mut sent = 0;
        let mut last_words = 0;
        while last_words == 0 {
            prop_assert!(bench.now < end, "no end in phase {:?}", programmer.phase());
            while let Some(request) = programmer.poll_request() {
                sent += 1;
                if failures.contains(&sent) {
                    programmer.handle_transport_failure(bench.now, TransportFailure::Send("test".into()));
                    continue;
                }
                programmer.handle_sent(bench.now);
                bench.ecu.handle_request(bench.now, request.functional, &request.pdu);
            }
            while let Some(response) = bench.ecu.poll_response() {
                let (how, noise) = noises.next().unwrap();
                if let Some(pdu) = mangle(how, &response, &noise) {
                    programmer.handle_response(bench.now, &pdu);
                }
            }
            let mut quiet = true;
            while let Some(event) = programmer.poll_event() {
                quiet = false;
                match event {
                    Event::NeedData { offset, max_len } => {
                        let start = usize::try_from(offset).unwrap();
                        let data = &bench.image[start..start + usize::try_from(max_len).unwrap()];
                        let _stale = programmer.handle_data(bench.now, offset, data);
                    }
                    Event::Finished { .. } => {
                        last_words += 1;
                        bench.assert_updated();
                    }
                    Event::Failed(error) => {
                        last_words += 1;
                        // The promise that matters: whoever says old software means it.
                        if error.ecu_state == EcuState::OldSoftware {
                            bench.power_cut();
                            prop_assert_eq!(bench.ecu.running_version(), Some(&b"1.0.0"[..]), "{:?}", error);
                        }
                    }
                    _ => {}
                }
            }
            if quiet {
                let due = programmer.poll_timeout().into_iter().chain(bench.ecu.poll_timeout()).min();
                if let Some(due) = due {
                    bench.now = bench.now.max(due);
                }
                bench.ecu.handle_timeout(bench.now);
                programmer.handle_timeout(bench.now);
            }
        }
        prop_assert_eq!(last_words, 1);
        prop_assert_eq!(programmer.poll_event(), None);
    }

    #[test]
    fn arbitrary_requests_never_bring_the_ecu_down(
        requests in vec((any::<bool>(), pdu(), 0_u64..3000), 0..80),
        two_banks in any::<bool>(),
    ) {
        let mut bench = Bench::new(if two_banks { TWO_BANKS } else { ONE_BANK });
        for (functional, pdu, pause) in requests {
            bench.now += Duration::from_millis(pause);
            bench.ecu.handle_request(bench.now, functional, &pdu);
            while let Some(response) = bench.ecu.poll_response() {
                prop_assert!(!response.is_empty());
            }
        }
        // It comes to rest, in its default session and with its old software: nobody had the key.
        bench.now += LIMIT;
        bench.ecu.handle_timeout(bench.now);
        while bench.ecu.poll_response().is_some() {}
        bench.assert_untouched();
    }
}
