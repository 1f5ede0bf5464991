//! GB/T 32905's examples, and the `sm3` crate as the reference.

use proptest::prelude::*;
use sm3::Digest as _;
use sm3::digest::common::hazmat::SerializableState as _;

use super::*;

#[test]
fn the_examples_of_the_standard() {
    let abc = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0";
    assert_eq!(hex::encode(Sm3::digest(b"abc")), abc);
    let abcd = "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732";
    assert_eq!(hex::encode(Sm3::digest(&b"abcd".repeat(16))), abcd);
}

#[test]
fn every_length_and_cut_around_two_blocks() {
    let message: Vec<u8> = (0..200).collect();
    for len in 0..=message.len() {
        let expected: [u8; 32] = sm3::Sm3::digest(&message[..len]).into();
        assert_eq!(Sm3::digest(&message[..len]), expected, "{len}");
        for cut in 0..=len {
            let mut hash = Sm3::new();
            hash.update(&message[..cut]);
            assert_eq!(hash.hashed(), cut as u64);
            let mut hash = Sm3::from_midstate(&hash.midstate()).unwrap();
            hash.update(&message[cut..len]);
            assert_eq!(hash.finish(), expected, "{len} cut at {cut}");
        }
    }
}

#[test]
fn a_midstate_that_cannot_be_is_refused() {
    let mut hash = Sm3::new();
    hash.update(&[1; 100]);
    let good = hash.midstate();
    assert!(Sm3::from_midstate(&good).is_some());
    for (at, value) in [(40, 64), (40, 35), (40, 255), (103, 1), (41 + 36, 1), (39, 4)] {
        let mut bad = good;
        bad[at] = value;
        assert!(Sm3::from_midstate(&bad).is_none(), "{at} {value}");
    }
}

#[test]
fn codes_shorter_than_16_bytes_or_longer_than_a_digest_are_refused() {
    let mac = HmacSm3::new(b"key");
    let code = mac.clone().finish();
    assert!(mac.clone().verify(&code) && mac.clone().verify(&code[..16]));
    assert!(!mac.clone().verify(&code[..15]) && !mac.clone().verify(&[&code[..], &[0]].concat()));
    assert!(!mac.verify(&[]));
}

proptest! {
    #[test]
    fn every_way_to_compress_is_the_portable_one(
        chain in any::<[u32; 8]>(),
        blocks in prop::collection::vec(any::<[u8; 64]>(), 0..10),
    ) {
        let mut expected = chain;
        compress::portable(&mut expected, &blocks);
        for (available, compress) in compress::ALL {
            if available() {
                let mut found = chain;
                compress(&mut found, &blocks);
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn digest_and_midstate_are_the_reference_s(
        message in prop::collection::vec(any::<u8>(), 0..3000),
        pieces in prop::collection::vec(1_usize..300, 1..8),
    ) {
        let (mut found, mut reference) = (Sm3::new(), sm3::Sm3::new());
        let (mut rest, mut turn) = (&message[..], 0);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(pieces[turn % pieces.len()].min(rest.len()));
            found.update(piece);
            reference.update(piece);
            prop_assert_eq!(&found.midstate()[..], &reference.serialize()[..]);
            (rest, turn) = (behind, turn + 1);
        }
        prop_assert_eq!(found.finish(), <[u8; 32]>::from(reference.finalize()));
    }

    #[test]
    fn many_at_once_are_each_by_itself(
        messages in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..80), prop::collection::vec(any::<u8>(), 0..400)),
            0..40,
        ),
    ) {
        let parts: Vec<[&[u8]; 2]> = messages.iter().map(|(head, tail)| [&head[..], &tail[..]]).collect();
        let expected: Vec<[u8; 32]> =
            messages.iter().map(|(head, tail)| Sm3::digest(&[&head[..], tail].concat())).collect();
        prop_assert_eq!(digest_many(&parts), expected);
    }
}
