//! Whole cycles of verification: what they fetch, what they find, and what a power cut leaves behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod common;

use std::collections::BTreeMap;

use common::*;
use crypto_offload::software::SoftwareVerifier;
use ota::uptane::verify::{Event, FetchFailure, TrustedMetadata, Verification, VerifyError};
use ota::uptane::{Install, Repository, Role, Targets};
use proptest::prelude::*;

#[test]
fn a_first_cycle_fetches_every_file_once_director_first() {
    let mut world = World::new();
    let verified = world.verified();
    let files = ["2.root", "timestamp", "1.snapshot", "1.targets"];
    let paths = |base: &str| files.map(|file| format!("{base}/{file}.json"));
    assert_eq!(world.asked, [paths(&format!("director/{VIN}")), paths("image")].concat());
    assert_eq!(verified.campaign, info());
    let serials: Vec<_> = verified.assignments.iter().map(|it| it.serial.as_str()).collect();
    assert_eq!(serials, ["body-1", "brake-1"]);
    let (brake, listed) = (&verified.assignments[1], &campaign()[&name("brake.bin")]);
    assert_eq!(
        (brake.length, brake.hashes, Some(&brake.custom)),
        (listed.length, listed.hashes, listed.custom.as_ref())
    );
    assert_eq!(brake.path(), listed.path(&brake.name).map(|path| format!("image/{path}")));
}

#[test]
fn a_second_cycle_fetches_roots_and_timestamps_only_and_finds_the_same() {
    let mut world = World::new();
    let first = world.verified();
    assert_eq!(world.verified(), first);
    assert_eq!(
        world.asked,
        [
            format!("director/{VIN}/2.root.json"),
            format!("director/{VIN}/timestamp.json"),
            "image/2.root.json".to_owned(),
            "image/timestamp.json".to_owned(),
        ]
    );
}

#[test]
fn the_image_repository_is_not_asked_when_every_ecu_is_current() {
    let mut world = World::new();
    for ecu in &mut world.vehicle.ecus {
        ecu.installed = Some(hashes(ecu.serial.as_str().as_bytes()));
    }
    let Outcome::NothingNew(nothing) = world.cycle().unwrap() else { panic!("something new") };
    assert_eq!(nothing.current, [serial("body-1"), serial("brake-1")]);
    assert!(world.asked.iter().all(|path| path.starts_with("director/")));

    // One that lags behind is still brought up, and the other left alone.
    world.vehicle.ecus[0].installed = Some(hashes(b"older"));
    let verified = world.verified();
    assert_eq!(verified.assignments.len(), 1);
    assert_eq!(verified.current, [serial("body-1")]);
}

#[test]
fn empty_targets_are_fine_if_they_name_the_vehicle() {
    let mut world = World::new();
    world.director.publish(2, Targets::new(BTreeMap::new(), Some(info())));
    assert!(matches!(world.cycle(), Ok(Outcome::NothingNew(_))));
    world.director.publish(3, Targets::new(BTreeMap::new(), None));
    assert!(matches!(world.error(), VerifyError::NoCampaign));
}

#[test]
fn assignments_come_in_install_order() {
    let mut world = World::new();
    let mut targets = campaign();
    for (target, order) in [("body.bin", 2), ("brake.bin", 1)] {
        bend(&mut targets, target, |custom| {
            custom.install =
                Some(Install { order, group: "chassis".parse().unwrap(), preconditions: Vec::new() });
        });
    }
    world.publish(2, &targets);
    let serials: Vec<_> = world.verified().assignments.into_iter().map(|it| it.serial).collect();
    assert_eq!(serials, [serial("brake-1"), serial("body-1")]);
}

#[test]
fn the_director_must_not_name_an_ecu_twice_or_one_that_is_not_there() {
    let mut world = World::new();
    let mut targets = campaign();
    targets.insert(name("more.bin"), target("brake-1", "brake-s32k3"));
    world.publish(2, &targets);
    assert!(matches!(world.error(), VerifyError::EcuTwice { serial, first, second }
            if serial.as_str() == "brake-1" && first.as_str() == "brake.bin" && second.as_str() == "more.bin"));
    targets.insert(name("more.bin"), target("radar-1", "radar"));
    world.publish(3, &targets);
    assert!(matches!(world.error(), VerifyError::UnknownEcu { serial, target }
            if serial.as_str() == "radar-1" && target.as_str() == "more.bin"));
}

