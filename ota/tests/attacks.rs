//! One test for each attack of Uptane 2.1, section 4.3, that metadata can carry.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod common;

use common::*;
use ota::uptane::verify::{Attack, Document, FetchFailure, VerifyError};
use ota::uptane::{Repository, Role, Signed, Snapshot, Targets};

const fn document(repository: Repository, role: Role) -> Document {
    Document { repository, role }
}

#[track_caller]
fn assert_attack(error: &VerifyError, attack: Attack, repository: Repository, role: Role) {
    assert_eq!(
        (error.attack(), error.document()),
        (Some(attack), Some(document(repository, role))),
        "{error:?}"
    );
}

#[test]
fn drop_request_every_missing_answer_ends_the_cycle() {
    for (index, (repository, role)) in [
        (Repository::Director, Role::Timestamp),
        (Repository::Director, Role::Snapshot),
        (Repository::Director, Role::Targets),
        (Repository::Image, Role::Timestamp),
        (Repository::Image, Role::Snapshot),
        (Repository::Image, Role::Targets),
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = World::new();
        let repo = if repository == Repository::Director { &world.director } else { &world.image };
        let failure =
            [FetchFailure::NotFound, FetchFailure::Unreachable("no route".to_owned())][index % 2].clone();
        world.faults.insert(repo.path(role, 1), Err(failure));
        assert_attack(&world.error(), Attack::DropRequest, repository, role);
    }
}

#[test]
fn drop_request_an_unreachable_server_is_not_the_end_of_the_root_chain() {
    let mut world = World::new();
    world
        .faults
        .insert(world.director.path(Role::Root, 2), Err(FetchFailure::Unreachable("reset".to_owned())));
    assert_attack(&world.error(), Attack::DropRequest, Repository::Director, Role::Root);
}

#[test]
fn slow_retrieval_is_named_as_such() {
    let mut world = World::new();
    world.faults.insert(world.image.path(Role::Targets, 1), Err(FetchFailure::TooSlow));
    assert_attack(&world.error(), Attack::SlowRetrieval, Repository::Image, Role::Targets);
}

#[test]
fn freeze_expired_metadata_of_every_role_is_refused_from_the_exact_second_on() {
    for director in [true, false] {
        for role in Role::ALL {
            let mut world = World::new();
            let repo = if director { &mut world.director } else { &mut world.image };
            // The other roles live longer, so that it is this one's expiry that is found.
            for (other, expires) in &mut repo.expires {
                *expires = if *other == role { NOW + 10 } else { EXPIRES };
            }
            repo.rotate(Role::Root);
            repo.publish_root();
            world.publish(2, &campaign());

            let trusted = world.trusted.clone();
            world.now = NOW + 9;
            world.verified();
            let repository = if director { Repository::Director } else { Repository::Image };
            // Whether the file comes over the network or lies in the store makes no difference.
            for trusted in [trusted, world.trusted.clone()] {
                for now in [NOW + 10, NOW + 11] {
                    world.trusted = trusted.clone();
                    world.now = now;
                    assert_attack(&world.error(), Attack::Freeze, repository, role);
                }
            }
        }
    }
}

#[test]
fn freeze_replayed_old_files_expire_even_though_they_are_stored() {
    let mut world = World::new();
    world.verified();
    world.now = EXPIRES;
    assert_attack(&world.error(), Attack::Freeze, Repository::Director, Role::Root);
}

#[test]
fn rollback_of_the_timestamp_is_refused() {
    let mut world = World::new();
    let old = world.director.files[&world.director.path(Role::Timestamp, 1)].clone();
    world.publish(2, &campaign());
    world.verified();
    world.faults.insert(world.director.path(Role::Timestamp, 1), Ok(old));
    let error = world.error();
    assert_attack(&error, Attack::Rollback, Repository::Director, Role::Timestamp);
    assert!(matches!(error, VerifyError::Rollback { trusted: 2, offered: 1, .. }));
}

#[test]
fn rollback_of_the_snapshot_behind_a_new_timestamp_is_refused() {
    let mut world = World::new();
    let old = world.image.files[&world.image.path(Role::Snapshot, 1)].clone();
    world.publish(2, &campaign());
    world.verified();
    world.image.publish_timestamp(3, listed(1, &old));
    let error = world.error();
    assert!(
        matches!(error, VerifyError::Rollback { by, document: of, trusted: 2, offered: 1 }
            if by.role == Role::Timestamp && of == document(Repository::Image, Role::Snapshot)),
        "{error:?}"
    );
}

