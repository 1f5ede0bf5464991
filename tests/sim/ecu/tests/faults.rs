//! Attempts in which the ECU does something wrong: the outcome, and what the ECU runs afterwards.

use super::*;
use canfd::uds::client::ClientError;
use canfd::uds::client::TransportFailure;
use canfd::uds::message::{Nrc, RoutineId, ServiceId};
use canfd::uds::programming::Secrets;

#[test]
fn a_silent_ecu_is_given_up_after_p2_and_has_lost_nothing() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::Silent);
    let start = bench.now;
    let error = bench.fail();
    let service = ServiceId::ReadDataByIdentifier;
    assert_eq!(error.cause, Cause::Request(ClientError::NoAnswer { service, discarded: 0 }));
    assert_eq!((error.phase, error.ecu_state), (Phase::Identification, EcuState::OldSoftware));
    assert_eq!(bench.now - start, Duration::from_millis(150));
    bench.assert_untouched();
}

#[test]
fn response_pending_for_ever_is_bounded_in_every_service() {
    let services = [
        (ServiceId::ReadDataByIdentifier, EcuState::OldSoftware),
        (ServiceId::SecurityAccess, EcuState::OldSoftware),
        (ServiceId::RoutineControl, EcuState::Unknown),
        (ServiceId::RequestDownload, EcuState::NoApplication),
        (ServiceId::TransferData, EcuState::NoApplication),
        (ServiceId::RequestTransferExit, EcuState::NoApplication),
    ];
    for (service, expected) in services {
        let mut bench = Bench::new(ONE_BANK);
        bench.ecu.inject(Fault::EndlessPending { service });
        let start = bench.now;
        let error = bench.fail();
        assert!(
            matches!(error.cause, Cause::Request(ClientError::ResponsePendingTooLong { service: of, count }) if of == service && count >= 60),
            "{error:?}"
        );
        assert_eq!(error.ecu_state, expected, "{service}");
        let took = bench.now - start;
        assert!(took >= Duration::from_secs(120) && took < Duration::from_secs(125), "{service}: {took:?}");
    }
}

#[test]
fn a_reset_in_the_middle_of_a_block_ends_the_attempt_and_the_next_one_resumes() {
    for (profile, expected, bank) in
        [(ONE_BANK, EcuState::NoApplication, 0), (TWO_BANKS, EcuState::OldSoftware, 1)]
    {
        let mut bench = Bench::new(profile);
        bench.ecu.inject(Fault::ResetDuringTransfer { after_blocks: 3 });
        let error = bench.fail();
        assert_eq!(
            error.cause,
            Cause::Request(ClientError::NoAnswer { service: ServiceId::TransferData, discarded: 0 })
        );
        assert_eq!(error.ecu_state, expected);
        assert_eq!(bench.acknowledged(), Some(300));
        assert_eq!(bench.ecu.running_version().is_some(), expected == EcuState::OldSoftware);

        bench.plan.resume_from = bench.acknowledged();
        bench.now += Duration::from_secs(5);
        bench.events.clear();
        bench.succeed();
        // Half of the torn block counts: the ECU knows best.
        assert!(bench.events.contains(&Event::Resumed { offset: 350 }), "{:?}", bench.events);
        assert_eq!(bench.ecu.erase_count(bank), 1);
    }
}

#[test]
fn a_lost_answer_is_not_answered_by_sending_the_block_again() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::LoseBlockAnswer { after_blocks: 4 });
    bench.succeed();
    // The block had arrived: the ECU says so, and the next download starts after it.
    assert!(bench.events.contains(&Event::Resumed { offset: 500 }));
    let offsets: Vec<u64> = bench
        .events
        .iter()
        .filter_map(|event| if let Event::Acknowledged { offset } = event { Some(*offset) } else { None })
        .collect();
    assert_eq!(offsets, [100, 200, 300, 400, 600, 700, 800, 900, 1000]);
    assert_eq!(bench.ecu.erase_count(0), 1);
}

#[test]
fn a_lost_answer_to_the_last_block_needs_no_further_block() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::LoseBlockAnswer { after_blocks: 9 });
    bench.succeed();
    assert!(bench.events.contains(&Event::Resumed { offset: 1000 }));
}