#[test]
fn the_director_must_say_all_that_an_installation_needs() {
    type Change = fn(&mut ota::uptane::Target);
    let changes: [(&str, Change); 3] = [
        ("custom", |target| target.custom = None),
        ("ecu_identifiers", |target| target.custom.as_mut().unwrap().ecu_identifiers.clear()),
        ("content_key", |target| {
            let cipher = Some(crypto_offload::job::Cipher::Sm4Gcm);
            let layout = ota::image::ChunkLayout::new(10_000, 4096, cipher).unwrap();
            target.custom.as_mut().unwrap().chunks.layout = layout;
            target.length = layout.stored_size();
        }),
    ];
    for (field, change) in changes {
        let mut world = World::new();
        let mut targets = campaign();
        change(targets.get_mut(&name("brake.bin")).unwrap());
        world.director.publish(2, Targets::new(targets, Some(info())));
        assert!(
            matches!(world.error(), VerifyError::Incomplete { field: found, .. } if found == field),
            "{field}"
        );
    }
}

#[test]
fn a_power_cut_after_any_file_leaves_a_store_that_goes_on_and_never_goes_back() {
    for cut in 0.. {
        let mut world = World::new();
        world.verified();
        let before = world.trusted.clone();
        let old_timestamp = world.director.files[&world.director.path(Role::Timestamp, 1)].clone();
        world.director.rotate(Role::Root);
        world.director.publish_root();
        world.publish(2, &campaign());

        // The power goes after `cut` files are on disk.
        let mut verification =
            Verification::new(world.vehicle.clone(), before, world.limits, &SoftwareVerifier).unwrap();
        let (mut written, mut lost, mut timestamp_written) = (0, false, false);
        while let Some(request) = verification.poll_request() {
            let mut files = world.director.files.iter().chain(&world.image.files);
            let found = files.find(|(path, _)| **path == request.path).map(|(_, bytes)| bytes.clone());
            verification
                .handle_response(utc(NOW), found.ok_or(FetchFailure::NotFound), &SoftwareVerifier)
                .unwrap();
            while let Some(event) = verification.poll_event() {
                if let Event::Persist(persist) = event {
                    lost |= written == cut;
                    if !lost {
                        world.trusted.persist(&persist);
                        written += 1;
                        timestamp_written |=
                            persist.repository == Repository::Director && persist.role == Role::Timestamp;
                    }
                }
            }
        }

        let left = world.trusted.clone();
        assert_eq!(world.verified().director_version, 2, "cut after {cut}");
        if timestamp_written {
            world.trusted = left;
            world.faults.insert(world.director.path(Role::Timestamp, 1), Ok(old_timestamp));
            assert!(matches!(world.error(), VerifyError::Rollback { .. }), "cut after {cut}");
        }
        if !lost {
            // One root, and three files from each repository.
            assert_eq!(written, 7);
            break;
        }
    }
}

#[test]
fn an_answer_to_no_question_is_the_callers_fault() {
    let world = World::new();
    let mut verification =
        Verification::new(world.vehicle.clone(), world.trusted.clone(), world.limits, &SoftwareVerifier)
            .unwrap();
    let answer = |verification: &mut Verification| {
        verification.handle_response(utc(NOW), Ok(b"garbage".to_vec()), &SoftwareVerifier)
    };
    assert!(matches!(answer(&mut verification), Err(VerifyError::NotAskedFor)));
    verification.poll_request().unwrap();
    assert!(matches!(answer(&mut verification), Err(VerifyError::Malformed { .. })));
    assert_eq!(verification.poll_request(), None, "the cycle is over after an error");
    assert!(matches!(answer(&mut verification), Err(VerifyError::NotAskedFor)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn one_byte_changed_in_any_file_never_installs_anything_else(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut world = World::new();
        let expected = world.verified();
        world.trusted = TrustedMetadata { director: world.director.trusted(), image: world.image.trusted() };
        let mut files = world.director.files.clone();
        files.extend(world.image.files.clone());
        files.retain(|path, _| !path.ends_with("1.root.json"));
        let (path, mut bytes) = files.into_iter().nth(file.index(6)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        world.faults.insert(path, Ok(bytes));
        if let Ok(outcome) = world.cycle() {
            let Outcome::Verified(verified) = outcome else { panic!("nothing new") };
            prop_assert_eq!(verified, expected);
        }
    }
}
