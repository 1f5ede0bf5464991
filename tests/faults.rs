//! One thing goes wrong; one ECU may fail, cleanly and in bounded time, and the others are not harmed.

mod common;

use std::time::Duration;

use canfd::uds::message::ServiceId;
use common::{LIMIT, carry_out, check, failures, spring, spring_with, verdicts};
use crypto_offload::queue::{Limits, Queue};
use crypto_offload::software::SoftwareEngine;
use crypto_offload::testing::FaultyEngine;
use gateway_sim::ecu::Fault;
use gateway_sim::vehicle::{CHUNK_SIZE, Extent, Image, OriginFault, SimVehicle, VehicleConfig};
use ota::stage::{Stage, Status};

/// Stored bytes of a sealed chunk.
const STORED_CHUNK: u64 = CHUNK_SIZE as u64 + 16;

/// Everything but `failed` was updated; `failed` ended with `code` and runs what it ran before.
fn assert_only(vehicle: &mut SimVehicle, images: &[Image], failed: &str, code: &str) {
    for image in images {
        if image.serial == failed {
            assert_eq!(vehicle.ecu(failed).running_version(), Some(&b"1.0.0"[..]), "{failed} is unharmed");
        } else {
            assert!(vehicle.runs(image), "{}", image.serial);
            assert_eq!(vehicle.erases(image.serial), 1, "{}", image.serial);
        }
    }
    assert_eq!(codes(vehicle, failed), [code]);
    assert_eq!(verdicts(vehicle), ["INCOMPLETE"]);
    check(vehicle);
}

/// Everything was updated in the end, with one erase each.
fn assert_all(vehicle: &mut SimVehicle, images: &[Image]) {
    for image in images {
        assert!(vehicle.runs(image), "{}: {:#?}", image.serial, failures(vehicle));
        assert_eq!(vehicle.erases(image.serial), 1, "{}", image.serial);
    }
    assert_eq!(verdicts(vehicle), ["SUCCEEDED"]);
    check(vehicle);
}

/// The distinct codes of an ECU's failures: all stages that were open fail for one reason.
fn codes(vehicle: &SimVehicle, serial: &str) -> Vec<String> {
    let of = |it: &&&ota::stage::StageEvent| {
        it.ecu_serial.as_ref().is_some_and(|it| it.as_str() == serial) && it.stage_code != Stage::Rollback
    };
    let mut codes: Vec<_> =
        failures(vehicle).iter().filter(of).filter_map(|it| Some(it.detail.as_ref()?.code.clone())).collect();
    codes.dedup();
    codes
}

#[test]
fn a_chunk_that_stays_forged_leaves_its_ecu_unerased_and_is_named() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("brake-1", OriginFault::Flip(3 * STORED_CHUNK + 5), Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "BRAKE-1", "CHUNK_REJECTED");
    assert_eq!(vehicle.erases("BRAKE-1"), 0);
    let failed = vehicle.events_of(Some("BRAKE-1"), Stage::Download, Status::Failed);
    assert_eq!(failed[0].detail.as_ref().unwrap().chunk, Some(3));
}

#[test]
fn a_chunk_that_stays_forged_while_streaming_leaves_the_old_bank_running() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("door-1", OriginFault::Flip(9 * STORED_CHUNK), Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "DOOR-1", "CHUNK_REJECTED");
    assert_eq!(vehicle.ecu("DOOR-1").running_bank(), Some(0));
    assert!(vehicle.ecu("DOOR-1").is_restored());
}

#[test]
fn a_chunk_that_is_forged_once_is_fetched_again() {
    for path in ["brake-1", "door-1", "cam-1"] {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.origin.inject(path, OriginFault::Flip(2 * STORED_CHUNK), Extent::Times(1));
        carry_out(&mut vehicle, "spring");
        assert_all(&mut vehicle, &images);
    }
}

#[test]
fn a_forged_tree_fails_before_any_erase() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("cam-1-2.0.0.bin.tree", OriginFault::Flip(40), Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "CAM-1", "TREE_REJECTED");
    assert_eq!(vehicle.erases("CAM-1"), 0);
}

#[test]
fn a_missing_tree_fails_before_any_erase() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("cam-1-2.0.0.bin.tree", OriginFault::Refuse(404), Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "CAM-1", "NOT_FOUND");
    assert_eq!(vehicle.erases("CAM-1"), 0);
}

