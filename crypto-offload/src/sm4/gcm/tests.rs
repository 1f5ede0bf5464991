//! RFC 8998 A.1, RustCrypto's generic GCM over the `sm4` crate, and messages cut anywhere.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use proptest::prelude::*;

use super::*;

type Reference = aes_gcm::AesGcm<sm4::Sm4, U12>;

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.iter().copied().filter(|backend| backend.is_available())
}

fn reference(key: &[u8; 16], nonce: &[u8; 12], aad: &[u8], text: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let mut text = text.to_vec();
    let cipher = Reference::new(key.into());
    let tag = cipher.encrypt_inout_detached(nonce.into(), aad, text.as_mut_slice().into()).unwrap();
    (text, tag.into())
}

#[test]
fn the_example_of_the_rfc() {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let key: [u8; 16] = bytes("0123456789abcdeffedcba9876543210").try_into().unwrap();
    let nonce: [u8; 12] = bytes("00001234567800000000abcd").try_into().unwrap();
    let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let plain = bytes(
        "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccddddddddddddddddeeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
    );
    let sealed = "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d";
    for backend in backends() {
        let cipher = Sm4Gcm::with_backend(&key, backend).unwrap();
        let mut text = plain.clone();
        let tag = cipher.seal_in_place(&nonce, &aad, &mut text).unwrap();
        assert_eq!(hex::encode(&text), sealed, "{backend:?}");
        assert_eq!(hex::encode(tag), "83de3541e4c2b58177e065a9bf7b62ec", "{backend:?}");
        cipher.open_in_place(&nonce, &aad, &mut text, &tag).unwrap();
        assert_eq!(text, plain, "{backend:?}");
    }
}

