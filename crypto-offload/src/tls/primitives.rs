//! The one file that knows which code computes SM3 and SM4 for TLS. All other files of this module say what is
//! computed, this one says by whom.

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, Nonce, Tag};
use aes_gcm::{AesGcm, KeyInit};
use sm3::Digest as _;
use sm4::cipher::BlockCipherEncrypt as _;
use subtle::ConstantTimeEq as _;

/// Bytes of an SM4 key (GB/T 32907).
pub(super) const KEY_LEN: usize = 16;
/// Bytes of an authentication tag, for both suites (RFC 8998 clause 2).
pub(super) const TAG_LEN: usize = 16;
/// Bytes of a nonce (RFC 8446 clause 5.3).
pub(super) const NONCE_LEN: usize = 12;
/// Bytes of an SM3 digest (GB/T 32905).
pub(super) const DIGEST_LEN: usize = 32;

/// What was to be opened is not genuine, or what was to be sealed is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// A keyed AEAD with 12-byte nonces and 16-byte tags, in place.
pub(super) trait Aead: Send + Sync {
    /// Encrypts `data`; the tag covers `aad` too.
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Refused>;

    /// Decrypts `data` when the tag is right. When not, what `data` holds is not to be used.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused>;
}

/// One SM4 key schedule.
pub(super) struct Sm4(sm4::Sm4);

impl Sm4 {
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(sm4::Sm4::new(key.into()))
    }

    pub(super) fn encrypt_block(&self, block: &mut [u8; 16]) {
        self.0.encrypt_block(block.into());
    }
}

/// SM4-GCM (RFC 8998 clause 2.1; SP 800-38D).
pub(super) struct Sm4Gcm(Box<AesGcm<sm4::Sm4, U12>>);

impl Sm4Gcm {
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(Box::new(AesGcm::new(key.into())))
    }
}

impl Aead for Sm4Gcm {
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Refused> {
        let nonce = Nonce::<AesGcm<sm4::Sm4, U12>>::from(*nonce);
        self.0.encrypt_inout_detached(&nonce, aad, data.into()).map(Into::into).map_err(|_| Refused)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let nonce = Nonce::<AesGcm<sm4::Sm4, U12>>::from(*nonce);
        let tag = Tag::<AesGcm<sm4::Sm4, U12, U16>>::from(*tag);
        self.0.decrypt_inout_detached(&nonce, aad, data.into(), &tag).map_err(|_| Refused)
    }
}

/// SM4-CCM (RFC 8998 clause 2.2; SP 800-38C with a 3-byte length field).
pub(super) struct Sm4Ccm(Sm4);

impl Sm4Ccm {
    /// Bytes of the length field, which leaves 12 for the nonce.
    const LENGTH_LEN: u8 = 3;
    /// The most that three bytes can say, and more than any record or packet has.
    const MAX_DATA: usize = (1 << 24) - 1;
    /// Longer additional data has another encoding, which no record or packet needs.
    const MAX_AAD: usize = 0xFEFF;

    pub(super) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(Sm4::new(key))
    }

    fn check(aad: &[u8], data: &[u8]) -> Result<(), Refused> {
        if data.len() > Self::MAX_DATA || aad.len() > Self::MAX_AAD { Err(Refused) } else { Ok(()) }
    }

    /// The counter block for `counter`.
    fn counter(nonce: &[u8; NONCE_LEN], counter: u32) -> [u8; 16] {
        let mut block = [0; 16];
        block[0] = Self::LENGTH_LEN - 1;
        block[1..13].copy_from_slice(nonce);
        block[13..].copy_from_slice(&counter.to_be_bytes()[1..]);
        block
    }

    fn crypt(&self, nonce: &[u8; NONCE_LEN], data: &mut [u8]) {
        for (piece, counter) in data.chunks_mut(16).zip(1..) {
            let mut stream = Self::counter(nonce, counter);
            self.0.encrypt_block(&mut stream);
            piece.iter_mut().zip(stream).for_each(|(octet, mask)| *octet ^= mask);
        }
    }

    /// The tag over plain `data`.
    fn tag(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &[u8]) -> [u8; TAG_LEN] {
        // The first block holds the length where counter blocks count (both fit: `check`).
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut chain = Self::counter(nonce, len);
        // 16-byte tag, with or without additional data.
        chain[0] |= 7 << 3 | u8::from(!aad.is_empty()) << 6;
        self.0.encrypt_block(&mut chain);
        if !aad.is_empty() {
            let len = u16::try_from(aad.len()).unwrap_or(u16::MAX).to_be_bytes();
            self.absorb(&mut chain, len.iter().chain(aad));
        }
        self.absorb(&mut chain, data.iter());
        let mut mask = Self::counter(nonce, 0);
        self.0.encrypt_block(&mut mask);
        chain.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
        chain
    }

    /// CBC-MAC, zero padded.
    fn absorb<'a>(&self, chain: &mut [u8; 16], octets: impl Iterator<Item = &'a u8>) {
        let mut at = 0;
        for octet in octets {
            chain[at] ^= octet;
            at += 1;
            if at == 16 {
                self.0.encrypt_block(chain);
                at = 0;
            }
        }
        if at > 0 {
            self.0.encrypt_block(chain);
        }
    }
}