#[test]
fn an_image_that_is_truncated_for_good_is_given_up() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("cam-1-2.0.0.bin", OriginFault::Truncate(30_000), Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "CAM-1", "TRUNCATED");
    assert_eq!(vehicle.erases("CAM-1"), 0);
}

#[test]
fn an_image_that_is_truncated_once_arrives_whole() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("cam-1-2.0.0.bin", OriginFault::Truncate(30_000), Extent::Times(2));
    carry_out(&mut vehicle, "spring");
    assert_all(&mut vehicle, &images);
}

#[test]
fn endless_data_ends_at_the_bytes_asked_for() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("brake-1", OriginFault::Endless, Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "BRAKE-1", "ENDLESS_DATA");
    assert_eq!(vehicle.erases("BRAKE-1"), 0);
}

#[test]
fn a_server_that_stalls_at_one_chunk_for_ever_is_given_up_although_others_arrive() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("cam-1-2.0.0.bin", OriginFault::Stall(5 * 4096), Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "CAM-1", "STALLED");
    assert!(vehicle.elapsed() < Duration::from_secs(120), "{:?}", vehicle.elapsed());
}

#[test]
fn a_server_that_stalls_once_costs_time_only() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("door-1", OriginFault::Stall(5 * STORED_CHUNK), Extent::Times(1));
    carry_out(&mut vehicle, "spring");
    assert_all(&mut vehicle, &images);
}

#[test]
fn a_server_that_answers_500_for_a_while_is_tried_again() {
    for path in ["timestamp", "brake-1", "door-1"] {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.origin.inject(path, OriginFault::Refuse(500), Extent::Times(3));
        carry_out(&mut vehicle, "spring");
        assert_all(&mut vehicle, &images);
    }
}

#[test]
fn an_origin_that_is_away_for_a_while_is_tried_again() {
    let (_cloud, mut vehicle, images) = spring();
    let until = vehicle.now() + Duration::from_millis(1200);
    vehicle.origin.inject("", OriginFault::Unreachable, Extent::Until(until));
    carry_out(&mut vehicle, "spring");
    assert_all(&mut vehicle, &images);
}

#[test]
fn an_origin_that_is_away_for_good_ends_the_look_and_touches_nothing() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.origin.inject("", OriginFault::Unreachable, Extent::Always);
    carry_out(&mut vehicle, "spring");
    assert_eq!(vehicle.events_of(None, Stage::Metadata, Status::Failed).len(), 1);
    for image in &images {
        assert_eq!(vehicle.erases(image.serial), 0);
    }
    vehicle.origin.clear_faults();
    carry_out(&mut vehicle, "spring");
    assert_all(&mut vehicle, &images);
}

#[test]
fn without_its_key_encryption_keys_a_vehicle_installs_only_what_is_not_sealed() {
    let config = VehicleConfig { has_keys: false, ..VehicleConfig::default() };
    let (_cloud, mut vehicle, images) = spring_with(config);
    carry_out(&mut vehicle, "spring");
    assert!(vehicle.runs(&images[2]));
    for serial in ["BRAKE-1", "DOOR-1"] {
        assert_eq!(codes(&vehicle, serial), ["CONTENT_KEY"]);
        assert_eq!(vehicle.erases(serial), 0);
    }
}

#[test]
fn an_image_that_does_not_fit_the_quota_is_refused_before_its_download() {
    let config = VehicleConfig { quota: 60 << 10, ..VehicleConfig::default() };
    let (_cloud, mut vehicle, images) = spring_with(config);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "CAM-1", "STORE");
    assert_eq!(vehicle.erases("CAM-1"), 0);
    assert!(!vehicle.origin.requests().iter().any(|(path, _)| path.contains("cam-1")));
}

#[test]
fn a_store_that_breaks_during_the_download_costs_the_ecus_that_need_it_nothing_but_time() {
    for operations in [3, 10, 20] {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.store.fails_after = Some(operations);
        carry_out(&mut vehicle, "spring");
        assert!(vehicle.runs(&images[1]), "two banks need no store");
        for serial in ["BRAKE-1", "CAM-1"] {
            assert_eq!(codes(&vehicle, serial), ["STORE"]);
            assert_eq!(vehicle.erases(serial), 0);
        }
        assert_eq!(verdicts(&vehicle), ["INCOMPLETE"]);
    }
}

