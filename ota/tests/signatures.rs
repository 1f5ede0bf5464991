//! Keys, thresholds and the chain of roots.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod common;

use common::*;
use crypto_offload::job::SignatureScheme;
use crypto_offload::software::SoftwareVerifier;
use ota::uptane::canonical::Bounds;
use ota::uptane::verify::{FetchFailure, Verification, VerifyError};
use ota::uptane::{Key, MetadataError, Repository, Role, Root, Signed, Targets, ThresholdNotMet};

const BOUNDS: Bounds = Bounds::metadata(1 << 20);

#[test]
fn every_scheme_carries_a_whole_cycle() {
    for scheme in [SignatureScheme::Ed25519, SignatureScheme::EcdsaSha2Nistp256, SignatureScheme::Sm2Sm3] {
        let mut world = World::with_scheme(scheme);
        assert_eq!(world.verified().assignments.len(), 2, "{scheme:?}");
    }
}

/// A repository whose targets need two of three keys.
fn two_of_three() -> Repo {
    let mut repo = Repo::new("image", SignatureScheme::Ed25519);
    let signers = repo.keys.get_mut(&Role::Targets).unwrap();
    signers.push(Signer::new(SignatureScheme::Sm2Sm3));
    signers.push(Signer::new(SignatureScheme::EcdsaSha2Nistp256));
    repo.thresholds.insert(Role::Targets, 2);
    repo
}

fn unsigned() -> Signed<Targets> {
    Signed::new(1, utc(EXPIRES), Targets::new(Default::default(), None), &SoftwareVerifier).unwrap()
}

fn verify(repo: &Repo, targets: &Signed<Targets>) -> Result<(), ThresholdNotMet> {
    repo.next_root(1).body().verify(targets, &SoftwareVerifier)
}

#[test]
fn a_threshold_is_met_by_that_many_different_keys() {
    let repo = two_of_three();
    let mut targets = unsigned();
    assert_eq!(verify(&repo, &targets), Err(ThresholdNotMet { valid: 0, threshold: 2 }));
    repo.keys[&Role::Targets][0].sign(&mut targets);
    assert_eq!(verify(&repo, &targets), Err(ThresholdNotMet { valid: 1, threshold: 2 }));
    repo.keys[&Role::Targets][2].sign(&mut targets);
    assert_eq!(verify(&repo, &targets), Ok(()));
}

#[test]
fn two_signatures_by_one_key_count_once() {
    let repo = two_of_three();
    let mut targets = unsigned();
    repo.keys[&Role::Targets][0].sign(&mut targets);
    let mut file: serde_json::Value = serde_json::from_slice(&targets.to_bytes().unwrap()).unwrap();
    let signatures = file["signatures"].as_array_mut().unwrap();
    signatures.push(signatures[0].clone());
    let doubled = Signed::parse(file.to_string().as_bytes(), BOUNDS, &SoftwareVerifier).unwrap();
    assert_eq!(doubled.signatures().len(), 2);
    assert_eq!(verify(&repo, &doubled), Err(ThresholdNotMet { valid: 1, threshold: 2 }));
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let repo = two_of_three();
    let mut targets = unsigned();
    let signer = &repo.keys[&Role::Targets][2];
    signer.sign(&mut targets);
    // The same key in another spelling of its PEM has another, correctly computed id.
    let mut key = serde_json::to_value(Key::from_public(&signer.key.public().unwrap())).unwrap();
    let text = key["keyval"]["public"].as_str().unwrap().trim_end().to_owned() + "\n\n";
    key["keyval"]["public"] = text.into();
    let key: Key = serde_json::from_value(key).unwrap();
    let id = key.id(&SoftwareVerifier);
    assert_ne!(id, signer.id);

    let mut root = repo.next_root(1).body().clone();
    root.keys.insert(id, key.clone());
    root.roles.targets.keyids.push(id);
    targets.sign_with(|bytes| (id, signer.key.sign(bytes).unwrap()));
    assert_eq!(targets.signatures().len(), 2);
    let expected = ThresholdNotMet { valid: 1, threshold: 2 };
    assert_eq!(root.verify(&targets, &SoftwareVerifier), Err(expected));
}

#[test]
fn keys_of_other_roles_and_unknown_keys_do_not_count() {
    let repo = two_of_three();
    let mut targets = unsigned();
    repo.keys[&Role::Targets][0].sign(&mut targets);
    repo.keys[&Role::Root][0].sign(&mut targets);
    Signer::new(SignatureScheme::Ed25519).sign(&mut targets);
    assert_eq!(targets.signatures().len(), 3);
    assert_eq!(verify(&repo, &targets), Err(ThresholdNotMet { valid: 1, threshold: 2 }));
}

#[test]
fn a_broken_signature_beside_enough_good_ones_does_no_harm() {
    let repo = two_of_three();
    let mut targets = unsigned();
    let signers = &repo.keys[&Role::Targets];
    targets.sign_with(|_| (signers[0].id, vec![0; 64]));
    signers[1].sign(&mut targets);
    assert_eq!(verify(&repo, &targets), Err(ThresholdNotMet { valid: 1, threshold: 2 }));
    signers[2].sign(&mut targets);
    assert_eq!(verify(&repo, &targets), Ok(()));
}

#[test]
fn a_key_under_a_foreign_id_and_a_threshold_of_zero_are_refused() {
    let repo = Repo::new("image", SignatureScheme::Ed25519);
    let root = repo.next_root(1);
    let mut forged = root.body().clone();
    let id = repo.keys[&Role::Root][0].id;
    let stranger = Signer::new(SignatureScheme::Ed25519);
    forged.keys.insert(id, Key::from_public(&stranger.key.public().unwrap()));
    let error = Signed::new(1, utc(EXPIRES), forged, &SoftwareVerifier).unwrap_err();
    assert!(
        matches!(error, MetadataError::KeyId { listed, computed } if listed == id && computed == stranger.id),
        "{error:?}"
    );

    let mut open = root.body().clone();
    open.roles.snapshot.threshold = 0;
    let error = Signed::new(1, utc(EXPIRES), open, &SoftwareVerifier).unwrap_err();
    assert!(matches!(error, MetadataError::ZeroThreshold(Role::Snapshot)), "{error:?}");
}

