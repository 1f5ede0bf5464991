//! Private keys: read from files, or kept elsewhere behind [`Sm2Signer`].

use std::fmt::Debug;
use std::sync::Arc;

use rustls::crypto::KeyProvider;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme};

use super::signature::SM2SIG_SM3;
use crate::sm2::{self, KeyError, PublicKey, SecretKey, Signature, UserId};

/// Why a signature could not be made: the key's home, an engine or a token, did not answer as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key's engine failed: {0}")]
pub struct SignerError(pub String);

/// A private SM2 key that need not be in this process: it may live in an engine, a token or a trusted application.
///
/// [`Sm2Signer::sign`] is called in the middle of a handshake, on the task that drives the connection, and holds it up
/// for as long as it takes: keep it well below a round trip of the network.
pub trait Sm2Signer: Debug + Send + Sync {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// The signature over `message` under `user_id`, which is always [`UserId::TLS13`] in a handshake.
    ///
    /// # Errors
    /// [`SignerError`] ends the handshake.
    fn sign(&self, user_id: UserId<'_>, message: &[u8]) -> Result<Signature, SignerError>;
}

/// A key in the memory of this process, wiped when dropped.
#[derive(Debug)]
pub struct SoftwareSigner(sm2::SigningKey);

impl SoftwareSigner {
    /// Prepares `secret` for signing.
    pub fn new(secret: SecretKey) -> Self {
        Self(sm2::SigningKey::new(secret))
    }
}

impl Sm2Signer for SoftwareSigner {
    fn public_key(&self) -> PublicKey {
        self.0.secret().public_key()
    }

    fn sign(&self, user_id: UserId<'_>, message: &[u8]) -> Result<Signature, SignerError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| SignerError(error.to_string()))?;
        Ok(self.0.sign_hedged(user_id, &[message], &random))
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
        let spki = signer.public_key().to_spki_der();
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

    // There is no name for SM2; only TLS 1.2, which has no SM suites, looks at this.
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Sm2SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.signer.sign(UserId::TLS13, message);
        signature.map(|it| it.to_der()).map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        SM2SIG_SM3
    }
}

/// Reads SM2 keys, and no others.
#[derive(Debug)]
pub(super) struct Sm2Keys;

impl KeyProvider for Sm2Keys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let secret = match &der {
            PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()),
            _ => Err(KeyError::Algorithm),
        };
        let secret = secret.map_err(|error| Error::Other(OtherError(Arc::new(error))))?;
        Ok(Arc::new(Sm2SigningKey::new(Arc::new(SoftwareSigner::new(secret)))))
    }
}
