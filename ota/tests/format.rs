//! The bytes of metadata, and what is refused of other people's bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod common;

use std::collections::BTreeMap;

use common::*;
use crypto_offload::job::{Cipher, Digest, HashAlgorithm};
use crypto_offload::software::SoftwareVerifier;
use ota::image::ChunkLayout;
use ota::uptane::canonical::Bounds;
use ota::uptane::{
    Chunks, EcuAssignment, Hashes, Install, MetadataError, PlainDigests, Root, Signed, Snapshot, Target,
    TargetCustom, Targets, Timestamp, TreeRoot, WrappedKey,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const BOUNDS: Bounds = Bounds::metadata(1 << 20);

fn full_target() -> Target {
    let layout = ChunkLayout::new(1_048_576, 65536, Some(Cipher::Sm4Gcm)).unwrap();
    Target {
        length: layout.stored_size(),
        hashes: Hashes::new([(HashAlgorithm::Sm3, Digest::new(&[0xab; 32]).unwrap())]),
        custom: Some(TargetCustom {
            hardware_ids: vec!["brake-s32k3".parse().unwrap()],
            release_counter: 7,
            version: "2.1.0".parse().unwrap(),
            chunks: Chunks {
                layout,
                tree: TreeRoot { algorithm: HashAlgorithm::Sm3, root: Digest::new(&[0xcd; 32]).unwrap() },
                plain: PlainDigests { sha256: Digest::new(&[9; 32]).unwrap(), crc32: 0xcbf4_3926 },
            },
            ecu_identifiers: BTreeMap::from([(
                serial("brake-1"),
                EcuAssignment { hardware_id: "brake-s32k3".parse().unwrap() },
            )]),
            content_key: Some(WrappedKey { kek: "kek-1".parse().unwrap(), wrapped: vec![0xef; 44] }),
            install: Some(Install { order: 1, group: "chassis".parse().unwrap(), preconditions: Vec::new() }),
        }),
    }
}

fn full_targets() -> Value {
    json!({
        "_type": "targets", "spec_version": "1.0.31", "version": 4, "expires": "2030-03-17T18:03:20Z",
        "custom": { "vin": VIN, "campaign": "spring", "ota_trace_id": "G0123456789abcde" },
        "targets": { "brake.bin": {
            "length": 1_048_832, "hashes": { "sm3": "ab".repeat(32) },
            "custom": {
                "hardware_ids": ["brake-s32k3"], "release_counter": 7, "version": "2.1.0",
                "chunks": { "plain_size": 1_048_576, "chunk_size": 65536, "cipher": "sm4-gcm",
                            "tree": { "algorithm": "sm3", "root": "cd".repeat(32) },
                            "plain": { "sha256": "09".repeat(32), "crc32": "cbf43926" } },
                "ecu_identifiers": { "brake-1": { "hardware_id": "brake-s32k3" } },
                "content_key": { "kek": "kek-1", "wrapped": "ef".repeat(44) },
                "install": { "order": 1, "group": "chassis", "preconditions": [] },
            },
        } },
    })
}

fn parse(signed: &Value) -> Result<Signed<Targets>, MetadataError> {
    let file = json!({ "signatures": [], "signed": signed });
    Signed::parse(file.to_string().as_bytes(), BOUNDS, &SoftwareVerifier)
}

#[test]
fn targets_are_written_in_the_fields_of_the_architecture() {
    let targets = Targets::new(BTreeMap::from([(name("brake.bin"), full_target())]), Some(info()));
    let signed = Signed::new(4, utc(EXPIRES), targets.clone(), &SoftwareVerifier).unwrap();
    let written: Value = serde_json::from_slice(signed.signed_bytes()).unwrap();
    assert_eq!(written, full_targets());
    assert_eq!(parse(&written).unwrap().body(), &targets);
}

#[test]
fn images_and_trees_lie_under_their_hash_and_name() {
    let (target, name) = (full_target(), name("brake.bin"));
    let hash = "ab".repeat(32);
    assert_eq!(target.path(&name), Some(format!("targets/{hash}.brake.bin")));
    assert_eq!(target.tree_path(&name), Some(format!("targets/{hash}.brake.bin.tree")));
}

#[test]
fn unknown_fields_stay_signed_and_are_written_again() {
    let mut signed = full_targets();
    signed["x-supplier"] = json!({ "a": [1, "b"] });
    let signer = Signer::new(crypto_offload::job::SignatureScheme::Ed25519);
    let mut metadata = parse(&signed).unwrap();
    signer.sign(&mut metadata);
    let written: Value = serde_json::from_slice(&metadata.to_bytes().unwrap()).unwrap();
    assert_eq!(written["signed"], signed);
    assert_eq!(written["signatures"][0]["keyid"], signer.id.to_string());
}

#[test]
fn a_target_that_does_not_add_up_is_refused() {
    let cases: &[(&str, Value)] = &[
        ("/version", json!(0)),
        ("/version", json!(1_u64 << 53)),
        ("/_type", json!("snapshot")),
        ("/spec_version", json!("2.0.0")),
        ("/expires", json!("2030-03-17T18:03:20+00:00")),
        ("/custom/vin", json!("short")),
        ("/custom/ota_trace_id", json!("g0123456789abcde")),
        ("/targets/brake.bin/length", json!(1_048_831)),
        ("/targets/brake.bin/length", json!(-1)),
        ("/targets/brake.bin/hashes", json!({ "md5": "00" })),
        ("/targets/brake.bin/hashes", json!({ "sm3": "ab" })),
        ("/targets/brake.bin/custom/hardware_ids", json!([])),
        ("/targets/brake.bin/custom/hardware_ids", json!(vec!["a"; 257])),
        ("/targets/brake.bin/custom/release_counter", json!(1_u64 << 53)),
        ("/targets/brake.bin/custom/chunks/chunk_size", json!(65537)),
        ("/targets/brake.bin/custom/chunks/chunk_size", json!(1_u64 << 40)),
        ("/targets/brake.bin/custom/chunks/plain_size", json!(0)),
        ("/targets/brake.bin/custom/chunks/plain_size", json!(u64::MAX)),
        ("/targets/brake.bin/custom/chunks/cipher", json!("rot13")),
        ("/targets/brake.bin/custom/chunks/cipher", json!("none")),
        ("/targets/brake.bin/custom/chunks/tree/algorithm", json!("sha512")),
        ("/targets/brake.bin/custom/chunks/tree/root", json!("cd".repeat(31))),
        ("/targets/brake.bin/custom/chunks/plain/sha256", json!("09".repeat(31))),
        ("/targets/brake.bin/custom/chunks/plain/crc32", json!("cbf4392")),
        ("/targets/brake.bin/custom/chunks/plain/crc32", json!("+bf43926")),
        ("/targets/brake.bin/custom/content_key/wrapped", json!("ef".repeat(43))),
        ("/targets/brake.bin/custom/install/group", json!("../x")),
    ];
    assert!(parse(&full_targets()).is_ok());
    for (pointer, value) in cases {
        let mut signed = full_targets();
        *signed.pointer_mut(pointer).unwrap() = value.clone();
        assert!(parse(&signed).is_err(), "{pointer} = {value}");
    }
    let mut signed = full_targets();
    let target = signed["targets"]["brake.bin"].take();
    signed["targets"] = json!({ "../brake.bin": target });
    assert!(parse(&signed).is_err());
}

#[test]
fn delegations_are_refused_unless_empty() {
    for (delegations, fine) in [
        (json!({ "keys": {}, "roles": [] }), true),
        (json!({ "keys": { "k": {} }, "roles": [] }), false),
        (json!({ "keys": {}, "roles": [{ "name": "supplier" }] }), false),
        (json!({ "keys": {}, "succinct_roles": { "bit_length": 1 } }), false),
    ] {
        let mut signed = full_targets();
        signed["delegations"] = delegations.clone();
        match parse(&signed) {
            Ok(_) => assert!(fine, "{delegations}"),
            Err(error) => {
                assert!(!fine && matches!(error, MetadataError::Delegations), "{delegations}: {error:?}");
            }
        }
    }
}

#[test]
fn a_publisher_cannot_make_what_a_vehicle_refuses() {
    let mut target = full_target();
    target.length += 1;
    let targets = Targets::new(BTreeMap::from([(name("brake.bin"), target)]), Some(info()));
    let error = Signed::new(1, utc(EXPIRES), targets, &SoftwareVerifier).unwrap_err();
    assert!(matches!(error, MetadataError::Target { .. }), "{error:?}");
}

#[test]
fn a_repeated_key_anywhere_is_refused() {
    let file = json!({ "signatures": [], "signed": full_targets() }).to_string();
    let doubled = file.replacen("\"release_counter\":7", "\"release_counter\":9,\"release_counter\":7", 1);
    assert_ne!(file, doubled);
    let result = Signed::<Targets>::parse(doubled.as_bytes(), BOUNDS, &SoftwareVerifier);
    assert!(matches!(result, Err(MetadataError::Parse(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_of_metadata_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Signed::<Root>::parse(&bytes, BOUNDS, &SoftwareVerifier);
        let _ = Signed::<Timestamp>::parse(&bytes, BOUNDS, &SoftwareVerifier);
        let _ = Signed::<Snapshot>::parse(&bytes, BOUNDS, &SoftwareVerifier);
        let _ = Signed::<Targets>::parse(&bytes, BOUNDS, &SoftwareVerifier);
    }

    #[test]
    fn no_change_of_a_genuine_file_makes_a_parser_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut file = json!({ "signatures": [], "signed": full_targets() }).to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = Signed::<Targets>::parse(&file, BOUNDS, &SoftwareVerifier);
    }
}
