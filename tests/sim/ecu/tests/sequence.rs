//! Attempts in which nothing goes wrong.

use super::*;
use canfd::uds::programming::PlanError;

#[test]
fn a_one_bank_ecu_is_programmed_byte_for_byte_in_the_steps_of_its_profile() {
    let mut bench = Bench::new(ONE_BANK);
    bench.succeed();
    let steps = bench.config.profile.steps();
    let without_resume: Vec<_> = steps.into_iter().filter(|step| *step != Phase::ResumeQuery).collect();
    assert_eq!(bench.phases(), without_resume);
    assert_eq!((bench.ecu.erase_count(0), bench.ecu.boots()), (1, 2));
    assert_eq!((bench.ecu.session(), bench.ecu.is_restored()), (Session::Default, true));
}

#[test]
fn a_two_bank_ecu_is_programmed_in_its_other_bank_and_then_back() {
    let mut bench = Bench::new(TWO_BANKS);
    bench.succeed();
    let steps = bench.config.profile.steps();
    let without_resume: Vec<_> = steps.into_iter().filter(|step| *step != Phase::ResumeQuery).collect();
    assert_eq!(bench.phases(), without_resume);
    assert_eq!(bench.ecu.running_bank(), Some(1));
    assert_eq!((bench.ecu.erase_count(0), bench.ecu.erase_count(1)), (0, 1));
    assert_eq!(std::fs::read(bench.ecu.bank_path(0)).unwrap(), b"factory image");

    bench.plan.version = b"3.0.0".to_vec();
    assert!(matches!(bench.run(), Event::Finished { .. }));
    assert_eq!(bench.ecu.running_bank(), Some(0));
    assert_eq!(bench.ecu.running_version(), Some(&b"3.0.0"[..]));
    assert_eq!((bench.ecu.erase_count(0), bench.ecu.erase_count(1)), (1, 1));
}

#[test]
fn the_default_dialect_speaks_these_bytes() {
    let mut bench = Bench::with("", 5, |_| {});
    let mut programmer = bench.programmer();
    programmer.begin_transfer(bench.now);
    programmer.activate(bench.now);
    let mut wire = Vec::new();
    let ended = loop {
        while let Some(request) = programmer.poll_request() {
            wire.push(request.pdu.clone());
            programmer.handle_sent(bench.now);
            bench.ecu.handle_request(bench.now, request.functional, &request.pdu);
        }
        while let Some(response) = bench.ecu.poll_response() {
            programmer.handle_response(bench.now, &response);
        }
        match programmer.poll_event() {
            Some(Event::NeedData { offset, max_len }) => {
                assert_eq!((offset, max_len), (0, 5));
                programmer.handle_data(bench.now, 0, &bench.image).unwrap();
            }
            Some(event @ (Event::Finished { .. } | Event::Failed(_))) => break event,
            Some(_) => {}
            None => {
                let due = [programmer.poll_timeout(), bench.ecu.poll_timeout()];
                bench.now = bench.now.max(due.into_iter().flatten().min().unwrap());
                bench.ecu.handle_timeout(bench.now);
                programmer.handle_timeout(bench.now);
            }
        }
    };
    assert!(matches!(ended, Event::Finished { already_current: false, restored: true, .. }), "{ended:?}");
    let checksum = [&[0x31, 0x01, 0x02, 0x02][..], &bench.plan.checksum].concat();
    let block = [&[0x36, 0x01][..], &bench.image].concat();
    let expected: [&[u8]; 22] = [
        &[0x22, 0xF1, 0x95],
        &[0x22, 0xF1, 0x91],
        &[0x10, 0x03],
        &[0x85, 0x02],
        &[0x28, 0x03, 0x01],
        &[0x10, 0x02],
        &[0x2E, 0xF1, 0x5A, b'2', b'.', b'0', b'.', b'0', 5],
        &[0x31, 0x01, 0xFF, 0x00, 0x44, 0, 0, 0, 0, 0, 0, 0, 5],
        &[0x34, 0x00, 0x44, 0, 0, 0, 0, 0, 0, 0, 5],
        &block,
        &[0x37],
        &checksum,
        &[0x31, 0x01, 0xFF, 0x01],
        &[0x11, 0x01],
        &[0x22, 0xF1, 0x95],
        &[0x10, 0x03],
        &[0x28, 0x00, 0x01],
        &[0x85, 0x01],
        &[0x10, 0x01],
        &[],
        &[],
        &[],
    ];
    let expected: Vec<&[u8]> = expected.into_iter().filter(|pdu| !pdu.is_empty()).collect();
    assert_eq!(wire, expected);
}

#[test]
fn more_than_256_blocks_wrap_the_counter() {
    for profile in [ONE_BANK, TWO_BANKS] {
        let mut bench = Bench::with(profile, 300 * 10 + 3, |config| config.max_block_length = 12);
        bench.succeed();
        let blocks = bench.events.iter().filter(|event| matches!(event, Event::Acknowledged { .. })).count();
        assert_eq!(blocks, 301);
    }
}

#[test]
fn block_length_is_the_lower_of_ecu_and_profile() {
    let mut bench = Bench::with("max_block_length = 52", 1000, |config| config.max_block_length = 102);
    bench.succeed();
    assert!(bench.events.contains(&Event::NeedData { offset: 0, max_len: 50 }));
    let mut bench = Bench::with("max_block_length = 302", 1000, |config| config.max_block_length = 102);
    bench.succeed();
    assert!(bench.events.contains(&Event::NeedData { offset: 900, max_len: 100 }));
}

