//! Whole campaigns in which nothing goes wrong.

mod common;

use std::time::Duration;

use common::{LIMIT, SERIALS, carry_out, check, failures, images, spring, spring_with, verdicts};
use gateway_sim::vehicle::{Extent, OriginFault, POLL, SimVehicle, VehicleConfig};
use ota::stage::{Stage, StageEvent, Status};

fn position(vehicle: &SimVehicle, serial: &str, stage: Stage, status: Status) -> usize {
    let is = |it: &StageEvent| {
        it.ecu_serial.as_ref().is_some_and(|it| it.as_str() == serial)
            && it.stage_code == stage
            && it.status == status
    };
    vehicle.events().iter().position(is).expect("the event was told")
}

#[test]
fn three_ecus_on_two_buses_end_with_their_images_byte_for_byte() {
    let (_cloud, mut vehicle, images) = spring();
    carry_out(&mut vehicle, "spring");
    assert_eq!(failures(&vehicle), [] as [&StageEvent; 0]);
    assert_eq!(verdicts(&vehicle), ["SUCCEEDED"]);
    for image in &images {
        assert!(vehicle.runs(image), "{}", image.serial);
        assert_eq!(vehicle.erases(image.serial), 1, "{}", image.serial);
        assert!(vehicle.ecu(image.serial).is_restored(), "{}", image.serial);
    }
    assert_eq!(vehicle.store.used(), 0, "the store is given back");
}

#[test]
fn every_stage_that_applies_is_told_once_per_ecu_in_its_order() {
    let (_cloud, mut vehicle, _images) = spring();
    carry_out(&mut vehicle, "spring");
    for stage in [Stage::Announce, Stage::Metadata, Stage::Consent, Stage::Report] {
        assert_eq!(vehicle.events_of(None, stage, Status::Ok).len(), 1, "{stage}");
    }
    for serial in SERIALS {
        let mut last = 0;
        let sealed = serial != "CAM-1";
        for stage in Stage::ALL {
            let count = vehicle.events_of(Some(serial), stage, Status::Ok).len();
            let decrypts = stage == Stage::Decrypt && sealed;
            let applies = decrypts
                || matches!(
                    stage,
                    Stage::PreCheck
                        | Stage::Download
                        | Stage::Verify
                        | Stage::Transfer
                        | Stage::Install
                        | Stage::Activate
                );
            assert_eq!(count, usize::from(applies), "{serial} {stage}");
            // An image that is streamed is only whole when its transfer is.
            if applies && (serial != "DOOR-1" || !matches!(stage, Stage::Transfer)) {
                let at = position(&vehicle, serial, stage, Status::Ok);
                assert!(at > last || last == 0, "{serial} {stage}");
                last = at;
            }
        }
    }
    let (first, second) = (vehicle.events()[0].clone(), vehicle.events()[1].clone());
    assert_eq!((first.seq, second.seq), (0, 1));
    let trace = first.ota_trace_id;
    assert!(trace.is_some() && vehicle.events().iter().all(|it| it.ota_trace_id == trace));
}

#[test]
fn ecus_on_one_bus_take_turns_in_the_order_of_the_campaign() {
    for (first, second) in [("BRAKE-1", "DOOR-1"), ("DOOR-1", "BRAKE-1")] {
        let cloud = gateway_sim::vehicle::SimCloud::new();
        let mut images = images("2.0.0", 2);
        for image in &mut images {
            image.order = if image.serial == first { 1 } else { 2 };
        }
        cloud.publish("spring", &images);
        let mut vehicle = SimVehicle::new(&cloud, VehicleConfig::default());
        carry_out(&mut vehicle, "spring");
        let end = position(&vehicle, first, Stage::Activate, Status::Ok);
        assert!(end < position(&vehicle, second, Stage::Transfer, Status::Started));
        assert!(end < position(&vehicle, "CAM-1", Stage::Transfer, Status::Started), "orders span buses");
        assert!(images.iter().all(|it| vehicle.runs(it)));
    }
}