#[test]
fn every_length_around_every_batch_size() {
    let (key, nonce) = ([1; 16], [2; 12]);
    let plain: Vec<u8> = (0..3000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for len in (0..300).chain(990..1040).chain(2000..2070).chain([3000]) {
        let aad = &plain[..len % 61];
        let (sealed, expected) = reference(&key, &nonce, aad, &plain[..len]);
        for backend in backends() {
            let cipher = Sm4Gcm::with_backend(&key, backend).unwrap();
            let mut text = plain[..len].to_vec();
            let tag = cipher.seal_in_place(&nonce, aad, &mut text).unwrap();
            assert_eq!((&text, tag), (&sealed, expected), "{backend:?} {len}");
            cipher.open_in_place(&nonce, aad, &mut text, &tag).unwrap();
            assert_eq!(text, plain[..len], "{backend:?} {len}");
        }
    }
}

#[test]
fn a_wrong_tag_leaves_the_buffer_as_it_was() {
    let cipher = Sm4Gcm::new(&[1; 16]);
    let mut text = vec![3; 2000];
    let tag = cipher.seal_in_place(&[2; 12], b"aad", &mut text).unwrap();
    let sealed = text.clone();
    for bit in 0..128 {
        let mut wrong = tag;
        wrong[bit / 8] ^= 1 << (bit % 8);
        let opened = cipher.open_in_place(&[2; 12], b"aad", &mut text, &wrong);
        assert_eq!((opened, &text), (Err(AeadError::TagMismatch), &sealed), "bit {bit}");
    }
    assert!(cipher.open_in_place(&[2; 12], b"aae", &mut text, &tag).is_err());
    assert!(cipher.open_in_place(&[2; 12], b"aad", &mut text, &tag).is_ok());
}

#[test]
fn an_empty_nonce_is_refused_and_one_of_twelve_bytes_is_not_hashed() {
    let cipher = Sm4Gcm::new(&[1; 16]);
    let mut text = [0; 20];
    assert_eq!(cipher.seal_with_long_nonce(&[], b"", &mut text), Err(AeadError::Length));
    assert_eq!(text, [0; 20]);
    let tag = cipher.seal_with_long_nonce(&[9; 12], b"", &mut text).unwrap();
    assert_eq!(cipher.open_in_place(&[9; 12], b"", &mut text, &tag), Ok(()));
}

#[test]
fn progress_that_cannot_be_is_refused() {
    let cipher = Sm4Gcm::new(&[1; 16]);
    let mut sealing = Sealing::new(&cipher, &[2; 12], b"aad").unwrap();
    sealing.update(&mut [1; 21]).unwrap();
    let good = sealing.progress().to_bytes();
    assert!(Progress::from_bytes(&good).is_some());
    // A byte behind the five of the unfinished block; a text and additional data beyond the limits.
    for at in [37, 24, 16] {
        let mut bad = good;
        bad[at] = 0xff;
        assert!(Progress::from_bytes(&bad).is_none(), "{at}");
    }
}

#[test]
fn the_last_byte_under_one_nonce_and_one_more() {
    let cipher = Sm4Gcm::new(&[1; 16]);
    let mut bytes = Sealing::new(&cipher, &[2; 12], b"").unwrap().progress().to_bytes();
    bytes[24..32].copy_from_slice(&(MAX_TEXT - 1).to_be_bytes());
    bytes[32..47].fill(1);
    let progress = Progress::from_bytes(&bytes).unwrap();
    let mut sealing = Sealing::resume(&cipher, &[2; 12], progress);
    assert_eq!(sealing.update(&mut [0; 2]), Err(AeadError::TooLong));
    assert_eq!(sealing.update(&mut [0; 1]), Ok(()));
    assert_eq!(sealing.progress().text_len(), MAX_TEXT);
    assert_eq!(sealing.update(&mut [0; 1]), Err(AeadError::TooLong));
}

#[test]
fn what_was_changed_after_its_authentication_is_found() {
    let cipher = Sm4Gcm::new(&[1; 16]);
    let mut text = vec![3; 100];
    let tag = cipher.seal_in_place(&[2; 12], b"", &mut text).unwrap();
    let mut verification = Verification::new(&cipher, &[2; 12], b"").unwrap();
    verification.update(&text).unwrap();
    let mut opening = verification.finish(&tag).unwrap();
    text[50] ^= 1;
    opening.update(&mut text).unwrap();
    assert_eq!(opening.update(&mut [0]), Err(AeadError::TooLong));
    assert_eq!(opening.finish(), Err(AeadError::TagMismatch));
}

proptest! {
    #[test]
    fn a_message_cut_anywhere_and_moved_is_the_same_message(
        key in any::<[u8; 16]>(),
        nonce in any::<[u8; 12]>(),
        aad in prop::collection::vec(any::<u8>(), 0..50),
        text in prop::collection::vec(any::<u8>(), 0..3000),
        pieces in prop::collection::vec(1_usize..700, 1..10),
    ) {
        let (expected, expected_tag) = reference(&key, &nonce, &aad, &text);
        let engines: Vec<Sm4Gcm> =
            backends().map(|backend| Sm4Gcm::with_backend(&key, backend).unwrap()).collect();
        let cut = |text: &mut [u8], each: &mut dyn FnMut(usize, &mut [u8])| {
            let (mut rest, mut turn) = (text, 0);
            while !rest.is_empty() {
                let len = pieces[turn % pieces.len()].min(rest.len());
                let (piece, behind) = std::mem::take(&mut rest).split_at_mut(len);
                each(turn, piece);
                (rest, turn) = (behind, turn + 1);
            }
        };

        let mut found = text.clone();
        let mut progress = Sealing::new(&engines[0], &nonce, &aad).unwrap().progress().clone();
        cut(&mut found, &mut |turn, piece| {
            let engine = &engines[turn % engines.len()];
            let mut sealing = Sealing::resume(engine, &nonce, progress.clone());
            sealing.update(piece).unwrap();
            progress = Progress::from_bytes(&sealing.progress().to_bytes()).unwrap();
        });
        let tag = Sealing::resume(&engines[0], &nonce, progress).finish();
        prop_assert_eq!((&found, tag), (&expected, expected_tag));

        let mut progress = Verification::new(&engines[0], &nonce, &aad).unwrap().progress().clone();
        cut(&mut found, &mut |turn, piece| {
            let engine = &engines[turn % engines.len()];
            let mut verification = Verification::resume(engine, &nonce, &aad, progress.clone()).unwrap();
            verification.update(piece).unwrap();
            progress = verification.progress().clone();
        });
        let verification = Verification::resume(&engines[0], &nonce, &aad, progress).unwrap();
        let mut opening = verification.finish(&tag).unwrap();
        cut(&mut found, &mut |_, piece| opening.update(piece).unwrap());
        prop_assert_eq!(opening.finish(), Ok(()));
        prop_assert_eq!(found, text);
    }
}