#[test]
fn a_store_that_breaks_after_the_erase_is_replaced_by_the_origin() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.command("spring");
    assert!(vehicle.run_until(|it| it.erases("CAM-1") == 1));
    vehicle.store.fails_after = Some(0);
    vehicle.run_until_idle(LIMIT).unwrap();
    assert!(vehicle.runs(&images[2]), "{:#?}", failures(&vehicle));
    assert_eq!(vehicle.erases("CAM-1"), 1);
    check(&vehicle);
}

#[test]
fn a_byte_that_rots_in_the_store_after_the_proof_is_fetched_again() {
    for file in ["img", "tree"] {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.command("spring");
        let proven = |it: &mut SimVehicle| !it.events_of(Some("CAM-1"), Stage::Verify, Status::Ok).is_empty();
        assert!(vehicle.run_until(proven));
        assert!(vehicle.store.damage("CAM-1", file, 30));
        vehicle.run_until_idle(LIMIT).unwrap();
        assert_all(&mut vehicle, &images);
    }
}

#[test]
fn a_byte_that_rots_in_the_store_before_the_proof_ends_before_any_erase() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.command("spring");
    let stored = |it: &mut SimVehicle| !it.events_of(Some("CAM-1"), Stage::Download, Status::Ok).is_empty();
    assert!(vehicle.run_until(stored));
    assert!(vehicle.store.damage("CAM-1", "img", 60_000));
    vehicle.run_until_idle(LIMIT).unwrap();
    assert_only(&mut vehicle, &images, "CAM-1", "CHUNK_REJECTED");
    assert_eq!(vehicle.erases("CAM-1"), 0);
}

#[test]
fn a_silent_ecu_fails_alone() {
    for serial in common::SERIALS {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.ecu(serial).inject(Fault::Silent);
        carry_out(&mut vehicle, "spring");
        assert_only(&mut vehicle, &images, serial, "ECU_SILENT");
        assert_eq!(vehicle.erases(serial), 0);
    }
}

#[test]
fn an_ecu_that_answers_pending_for_ever_fails_alone_in_bounded_time() {
    for service in [ServiceId::ReadDataByIdentifier, ServiceId::DiagnosticSessionControl] {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.ecu("DOOR-1").inject(Fault::EndlessPending { service });
        vehicle.command("spring");
        vehicle.run_until_idle(Duration::from_secs(3600)).unwrap();
        let code = codes(&vehicle, "DOOR-1").remove(0);
        assert_only(&mut vehicle, &images, "DOOR-1", &code);
        assert_eq!(vehicle.erases("DOOR-1"), 0);
    }
}

#[test]
fn an_ecu_that_resets_in_the_middle_of_a_block_ends_with_its_image_or_with_its_old_software() {
    for serial in common::SERIALS {
        for after_blocks in [0, 4, 9] {
            let (_cloud, mut vehicle, images) = spring();
            vehicle.ecu(serial).inject(Fault::ResetDuringTransfer { after_blocks });
            carry_out(&mut vehicle, "spring");
            for image in &images {
                let old = vehicle.ecu(image.serial).running_version() == Some(b"1.0.0");
                let kept = old && image.serial == serial && serial == "DOOR-1";
                assert!(kept || vehicle.runs(image), "{serial} {after_blocks}: {:#?}", failures(&vehicle));
            }
        }
    }
}

#[test]
fn a_lost_answer_to_any_block_is_recovered_without_another_erase_where_the_ecu_tells() {
    for serial in ["BRAKE-1", "DOOR-1"] {
        let len = if serial == "BRAKE-1" { (40 << 10) + 123 } else { (120 << 10) + 1_u32 };
        let blocks = len.div_ceil(4093);
        for after_blocks in [0, 3, blocks - 2, blocks - 1] {
            let (_cloud, mut vehicle, images) = spring();
            vehicle.ecu(serial).inject(Fault::LoseBlockAnswer { after_blocks });
            carry_out(&mut vehicle, "spring");
            assert_all(&mut vehicle, &images);
        }
    }
}

#[test]
fn flash_that_cannot_be_programmed_fails_alone() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.ecu("DOOR-1").inject(Fault::FlashFailure { offset: 50_000 });
    carry_out(&mut vehicle, "spring");
    for image in images.iter().filter(|it| it.serial != "DOOR-1") {
        assert!(vehicle.runs(image), "{}", image.serial);
    }
    assert_eq!(vehicle.ecu("DOOR-1").running_version(), Some(&b"1.0.0"[..]));
    assert_eq!(codes(&vehicle, "DOOR-1"), ["ECU_FAILED"]);
}