#[test]
fn rollback_of_the_targets_behind_a_new_snapshot_is_refused() {
    let mut world = World::new();
    let old = world.director.files[&world.director.path(Role::Targets, 1)].clone();
    world.publish(2, &campaign());
    world.verified();
    let snapshot = Snapshot { targets: listed(1, &old), others: Default::default() };
    world.director.publish_snapshot(3, snapshot);
    assert_attack(&world.error(), Attack::Rollback, Repository::Director, Role::Snapshot);
}

#[test]
fn rollback_of_the_targets_is_refused_though_only_one_witness_of_the_newer_ones_is_left() {
    for snapshot_is_left in [true, false] {
        let mut world = World::new();
        let old = world.director.files[&world.director.path(Role::Targets, 1)].clone();
        world.publish(2, &campaign());
        world.verified();
        if snapshot_is_left {
            // As after a power cut between the two.
            world.trusted.director.targets = None;
        } else {
            world.director.rotate(Role::Snapshot);
            world.director.publish_root();
        }
        let snapshot = Snapshot { targets: listed(1, &old), others: Default::default() };
        world.director.publish_snapshot(3, snapshot);
        let error = world.error();
        assert!(matches!(error, VerifyError::Rollback { trusted: 2, offered: 1, .. }), "{error:?}");
        assert_attack(&error, Attack::Rollback, Repository::Director, Role::Snapshot);
    }
}

#[test]
fn rollback_by_a_file_that_vanishes_from_the_snapshot_is_refused() {
    let mut world = World::new();
    let targets = world.image.files[&world.image.path(Role::Targets, 1)].clone();
    let others = [("supplier.json".to_owned(), listed(5, b"five"))];
    let snapshot = |others: &[(String, _)]| Snapshot {
        targets: listed(1, &targets),
        others: others.iter().cloned().collect(),
    };
    world.image.publish_snapshot(2, snapshot(&others));
    world.verified();
    world.image.publish_snapshot(3, snapshot(&[("supplier.json".to_owned(), listed(4, b"four"))]));
    assert!(matches!(world.error(), VerifyError::ListedRollback { trusted: 5, offered: 4, .. }));
    world.image.publish_snapshot(3, snapshot(&[]));
    let error = world.error();
    assert!(matches!(&error, VerifyError::Vanished { file, .. } if file == "supplier.json"));
    assert_attack(&error, Attack::Rollback, Repository::Image, Role::Snapshot);
}

#[test]
fn rollback_of_the_software_is_refused_below_the_installed_release() {
    for (counter, fine) in [(8, true), (7, true), (6, false)] {
        let mut world = World::new();
        let mut targets = campaign();
        bend(&mut targets, "brake.bin", |custom| custom.release_counter = counter);
        world.publish(2, &targets);
        if fine {
            assert_eq!(world.verified().assignments.len(), 2);
        } else {
            let error = world.error();
            assert_attack(&error, Attack::Rollback, Repository::Director, Role::Targets);
            assert!(matches!(error, VerifyError::ReleaseRollback { installed: 7, offered: 6, .. }));
        }
    }
}

#[test]
fn endless_data_is_cut_off_one_byte_past_the_limit() {
    for (role, limit) in [(Role::Root, 512 << 10), (Role::Timestamp, 16 << 10)] {
        let mut world = World::new();
        let path = world.director.path(role, 2);
        world.faults.insert(path.clone(), Ok(vec![b' '; limit]));
        assert!(matches!(world.error(), VerifyError::Malformed { .. }));
        world.faults.insert(path.clone(), Ok(vec![b' '; limit + 1]));
        assert_attack(&world.error(), Attack::EndlessData, Repository::Director, role);
        world.faults.insert(path, Err(FetchFailure::TooLong));
        assert_attack(&world.error(), Attack::EndlessData, Repository::Director, role);
    }
}

#[test]
fn endless_data_past_the_listed_length_is_cut_off_there() {
    for role in [Role::Snapshot, Role::Targets] {
        let mut world = World::new();
        let path = world.image.path(role, 1);
        let mut bytes = world.image.files[&path].clone();
        let length = bytes.len();
        bytes.push(b' ');
        world.faults.insert(path, Ok(bytes));
        let error = world.error();
        assert!(
            matches!(error, VerifyError::TooLong { limit, found, .. } if limit == length && found == length + 1)
        );
        assert_attack(&error, Attack::EndlessData, Repository::Image, role);
    }
}

