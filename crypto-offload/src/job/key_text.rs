//! Public keys as TUF metadata writes them, and the SubjectPublicKeyInfo inside (RFC 5280 clause 4.1.2.7).
//!
//! Only the form is checked here. Whether a point lies on its curve is found out when the key is used.

use super::der::{self, Reader};
use super::{PublicKey, SignatureScheme, pem};

/// `id-ecPublicKey`, 1.2.840.10045.2.1 (RFC 5480).
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `secp256r1`, 1.2.840.10045.3.1.7 (RFC 5480).
pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The SM2 curve, 1.2.156.10197.1.301 (GM/T 0006).
pub(crate) const SM2: &[u8] = &[0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d];
/// `rsaEncryption`, 1.2.840.113549.1.1.1 (RFC 8017).
pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const LABEL: &str = "PUBLIC KEY";

/// Why a text is not a public key. The text's fault in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// An Ed25519 key that is not 64 hex digits.
    #[error("ed25519 key is not 64 hex digits")]
    Hex,
    /// Not exactly one PEM block labelled `PUBLIC KEY`.
    #[error("{} key is not one PEM block \"PUBLIC KEY\"", .0.name())]
    Pem(SignatureScheme),
    /// The PEM block is not the SubjectPublicKeyInfo of a key of this scheme, strictly encoded.
    #[error("PEM block does not hold a {} key", .0.name())]
    SubjectPublicKeyInfo(SignatureScheme),
}

impl PublicKey {
    /// The key of a TUF key object's `keyval.public`: hex for Ed25519, PEM SubjectPublicKeyInfo for the others.
    ///
    /// RSA keys have a modulus of 2048 to 8192 bits and an odd exponent between 2^16 and 2^33 (FIPS 186-5 clause 5.1
    /// gives the lower bounds); points are uncompressed.
    ///
    /// # Errors
    /// When the text is anything but exactly one such key.
    pub fn from_tuf(scheme: SignatureScheme, text: &str) -> Result<Self, KeyTextError> {
        if scheme == SignatureScheme::Ed25519 {
            return Ok(Self { scheme, bytes: decode_hex(text).ok_or(KeyTextError::Hex)? });
        }
        let spki = pem::decode(LABEL, text).ok_or(KeyTextError::Pem(scheme))?;
        let bytes = match scheme {
            SignatureScheme::EcdsaSha2Nistp256 => read_point(P256, &spki).is_some().then_some(spki),
            SignatureScheme::RsaPssSha256 => read_rsa(&spki).is_some().then_some(spki),
            SignatureScheme::Sm2Sm3 => read_point(SM2, &spki).map(Vec::from),
            SignatureScheme::Ed25519 => None,
        };
        Ok(Self { scheme, bytes: bytes.ok_or(KeyTextError::SubjectPublicKeyInfo(scheme))? })
    }

    /// The text that [`PublicKey::from_tuf`] reads.
    pub fn to_tuf(&self) -> String {
        match self.scheme {
            SignatureScheme::Ed25519 => self.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            SignatureScheme::Sm2Sm3 => pem::encode(LABEL, &write_point(SM2, &self.bytes)),
            SignatureScheme::EcdsaSha2Nistp256 | SignatureScheme::RsaPssSha256 => {
                pem::encode(LABEL, &self.bytes)
            }
        }
    }
}

/// The uncompressed point in an elliptic-curve SubjectPublicKeyInfo of `curve`.
pub(crate) fn read_point<'a>(curve: &[u8], spki: &'a [u8]) -> Option<&'a [u8]> {
    let (mut algorithm, key) = read_spki(spki)?;
    let expected = algorithm.object_identifier()? == EC_PUBLIC_KEY && algorithm.object_identifier()? == curve;
    algorithm.end()?;
    (expected && key.len() == 65 && key.first() == Some(&4)).then_some(key)
}

/// The PKCS#1 `RSAPublicKey` (RFC 8017 appendix A.1.1) in an RSA SubjectPublicKeyInfo.
pub(crate) fn read_rsa(spki: &[u8]) -> Option<&[u8]> {
    let (mut algorithm, key) = read_spki(spki)?;
    let expected = algorithm.object_identifier()? == RSA;
    algorithm.null()?;
    algorithm.end()?;

    let mut outer = Reader::new(key);
    let mut numbers = outer.sequence()?;
    outer.end()?;
    let modulus = numbers.unsigned_integer()?;
    let exponent = numbers.unsigned_integer()?;
    numbers.end()?;

    let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    let exponent = exponent
        .iter()
        .try_fold(0_u64, |sum, &octet| (sum < 1 << 33).then_some((sum << 8) | u64::from(octet)))?;
    let sound = (2048..=8192).contains(&bits)
        && modulus.last()? & 1 == 1
        && ((1 << 16) + 1..1 << 33).contains(&exponent)
        && exponent & 1 == 1;
    (expected && sound).then_some(key)
}

/// The SubjectPublicKeyInfo of an uncompressed point on `curve`.
pub(crate) fn write_point(curve: &[u8], point: &[u8]) -> Vec<u8> {
    let algorithm = [der::object_identifier(EC_PUBLIC_KEY), der::object_identifier(curve)].concat();
    der::sequence(&[der::sequence(&algorithm), der::bit_string(point)].concat())
}