#[test]
fn one_bank_that_cannot_be_programmed_is_reported_as_without_software() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.ecu("BRAKE-1").inject(Fault::FlashFailure { offset: 20_000 });
    carry_out(&mut vehicle, "spring");
    for image in images.iter().filter(|it| it.serial != "BRAKE-1") {
        assert!(vehicle.runs(image), "{}", image.serial);
    }
    let rollback = vehicle.events_of(Some("BRAKE-1"), Stage::Rollback, Status::Failed);
    assert_eq!(rollback[0].detail.as_ref().unwrap().code, "NO_SOFTWARE");
    assert_eq!(vehicle.ecu("BRAKE-1").running_version(), None);
}

#[test]
fn an_ecu_without_software_is_repaired_by_the_next_publication_of_the_same_images() {
    let (cloud, mut vehicle, images) = spring();
    vehicle.ecu("BRAKE-1").inject(Fault::FlashFailure { offset: 20_000 });
    carry_out(&mut vehicle, "spring");
    assert_eq!(vehicle.ecu("BRAKE-1").running_version(), None);
    vehicle.ecu("BRAKE-1").clear_faults();
    cloud.publish("again", &images);
    vehicle.forget_events();
    carry_out(&mut vehicle, "again");
    assert_eq!(verdicts(&vehicle), ["SUCCEEDED"]);
    for image in &images {
        assert!(vehicle.runs(image), "{}", image.serial);
        assert!(image.serial == "BRAKE-1" || vehicle.erases(image.serial) == 1, "{}", image.serial);
    }
}

#[test]
fn a_campaign_that_is_told_again_repairs_the_ecu_it_left_without_software() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.ecu("BRAKE-1").inject(Fault::FlashFailure { offset: 20_000 });
    carry_out(&mut vehicle, "spring");
    assert_eq!(vehicle.ecu("BRAKE-1").running_version(), None);
    vehicle.ecu("BRAKE-1").clear_faults();
    vehicle.forget_events();
    carry_out(&mut vehicle, "spring");
    assert_eq!(verdicts(&vehicle), ["SUCCEEDED"]);
    for image in &images {
        assert!(vehicle.runs(image), "{}", image.serial);
        assert!(image.serial == "BRAKE-1" || vehicle.erases(image.serial) == 1, "{}", image.serial);
    }
}

#[test]
fn images_that_do_not_fit_the_store_together_are_refused_one_by_one() {
    let config = VehicleConfig { quota: 75 << 10, ..VehicleConfig::default() };
    let (_cloud, mut vehicle, images) = spring_with(config);
    carry_out(&mut vehicle, "spring");
    let refused = images.iter().filter(|it| codes(&vehicle, it.serial) == ["STORE"]).count();
    assert_eq!(refused, 1);
    assert_eq!(images.iter().filter(|it| vehicle.runs(it)).count(), 2);
    assert_eq!(vehicle.store.used(), 0);
}

#[test]
fn an_ecu_that_ignores_the_switch_goes_on_with_its_old_software() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.ecu("DOOR-1").inject(Fault::IgnoreSwitch);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "DOOR-1", "ECU_FAILED");
}

#[test]
fn an_ecu_that_never_comes_back_from_its_reset_fails_alone_in_bounded_time() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.ecu("CAM-1").inject(Fault::DeadAfterReset);
    carry_out(&mut vehicle, "spring");
    assert!(vehicle.runs(&images[0]) && vehicle.runs(&images[1]));
    assert_eq!(codes(&vehicle, "CAM-1").len(), 1, "{:#?}", failures(&vehicle));
}

#[test]
fn a_bus_that_comes_up_late_delays_its_ecus_only() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.set_bus(1, false);
    vehicle.command("spring");
    vehicle.run_for(Duration::from_secs(20));
    assert!(vehicle.runs(&images[0]) && vehicle.runs(&images[1]));
    vehicle.set_bus(1, true);
    vehicle.run_until_idle(LIMIT).unwrap();
    assert_all(&mut vehicle, &images);
}

#[test]
fn a_bus_that_stays_away_fails_its_ecus_in_bounded_time() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.set_bus(1, false);
    carry_out(&mut vehicle, "spring");
    assert_only(&mut vehicle, &images, "CAM-1", "ECU_SILENT");
    assert!(vehicle.elapsed() < Duration::from_secs(120), "{:?}", vehicle.elapsed());
}

