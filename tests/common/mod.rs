//! Campaigns and questions that all system tests share.
#![allow(dead_code, reason = "every test file uses another part of it")]

use std::time::Duration;

use crypto_offload::job::{Cipher, HashAlgorithm};
use gateway_sim::random::Random;
use gateway_sim::vehicle::{Image, SimCloud, SimVehicle, VehicleConfig};
use ota::stage::{Stage, StageEvent, Status};

/// Longer than any campaign here may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

pub(crate) const SERIALS: [&str; 3] = ["BRAKE-1", "DOOR-1", "CAM-1"];

/// Images for all three ECUs, every one sealed and hashed in its own way; none ends at a chunk's boundary.
pub(crate) fn images(version: &'static str, counter: u64) -> Vec<Image> {
    let mut random = Random::new(counter);
    let image = |serial, cipher, hash, len| Image {
        serial,
        hardware: "sim-hw",
        version,
        counter,
        cipher,
        hash,
        order: 1,
        bytes: random.bytes(len),
    };
    let mut image = image;
    vec![
        image("BRAKE-1", Some(Cipher::Sm4Gcm), HashAlgorithm::Sm3, (40 << 10) + 123),
        image("DOOR-1", Some(Cipher::Aes256Gcm), HashAlgorithm::Sha256, (120 << 10) + 1),
        image("CAM-1", None, HashAlgorithm::Sha256, (64 << 10) - 7),
    ]
}

/// A cloud with the campaign `spring` and a vehicle that has not heard of it.
pub(crate) fn spring() -> (SimCloud, SimVehicle, Vec<Image>) {
    spring_with(VehicleConfig::default())
}

pub(crate) fn spring_with(config: VehicleConfig) -> (SimCloud, SimVehicle, Vec<Image>) {
    let cloud = SimCloud::new();
    let images = images("2.0.0", 2);
    cloud.publish("spring", &images);
    let vehicle = SimVehicle::new(&cloud, config);
    (cloud, vehicle, images)
}

/// Tells the vehicle of a campaign and runs it to its end.
pub(crate) fn carry_out(vehicle: &mut SimVehicle, campaign: &str) {
    vehicle.command(campaign);
    vehicle.run_until_idle(LIMIT).expect("it ends in time");
    check(vehicle);
}

/// What holds after every run, however it ended.
pub(crate) fn check(vehicle: &SimVehicle) {
    assert_eq!(vehicle.violations(), [""; 0]);
    vehicle.journal.check().expect("the journal is readable");
    let campaign = vehicle.status().and_then(|it| it.campaign);
    assert!(campaign.is_none_or(|it| it.state == "finished"), "{:#?}", vehicle.status());
    for event in vehicle.events() {
        assert!(!event.thread_name.is_empty(), "{event:?}");
    }
}

/// Failures reported so far, in order.
pub(crate) fn failures(vehicle: &SimVehicle) -> Vec<&StageEvent> {
    vehicle.events().iter().filter(|it| it.status == Status::Failed).collect()
}

/// The reports of how a campaign ended.
pub(crate) fn verdicts(vehicle: &SimVehicle) -> Vec<String> {
    let ends = vehicle.events().iter().filter(|it| it.stage_code == Stage::Report);
    ends.filter_map(|it| Some(it.detail.as_ref()?.code.clone())).collect()
}
