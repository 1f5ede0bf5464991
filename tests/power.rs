//! The gateway dies or the vehicle loses power, at any point, and the campaign ends as if nothing had happened.
//!
//! `GATEWAYD_SWEEP=n` cuts at `n` points more, each with a seed of its own, which is printed.

mod common;

use common::{LIMIT, SERIALS, check, failures, images};
use gateway_sim::random::Random;
use gateway_sim::vehicle::{Extent, Image, OriginFault, SimCloud, SimVehicle, VehicleConfig};
use ota::journal::Phase;
use ota::stage::{Stage, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Kill,
    Power,
}

/// One published campaign and how much there is to say about it when nothing goes wrong.
struct Sweep {
    cloud: SimCloud,
    images: Vec<Image>,
    outputs: u64,
    /// What had been said at the end of each installation.
    ends: [u64; 3],
    /// Microseconds of simulated time.
    length: u64,
}

impl Sweep {
    fn new() -> Self {
        let cloud = SimCloud::new();
        let images = images("2.0.0", 2);
        cloud.publish("spring", &images);
        let mut sweep = Self { cloud, images, outputs: 0, ends: [0; 3], length: 0 };
        let mut vehicle = sweep.vehicle(1);
        vehicle.command("spring");
        vehicle.run_until_idle(LIMIT).expect("it ends in time");
        sweep.outputs = vehicle.outputs();
        sweep.ends = SERIALS.map(|it| vehicle.told_at(it, Stage::Activate).expect("it is activated"));
        sweep.length = u64::try_from(vehicle.elapsed().as_micros()).expect("minutes");
        sweep
    }

    fn vehicle(&self, seed: u64) -> SimVehicle {
        SimVehicle::new(&self.cloud, VehicleConfig { seed, ..VehicleConfig::default() })
    }

    /// Cuts once, or a few times in a row, and sees the campaign through.
    fn run(&self, seed: u64, cut: Cut, points: &[Point]) {
        let what = format!("seed {seed}, {cut:?} at {points:?}");
        let mut vehicle = self.vehicle(seed);
        vehicle.command("spring");
        let mut allowed = [1_u64; 3];
        for point in points {
            point.run_to(&mut vehicle);
            let before = SERIALS.map(|serial| (is_done(&vehicle, serial), vehicle.erases(serial)));
            match cut {
                Cut::Kill => vehicle.kill(),
                Cut::Power => vehicle.power_cut(),
            }
            for (allowed, (serial, (done, erases))) in
                allowed.iter_mut().zip(SERIALS.iter().zip(before.iter().copied()))
            {
                let touched = vehicle.journal.ecu(serial).is_some_and(|it| it.touched);
                // An image that was on its way when it was cut may cost one more erase.
                *allowed += u64::from(touched && !done);
                assert!(!done || erases == *allowed || erases <= *allowed, "{what}: {serial}");
                if done {
                    *allowed = erases;
                }
            }
            vehicle.restart();
        }
        vehicle.run_until_idle(LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"));
        // The command itself may have been lost with the gateway's memory.
        vehicle.command("spring");
        vehicle.run_until_idle(LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&vehicle);
        for (image, allowed) in self.images.iter().zip(allowed) {
            let erases = vehicle.erases(image.serial);
            assert!(vehicle.runs(image), "{what}: {} {:#?}", image.serial, failures(&vehicle));
            assert!((1..=allowed).contains(&erases), "{what}: {} erased {erases} times", image.serial);
            assert!(is_done(&vehicle, image.serial), "{what}: {:?}", vehicle.journal.ecu(image.serial));
            assert!(vehicle.ecu(image.serial).is_restored(), "{what}: {}", image.serial);
        }
        assert_eq!(vehicle.store.used(), 0, "{what}: the store is given back");
        let errors = vehicle.errors.take();
        assert!(errors.is_empty(), "{what}: {errors:#?}");
    }
}

/// Where to cut.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// In the middle of what follows from that many things the gateway has said.
    Output(u64),
    /// After that many microseconds more.
    Micros(u64),
}

impl Point {
    fn run_to(self, vehicle: &mut SimVehicle) {
        match self {
            Self::Output(count) => {
                vehicle.run_until_output(count);
            }
            Self::Micros(micros) => vehicle.run_for(std::time::Duration::from_micros(micros)),
        }
    }
}

fn is_done(vehicle: &SimVehicle, serial: &str) -> bool {
    vehicle.journal.ecu(serial).is_some_and(|it| matches!(it.phase, Phase::Done { .. }))
}

