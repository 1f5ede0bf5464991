//! RFC 8998 A.2, and what the mode must refuse.

use proptest::prelude::*;

use super::*;

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.iter().copied().filter(|backend| backend.is_available())
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
    let sealed = "48af93501fa62adbcd414cce6034d895dda1bf8f132f042098661572e7483094fd12e518ce062c98acee28d95df4416bed31a2f04476c18bb40c84a74b97dc5b";
    for backend in backends() {
        let cipher = Sm4Ccm::with_backend(&key, backend).unwrap();
        let mut text = plain.clone();
        let tag = cipher.seal_in_place(&nonce, &aad, &mut text).unwrap();
        assert_eq!(hex::encode(&text), sealed, "{backend:?}");
        assert_eq!(hex::encode(tag), "16842d4fa186f56ab33256971fa110f4", "{backend:?}");
        cipher.open_in_place(&nonce, &aad, &mut text, &tag).unwrap();
        assert_eq!(text, plain, "{backend:?}");
    }
}

#[test]
fn a_wrong_tag_leaves_the_buffer_as_it_was() {
    let cipher = Sm4Ccm::new(&[1; 16]);
    let mut text = vec![3; 100];
    let tag = cipher.seal_in_place(&[2; 12], b"aad", &mut text).unwrap();
    let sealed = text.clone();
    let mut wrong = tag;
    wrong[15] ^= 0x80;
    let opened = cipher.open_in_place(&[2; 12], b"aad", &mut text, &wrong);
    assert_eq!((opened, &text), (Err(AeadError::TagMismatch), &sealed));
}

#[test]
fn lengths_that_the_mode_does_not_have_are_refused() {
    let cipher = Sm4Ccm::new(&[1; 16]);
    let nonce = [0; 14];
    for (nonce_len, tag_len, expected) in [
        (6, 16, Err(AeadError::Length)),
        (7, 16, Ok(())),
        (13, 16, Ok(())),
        (14, 16, Err(AeadError::Length)),
        (12, 2, Err(AeadError::Length)),
        (12, 4, Ok(())),
        (12, 5, Err(AeadError::Length)),
        (12, 18, Err(AeadError::Length)),
    ] {
        let sealed = cipher.seal_with_lengths(&nonce[..nonce_len], b"", &mut [0; 9], &mut vec![0; tag_len]);
        assert_eq!(sealed, expected, "{nonce_len} {tag_len}");
    }
}

#[test]
fn the_longest_text_beside_a_long_nonce_and_one_byte_more() {
    let cipher = Sm4Ccm::new(&[1; 16]);
    let mut tag = [0; 16];
    let mut text = vec![0; 1 << 16];
    assert_eq!(cipher.seal_with_lengths(&[0; 13], b"", &mut text, &mut tag), Err(AeadError::TooLong));
    text.pop();
    assert_eq!(cipher.seal_with_lengths(&[0; 13], b"", &mut text, &mut tag), Ok(()));
    assert_eq!(cipher.open_with_lengths(&[0; 13], b"", &mut text, &tag), Ok(()));
}

#[test]
fn additional_data_is_bound_where_its_length_changes_form() {
    let cipher = Sm4Ccm::new(&[1; 16]);
    for len in [0, 1, 14, 15, 0xfeff, 0xff00, 0xff01] {
        let aad = vec![5; len];
        let mut text = [1; 40];
        let tag = cipher.seal_in_place(&[2; 12], &aad, &mut text).unwrap();
        let longer = [&aad[..], &[0]].concat();
        assert!(cipher.open_in_place(&[2; 12], &longer, &mut text, &tag).is_err(), "{len}");
        assert_eq!(cipher.open_in_place(&[2; 12], &aad, &mut text, &tag), Ok(()), "{len}");
        assert_eq!(text, [1; 40]);
    }
}

proptest! {
    #[test]
    fn every_back_end_seals_alike_and_opens(
        key in any::<[u8; 16]>(),
        nonce in any::<[u8; 12]>(),
        aad in prop::collection::vec(any::<u8>(), 0..50),
        text in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let mut expected = text.clone();
        let portable = Sm4Ccm::with_backend(&key, Backend::Portable).unwrap();
        let expected_tag = portable.seal_in_place(&nonce, &aad, &mut expected).unwrap();
        for backend in backends() {
            let cipher = Sm4Ccm::with_backend(&key, backend).unwrap();
            let mut found = text.clone();
            let tag = cipher.seal_in_place(&nonce, &aad, &mut found).unwrap();
            prop_assert_eq!((&found, tag), (&expected, expected_tag), "{:?}", backend);
            cipher.open_in_place(&nonce, &aad, &mut found, &tag).unwrap();
            prop_assert_eq!(&found, &text, "{:?}", backend);
        }
    }
}
