//! GB/T 32907's examples, RFC 8998's, and every back end against the `sm4` crate.

use proptest::prelude::*;
use sm4::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use super::*;

const KEY: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.iter().copied().filter(|backend| backend.is_available())
}

fn reference(key: &[u8; 16], block: [u8; 16]) -> [u8; 16] {
    let mut block = block.into();
    sm4::Sm4::new(key.into()).encrypt_block(&mut block);
    block.into()
}

#[test]
fn the_first_example_of_the_standard() {
    for backend in backends() {
        let key = Sm4Key::with_backend(&KEY, backend).unwrap();
        let mut block = KEY;
        key.encrypt_block(&mut block);
        assert_eq!(hex::encode(block), "681edf34d206965e86b3e94f536e4246", "{backend:?}");
        key.decrypt_block(&mut block);
        assert_eq!(block, KEY, "{backend:?}");
    }
}

#[test]
fn the_second_example_of_the_standard_a_million_times_over() {
    let key = Sm4Key::new(&KEY);
    let mut block = KEY;
    for _ in 0..1_000_000 {
        key.encrypt_block(&mut block);
    }
    assert_eq!(hex::encode(block), "595298c7c6fd271f0402f804c33d3f66");
}

#[test]
fn a_counter_that_overflows_leaves_the_other_words_alone() {
    for backend in backends() {
        let key = Sm4Key::with_backend(&KEY, backend).unwrap();
        for first in [0_u32, u32::MAX, u32::MAX - 7, u32::MAX - 63, u32::MAX - 100] {
            let mut counter = [0xff; 16];
            counter[12..].copy_from_slice(&first.to_be_bytes());
            let mut data = vec![0; 200 * 16];
            key.xor_keystream(&counter, &mut data);
            for (at, block) in (0_u32..).zip(data.as_chunks::<16>().0) {
                counter[12..].copy_from_slice(&first.wrapping_add(at).to_be_bytes());
                assert_eq!(*block, reference(&KEY, counter), "{backend:?} {first} {at}");
            }
        }
    }
}

#[test]
fn every_length_around_every_batch_size() {
    let counter = [7; 16];
    let mut expected = vec![0; 5000];
    Sm4Key::with_backend(&KEY, Backend::Portable).unwrap().xor_keystream(&counter, &mut expected);
    for backend in backends() {
        let key = Sm4Key::with_backend(&KEY, backend).unwrap();
        let lengths = (0..600).chain(1000..1060).chain(1270..1300).chain(2030..2070).chain([4096, 5000]);
        for len in lengths {
            // One byte of margin before and behind: nothing outside may change.
            let mut data = vec![0; len + 2];
            key.xor_keystream(&counter, &mut data[1..=len]);
            assert_eq!(data[1..=len], expected[..len], "{backend:?} {len}");
            assert_eq!((data[0], data[len + 1]), (0, 0), "{backend:?} {len}");
        }
    }
}

proptest! {
    #[test]
    fn every_back_end_encrypts_as_the_reference_does(
        key in any::<[u8; 16]>(),
        blocks in prop::collection::vec(any::<[u8; 16]>(), 0..70),
    ) {
        let expected: Vec<[u8; 16]> = blocks.iter().map(|block| reference(&key, *block)).collect();
        for backend in backends() {
            let mut found = blocks.clone();
            Sm4Key::with_backend(&key, backend).unwrap().encrypt_blocks(&mut found);
            prop_assert_eq!(&found, &expected, "{:?}", backend);
        }
    }

    #[test]
    fn every_back_end_counts_as_the_reference_does(
        key in any::<[u8; 16]>(),
        counter in any::<[u8; 16]>(),
        data in prop::collection::vec(any::<u8>(), 0..4000),
    ) {
        let mut expected = data.clone();
        Sm4Key::with_backend(&key, Backend::Portable).unwrap().xor_keystream(&counter, &mut expected);
        for backend in backends() {
            let mut found = data.clone();
            Sm4Key::with_backend(&key, backend).unwrap().xor_keystream(&counter, &mut found);
            prop_assert_eq!(&found, &expected, "{:?}", backend);
        }
    }

    #[test]
    fn decryption_undoes_encryption_as_in_the_reference(key in any::<[u8; 16]>(), block in any::<[u8; 16]>()) {
        let mut found = block;
        Sm4Key::new(&key).decrypt_block(&mut found);
        let mut expected = block.into();
        sm4::Sm4::new((&key).into()).decrypt_block(&mut expected);
        prop_assert_eq!(found, <[u8; 16]>::from(expected));
    }
}
