//! Packet and header protection for QUIC (RFC 9001 clause 5) with SM4-GCM.
//!
//! **A private agreement.** RFC 9001 clause 5.3 allows a suite in QUIC only once its header protection is defined, and no
//! RFC defines one for SM4. What stands here is the AES scheme of clause 5.4.3 with SM4 in AES's place, which is what
//! GmSSL does: mask = SM4-ECB(hp key, 16-byte sample), hp key = HKDF-Expand-Label(secret, "quic hp", "", 16) over SM3.
//! Vehicle and cloud must agree on it. Initial packets and Retry tags stay with AES-128-GCM and SHA-256, whose keys are
//! public anyway (clause 5.2): an SM-only QUIC endpoint contains AES and keeps no secret with it.

use rustls::Error;
use rustls::crypto::cipher::{AeadKey, Iv, Nonce};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};

use super::aead::Aead;
use super::record::Mode;
use crate::sm4::{KEY_LEN, Sm4Key, TAG_LEN};

/// Bytes of ciphertext that the mask is made from.
const SAMPLE_LEN: usize = 16;
/// Of the first byte of a long and of a short header, the bits that are protected (RFC 9001 clause 5.4.1).
const LONG_BITS: u8 = 0x0f;
const SHORT_BITS: u8 = 0x1f;
/// Set in the first byte of a long header (RFC 9000 clause 17.2).
const LONG_HEADER: u8 = 0x80;

/// SM4-GCM in QUIC.
pub(super) struct Sm4GcmQuic;

impl Algorithm for Sm4GcmQuic {
    fn packet_key(&self, key: AeadKey, iv: Iv) -> Box<dyn PacketKey> {
        Box::new(Packets { aead: Mode::Gcm.keyed(&key), iv })
    }

    fn header_protection_key(&self, key: AeadKey) -> Box<dyn HeaderProtectionKey> {
        // rustls asks for keys of `aead_key_len` bytes only.
        let mut bytes = zeroize::Zeroizing::new([0; KEY_LEN]);
        bytes.copy_from_slice(key.as_ref());
        Box::new(Headers(Sm4Key::new(&bytes)))
    }

    fn aead_key_len(&self) -> usize {
        KEY_LEN
    }
}

struct Packets {
    aead: Box<dyn Aead>,
    iv: Iv,
}

impl PacketKey for Packets {
    fn encrypt_in_place(&self, packet_number: u64, header: &[u8], payload: &mut [u8]) -> Result<Tag, Error> {
        let tag = self.aead.seal(&Nonce::new(&self.iv, packet_number).0, header, payload);
        tag.map(|tag| Tag::from(&tag[..])).map_err(|_| Error::EncryptError)
    }

    fn decrypt_in_place<'a>(
        &self,
        packet_number: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        let (data, tag) = payload.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::DecryptError)?;
        self.aead
            .open(&Nonce::new(&self.iv, packet_number).0, header, data, tag)
            .map_err(|_| Error::DecryptError)?;
        Ok(data)
    }

    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    // The bounds of RFC 9001 appendix B.1 hold for every 128-bit block cipher in GCM.
    fn confidentiality_limit(&self) -> u64 {
        1 << 23
    }

    fn integrity_limit(&self) -> u64 {
        1 << 52
    }
}

struct Headers(Sm4Key);

impl Headers {
    fn mask(&self, sample: &[u8]) -> Result<[u8; SAMPLE_LEN], Error> {
        let mut mask: [u8; SAMPLE_LEN] =
            sample.try_into().map_err(|_| Error::General("sample of invalid length".into()))?;
        self.0.encrypt_block(&mut mask);
        Ok(mask)
    }