#[test]
fn endless_data_as_an_endless_chain_of_roots_is_taken_in_portions() {
    let mut world = World::new();
    world.limits.root_rotations = 3;
    for _ in 0..4 {
        world.director.publish_root();
    }
    assert_attack(&world.error(), Attack::EndlessData, Repository::Director, Role::Root);
    // The three that were taken count, so the next cycle gets through.
    world.verified();
}

#[test]
fn mix_and_match_of_genuine_files_of_different_snapshots_is_refused() {
    for role in [Role::Snapshot, Role::Targets] {
        let mut world = World::new();
        let mut other = campaign();
        // One digit more or less would already be seen by the length.
        bend(&mut other, "body.bin", |custom| custom.release_counter = 9);
        let now = world.image.files[&world.image.path(role, 1)].clone();
        world.publish(2, &other);
        world.faults.insert(world.image.path(role, 2), Ok(now));
        let error = world.error();
        assert_attack(&error, Attack::MixAndMatch, Repository::Image, role);
        assert!(matches!(error, VerifyError::WrongHash { .. }));
        // A shorter one is seen by its length.
        world.faults.insert(world.image.path(role, 2), Ok(b"{}".to_vec()));
        let error = world.error();
        assert!(matches!(error, VerifyError::WrongLength { found: 2, .. }));
        assert_attack(&error, Attack::MixAndMatch, Repository::Image, role);
    }
}

#[test]
fn mix_and_match_is_refused_by_version_where_no_hash_is_listed() {
    let mut world = World::new();
    let old = world.director.files[&world.director.path(Role::Targets, 1)].clone();
    world.director.publish_targets_file(2, old);
    let path = world.director.path(Role::Targets, 2);
    let mut bare = listed(2, b"");
    (bare.length, bare.hashes) = (None, Default::default());
    world.director.publish_snapshot(3, Snapshot { targets: bare, others: Default::default() });
    assert!(world.director.files.contains_key(&path));
    let error = world.error();
    assert!(matches!(error, VerifyError::WrongVersion { listed: 2, found: 1, .. }), "{error:?}");
    assert_attack(&error, Attack::MixAndMatch, Repository::Director, Role::Targets);
}

#[test]
fn mix_and_match_between_the_repositories_is_refused_field_by_field() {
    type Change = fn(&mut ota::uptane::Target);
    let changes: [(&str, Change); 7] = [
        ("length", |target| {
            // The chunks must go along, or the file would not even parse.
            let chunks = &mut target.custom.as_mut().unwrap().chunks;
            chunks.layout = ota::image::ChunkLayout::new(10_001, 4096, None).unwrap();
            target.length = 10_001;
        }),
        ("hashes", |target| target.hashes = hashes(b"other")),
        ("custom", |target| target.custom = None),
        ("hardware_ids", |target| {
            target.custom.as_mut().unwrap().hardware_ids.push("other".parse().unwrap());
        }),
        ("release_counter", |target| target.custom.as_mut().unwrap().release_counter += 1),
        ("version", |target| target.custom.as_mut().unwrap().version = "2.1.1".parse().unwrap()),
        ("chunks", |target| {
            let tree = &mut target.custom.as_mut().unwrap().chunks.tree;
            tree.root = crypto_offload::job::Digest::new(&[8; 32]).unwrap();
        }),
    ];
    for (field, change) in changes {
        let mut world = World::new();
        let mut image = for_image_repository(&campaign());
        change(image.get_mut(&name("brake.bin")).unwrap());
        world.image.publish(2, Targets::new(image, None));
        let error = world.error();
        assert!(
            matches!(error, VerifyError::Disagree { field: found, .. } if found == field),
            "{field}: {error}"
        );
        assert_attack(&error, Attack::MixAndMatch, Repository::Image, Role::Targets);
    }
}

#[test]
fn arbitrary_software_signed_by_a_stranger_is_refused_in_every_role() {
    for director in [true, false] {
        for role in [Role::Timestamp, Role::Snapshot, Role::Targets] {
            let mut world = World::new();
            let repo = if director { &mut world.director } else { &mut world.image };
            // The thief has a key of its own and publishes with it, but the root does not name it.
            repo.rotate(role);
            world.publish(2, &campaign());
            let repository = if director { Repository::Director } else { Repository::Image };
            assert_attack(&world.error(), Attack::ArbitrarySoftware, repository, role);
        }
    }
}

