//! Project Wycheproof's AEAD vectors, where a copy of them is at hand; they are no part of this project.
#![cfg(feature = "software")]

use std::path::PathBuf;
use std::sync::Arc;

use crypto_offload::job::{Cipher, Seal, SecretKey};
use crypto_offload::software::aead;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    key_size: usize,
    iv_size: usize,
    tag_size: usize,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: u32,
    key: String,
    iv: String,
    aad: String,
    msg: String,
    ct: String,
    tag: String,
    result: String,
}

/// What became of a file's vectors.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    valid: usize,
    invalid: usize,
    /// Key or nonce lengths that this crate does not offer.
    skipped: usize,
}

#[test]
fn sm4_gcm() {
    let Some((file, tally)) =
        check("sm4_gcm_test.json", |key_bits| (key_bits == 128).then_some(Cipher::Sm4Gcm))
    else {
        return;
    };
    assert_eq!(tally.valid + tally.invalid + tally.skipped, file.number_of_tests);
    assert!(tally.valid >= 20 && tally.invalid >= 20, "{tally:?}");
}

#[test]
fn aes_gcm() {
    let Some((file, tally)) = check("aes_gcm_test.json", |key_bits| match key_bits {
        128 => Some(Cipher::Aes128Gcm),
        256 => Some(Cipher::Aes256Gcm),
        _ => None,
    }) else {
        return;
    };
    assert_eq!(tally.valid + tally.invalid + tally.skipped, file.number_of_tests);
    assert!(tally.valid >= 40 && tally.invalid >= 40, "{tally:?}");
}

/// Runs a file's vectors, or prints that it is not at hand.
fn check(name: &str, cipher: impl Fn(usize) -> Option<Cipher>) -> Option<(File, Tally)> {
    let folder = std::env::var_os("GATEWAYD_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/wycheproof"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(folder.join(name)) else {
        println!("not checked: {name} is not in {} (set GATEWAYD_VECTORS)", folder.display());
        return None;
    };
    let file: File = serde_json::from_str(&text).expect("a Wycheproof file");
    let mut tally = Tally::default();
    for group in &file.test_groups {
        match cipher(group.key_size) {
            Some(cipher) if (group.iv_size, group.tag_size) == (96, 128) => {
                group.tests.iter().for_each(|case| check_case(cipher, case, &mut tally));
            }
            _ => tally.skipped += group.tests.len(),
        }
    }
    println!("checked: {name}: {tally:?}");
    Some((file, tally))
}

fn check_case(cipher: Cipher, case: &Case, tally: &mut Tally) {
    let bytes = |text: &str| hex::decode(text).expect("hex");
    let seal = Seal {
        cipher,
        key: Arc::new(SecretKey::new(bytes(&case.key))),
        nonce: bytes(&case.iv).try_into().expect("12 bytes"),
        aad: bytes(&case.aad),
    };
    let (plain, sealed) = (bytes(&case.msg), bytes(&format!("{}{}", case.ct, case.tag)));
    let opened = aead::open(&seal, sealed.clone());
    if case.result == "valid" {
        tally.valid += 1;
        assert_eq!(opened.as_ref(), Ok(&plain), "case {}", case.tc_id);
        assert_eq!(aead::seal(&seal, plain), Ok(sealed), "case {}", case.tc_id);
    } else {
        tally.invalid += 1;
        assert!(opened.is_err(), "case {}", case.tc_id);
    }
}
