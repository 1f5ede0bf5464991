//! Attacks on the metadata, seen from the vehicle: the look fails by its name and no ECU is ever touched.

mod common;

use common::{SERIALS, carry_out, failures, images};
use gateway_cloud::publish::Expiry;
use gateway_sim::vehicle::{Extent, OriginFault, SimCloud, SimVehicle, VIN, VehicleConfig, copy};
use ota::stage::{Stage, Status};

const DAY_MS: u64 = 86_400_000;

/// Looks at the Director once more and expects that verdict, and not a frame to any ECU.
fn assert_refused(vehicle: &mut SimVehicle, code: &str) {
    let before: Vec<_> = SERIALS.map(|it| (vehicle.erases(it), vehicle.ecu(it).boots())).into();
    vehicle.forget_events();
    carry_out(vehicle, "spring");
    let failed = failures(vehicle);
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0].stage_code, Stage::Metadata);
    assert_eq!(failed[0].detail.as_ref().expect("a reason").code, code, "{failed:#?}");
    let after: Vec<_> = SERIALS.map(|it| (vehicle.erases(it), vehicle.ecu(it).boots())).into();
    assert_eq!(after, before);
}

fn new_vehicle(cloud: &SimCloud) -> SimVehicle {
    SimVehicle::new(cloud, VehicleConfig::default())
}

#[test]
fn expired_metadata_is_a_freeze_attack() {
    let cloud = SimCloud::new();
    cloud.publish("spring", &images("2.0.0", 2));
    let config = VehicleConfig { clock_ahead_ms: 2 * DAY_MS, ..VehicleConfig::default() };
    let mut vehicle = SimVehicle::new(&cloud, config);
    assert_refused(&mut vehicle, "freeze");
}

#[test]
fn targets_that_expired_under_a_fresh_timestamp_are_refused() {
    let cloud = SimCloud::new();
    let expiry = Expiry { targets: -60, ..Expiry::default() };
    cloud.publish_for(VIN, "spring", &images("2.0.0", 2), &expiry);
    let mut vehicle = new_vehicle(&cloud);
    assert_refused(&mut vehicle, "freeze");
}

#[test]
fn an_older_repository_is_a_rollback_attack() {
    let cloud = SimCloud::new();
    cloud.publish("winter", &images("2.0.0", 2));
    let old = cloud.branch();
    cloud.publish("spring", &images("3.0.0", 3));
    let mut vehicle = new_vehicle(&cloud);
    carry_out(&mut vehicle, "spring");
    assert!(vehicle.runs(&images("3.0.0", 3)[0]));
    vehicle.origin.root = old.root();
    assert_refused(&mut vehicle, "rollback");
    vehicle.kill();
    vehicle.restart();
    assert_refused(&mut vehicle, "rollback");
}

#[test]
fn an_older_release_in_newer_metadata_is_a_rollback_attack() {
    let cloud = SimCloud::new();
    cloud.publish("winter", &images("3.0.0", 3));
    let mut vehicle = new_vehicle(&cloud);
    carry_out(&mut vehicle, "winter");
    cloud.publish("spring", &images("2.0.0", 2));
    assert_refused(&mut vehicle, "rollback");
}

#[test]
fn metadata_of_another_vehicle_is_refused() {
    let cloud = SimCloud::new();
    cloud.publish("winter", &images("2.0.0", 2));
    let mut vehicle = new_vehicle(&cloud);
    let other = "WVWZZZ1JZXW000002";
    cloud.publish_for(other, "spring", &images("2.0.0", 2), &Expiry::default());
    let director = cloud.root().join("director");
    copy(&director.join(other), &director.join(VIN));
    assert_refused(&mut vehicle, "arbitrary_software");
}

#[test]
fn repositories_that_disagree_are_a_mix_and_match_attack() {
    let cloud = SimCloud::new();
    cloud.publish("winter", &images("2.0.0", 2));
    let mut vehicle = new_vehicle(&cloud);
    let evil = cloud.branch();
    cloud.publish("spring", &images("3.0.0", 3));
    // The same names, other bytes.
    evil.publish("spring", &images("3.0.0", 4));
    copy(&evil.root().join("image"), &cloud.root().join("image"));
    assert_refused(&mut vehicle, "mix_and_match");
}

#[test]
fn a_campaign_for_an_ecu_that_the_vehicle_does_not_have_is_refused() {
    let cloud = SimCloud::new();
    let mut images = images("2.0.0", 2);
    images[1].serial = "ROOF-1";
    cloud.publish("spring", &images);
    let mut vehicle = new_vehicle(&cloud);
    assert_refused(&mut vehicle, "metadata");
}

#[test]
fn a_campaign_for_other_hardware_is_refused() {
    let cloud = SimCloud::new();
    let mut images = images("2.0.0", 2);
    images[1].hardware = "another-hw";
    cloud.publish("spring", &images);
    let mut vehicle = new_vehicle(&cloud);
    assert_refused(&mut vehicle, "arbitrary_software");
}

#[test]
fn a_forged_signature_is_refused() {
    for file in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let cloud = SimCloud::new();
        cloud.publish("spring", &images("2.0.0", 2));
        let mut vehicle = new_vehicle(&cloud);
        vehicle.origin.inject(file, OriginFault::Flip(60), Extent::Always);
        vehicle.command("spring");
        vehicle.run_until_idle(common::LIMIT).unwrap();
        assert_eq!(vehicle.events_of(None, Stage::Metadata, Status::Failed).len(), 1, "{file}");
        for serial in SERIALS {
            assert_eq!(vehicle.erases(serial), 0);
        }
    }
}

#[test]
fn endless_metadata_is_refused() {
    let cloud = SimCloud::new();
    cloud.publish("spring", &images("2.0.0", 2));
    let mut vehicle = new_vehicle(&cloud);
    vehicle.origin.inject("timestamp.json", OriginFault::Endless, Extent::Always);
    assert_refused(&mut vehicle, "endless_data");
}
