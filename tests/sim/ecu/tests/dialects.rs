//! Dialects that differ in more than numbers: what they send, and that they arrive.

use super::*;
use canfd::uds::client::ClientError;
use canfd::uds::message::{Nrc, ServiceId};
use canfd::uds::profile::BlockCheck;

const POLLED: &str = include_str!("../sweep/dialects/polled.toml");
const SEGMENTS: &str = include_str!("../sweep/dialects/segments.toml");
const FILE: &str = include_str!("../sweep/dialects/file.toml");

/// The whole attempt against the ECU, with every request it makes.
fn requests(bench: &mut Bench) -> Vec<Vec<u8>> {
    let mut programmer = bench.programmer();
    programmer.begin_transfer(bench.now);
    programmer.activate(bench.now);
    let mut requests = Vec::new();
    let end = bench.now + LIMIT;
    loop {
        while let Some(event) = programmer.poll_event() {
            match event {
                Event::NeedData { offset, max_len } => {
                    let start = usize::try_from(offset).unwrap();
                    let data = &bench.image[start..start + usize::try_from(max_len).unwrap()];
                    programmer.handle_data(bench.now, offset, data).unwrap();
                }
                Event::Finished { .. } => return requests,
                Event::Failed(error) => panic!("{error:?}"),
                _ => {}
            }
        }
        if let Some(request) = programmer.poll_request() {
            programmer.handle_sent(bench.now);
            bench.ecu.handle_request(bench.now, request.functional, &request.pdu);
            requests.push(request.pdu);
        } else if let Some(response) = bench.ecu.poll_response() {
            programmer.handle_response(bench.now, &response);
        } else {
            let due = programmer.poll_timeout().into_iter().chain(bench.ecu.poll_timeout()).min().unwrap();
            assert!(due <= end, "no end in phase {:?}", programmer.phase());
            bench.now = bench.now.max(due);
            bench.ecu.handle_timeout(bench.now);
            programmer.handle_timeout(bench.now);
        }
    }
}

/// How often each service of these is asked for in a row.
fn runs(requests: &[Vec<u8>], services: &[u8]) -> Vec<(u8, usize)> {
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for service in requests.iter().map(|pdu| pdu[0]).filter(|service| services.contains(service)) {
        match runs.last_mut() {
            Some((last, count)) if *last == service => *count += 1,
            _ => runs.push((service, 1)),
        }
    }
    runs
}

#[test]
fn an_erase_is_asked_for_until_it_is_done_and_every_block_carries_its_crc() {
    let mut bench = Bench::with(POLLED, 1_000, |config| config.erase_time = Duration::from_millis(1_700));
    let requests = requests(&mut bench);
    bench.assert_updated();
    // At 0, 500, 1000, 1500 and 2000 ms.
    let erases = requests.iter().filter(|pdu| pdu.starts_with(&[0x31, 0x01, 0xFF, 0x00])).count();
    assert_eq!((erases, bench.ecu.erase_count(0)), (5, 1));
    // 102 bytes less service, counter and CRC are 98.
    let blocks: Vec<_> = requests.iter().filter(|pdu| pdu[0] == 0x36).collect();
    assert_eq!(blocks.len(), 11);
    for block in blocks {
        let (data, crc) = block.split_last_chunk::<2>().unwrap();
        assert_eq!(canfd::uds::message::crc16_x25(data).to_be_bytes(), *crc);
    }
}

#[test]
fn an_ecu_that_erases_for_ever_is_given_up() {
    let mut bench = Bench::with(POLLED, 1_000, |config| {
        config.erase_time = Duration::from_secs(3_000);
        config.profile.timings.pending_total = Duration::from_secs(20);
    });
    let error = bench.fail();
    assert_eq!((error.phase, error.ecu_state), (Phase::Erase, EcuState::NoApplication));
    let text = format!("{:?}", error.cause);
    assert!(text.contains("EndlessErase { waited: 20s }"), "{text}");
}

#[test]
fn a_block_whose_crc_the_ecu_does_not_expect_is_refused_and_not_programmed() {
    let mut bench = Bench::new(POLLED);
    let mut profile = bench.config.profile.clone();
    profile.block_check = BlockCheck::None;
    let mut programmer = Programmer::new(bench.now, Arc::new(profile), bench.plan.clone()).unwrap();
    programmer.begin_transfer(bench.now);
    let Progress::Ended(Event::Failed(error)) = bench.drive(&mut programmer, |_, _| true) else { panic!() };
    let (service, nrc) = (ServiceId::TransferData, Nrc::IncorrectMessageLengthOrInvalidFormat);
    assert_eq!(error.cause, Cause::Request(ClientError::Refused { service, nrc }));
    assert_eq!(std::fs::read(bench.ecu.bank_path(0)).unwrap(), b"");
}

