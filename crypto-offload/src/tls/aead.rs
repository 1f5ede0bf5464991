//! The two modes of SM4 that records and packets are protected with, as one trait.

use crate::sm4::{NONCE_LEN, Sm4Ccm, Sm4Gcm, TAG_LEN};

/// What was to be opened is not genuine, or what was to be sealed is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// A keyed AEAD with 12-byte nonces and 16-byte tags, in place (RFC 8998 clause 2).
pub(super) trait Aead: Send + Sync {
    /// Encrypts `data`; the tag covers `aad` too.
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], Refused>;

    /// Decrypts `data` when the tag is right.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused>;
}

/// Both modes have the same operations under the same names.
macro_rules! aead {
    ($mode:ty) => {
        impl Aead for $mode {
            fn seal(
                &self,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                data: &mut [u8],
            ) -> Result<[u8; TAG_LEN], Refused> {
                self.seal_in_place(nonce, aad, data).map_err(|_| Refused)
            }

            fn open(
                &self,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                data: &mut [u8],
                tag: &[u8; TAG_LEN],
            ) -> Result<(), Refused> {
                self.open_in_place(nonce, aad, data, tag).map_err(|_| Refused)
            }
        }
    };
}

aead!(Sm4Gcm);
aead!(Sm4Ccm);

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