#[test]
fn an_ecu_that_was_left_without_software_goes_first_after_a_restart() {
    let cloud = SimCloud::new();
    let images = images("2.0.0", 2);
    cloud.publish("spring", &images);
    let mut config = VehicleConfig::default();
    // BRAKE-1 and CAM-1 on one bus, each with one bank; DOOR-1 out of their way.
    (config.ecus[1].bus, config.ecus[2].bus) = (config.ecus[2].bus, config.ecus[1].bus);
    let mut vehicle = SimVehicle::new(&cloud, config);
    // BRAKE-1 would go first; its image comes late, so that CAM-1 has the bus when the gateway dies.
    vehicle.origin.inject("brake-1", OriginFault::Unreachable, Extent::Times(1));
    vehicle.command("spring");
    let transferring = |phase: &Phase| matches!(phase, Phase::Transferring { .. });
    let cut = vehicle.run_until(|it| {
        it.journal.ecu("CAM-1").is_some_and(|it| transferring(&it.phase))
            && it.journal.ecu("BRAKE-1").is_some_and(|it| it.phase == Phase::Stored)
    });
    assert!(cut, "{:#?}", failures(&vehicle));
    vehicle.kill();
    vehicle.restart();
    vehicle.run_until_idle(LIMIT).expect("it ends in time");
    let last = vehicle.told_at("CAM-1", Stage::Activate).expect("it is activated");
    let next = vehicle.told_at("BRAKE-1", Stage::Transfer).expect("it is programmed");
    assert!(last < next, "CAM-1 was done at {last}, BRAKE-1 had its turn by {next}");
    assert!(images.iter().all(|it| vehicle.runs(it)));
}

#[test]
fn the_gateway_may_die_at_any_point_of_what_it_says() {
    let sweep = Sweep::new();
    for step in 0..30 {
        let point = Point::Output(1 + step * sweep.outputs / 30);
        sweep.run(step, Cut::Kill, &[point]);
    }
}

#[test]
fn the_gateway_may_die_at_any_time() {
    let sweep = Sweep::new();
    for step in 0..16 {
        sweep.run(step, Cut::Kill, &[Point::Micros(step * sweep.length / 16)]);
    }
}

#[test]
fn power_may_fail_at_any_point_of_what_the_gateway_says() {
    let sweep = Sweep::new();
    for step in 0..30 {
        let point = Point::Output(1 + step * sweep.outputs / 30);
        sweep.run(step, Cut::Power, &[point]);
    }
}

#[test]
fn power_may_fail_at_any_time() {
    let sweep = Sweep::new();
    for step in 0..16 {
        sweep.run(step, Cut::Power, &[Point::Micros(step * sweep.length / 16)]);
    }
}

#[test]
fn power_may_fail_while_the_end_of_an_installation_is_said() {
    let sweep = Sweep::new();
    for end in sweep.ends {
        for seed in 0..10 {
            sweep.run(seed, Cut::Power, &[Point::Output(end + seed % 5)]);
        }
    }
}

#[test]
fn power_may_fail_again_and_again() {
    let sweep = Sweep::new();
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let points: Vec<_> = (0..5).map(|_| Point::Micros(random.below(sweep.length / 2))).collect();
        sweep.run(seed, Cut::Power, &points);
    }
}

#[test]
fn a_download_goes_on_behind_the_last_chunk_that_is_on_the_medium() {
    let cloud = SimCloud::new();
    let mut images = images("2.0.0", 2);
    images.retain(|it| it.serial == "CAM-1");
    images[0].bytes = Random::new(7).bytes(12 << 20);
    cloud.publish("spring", &images);
    let config = VehicleConfig { quota: 16 << 20, read_ahead: 1 << 20, ..VehicleConfig::default() };
    for cut in [Cut::Kill, Cut::Power] {
        let mut vehicle = SimVehicle::new(&cloud, config.clone());
        vehicle.command("spring");
        let half = |it: &SimVehicle| match it.journal.ecu("CAM-1").map(|it| it.phase) {
            Some(Phase::Downloading(progress)) => progress.next_chunk,
            _ => 0,
        };
        assert!(vehicle.run_until(|it| half(it) > 0), "{:?}", vehicle.journal.ecu("CAM-1"));
        let kept = half(&vehicle);
        assert_eq!(kept * 4096 % (4 << 20), 0, "only what was synced is claimed");
        vehicle.run_for(std::time::Duration::from_millis(100));
        match cut {
            Cut::Kill => vehicle.kill(),
            Cut::Power => vehicle.power_cut(),
        }
        let before = vehicle.origin.requests().len();
        vehicle.restart();
        let proven = |it: &mut SimVehicle| !it.events_of(Some("CAM-1"), Stage::Verify, Status::Ok).is_empty();
        assert!(vehicle.run_until(proven), "{cut:?}: {:#?}", failures(&vehicle));
        let first = vehicle.origin.requests()[before..].iter().filter(|(path, _)| !path.ends_with(".tree"));
        assert_eq!(first.map(|(_, start)| *start).min(), Some(kept * 4096), "{cut:?}");
    }
}

#[test]
fn a_sweep_as_long_as_wanted_finds_no_point_that_harms() {
    let Ok(count) = std::env::var("GATEWAYD_SWEEP") else { return };
    let count: u64 = count.parse().expect("GATEWAYD_SWEEP is a number");
    let first = std::env::var("GATEWAYD_SWEEP_SEED").map_or(1, |it| it.parse().expect("a number"));
    println!("sweep: seeds {first} to {}", first + count - 1);
    let sweep = Sweep::new();
    for seed in first..first + count {
        let mut random = Random::new(seed);
        let cut = if random.coin() { Cut::Kill } else { Cut::Power };
        let points: Vec<_> = (0..1 + random.below(3))
            .map(|_| match random.coin() {
                true => Point::Micros(random.below(sweep.length)),
                false => Point::Output(random.below(sweep.outputs)),
            })
            .collect();
        sweep.run(seed, cut, &points);
    }
    println!("sweep: {count} campaigns, every one ended as it should");
}
