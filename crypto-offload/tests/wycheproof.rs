//! Project Wycheproof's AEAD vectors, where a copy of them is at hand; they are no part of this project.
#![cfg(feature = "software")]

use std::path::PathBuf;
use std::sync::Arc;

use crypto_offload::job::{Cipher, Seal, SecretKey};
use crypto_offload::sm3::HmacSm3;
use crypto_offload::sm4::{Backend, Sm4Ccm, Sm4Gcm};
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
    #[serde(default)]
    iv_size: usize,
    tag_size: usize,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: u32,
    key: String,
    #[serde(default)]
    iv: String,
    #[serde(default)]
    aad: String,
    msg: String,
    #[serde(default)]
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

#[test]
fn sm4_gcm_with_every_back_end_and_nonces_of_any_length() {
    let Some(file) = read("sm4_gcm_test.json") else { return };
    for backend in Backend::ALL.iter().copied().filter(|backend| backend.is_available()) {
        let mut tally = Tally::default();
        for (group, case) in cases(&file) {
            assert_eq!((group.key_size, group.tag_size), (128, 128));
            let cipher = Sm4Gcm::with_backend(&array(&case.key), backend).expect("available");
            let (mut text, tag) = (bytes(&case.ct), bytes(&case.tag));
            // Only an invalid case has a tag of another length.
            let opened = tag.as_slice().try_into().is_ok_and(|tag| {
                cipher.open_with_long_nonce(&bytes(&case.iv), &bytes(&case.aad), &mut text, tag).is_ok()
            });
            tally.count(case, opened);
            if opened {
                assert_eq!(text, bytes(&case.msg), "{backend:?} case {}", case.tc_id);
                let sealed = cipher.seal_with_long_nonce(&bytes(&case.iv), &bytes(&case.aad), &mut text);
                assert_eq!((sealed.map(Vec::from), text), (Ok(tag), bytes(&case.ct)), "{backend:?}");
            }
        }
        println!("checked: sm4_gcm_test.json, {backend:?}: {tally:?}");
        assert_eq!(tally.valid + tally.invalid, file.number_of_tests);
    }
}

#[test]
fn sm4_ccm_with_every_back_end() {
    let Some(file) = read("sm4_ccm_test.json") else { return };
    for backend in Backend::ALL.iter().copied().filter(|backend| backend.is_available()) {
        let mut tally = Tally::default();
        for (_, case) in cases(&file) {
            let cipher = Sm4Ccm::with_backend(&array(&case.key), backend).expect("available");
            let (mut text, tag) = (bytes(&case.ct), bytes(&case.tag));
            let opened =
                cipher.open_with_lengths(&bytes(&case.iv), &bytes(&case.aad), &mut text, &tag).is_ok();
            tally.count(case, opened);
            if opened {
                assert_eq!(text, bytes(&case.msg), "{backend:?} case {}", case.tc_id);
                let mut sealed = vec![0; tag.len()];
                let (iv, aad) = (bytes(&case.iv), bytes(&case.aad));
                assert_eq!(cipher.seal_with_lengths(&iv, &aad, &mut text, &mut sealed), Ok(()));
                assert_eq!((sealed, text), (tag, bytes(&case.ct)), "{backend:?} case {}", case.tc_id);
            }
        }
        println!("checked: sm4_ccm_test.json, {backend:?}: {tally:?}");
        assert_eq!(tally.valid + tally.invalid, file.number_of_tests);
    }
}

#[test]
fn hmac_sm3() {
    let Some(file) = read("hmac_sm3_test.json") else { return };
    let mut tally = Tally::default();
    for (_, case) in cases(&file) {
        let mut mac = HmacSm3::new(&bytes(&case.key));
        mac.update(&bytes(&case.msg));
        tally.count(case, mac.verify(&bytes(&case.tag)));
    }
    println!("checked: hmac_sm3_test.json: {tally:?}");
    assert_eq!(tally.valid + tally.invalid, file.number_of_tests);
}

impl Tally {
    fn count(&mut self, case: &Case, accepted: bool) {
        assert_eq!(accepted, case.result == "valid", "case {}", case.tc_id);
        if accepted { self.valid += 1 } else { self.invalid += 1 }
    }
}

fn cases(file: &File) -> impl Iterator<Item = (&Group, &Case)> {
    file.test_groups.iter().flat_map(|group| group.tests.iter().map(move |case| (group, case)))
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hex")
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    bytes(text).try_into().expect("as many bytes as the algorithm wants")
}

/// Reads a file of vectors, or prints that it is not at hand.
fn read(name: &str) -> Option<File> {
    let folder = std::env::var_os("GATEWAYD_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/wycheproof"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(folder.join(name)) else {
        println!("not checked: {name} is not in {} (set GATEWAYD_VECTORS)", folder.display());
        return None;
    };
    Some(serde_json::from_str(&text).expect("a Wycheproof file"))
}

/// Runs a file's vectors by jobs.
fn check(name: &str, cipher: impl Fn(usize) -> Option<Cipher>) -> Option<(File, Tally)> {
    let file = read(name)?;
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