#[test]
fn the_flash_driver_comes_before_erasing_and_each_segment_by_itself() {
    let mut bench = Bench::with(SEGMENTS, 300 + 700 + 450, |_| {});
    let requests = requests(&mut bench);
    let order = runs(&requests, &[0x29, 0x31, 0x34, 0x36, 0x37]);
    // Certificate and proof; driver; two erases; two segments; checksum and dependencies.
    let expected = [
        (0x29, 2),
        (0x34, 1),
        (0x36, 3),
        (0x37, 1),
        (0x31, 2),
        (0x34, 1),
        (0x36, 7),
        (0x37, 1),
        (0x34, 1),
        (0x36, 5),
        (0x37, 1),
        (0x31, 2),
    ];
    assert_eq!(order, expected);
    let addresses: Vec<&[u8]> = requests.iter().filter(|pdu| pdu[0] == 0x34).map(|pdu| &pdu[3..7]).collect();
    assert_eq!(addresses, [[0x20, 0, 0, 0], [0x00, 0x80, 0, 0], [0x00, 0x84, 0, 0]]);
    assert_eq!(std::fs::read(bench.ecu.bank_path(0)).unwrap(), bench.image[300..]);
    assert_eq!(bench.ecu.running_version(), Some(&b"2.0.0"[..]));
}

#[test]
fn a_broken_transfer_of_segments_goes_on_behind_a_fresh_flash_driver() {
    let mut bench = Bench::with(SEGMENTS, 300 + 700 + 450, |_| {});
    bench.ecu.inject(Fault::ResetDuringTransfer { after_blocks: 3 + 7 + 2 });
    let error = bench.fail();
    assert_eq!((error.phase, error.ecu_state), (Phase::TransferData, EcuState::NoApplication));
    let held = std::fs::read(bench.ecu.bank_path(0)).unwrap().len() as u64;
    assert!(held > 700, "{held}");
    bench.power_cut();
    bench.plan.resume_from = Some(300);
    let event = bench.run();
    assert!(matches!(event, Event::Finished { .. }), "{event:?}");
    assert!(bench.events.contains(&Event::Resumed { offset: 300 + held }) && !bench.has_erased());
    assert_eq!(std::fs::read(bench.ecu.bank_path(0)).unwrap(), bench.image[300..]);
}

#[test]
fn a_file_is_replaced_whole_and_a_broken_one_is_resumed() {
    let mut bench = Bench::new(FILE);
    bench.ecu.inject(Fault::ResetDuringTransfer { after_blocks: 4 });
    let error = bench.fail();
    assert_eq!((error.phase, error.ecu_state), (Phase::TransferData, EcuState::NoApplication));
    let held = std::fs::read(bench.ecu.bank_path(0)).unwrap().len() as u64;
    assert_eq!(held, 4 * 100 + 50);
    bench.power_cut();
    bench.plan.resume_from = Some(400);
    let event = bench.run();
    assert!(matches!(event, Event::Finished { .. }), "{event:?}");
    assert!(bench.events.contains(&Event::Resumed { offset: held }) && !bench.has_erased());
    bench.assert_updated();
}

#[test]
fn a_lost_answer_inside_a_file_is_asked_for_by_resuming() {
    let mut bench = Bench::new(FILE);
    bench.ecu.inject(Fault::LoseBlockAnswer { after_blocks: 4 });
    bench.succeed();
    assert!(bench.events.contains(&Event::Resumed { offset: 500 }));
}

#[test]
fn a_tester_without_the_certificate_changes_nothing() {
    let mut bench = Bench::new(FILE);
    bench.ecu.inject(Fault::Refuse {
        service: ServiceId::Authentication,
        nrc: Nrc::CertificateInvalidSignature,
        times: 1,
    });
    let error = bench.fail();
    assert_eq!((error.phase, error.ecu_state), (Phase::SecurityAccess, EcuState::OldSoftware));
    bench.assert_untouched();
    bench.succeed();
}

#[test]
fn an_ecu_that_is_busy_is_asked_again_and_one_that_stays_so_is_given_up() {
    let busy = |nrc, times| Fault::Refuse { service: ServiceId::TransferData, nrc, times };
    for nrc in [Nrc::BusyRepeatRequest, Nrc::ResourceTemporarilyNotAvailable] {
        let mut bench = Bench::new(ONE_BANK);
        bench.ecu.inject(busy(nrc, 10));
        bench.succeed();
        let mut bench = Bench::new(ONE_BANK);
        bench.ecu.inject(busy(nrc, 11));
        let service = ServiceId::TransferData;
        assert_eq!(bench.fail().cause, Cause::Request(ClientError::BusyTooLong { service, count: 11 }));
    }
}