#[test]
fn a_bus_that_is_away_for_a_moment_at_any_time_is_overcome() {
    for millis in (400..3600).step_by(160) {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.command("spring");
        vehicle.run_for(Duration::from_millis(millis));
        for bus in 0..2 {
            vehicle.set_bus(bus, false);
        }
        vehicle.run_for(Duration::from_millis(700));
        for bus in 0..2 {
            vehicle.set_bus(bus, true);
        }
        vehicle.run_until_idle(LIMIT).unwrap();
        for image in &images {
            assert!(vehicle.runs(image), "{millis} ms, {}: {:#?}", image.serial, failures(&vehicle));
        }
        check(&vehicle);
    }
}

#[test]
fn a_journal_that_takes_no_more_records_stops_before_the_next_erase() {
    for writes in [0, 5, 8, 9, 10, 12, 14, 16, 18, 20, 24] {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.journal.fails_after = Some(writes);
        vehicle.command("spring");
        vehicle.run_until_idle(LIMIT).unwrap();
        for image in &images {
            let failed = codes(&vehicle, image.serial);
            let (erases, runs) = (vehicle.erases(image.serial), vehicle.runs(image));
            assert!(erases <= 1, "{writes}: {}", image.serial);
            if runs {
                assert_eq!(failed, [""; 0], "{writes}: {}", image.serial);
            } else {
                assert_eq!(failed, ["JOURNAL"], "{writes}: {}", image.serial);
                let old = vehicle.ecu(image.serial).running_version() == Some(b"1.0.0");
                assert!(old, "{writes}: {} keeps its software", image.serial);
            }
            assert!(writes > 8 || erases == 0, "{writes}: {}", image.serial);
        }
        assert_eq!(vehicle.violations(), [""; 0]);
    }
}

#[test]
fn a_bus_that_goes_away_while_the_activation_is_being_written_down_is_overcome() {
    for serial in common::SERIALS {
        let (_cloud, mut vehicle, images) = spring();
        vehicle.command("spring");
        let installed =
            |it: &mut SimVehicle| !it.events_of(Some(serial), Stage::Install, Status::Ok).is_empty();
        assert!(vehicle.run_until(installed));
        for up in [false, true] {
            (0..2).for_each(|bus| vehicle.set_bus(bus, up));
            vehicle.run_for(Duration::from_micros(500));
        }
        vehicle.run_until_idle(LIMIT).unwrap();
        for image in &images {
            assert!(vehicle.runs(image), "{serial}, {}: {:#?}", image.serial, failures(&vehicle));
        }
        check(&vehicle);
    }
}

#[test]
fn a_noisy_bus_leaves_every_ecu_with_an_image_or_with_a_report_that_it_has_none() {
    for seed in 0..6 {
        let (_cloud, mut vehicle, images) = spring_with(VehicleConfig { seed, ..VehicleConfig::default() });
        vehicle.set_noise(0, 500, 100);
        vehicle.set_noise(1, 500, 100);
        vehicle.command("spring");
        vehicle.run_until_idle(Duration::from_secs(3600)).unwrap();
        check(&vehicle);
        for image in &images {
            let serial = image.serial;
            let told = !codes(&vehicle, serial).is_empty();
            let lost = !vehicle.events_of(Some(serial), Stage::Rollback, Status::Failed).is_empty();
            let old = vehicle.ecu(serial).running_version() == Some(b"1.0.0");
            assert!(vehicle.runs(image) || told && (old || lost), "seed {seed}: {serial}");
            assert!(!lost || serial != "DOOR-1", "seed {seed}: two banks lose nothing");
        }
    }
}

#[test]
fn a_coprocessor_that_fails_lies_or_hangs_costs_time_only() {
    fn engines(fault: crypto_offload::testing::Fault) -> Queue {
        let (device, control) = FaultyEngine::new("device").unwrap();
        let queue =
            Queue::new(Limits::default(), vec![Box::new(device), Box::new(SoftwareEngine::new().unwrap())]);
        control.set(fault);
        queue
    }
    use crypto_offload::testing::Fault as Engine;
    let queues: [fn() -> Queue; 5] = [
        || engines(Engine::Fail),
        || engines(Engine::RejectAll),
        || engines(Engine::Babble),
        || engines(Engine::Stall),
        || engines(Engine::Down),
    ];
    for engines in queues {
        let (_cloud, mut vehicle, images) =
            spring_with(VehicleConfig { engines, ..VehicleConfig::default() });
        carry_out(&mut vehicle, "spring");
        assert_all(&mut vehicle, &images);
    }
}