#[test]
fn nothing_is_erased_before_the_first_gate_and_nothing_is_activated_before_the_second() {
    let mut bench = Bench::new(TWO_BANKS);
    let mut programmer = bench.programmer();
    // Tester present holds the session for as long as the caller likes.
    assert_eq!(bench.drive(&mut programmer, |_, _| true), Progress::Waiting);
    assert_eq!(programmer.phase(), Phase::AwaitTransfer);
    assert_eq!((bench.ecu.session(), bench.ecu.erase_count(1)), (Session::Programming, 0));

    programmer.begin_transfer(bench.now);
    assert_eq!(bench.drive(&mut programmer, |_, _| true), Progress::Waiting);
    assert_eq!((programmer.phase(), programmer.ecu_state()), (Phase::AwaitActivation, EcuState::OldSoftware));
    assert_eq!(
        (bench.ecu.session(), bench.ecu.running_version()),
        (Session::Programming, Some(&b"1.0.0"[..]))
    );

    programmer.activate(bench.now);
    assert!(matches!(bench.drive(&mut programmer, |_, _| true), Progress::Ended(Event::Finished { .. })));
    bench.assert_updated();
}

#[test]
fn an_ecu_that_runs_the_version_already_is_left_alone_unless_asked() {
    let mut bench = Bench::new(ONE_BANK);
    bench.succeed();
    let event = bench.run();
    assert!(matches!(event, Event::Finished { already_current: true, .. }), "{event:?}");
    assert_eq!(bench.ecu.erase_count(0), 1);
    bench.plan.reprogram_same_version = true;
    bench.succeed();
    assert_eq!(bench.ecu.erase_count(0), 2);
}

#[test]
fn an_abort_at_each_gate_restores_the_ecu() {
    for (profile, gate, expected) in [
        (ONE_BANK, Phase::AwaitTransfer, EcuState::OldSoftware),
        (ONE_BANK, Phase::TransferData, EcuState::NoApplication),
        (TWO_BANKS, Phase::TransferData, EcuState::OldSoftware),
        (TWO_BANKS, Phase::AwaitActivation, EcuState::OldSoftware),
    ] {
        let mut bench = Bench::new(profile);
        let mut programmer = bench.programmer();
        if gate != Phase::AwaitTransfer {
            programmer.begin_transfer(bench.now);
        }
        let stop = if gate == Phase::TransferData { Some(400) } else { None };
        bench.drive(&mut programmer, |event, _| {
            stop.is_none_or(|offset| *event != Event::Acknowledged { offset })
        });
        assert_eq!(programmer.phase(), gate);
        assert!(programmer.abort(bench.now));
        let Progress::Ended(Event::Failed(error)) = bench.drive(&mut programmer, |_, _| true) else {
            panic!()
        };
        assert_eq!((error.cause, error.ecu_state), (Cause::Aborted, expected));
        assert_eq!((bench.ecu.session(), bench.ecu.is_restored()), (Session::Default, true));
        if expected == EcuState::OldSoftware {
            bench.assert_untouched();
        }
        assert!(!programmer.abort(bench.now));
    }
}

#[test]
fn a_plan_that_cannot_work_is_refused_before_anything_is_sent() {
    let bench = Bench::new(ONE_BANK);
    let try_with = |change: &dyn Fn(&mut Plan, &mut Profile)| {
        let (mut plan, mut profile) = (bench.plan.clone(), bench.config.profile.clone());
        change(&mut plan, &mut profile);
        Programmer::new(bench.now, Arc::new(profile), plan).map(|_| ())
    };
    assert_eq!(try_with(&|_, _| {}), Ok(()));
    assert_eq!(try_with(&|plan, _| plan.image_len = 0), Err(PlanError::EmptyImage));
    let error = PlanError::ImageTooLong { image_len: 5 << 30, length_bytes: 4 };
    assert_eq!(try_with(&|plan, _| plan.image_len = 5 << 30), Err(error));
    let error = PlanError::BeyondAddressSpace { image_len: 0xFFFF_0001, address_bytes: 4 };
    assert_eq!(try_with(&|plan, _| plan.image_len = 0xFFFF_0001), Err(error));
    assert_eq!(try_with(&|plan, _| plan.image_len = 0xFFFF_0000), Ok(()));
    assert_eq!(try_with(&|plan, _| plan.bank = Some(1)), Err(PlanError::NoSuchBank { bank: 1, count: 1 }));
    assert_eq!(try_with(&|plan, _| plan.version.clear()), Err(PlanError::VersionLength { length: 0 }));
    assert!(matches!(try_with(&|plan, _| plan.checksum.truncate(31)), Err(PlanError::ChecksumLength { .. })));
    assert!(matches!(try_with(&|_, profile| profile.banks.clear()), Err(PlanError::Profile(_))));
    let unknown = |_: &mut Plan, profile: &mut Profile| {
        let level = canfd::uds::message::SecurityLevel::new(1).unwrap();
        profile.security = canfd::uds::profile::Security::SeedKey { level, algorithm: "secret".into() };
    };
    assert_eq!(try_with(&unknown), Err(PlanError::UnknownKeyAlgorithm { name: "secret".into() }));
    let blind = |_: &mut Plan, profile: &mut Profile| {
        profile.activation =
            canfd::uds::profile::Activation::SwitchBank { routine: canfd::uds::message::RoutineId(1) };
        profile.banks.push(Bank { address: 0x0900_0000 });
    };
    assert_eq!(try_with(&blind), Err(PlanError::BankUnknown));
}