#[test]
fn without_a_resume_identifier_a_lost_answer_ends_the_attempt() {
    let mut bench = Bench::new("");
    bench.ecu.inject(Fault::LoseBlockAnswer { after_blocks: 4 });
    let error = bench.fail();
    assert_eq!(
        error.cause,
        Cause::Request(ClientError::NoAnswer { service: ServiceId::TransferData, discarded: 0 })
    );
    assert_eq!(error.ecu_state, EcuState::NoApplication);
    // The next attempt cannot resume and erases again.
    bench.plan.resume_from = bench.acknowledged();
    bench.succeed();
    assert_eq!(bench.ecu.erase_count(0), 2);
}

#[test]
fn broken_flash_is_reported_with_its_code() {
    for (profile, expected) in [(ONE_BANK, EcuState::NoApplication), (TWO_BANKS, EcuState::OldSoftware)] {
        let mut bench = Bench::new(profile);
        bench.ecu.inject(Fault::FlashFailure { offset: 650 });
        let error = bench.fail();
        let (service, nrc) = (ServiceId::TransferData, Nrc::GeneralProgrammingFailure);
        assert_eq!(error.cause, Cause::Request(ClientError::Refused { service, nrc }));
        assert_eq!((error.phase, error.ecu_state), (Phase::TransferData, expected));
        assert_eq!(bench.acknowledged(), Some(600));
        assert_eq!((bench.ecu.session(), bench.ecu.is_restored()), (Session::Default, true));
    }
}

#[test]
fn a_slow_erase_is_waited_for() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::SlowErase { time: Duration::from_secs(90) });
    let start = bench.now;
    bench.succeed();
    assert!(bench.now - start > Duration::from_secs(90));
}

#[test]
fn an_erase_slower_than_the_bound_is_given_up_with_an_unknown_outcome() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::SlowErase { time: Duration::from_secs(121) });
    let error = bench.fail();
    assert!(matches!(error.cause, Cause::Request(ClientError::ResponsePendingTooLong { .. })), "{error:?}");
    assert_eq!((error.phase, error.ecu_state), (Phase::Erase, EcuState::Unknown));
}

#[test]
fn a_wrong_checksum_never_becomes_the_running_software() {
    for (profile, routine, expected) in
        [(ONE_BANK, 0x0202, EcuState::NoApplication), (TWO_BANKS, 0x0203, EcuState::OldSoftware)]
    {
        let mut bench = Bench::new(profile);
        bench.plan.checksum[0] ^= 1;
        let error = bench.fail();
        assert_eq!(error.cause, Cause::ChecksumRejected { routine: RoutineId(routine), status: 1 });
        assert_eq!(error.ecu_state, expected);
        bench.power_cut();
        assert_eq!(bench.ecu.running_version().is_some(), expected == EcuState::OldSoftware);
    }
    let mut bench = Bench::new(TWO_BANKS);
    bench.ecu.inject(Fault::WrongChecksum);
    assert!(matches!(bench.fail().cause, Cause::ChecksumRejected { .. }));
    bench.assert_untouched();
}

#[test]
fn an_image_that_does_not_fit_is_not_activated() {
    let mut bench = Bench::new(TWO_BANKS);
    bench.ecu.inject(Fault::WrongDependencies);
    let error = bench.fail();
    assert_eq!(error.cause, Cause::DependenciesRejected { routine: RoutineId(0xFF01), status: 1 });
    assert_eq!(error.ecu_state, EcuState::OldSoftware);
    bench.assert_untouched();
}

#[test]
fn a_short_seed_lockout_is_waited_for_and_a_long_one_is_reported() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::SeedLockout { until: bench.now + Duration::from_secs(10) });
    bench.succeed();

    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::SeedLockout { until: bench.now + Duration::from_secs(60) });
    let error = bench.fail();
    let nrc = Nrc::RequiredTimeDelayNotExpired;
    assert_eq!(error.cause, Cause::SecurityLocked { nrc, waited: Duration::from_secs(11) });
    assert_eq!((error.phase, error.ecu_state), (Phase::SecurityAccess, EcuState::OldSoftware));
    bench.assert_untouched();
}