#[test]
fn a_campaign_that_is_told_again_changes_nothing() {
    let (_cloud, mut vehicle, images) = spring();
    carry_out(&mut vehicle, "spring");
    let boots = SERIALS.map(|it| vehicle.ecu(it).boots());
    vehicle.forget_events();
    carry_out(&mut vehicle, "spring");
    assert_eq!(vehicle.events_of(None, Stage::Metadata, Status::Skipped).len(), 1);
    assert!(vehicle.events().iter().all(|it| it.ecu_serial.is_none()));
    vehicle.kill();
    vehicle.restart();
    carry_out(&mut vehicle, "spring");
    assert_eq!(SERIALS.map(|it| vehicle.ecu(it).boots()), boots);
    assert!(images.iter().all(|it| vehicle.runs(it) && vehicle.erases(it.serial) == 1));
}

#[test]
fn the_next_campaign_upgrades_again() {
    let (cloud, mut vehicle, _images) = spring();
    carry_out(&mut vehicle, "spring");
    let next = images("2.1.0", 3);
    cloud.publish("summer", &next);
    vehicle.forget_events();
    carry_out(&mut vehicle, "summer");
    assert_eq!(verdicts(&vehicle), ["SUCCEEDED"]);
    for image in &next {
        assert!(vehicle.runs(image), "{}", image.serial);
        assert_eq!(vehicle.erases(image.serial), 2, "{}", image.serial);
        let started = vehicle.events_of(Some(image.serial), Stage::Transfer, Status::Started);
        assert_eq!(started.len(), 1, "{}", image.serial);
    }
}

#[test]
fn a_command_in_the_middle_of_a_campaign_is_looked_at_after_it() {
    let (_cloud, mut vehicle, images) = spring();
    vehicle.command("spring");
    vehicle.run_for(Duration::from_secs(1));
    vehicle.command("spring");
    vehicle.run_until_idle(LIMIT).unwrap();
    check(&vehicle);
    assert!(images.iter().all(|it| vehicle.runs(it)));
    assert_eq!(vehicle.events_of(None, Stage::Metadata, Status::Skipped).len(), 1);
}

/// Looks at the Director that had begun by now.
fn looks(vehicle: &SimVehicle) -> usize {
    vehicle.events_of(None, Stage::Metadata, Status::Started).len()
}

/// Nobody tells it, and it is off again long before a whole interval has passed.
#[test]
fn a_vehicle_asks_soon_after_a_start_and_not_again_at_the_next_one() {
    let first_look = Duration::from_secs(30);
    let (_cloud, mut vehicle, images) = spring_with(VehicleConfig { first_look, ..VehicleConfig::default() });
    vehicle.run_for(first_look - Duration::from_millis(1));
    assert_eq!(looks(&vehicle), 0);
    vehicle.run_for(Duration::from_millis(1));
    assert_eq!(looks(&vehicle), 1);
    vehicle.run_until_idle(LIMIT).expect("it ends in time");
    check(&vehicle);
    for image in &images {
        assert!(vehicle.runs(image), "{}", image.serial);
    }

    vehicle.forget_events();
    vehicle.kill();
    vehicle.restart();
    vehicle.run_for(2 * first_look);
    assert_eq!(looks(&vehicle), 0, "the answer is a minute old");

    vehicle.kill();
    vehicle.run_for(POLL);
    vehicle.restart();
    vehicle.run_for(first_look);
    assert_eq!(looks(&vehicle), 1, "the answer is older than the interval");
}

#[test]
fn a_first_look_that_fails_comes_again_after_twice_the_time_and_then_twice_that() {
    let first_look = Duration::from_secs(60);
    let (_cloud, mut vehicle, _images) =
        spring_with(VehicleConfig { first_look, ..VehicleConfig::default() });
    vehicle.origin.inject("", OriginFault::Unreachable, Extent::Always);
    vehicle.run_for(first_look);
    assert_eq!(looks(&vehicle), 1);
    // Each look is given up after some seconds of trying.
    let trying = Duration::from_secs(10);
    vehicle.run_for(2 * first_look);
    assert_eq!(looks(&vehicle), 1);
    vehicle.run_for(trying);
    assert_eq!(looks(&vehicle), 2);
    vehicle.run_for(4 * first_look - trying);
    assert_eq!(looks(&vehicle), 2);
    vehicle.origin.clear_faults();
    vehicle.run_for(2 * trying);
    assert_eq!(looks(&vehicle), 3);
    vehicle.run_until_idle(LIMIT).expect("it ends in time");
    assert_eq!(verdicts(&vehicle), ["SUCCEEDED"]);
}