    /// `masked` says whether the first byte is: its low two bits, in the clear, are the length of the number less one.
    fn apply(
        mask: &[u8; SAMPLE_LEN],
        first: &mut u8,
        packet_number: &mut [u8],
        masked: bool,
    ) -> Result<(), Error> {
        if packet_number.len() > 4 {
            return Err(Error::General("packet number too long".into()));
        }
        let bits = if *first & LONG_HEADER == LONG_HEADER { LONG_BITS } else { SHORT_BITS };
        let unmasked = if masked { *first ^ (mask[0] & bits) } else { *first };
        let len = usize::from(unmasked & 3) + 1;
        *first ^= mask[0] & bits;
        packet_number.iter_mut().zip(&mask[1..]).take(len).for_each(|(octet, mask)| *octet ^= mask);
        Ok(())
    }
}

impl HeaderProtectionKey for Headers {
    fn encrypt_in_place(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) -> Result<(), Error> {
        Self::apply(&self.mask(sample)?, first, packet_number, false)
    }

    fn decrypt_in_place(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) -> Result<(), Error> {
        Self::apply(&self.mask(sample)?, first, packet_number, true)
    }

    fn sample_len(&self) -> usize {
        SAMPLE_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of GB/T 32907: this block under this key, which is the same, becomes 681edf34 d206965e ...
    const BLOCK: [u8; 16] =
        [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10];
    const MASK: [u8; 5] = [0x68, 0x1e, 0xdf, 0x34, 0xd2];

    #[test]
    fn headers_are_masked_with_the_sample_under_sm4() {
        let headers = Headers(Sm4Key::new(&BLOCK));
        for (first, bits) in [(0xc3_u8, LONG_BITS), (0x43, SHORT_BITS)] {
            for len in 1..=4_u8 {
                let clear = first & !3 | (len - 1);
                let (mut masked, mut number) = (clear, [1, 2, 3, 4]);
                headers.encrypt_in_place(&BLOCK, &mut masked, &mut number).unwrap();
                assert_eq!(masked, clear ^ (MASK[0] & bits));
                for at in 0..4 {
                    let expected = if at < usize::from(len) { MASK[at + 1] } else { 0 };
                    assert_eq!(number[at], [1, 2, 3, 4][at] ^ expected);
                }
                headers.decrypt_in_place(&BLOCK, &mut masked, &mut number).unwrap();
                assert_eq!((masked, number), (clear, [1, 2, 3, 4]));
            }
        }
    }

    #[test]
    fn samples_and_numbers_of_other_lengths_are_refused_untouched() {
        let headers = Headers(Sm4Key::new(&BLOCK));
        for (sample, number) in [(&BLOCK[..15], 4), (&[0; 17][..], 4), (&BLOCK[..], 5)] {
            let (mut first, mut number) = (0x43, vec![9; number]);
            assert!(headers.encrypt_in_place(sample, &mut first, &mut number).is_err());
            assert!(headers.decrypt_in_place(sample, &mut first, &mut number).is_err());
            assert!(first == 0x43 && number.iter().all(|it| *it == 9));
        }
    }

    #[test]
    fn packets_open_under_their_number_and_header_only() {
        // `AeadKey` has 32 bytes from outside rustls; a packet key here takes its 16 directly.
        let key = Packets { aead: Box::new(crate::sm4::Sm4Gcm::new(&BLOCK)), iv: Iv::from([5; 12]) };
        let mut packet = *b"payload";
        let tag = key.encrypt_in_place(7, b"header", &mut packet).unwrap();
        let sealed = [&packet[..], tag.as_ref()].concat();
        let open = |number, header: &[u8]| {
            key.decrypt_in_place(number, header, &mut sealed.clone()).map(<[u8]>::to_vec)
        };
        assert_eq!(open(7, b"header"), Ok(b"payload".to_vec()));
        assert_eq!(open(8, b"header"), Err(Error::DecryptError));
        assert_eq!(open(7, b"heades"), Err(Error::DecryptError));
        for len in 0..TAG_LEN {
            assert!(key.decrypt_in_place(7, b"header", &mut sealed.clone()[..len]).is_err());
        }
    }
}
