//! Power cuts at every point, and what the next attempt makes of them.

use super::*;

/// Cuts power as soon as `at` is seen, then programs again as a journal would ask for. Returns whether it resumed.
fn cut_and_go_on(profile: &str, at: &Event) -> bool {
    let mut bench = Bench::new(profile);
    let mut programmer = bench.programmer();
    programmer.begin_transfer(bench.now);
    programmer.activate(bench.now);
    let progress = bench.drive(&mut programmer, |event, _| event != at);
    assert_eq!(progress, Progress::Stopped, "{at:?} was never seen");
    let journal = if bench.has_erased() { Some(bench.acknowledged().unwrap_or(0)) } else { None };
    let bank = bench.config.profile.banks.len() - 1;
    let erased_before = bench.ecu.erase_count(bank);

    bench.power_cut();
    if bank == 1 && bench.ecu.running_bank() == Some(0) {
        assert_eq!(bench.ecu.running_version(), Some(&b"1.0.0"[..]), "the old bank lives on: {at:?}");
    }
    bench.plan.resume_from = journal;
    bench.succeed();
    let resumed = bench.events.iter().any(|event| matches!(event, Event::Resumed { .. }));
    if resumed {
        assert_eq!(bench.ecu.erase_count(bank), erased_before, "resuming erases nothing: {at:?}");
    }
    resumed
}

#[test]
fn power_may_fail_after_every_block() {
    for profile in [ONE_BANK, TWO_BANKS] {
        for block in 1..=10 {
            assert!(cut_and_go_on(profile, &Event::Acknowledged { offset: block * 100 }), "block {block}");
        }
    }
}

#[test]
fn power_may_fail_while_each_block_is_being_written() {
    for profile in [ONE_BANK, TWO_BANKS] {
        for block in 0..10_u32 {
            let mut bench = Bench::new(profile);
            bench.ecu.inject(Fault::ResetDuringTransfer { after_blocks: block });
            let error = bench.fail();
            assert_eq!(error.phase, Phase::RequestDownload, "block {block}: {error:?}");
            bench.plan.resume_from = Some(bench.acknowledged().unwrap_or(0));
            bench.power_cut();
            bench.succeed();
            let offset = u64::from(block) * 100 + 50;
            assert!(bench.events.contains(&Event::Resumed { offset }), "block {block}");
        }
    }
}

#[test]
fn power_may_fail_at_the_beginning_of_every_phase() {
    for profile in [ONE_BANK, TWO_BANKS] {
        let steps = toml::from_str::<Profile>(profile).unwrap().steps();
        for step in steps.into_iter().filter(|step| *step != Phase::ResumeQuery) {
            cut_and_go_on(profile, &Event::PhaseEntered(step));
        }
    }
}

#[test]
fn an_interrupted_erase_leaves_no_application_and_is_repeated() {
    let mut bench = Bench::with(ONE_BANK, 1000, |config| config.erase_time = Duration::from_secs(30));
    let mut programmer = bench.programmer();
    programmer.begin_transfer(bench.now);
    bench.drive(&mut programmer, |event, _| *event != Event::PhaseEntered(Phase::Erase));
    let request = programmer.poll_request().unwrap();
    bench.ecu.handle_request(bench.now, false, &request.pdu);
    bench.power_cut();
    assert_eq!((bench.ecu.running_version(), bench.ecu.erase_count(0)), (None, 0));
    // Its boot loader is there, and a journal that believes in the erase is corrected.
    bench.plan.resume_from = Some(0);
    bench.succeed();
    assert!(bench.has_erased());
    assert_eq!(bench.ecu.erase_count(0), 1);
}

#[test]
fn the_ecu_is_believed_rather_than_the_journal() {
    for journal in [0, 100, 900, 1000, 5000] {
        let mut bench = Bench::new(ONE_BANK);
        let mut programmer = bench.programmer();
        programmer.begin_transfer(bench.now);
        bench.drive(&mut programmer, |event, _| *event != Event::Acknowledged { offset: 500 });
        bench.power_cut();
        bench.plan.resume_from = Some(journal);
        bench.succeed();
        assert!(bench.events.contains(&Event::Resumed { offset: 500 }), "journal {journal}");
    }
}

#[test]
fn another_image_is_not_mixed_with_a_broken_one() {
    let mut bench = Bench::new(ONE_BANK);
    let mut programmer = bench.programmer();
    programmer.begin_transfer(bench.now);
    bench.drive(&mut programmer, |event, _| *event != Event::Acknowledged { offset: 500 });
    bench.power_cut();
    // Even if a journal claims to resume: the fingerprint is another one, so the ECU holds nothing of it.
    bench.plan.version = b"2.1.0".to_vec();
    bench.plan.resume_from = Some(500);
    assert!(matches!(bench.run(), Event::Finished { .. }));
    assert!(bench.has_erased());
    assert!(bench.ecu.running_image().unwrap().unwrap() == bench.image);
}

#[test]
fn a_gateway_that_dies_leaves_an_ecu_that_falls_back_to_its_default_session() {
    let mut bench = Bench::new(TWO_BANKS);
    let mut programmer = bench.programmer();
    programmer.begin_transfer(bench.now);
    bench.drive(&mut programmer, |event, _| *event != Event::Acknowledged { offset: 500 });
    drop(programmer);
    bench.now += Duration::from_secs(6);
    bench.ecu.handle_timeout(bench.now);
    // A block under way is finished first; its answer is followed by another S3.
    bench.now += Duration::from_secs(6);
    bench.ecu.handle_timeout(bench.now);
    while bench.ecu.poll_response().is_some() {}
    bench.assert_untouched();
    bench.plan.resume_from = Some(500);
    bench.succeed();
}