#[test]
fn arbitrary_software_by_one_flipped_bit_is_refused() {
    let mut world = World::new();
    let path = world.director.path(Role::Timestamp, 1);
    let mut bytes = world.director.files[&path].clone();
    let digit = bytes.windows(10).position(|window| window == b"\"version\":").unwrap() + 10;
    bytes[digit] ^= 2;
    world.faults.insert(path, Ok(bytes));
    assert_attack(&world.error(), Attack::ArbitrarySoftware, Repository::Director, Role::Timestamp);
}

#[test]
fn arbitrary_software_by_the_director_alone_is_refused() {
    let mut world = World::new();
    let mut targets = campaign();
    targets.insert(name("evil.bin"), targets[&name("brake.bin")].clone());
    targets.remove(&name("brake.bin"));
    world.director.publish(2, Targets::new(targets, Some(info())));
    let error = world.error();
    assert!(matches!(&error, VerifyError::NotInImageRepository(target) if target.as_str() == "evil.bin"));
    assert_attack(&error, Attack::ArbitrarySoftware, Repository::Image, Role::Targets);
}

#[test]
fn arbitrary_software_meant_for_another_vehicle_or_other_hardware_is_refused() {
    let mut world = World::new();
    let mut other = info();
    other.vin = "WDB9066331S654321".parse().unwrap();
    world.director.publish(2, Targets::new(campaign(), Some(other)));
    let error = world.error();
    assert!(matches!(error, VerifyError::WrongVehicle { .. }));
    assert_attack(&error, Attack::ArbitrarySoftware, Repository::Director, Role::Targets);

    for also_assigned in [false, true] {
        let mut targets = campaign();
        bend(&mut targets, "brake.bin", |custom| {
            if also_assigned {
                let assignment = custom.ecu_identifiers.get_mut(&serial("brake-1")).unwrap();
                assignment.hardware_id = "other".parse().unwrap();
            } else {
                custom.hardware_ids = vec!["other".parse().unwrap()];
            }
        });
        world.publish(3, &targets);
        let error = world.error();
        assert!(matches!(&error, VerifyError::WrongHardware { serial, .. } if serial.as_str() == "brake-1"));
        assert_attack(&error, Attack::ArbitrarySoftware, Repository::Director, Role::Targets);
    }
}

#[test]
fn partial_bundle_a_campaign_missing_one_of_its_images_installs_none() {
    let mut world = World::new();
    let mut image = for_image_repository(&campaign());
    image.remove(&name("body.bin"));
    world.image.publish(2, Targets::new(image, None));
    assert!(matches!(world.error(), VerifyError::NotInImageRepository(_)));
}

#[test]
fn fast_forward_is_recovered_from_by_changing_the_keys() {
    let mut world = World::new();
    // A thief of the timestamp and snapshot keys gives them versions that nobody will ever reach.
    let targets = world.director.files[&world.director.path(Role::Targets, 1)].clone();
    let huge = (1 << 53) - 1;
    world
        .director
        .publish_snapshot(huge, Snapshot { targets: listed(1, &targets), others: Default::default() });
    world.verified();
    world.publish(2, &campaign());
    assert_attack(&world.error(), Attack::Rollback, Repository::Director, Role::Timestamp);

    world.director.rotate(Role::Timestamp);
    world.director.rotate(Role::Snapshot);
    world.director.publish_root();
    world.publish(2, &campaign());
    assert_eq!(world.verified().director_version, 2);
}

#[test]
fn fast_forward_of_the_targets_is_recovered_from_too() {
    let mut world = World::new();
    world.publish((1 << 53) - 1, &campaign());
    world.verified();
    for role in [Role::Timestamp, Role::Snapshot, Role::Targets] {
        world.director.rotate(role);
        world.image.rotate(role);
    }
    world.director.publish_root();
    world.image.publish_root();
    world.publish(2, &campaign());
    assert_eq!(world.verified().director_version, 2);
}

#[test]
fn a_role_cannot_stand_in_for_another() {
    let mut world = World::new();
    let snapshot = world.director.files[&world.director.path(Role::Snapshot, 1)].clone();
    world.faults.insert(world.director.path(Role::Timestamp, 1), Ok(snapshot));
    let error = world.error();
    assert!(matches!(error, VerifyError::Malformed { .. }), "{error:?}");
    // Not even where the same bytes would be well formed: `_type` is signed.
    let verifier = crypto_offload::software::SoftwareVerifier;
    let bytes = &world.director.files[&world.director.path(Role::Targets, 1)];
    let bounds = ota::uptane::canonical::Bounds::metadata(bytes.len());
    assert!(Signed::<Targets>::parse(bytes, bounds, &verifier).is_ok());
    assert!(Signed::<Snapshot>::parse(bytes, bounds, &verifier).is_err());
}