#[test]
fn a_file_with_sixty_five_signatures_is_refused() {
    let mut targets = unsigned();
    let signer = Signer::new(SignatureScheme::Ed25519);
    signer.sign(&mut targets);
    let mut file: serde_json::Value = serde_json::from_slice(&targets.to_bytes().unwrap()).unwrap();
    let signature = file["signatures"][0].clone();
    for (count, fine) in [(64, true), (65, false)] {
        file["signatures"] = vec![signature.clone(); count].into();
        let parsed = Signed::<Targets>::parse(file.to_string().as_bytes(), BOUNDS, &SoftwareVerifier);
        assert_eq!(parsed.is_ok(), fine, "{count}");
    }
}

#[test]
fn a_vehicle_follows_a_chain_of_roots_whose_keys_all_change() {
    let mut world = World::new();
    for _ in 0..3 {
        for role in Role::ALL {
            world.director.rotate(role);
        }
        world.director.publish_root();
    }
    world.publish(2, &campaign());
    world.verified();
    let root = Signed::<Root>::parse(&world.trusted.director.root, BOUNDS, &SoftwareVerifier).unwrap();
    assert_eq!(root.version(), 4);
    assert_eq!(
        world.asked[..5],
        ["2.root", "3.root", "4.root", "5.root", "timestamp"].map(|it| format!("director/{VIN}/{it}.json"))
    );
}

#[test]
fn a_root_that_changes_online_keys_takes_what_they_signed_out_of_the_store_with_it() {
    for (role, forgotten) in
        [(Role::Root, false), (Role::Timestamp, true), (Role::Snapshot, true), (Role::Targets, false)]
    {
        let mut world = World::new();
        world.verified();
        world.director.rotate(role);
        world.director.publish_root();
        // The power goes right after the root, as the timestamp never comes.
        let timestamp = world.director.path(Role::Timestamp, 1);
        world.faults.insert(timestamp, Err(FetchFailure::Unreachable("power cut".to_owned())));
        world.error();
        let left = &world.trusted.director;
        assert_eq!((left.timestamp.is_none(), left.snapshot.is_none()), (forgotten, forgotten), "{role}");
        assert!(left.targets.is_some());
    }
}

#[test]
fn a_key_that_joins_the_timestamp_role_lets_its_versions_begin_again() {
    let mut world = World::new();
    let snapshot = listed(1, &world.director.files[&world.director.path(Role::Snapshot, 1)].clone());
    world.director.publish_timestamp(9, snapshot.clone());
    world.verified();
    world.director.publish_timestamp(2, snapshot.clone());
    assert!(matches!(world.error(), VerifyError::Rollback { trusted: 9, offered: 2, .. }));
    let signers = world.director.keys.get_mut(&Role::Timestamp).unwrap();
    signers.push(Signer::new(SignatureScheme::Sm2Sm3));
    world.director.publish_root();
    world.director.publish_timestamp(2, snapshot);
    world.verified();
}

#[test]
fn an_expired_root_in_the_middle_of_the_chain_does_not_matter() {
    let mut world = World::new();
    world.director.expires.insert(Role::Root, NOW - 1);
    world.director.publish_root();
    world.director.expires.insert(Role::Root, EXPIRES);
    world.director.publish_root();
    world.verified();
}

#[test]
fn a_root_signed_only_by_the_old_or_only_by_the_new_keys_is_refused() {
    for old_keys_sign in [true, false] {
        let mut world = World::new();
        let trusted = world.trusted.clone();
        world.director.rotate(Role::Root);
        let mut root = world.director.next_root(2);
        let signers =
            if old_keys_sign { &world.director.former_root_keys } else { &world.director.keys[&Role::Root] };
        for signer in signers {
            signer.sign(&mut root);
        }
        world.faults.insert(world.director.path(Role::Root, 2), Ok(root.to_bytes().unwrap()));
        let error = world.error();
        let judge = if old_keys_sign { 2 } else { 1 };
        assert!(matches!(error, VerifyError::Signatures { root, .. } if root == judge), "{error:?}");
        assert_eq!(world.trusted, trusted, "nothing of it is trusted");
    }
}

#[test]
fn a_root_that_skips_or_repeats_a_version_is_refused() {
    for version in [1, 3] {
        let mut world = World::new();
        let mut root = world.image.next_root(version);
        world.image.keys[&Role::Root][0].sign(&mut root);
        world.faults.insert(world.image.path(Role::Root, 2), Ok(root.to_bytes().unwrap()));
        let error = world.error();
        assert!(
            matches!(error, VerifyError::RootVersion { repository: Repository::Image, expected: 2, found }
                if found == version),
            "{error:?}"
        );
    }
}

#[test]
fn a_store_whose_root_is_damaged_or_not_its_own_is_the_stores_fault() {
    let world = World::new();
    let start = |root: Vec<u8>| {
        let mut trusted = world.trusted.clone();
        trusted.image.root = root;
        Verification::new(world.vehicle.clone(), trusted, world.limits, &SoftwareVerifier).unwrap_err()
    };
    assert!(matches!(start(Vec::new()), VerifyError::Store { .. }));
    let unsigned = world.image.next_root(1).to_bytes().unwrap();
    assert!(matches!(start(unsigned), VerifyError::StoredRoot { .. }));
}
