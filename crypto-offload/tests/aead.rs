//! Opening undoes sealing, and any change to what was sealed is refused.
#![cfg(feature = "software")]

use std::sync::Arc;

use crypto_offload::job::{Cipher, JobError, Seal, SecretKey};
use crypto_offload::software::aead;
use proptest::prelude::*;

fn ciphers() -> impl Strategy<Value = Cipher> {
    prop_oneof![Just(Cipher::Aes128Gcm), Just(Cipher::Aes256Gcm), Just(Cipher::Sm4Gcm)]
}

prop_compose! {
    fn seals()(
        cipher in ciphers(),
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
        aad in prop::collection::vec(any::<u8>(), 0..40),
    ) -> Seal {
        Seal { cipher, key: Arc::new(SecretKey::new(key[..cipher.key_len()].to_vec())), nonce, aad }
    }
}

proptest! {
    #[test]
    fn opening_undoes_sealing(seal in seals(), plain in prop::collection::vec(any::<u8>(), 0..2000)) {
        let sealed = aead::seal(&seal, plain.clone()).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + Cipher::TAG_LEN);
        prop_assert_eq!(aead::open(&seal, sealed).unwrap(), plain);
    }

    #[test]
    fn one_flipped_bit_is_refused(
        seal in seals(),
        plain in prop::collection::vec(any::<u8>(), 0..200),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut sealed = aead::seal(&seal, plain).unwrap();
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(aead::open(&seal, sealed), Err(JobError::TagMismatch(seal.cipher)));
    }

    #[test]
    fn other_additional_data_or_another_nonce_is_refused(
        seal in seals(),
        plain in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let sealed = aead::seal(&seal, plain).unwrap();
        let mut aad = seal.clone();
        aad.aad.push(0);
        prop_assert_eq!(aead::open(&aad, sealed.clone()), Err(JobError::TagMismatch(seal.cipher)));
        let mut nonce = seal.clone();
        nonce.nonce[11] ^= 1;
        prop_assert_eq!(aead::open(&nonce, sealed), Err(JobError::TagMismatch(seal.cipher)));
    }
}

#[test]
fn anything_shorter_than_a_tag_is_refused() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Sm4Gcm] {
        let key = Arc::new(SecretKey::new(vec![0; cipher.key_len()]));
        let seal = Seal { cipher, key, nonce: [0; 12], aad: Vec::new() };
        for len in 0..Cipher::TAG_LEN {
            assert_eq!(aead::open(&seal, vec![0; len]), Err(JobError::TagMismatch(cipher)));
        }
        let empty = aead::seal(&seal, Vec::new()).unwrap();
        assert_eq!((empty.len(), aead::open(&seal, empty)), (Cipher::TAG_LEN, Ok(Vec::new())));
    }
}

#[test]
fn a_key_of_another_length_is_named() {
    for (cipher, found) in [(Cipher::Aes128Gcm, 32), (Cipher::Aes256Gcm, 16), (Cipher::Sm4Gcm, 0)] {
        let key = Arc::new(SecretKey::new(vec![0; found]));
        let seal = Seal { cipher, key, nonce: [0; 12], aad: Vec::new() };
        assert_eq!(aead::seal(&seal, vec![1]), Err(JobError::KeyLength { cipher, found }));
        assert_eq!(aead::open(&seal, vec![1; 20]), Err(JobError::KeyLength { cipher, found }));
    }
}

#[cfg(feature = "signing")]
#[test]
fn a_wrapped_key_opens_for_its_vehicle_only() {
    use crypto_offload::{signing, software::key_wrap};

    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Sm4Gcm] {
        let kek = SecretKey::generate(cipher).unwrap();
        let content = SecretKey::generate(Cipher::Aes256Gcm).unwrap();
        let wrapped = signing::wrap(&kek, cipher, b"vehicle 1", &content).unwrap();
        assert_eq!(wrapped.len(), 12 + 32 + 16);
        let opened = key_wrap::unwrap(&kek, cipher, b"vehicle 1", &wrapped).unwrap();
        assert_eq!(opened.expose(), content.expose());

        let refused = Some(JobError::TagMismatch(cipher));
        assert_eq!(key_wrap::unwrap(&kek, cipher, b"vehicle 2", &wrapped).err(), refused);
        let other = SecretKey::generate(cipher).unwrap();
        assert_eq!(key_wrap::unwrap(&other, cipher, b"vehicle 1", &wrapped).err(), refused);
        for len in [0, 11, 12, 27, wrapped.len() - 1] {
            assert_eq!(key_wrap::unwrap(&kek, cipher, b"vehicle 1", &wrapped[..len]).err(), refused);
        }
        // Two wrappings of one key share nothing: the nonce is drawn anew.
        assert_ne!(signing::wrap(&kek, cipher, b"vehicle 1", &content).unwrap(), wrapped);
    }
}