fn read_spki(spki: &[u8]) -> Option<(Reader<'_>, &[u8])> {
    let mut outer = Reader::new(spki);
    let mut inner = outer.sequence()?;
    outer.end()?;
    let algorithm = inner.sequence()?;
    let key = inner.bit_string()?;
    inner.end()?;
    Some((algorithm, key))
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks();
    (pairs.len() == 32 && odd.is_empty()).then(|| pairs.iter().map(|&[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: [u8; 65] = {
        let mut point = [7; 65];
        point[0] = 4;
        point
    };

    fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let integer = |octets: &[u8]| {
            let len = u16::try_from(octets.len()).unwrap();
            match len {
                0..0x80 => [&[2, octets.len().try_into().unwrap()], octets].concat(),
                0x80..0x100 => [&[2, 0x81, octets.len().try_into().unwrap()], octets].concat(),
                _ => [&[2, 0x82], &len.to_be_bytes()[..], octets].concat(),
            }
        };
        let key = der::sequence(&[integer(modulus), integer(exponent)].concat());
        let algorithm = [der::object_identifier(RSA), vec![5, 0]].concat();
        der::sequence(&[der::sequence(&algorithm), der::bit_string(&key)].concat())
    }

    fn modulus(len: usize) -> Vec<u8> {
        [&[0][..], &vec![0xff; len]].concat()
    }

    #[test]
    fn keys_of_each_scheme_round_trip() {
        let keys = [
            (SignatureScheme::Ed25519, vec![0xa5; 32]),
            (SignatureScheme::EcdsaSha2Nistp256, write_point(P256, &POINT)),
            (SignatureScheme::RsaPssSha256, rsa_spki(&modulus(256), &[1, 0, 1])),
            (SignatureScheme::Sm2Sm3, POINT.to_vec()),
        ];
        for (scheme, bytes) in keys {
            let key = PublicKey { scheme, bytes };
            assert_eq!(PublicKey::from_tuf(scheme, &key.to_tuf()), Ok(key));
        }
    }

    #[test]
    fn hex_keys_have_exactly_64_digits() {
        for (text, good) in [
            ("0f".repeat(32), true),
            ("0F".repeat(32), true),
            ("0f".repeat(31), false),
            ("0f".repeat(33), false),
            (format!("{}f", "0f".repeat(31)), false),
            (format!("{}0g", "0f".repeat(31)), false),
            (format!("+{}f", "0f".repeat(31)), false),
            ("é".repeat(32), false),
        ] {
            let read = PublicKey::from_tuf(SignatureScheme::Ed25519, &text);
            assert_eq!(read.is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_key_of_another_scheme_is_refused() {
        let sm2 = pem::encode(LABEL, &write_point(SM2, &POINT));
        for scheme in [SignatureScheme::EcdsaSha2Nistp256, SignatureScheme::RsaPssSha256] {
            assert_eq!(PublicKey::from_tuf(scheme, &sm2), Err(KeyTextError::SubjectPublicKeyInfo(scheme)));
        }
        assert_eq!(PublicKey::from_tuf(SignatureScheme::Ed25519, &sm2), Err(KeyTextError::Hex));
        assert_eq!(
            PublicKey::from_tuf(SignatureScheme::Sm2Sm3, &"0f".repeat(32)),
            Err(KeyTextError::Pem(SignatureScheme::Sm2Sm3))
        );
    }

    #[test]
    fn compressed_hybrid_and_trailing_forms_are_refused() {
        let mut hybrid = POINT;
        hybrid[0] = 6;
        let mut compressed = vec![2];
        compressed.extend([7; 32]);
        let trailing = [write_point(P256, &POINT), vec![0]].concat();
        assert!(read_point(P256, &write_point(P256, &POINT)).is_some());
        for bad in [write_point(P256, &hybrid), write_point(P256, &compressed), trailing] {
            assert_eq!(read_point(P256, &bad), None);
        }
    }

    #[test]
    fn rsa_sizes_are_bounded_on_both_sides() {
        let mut even = modulus(256);
        even[256] = 0xfe;
        let cases: [(Vec<u8>, &[u8], bool); 9] = [
            (modulus(256), &[1, 0, 1], true),
            (modulus(1024), &[1, 0, 1], true),
            (modulus(256), &[1, 0xff, 0xff, 0xff, 0xff], true),
            (vec![0x7f; 256], &[1, 0, 1], false),
            (modulus(1025), &[1, 0, 1], false),
            (modulus(256), &[3], false),
            (modulus(256), &[1, 0, 0], false),
            (modulus(256), &[2, 0, 0, 0, 1], false),
            (even, &[1, 0, 1], false),
        ];
        for (modulus, exponent, good) in cases {
            let spki = rsa_spki(&modulus, exponent);
            assert_eq!(read_rsa(&spki).is_some(), good, "{} {exponent:?}", modulus.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_and_no_damage_is_more_than_an_error(
            text in ".{0,200}",
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
            at in proptest::num::usize::ANY,
            bit in 0..8_u32,
        ) {
            let mut damaged = rsa_spki(&modulus(256), &[1, 0, 1]);
            let at = at % damaged.len();
            damaged[at] ^= 1 << bit;
            for spki in [body, damaged] {
                for scheme in [
                    SignatureScheme::EcdsaSha2Nistp256,
                    SignatureScheme::RsaPssSha256,
                    SignatureScheme::Sm2Sm3,
                ] {
                    // What is read at all is read as what was written.
                    if let Ok(key) = PublicKey::from_tuf(scheme, &pem::encode(LABEL, &spki)) {
                        proptest::prop_assert_eq!(PublicKey::from_tuf(scheme, &key.to_tuf()), Ok(key));
                    }
                    proptest::prop_assert!(PublicKey::from_tuf(scheme, &text).is_err());
                }
            }
        }
    }
}
