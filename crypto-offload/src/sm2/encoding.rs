//! Keys in their files: SubjectPublicKeyInfo (RFC 5480), PKCS#8 (RFC 5958), ECPrivateKey (RFC 5915). Read strictly.

use zeroize::Zeroizing;

use super::{KeyError, PublicKey, SecretKey};
use crate::job::der::Reader;
use crate::job::{key_text, pem};

/// PKCS#8, version 0, of an ECPrivateKey with its public key, up to the private number ...
const PKCS8_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 2, 1, 0, // OneAsymmetricKey, version 0
    0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, // id-ecPublicKey
    6, 8, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 1, 0x82, 0x2d, // the SM2 curve
    4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20, // ECPrivateKey, version 1
];
/// ... and from there to the point.
const PKCS8_MIDDLE: [u8; 5] = [0xa1, 0x44, 3, 0x42, 0];
/// Bytes of such a file.
const PKCS8_LEN: usize = PKCS8_HEAD.len() + 32 + PKCS8_MIDDLE.len() + 65;

impl PublicKey {
    /// The key of a SubjectPublicKeyInfo, as certificates have it.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`] when it is not one of the SM2 curve in strict DER with an uncompressed point,
    /// [`KeyError::OffCurve`] when the point is not on the curve.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_uncompressed(key_text::read_point(key_text::SM2, der).ok_or(KeyError::Algorithm)?)
    }

    /// The key as SubjectPublicKeyInfo.
    pub fn to_spki_der(&self) -> Vec<u8> {
        key_text::write_point(key_text::SM2, &self.to_uncompressed())
    }
}

impl SecretKey {
    /// The key in an unencrypted PEM file, by its label: `PRIVATE KEY` (PKCS#8), or `EC PRIVATE KEY` and OpenSSL's
    /// `SM2 PRIVATE KEY` (ECPrivateKey).
    ///
    /// # Errors
    /// [`KeyError::Pem`], or those of [`SecretKey::from_pkcs8_der`] and [`SecretKey::from_sec1_der`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if let Some(der) = pem::decode("PRIVATE KEY", text).map(Zeroizing::new) {
            return Self::from_pkcs8_der(&der);
        }
        let der = ["EC PRIVATE KEY", "SM2 PRIVATE KEY"].iter().find_map(|label| pem::decode(label, text));
        Self::from_sec1_der(&der.map(Zeroizing::new).ok_or(KeyError::Pem)?)
    }

    /// The key of an unencrypted PKCS#8 `OneAsymmetricKey`.
    ///
    /// # Errors
    /// [`KeyError::Der`] or [`KeyError::Algorithm`] by how far reading got; then [`KeyError::Range`],
    /// [`KeyError::OffCurve`] or [`KeyError::Mismatch`] for what was read.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, key) = read_pkcs8(der).ok_or(KeyError::Der)?;
        read_algorithm(algorithm).ok_or(KeyError::Algorithm)?;
        Self::from_ec_private_key(key, false)
    }

    /// The key of an `ECPrivateKey` that names its curve (RFC 5915, SEC 1 clause C.4).
    ///
    /// # Errors
    /// As [`SecretKey::from_pkcs8_der`].
    pub fn from_sec1_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_ec_private_key(der, true)
    }

    fn from_ec_private_key(der: &[u8], must_name_curve: bool) -> Result<Self, KeyError> {
        let read = read_ec_private_key(der).ok_or(KeyError::Der)?;
        match read.curve {
            Some(curve) if curve != key_text::SM2 => return Err(KeyError::Algorithm),
            None if must_name_curve => return Err(KeyError::Algorithm),
            _ => {}
        }
        let key = Self::from_be_bytes(read.number)?;
        match read.public.map(PublicKey::from_uncompressed).transpose()? {
            Some(public) if public != key.public_key() => Err(KeyError::Mismatch),
            _ => Ok(key),
        }
    }

    /// The key as PKCS#8, with its public half, unencrypted.
    pub fn to_pkcs8_der(&self) -> Zeroizing<[u8; PKCS8_LEN]> {
        let mut der = Zeroizing::new([0; PKCS8_LEN]);
        let number = self.to_be_bytes();
        let point = self.public_key().to_uncompressed();
        let parts = [&PKCS8_HEAD[..], &*number, &PKCS8_MIDDLE, &point].into_iter().flatten();
        der.iter_mut().zip(parts).for_each(|(octet, part)| *octet = *part);
        der
    }

    /// [`SecretKey::to_pkcs8_der`] as a PEM file.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode("PRIVATE KEY", &*self.to_pkcs8_der()))
    }
}

/// The algorithm and the private key within. Attributes and the public key of version 1 are let pass.
fn read_pkcs8(der: &[u8]) -> Option<(Reader<'_>, &[u8])> {
    let mut outer = Reader::new(der);
    let mut info = outer.sequence()?;
    outer.end()?;
    let version = info.unsigned_integer()?;
    let algorithm = info.sequence()?;
    let key = info.octet_string()?;
    info.constructed(0);
    if version == [1] {
        info.primitive(1);
    }
    info.end()?;
    (version == [0] || version == [1]).then_some((algorithm, key))
}

fn read_algorithm(mut algorithm: Reader<'_>) -> Option<()> {
    let known = algorithm.object_identifier()? == key_text::EC_PUBLIC_KEY
        && algorithm.object_identifier()? == key_text::SM2;
    algorithm.end()?;
    known.then_some(())
}

struct EcPrivateKey<'a> {
    number: &'a [u8; 32],
    curve: Option<&'a [u8]>,
    public: Option<&'a [u8]>,
}

fn read_ec_private_key(der: &[u8]) -> Option<EcPrivateKey<'_>> {
    let mut outer = Reader::new(der);
    let mut key = outer.sequence()?;
    outer.end()?;
    if key.unsigned_integer()? != [1] {
        return None;
    }
    let number = key.octet_string()?.try_into().ok()?;
    let curve = match key.constructed(0) {
        Some(mut curve) => {
            let name = curve.object_identifier()?;
            curve.end()?;
            Some(name)
        }
        None => None,
    };
    let public = match key.constructed(1) {
        Some(mut public) => {
            let point = public.bit_string()?;
            public.end()?;
            Some(point)
        }
        None => None,
    };
    key.end()?;
    Some(EcPrivateKey { number, curve, public })
}