impl Aead for Sm4Ccm {
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Refused> {
        Self::check(aad, data)?;
        let tag = self.tag(nonce, aad, data);
        self.crypt(nonce, data);
        Ok(tag)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        Self::check(aad, data)?;
        self.crypt(nonce, data);
        let genuine = self.tag(nonce, aad, data).ct_eq(tag);
        if bool::from(genuine) { Ok(()) } else { Err(Refused) }
    }
}

/// A running SM3.
#[derive(Clone)]
pub(super) struct Sm3(sm3::Sm3);

impl Sm3 {
    pub(super) fn new() -> Self {
        Self(sm3::Sm3::new())
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(super) fn finish(self) -> [u8; DIGEST_LEN] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Key, nonce, additional data and plain text of both examples in RFC 8998 appendix A.
    const KEY: &str = "0123456789abcdeffedcba9876543210";
    const NONCE: &str = "00001234567800000000abcd";
    const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    const PLAIN: &str = "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd\
                         eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa";

    fn array<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    fn check(aead: &dyn Aead, sealed: &str, tag: &str) {
        let (nonce, aad, plain) = (array(NONCE), hex::decode(AAD).unwrap(), hex::decode(PLAIN).unwrap());
        let mut data = plain.clone();
        let found = aead.seal(&nonce, &aad, &mut data).unwrap();
        assert_eq!((hex::encode(&data), hex::encode(found)), (sealed.to_owned(), tag.to_owned()));
        let opened = |nonce: &[u8; 12], aad: &[u8], tag: &[u8; 16], data: &[u8]| {
            let mut data = data.to_vec();
            aead.open(nonce, aad, &mut data, tag).map(|()| data)
        };
        assert_eq!(opened(&nonce, &aad, &found, &data), Ok(plain));
        for at in 0..16 {
            let mut wrong = found;
            wrong[at] ^= 0x80;
            assert_eq!(opened(&nonce, &aad, &wrong, &data), Err(Refused));
        }
        for at in 0..data.len() {
            let mut wrong = data.clone();
            wrong[at] ^= 1;
            assert_eq!(opened(&nonce, &aad, &found, &wrong), Err(Refused));
        }
        assert_eq!(opened(&nonce, &aad[1..], &found, &data), Err(Refused));
        assert_eq!(opened(&nonce, &aad, &found, &data[1..]), Err(Refused));
        assert_eq!(opened(&[0; 12], &aad, &found, &data), Err(Refused));
    }

    #[test]
    fn the_examples_of_rfc_8998_come_out() {
        let gcm = "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735\
                   d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d";
        check(&Sm4Gcm::new(&array(KEY)), gcm, "83de3541e4c2b58177e065a9bf7b62ec");
        let ccm = "48af93501fa62adbcd414cce6034d895dda1bf8f132f042098661572e7483094\
                   fd12e518ce062c98acee28d95df4416bed31a2f04476c18bb40c84a74b97dc5b";
        check(&Sm4Ccm::new(&array(KEY)), ccm, "16842d4fa186f56ab33256971fa110f4");
    }

    #[test]
    fn every_short_length_opens_and_an_empty_text_has_a_tag() {
        for aead in [&Sm4Gcm::new(&[7; 16]) as &dyn Aead, &Sm4Ccm::new(&[7; 16])] {
            for len in 0..70 {
                let plain = vec![u8::try_from(len).unwrap(); len];
                let mut data = plain.clone();
                let tag = aead.seal(&[1; 12], &plain[..len / 2], &mut data).unwrap();
                assert_eq!(aead.open(&[1; 12], &plain[..len / 2], &mut data, &tag), Ok(()));
                assert_eq!(data, plain);
                if len > 0 {
                    assert_eq!(aead.open(&[1; 12], &plain, &mut data, &tag), Err(Refused));
                }
            }
        }
    }
}
