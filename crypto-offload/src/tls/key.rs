//! Private keys: read from files, or kept elsewhere behind [`Sm2Signer`].

use std::fmt::Debug;
use std::sync::Arc;

use rustls::crypto::KeyProvider;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme};

use super::key_der;
use super::primitives::{DIGEST_LEN, POINT_LEN, Sm2Scalar, Sm3};
use super::signature::{HANDSHAKE_USER_ID, SM2SIG_SM3};
use crate::job::{der, key_text};

/// Why a signature could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The key's home, an engine or a token, did not answer as it should.
    #[error("the key's engine failed: {0}")]
    Engine(String),
    /// The library refused, which it does for no digest.
    #[error("sm2 signing failed")]
    Failed,
}

/// A private SM2 key that need not be in this process: it may live in an engine, a token or a trusted application.
///
/// [`Sm2Signer::sign_digest`] is called in the middle of a handshake, on the task that drives the connection, and holds
/// it up for as long as it takes: keep it well below a round trip of the network.
pub trait Sm2Signer: Debug + Send + Sync {
    /// The public point, uncompressed: 0x04, x, y.
    fn public_point(&self) -> [u8; POINT_LEN];

    /// The signature over `digest`, which is `e` of GB/T 32918.2 clause 6.1 (user id and message are hashed already), as
    /// `r || s`, each 32 bytes big endian.
    ///
    /// # Errors
    /// [`SignerError`] ends the handshake.
    fn sign_digest(&self, digest: &[u8; DIGEST_LEN]) -> Result<[u8; 64], SignerError>;
}

/// A key in the memory of this process, wiped when dropped.
pub struct SoftwareSigner {
    scalar: Sm2Scalar,
    point: [u8; POINT_LEN],
}

impl SoftwareSigner {
    fn from_der(key: &key_der::KeyDer<'_>) -> Option<Self> {
        let scalar = Sm2Scalar::from_bytes(&key.scalar)?;
        let point = scalar.public_point();
        // A public key that is not this private key's is a damaged or an exchanged file.
        key.point.is_none_or(|written| written == point).then_some(Self { scalar, point })
    }

    /// The key in an unencrypted PKCS#8 structure (RFC 5958).
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        Self::from_der(&key_der::read_pkcs8(der)?)
    }

    /// The key in an `ECPrivateKey` (RFC 5915) that names the SM2 curve.
    pub fn from_sec1(der: &[u8]) -> Option<Self> {
        Self::from_der(&key_der::read_sec1(der)?)
    }
}

impl Debug for SoftwareSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftwareSigner(sm2)")
    }
}

impl Sm2Signer for SoftwareSigner {
    fn public_point(&self) -> [u8; POINT_LEN] {
        self.point
    }

    fn sign_digest(&self, digest: &[u8; DIGEST_LEN]) -> Result<[u8; 64], SignerError> {
        self.scalar.sign_digest(digest).ok_or(SignerError::Failed)
    }
}

/// A [`Sm2Signer`] as rustls wants a key.
#[derive(Clone, Debug)]
pub struct Sm2SigningKey {
    signer: Arc<dyn Sm2Signer>,
    spki: Vec<u8>,
}

impl Sm2SigningKey {
    /// The key of `signer`, for a [`rustls::sign::CertifiedKey`].
    pub fn new(signer: Arc<dyn Sm2Signer>) -> Self {
        let spki = key_text::write_point(key_text::SM2, &signer.public_point());
        Self { signer, spki }
    }
}

impl SigningKey for Sm2SigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SM2SIG_SM3).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.spki.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Sm2SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let digest = message_digest(HANDSHAKE_USER_ID, &self.signer.public_point(), message);
        let signature = self.signer.sign_digest(&digest);
        let signature = signature.map_err(|error| Error::Other(OtherError(Arc::new(error))))?;
        Ok(der::write_signature(&signature))
    }

    fn scheme(&self) -> SignatureScheme {
        SM2SIG_SM3
    }
}

/// Reads SM2 keys itself and leaves others to `others`, where there is one.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) others: Option<&'static dyn KeyProvider>,
}

impl KeyProvider for Keys {
    fn load_private_key(&self, key_der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let read = match &key_der {
            PrivateKeyDer::Pkcs8(der) if key_der::is_sm2_pkcs8(der.secret_pkcs8_der()) => {
                SoftwareSigner::from_pkcs8(der.secret_pkcs8_der())
            }
            PrivateKeyDer::Sec1(der) if key_der::is_sm2_sec1(der.secret_sec1_der()) => {
                SoftwareSigner::from_sec1(der.secret_sec1_der())
            }
            _ => {
                return match self.others {
                    Some(others) => others.load_private_key(key_der),
                    None => Err(Error::General("private key is not an SM2 key in PKCS#8 or SEC 1".into())),
                };
            }
        };
        let signer = read.ok_or_else(|| Error::General("SM2 private key is damaged".into()))?;
        Ok(Arc::new(Sm2SigningKey::new(Arc::new(signer))))
    }
}

/// `e = SM3(Z || message)` with `Z` over user id, curve and public point (GB/T 32918.2 clauses 5.5 and 6.1).
fn message_digest(user_id: &str, point: &[u8; POINT_LEN], message: &[u8]) -> [u8; DIGEST_LEN] {
    let mut z = Sm3::new();
    // Both user ids of RFC 8998 are some ten bytes long.
    let bits = u16::try_from(user_id.len() * 8).unwrap_or(u16::MAX);
    z.update(&bits.to_be_bytes());
    z.update(user_id.as_bytes());
    z.update(&CURVE);
    z.update(&point[1..]);
    let mut e = Sm3::new();
    e.update(&z.finish());
    e.update(message);
    e.finish()
}

/// `a`, `b`, and the base point's coordinates (GB/T 32918.5 clause 2).
const CURVE: [u8; 128] = [
    0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc,
    0x28, 0xe9, 0xfa, 0x9e, 0x9d, 0x9f, 0x5e, 0x34, 0x4d, 0x5a, 0x9e, 0x4b, 0xcf, 0x65, 0x09, 0xa7,
    0xf3, 0x97, 0x89, 0xf5, 0x15, 0xab, 0x8f, 0x92, 0xdd, 0xbc, 0xbd, 0x41, 0x4d, 0x94, 0x0e, 0x93,
    0x32, 0xc4, 0xae, 0x2c, 0x1f, 0x19, 0x81, 0x19, 0x5f, 0x99, 0x04, 0x46, 0x6a, 0x39, 0xc9, 0x94,
    0x8f, 0xe3, 0x0b, 0xbf, 0xf2, 0x66, 0x0b, 0xe1, 0x71, 0x5a, 0x45, 0x89, 0x33, 0x4c, 0x74, 0xc7,
    0xbc, 0x37, 0x36, 0xa2, 0xf4, 0xf6, 0x77, 0x9c, 0x59, 0xbd, 0xce, 0xe3, 0x6b, 0x69, 0x21, 0x53,
    0xd0, 0xa9, 0x87, 0x7c, 0xc6, 0x2a, 0x47, 0x40, 0x02, 0xdf, 0x32, 0xe5, 0x21, 0x39, 0xf0, 0xa0,
];