#[test]
fn a_wrong_key_is_refused_and_the_third_one_locks() {
    #[derive(Debug)]
    struct Wrong;
    impl canfd::uds::security::KeyAlgorithm for Wrong {
        fn key(&self, _: canfd::uds::message::SecurityLevel, seed: &[u8]) -> Vec<u8> {
            seed.to_vec()
        }
    }
    let mut bench = Bench::new(ONE_BANK);
    // The ECU counts attempts over sessions.
    for attempt in 1..=3 {
        let profile = Arc::new(bench.config.profile.clone());
        let algorithm: Arc<dyn canfd::uds::security::KeyAlgorithm> = Arc::new(Wrong);
        let secrets = Secrets { algorithm: Some(algorithm), ..Secrets::default() };
        let mut programmer =
            Programmer::with_secrets(bench.now, profile, bench.plan.clone(), secrets).unwrap();
        let Progress::Ended(Event::Failed(error)) = bench.drive(&mut programmer, |_, _| true) else {
            panic!()
        };
        if attempt < 3 {
            let (service, nrc) = (ServiceId::SecurityAccess, Nrc::InvalidKey);
            assert_eq!(error.cause, Cause::Request(ClientError::Refused { service, nrc }));
        } else {
            let nrc = Nrc::ExceededNumberOfAttempts;
            assert_eq!(error.cause, Cause::SecurityLocked { nrc, waited: Duration::ZERO });
        }
        bench.assert_untouched();
    }
}

#[test]
fn another_version_after_the_reset_is_a_mismatch() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::WrongVersion { version: b"2.0.1".to_vec() });
    let error = bench.fail();
    let cause = Cause::VersionMismatch { expected: b"2.0.0".to_vec(), reported: b"2.0.1".to_vec() };
    assert_eq!((error.cause, error.ecu_state), (cause, EcuState::Unknown));
}

#[test]
fn a_switch_that_did_not_happen_is_seen_in_the_version() {
    let mut bench = Bench::new(TWO_BANKS);
    bench.ecu.inject(Fault::IgnoreSwitch);
    let error = bench.fail();
    let cause = Cause::VersionMismatch { expected: b"2.0.0".to_vec(), reported: b"1.0.0".to_vec() };
    assert_eq!((error.cause, error.ecu_state), (cause, EcuState::OldSoftware));
    bench.assert_untouched();
}

#[test]
fn a_reset_that_never_arrived_does_not_pass_for_the_old_software() {
    let mut bench = Bench::new(TWO_BANKS);
    let mut programmer = bench.programmer();
    programmer.begin_transfer(bench.now);
    programmer.activate(bench.now);
    bench.drive(&mut programmer, |event, _| *event != Event::PhaseEntered(Phase::Reset));
    assert_eq!(programmer.poll_request().unwrap().pdu, [0x11, 0x01]);
    programmer.handle_transport_failure(bench.now, TransportFailure::Send("bus off".into()));
    let Progress::Ended(Event::Failed(error)) = bench.drive(&mut programmer, |_, _| true) else { panic!() };
    let cause = Cause::VersionMismatch { expected: b"2.0.0".to_vec(), reported: b"1.0.0".to_vec() };
    assert_eq!((error.cause, error.ecu_state), (cause, EcuState::Unknown));
    // Indeed: the switch was carried out, so the next start runs the new software.
    bench.power_cut();
    bench.assert_updated();
}

#[test]
fn an_ecu_that_stays_away_after_the_reset_is_given_up_in_time() {
    let mut bench = Bench::new(ONE_BANK);
    bench.ecu.inject(Fault::DeadAfterReset);
    let error = bench.fail();
    let Cause::DidNotComeBack { waited } = error.cause else { panic!("{error:?}") };
    assert!(waited <= Duration::from_secs(30) && waited > Duration::from_secs(29), "{waited:?}");
    assert_eq!((error.phase, error.ecu_state), (Phase::ReadBack, EcuState::Unknown));
}

#[test]
fn the_wrong_hardware_is_not_touched() {
    let mut bench = Bench::new(ONE_BANK);
    bench.plan.hardware = Some(b"OTHER".to_vec());
    let error = bench.fail();
    let cause = Cause::HardwareMismatch { expected: b"OTHER".to_vec(), reported: b"SIM-ECU".to_vec() };
    assert_eq!((error.cause, error.ecu_state), (cause, EcuState::OldSoftware));
    bench.assert_untouched();
    bench.plan.hardware = Some(b"SIM-ECU\0\0".to_vec());
    bench.succeed();
}

#[test]
fn the_running_bank_is_never_erased() {
    let mut bench = Bench::new(TWO_BANKS);
    bench.plan.bank = Some(0);
    let error = bench.fail();
    assert_eq!((error.cause, error.ecu_state), (Cause::BankIsRunning { bank: 0 }, EcuState::OldSoftware));
    bench.assert_untouched();
}
