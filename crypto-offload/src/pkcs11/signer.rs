//! A token's key as rustls wants one.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::types::AuthPin;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme as TlsScheme};
use zeroize::Zeroize as _;

use super::{KeyUri, Module, Token, TokenError};
use crate::job::SignatureScheme;

/// A private P-256 key that stays in its token and signs handshakes there.
///
/// The token is asked in the middle of a handshake, on the task that drives the connection, and holds it up for as long
/// as it takes; connections that sign at once wait for each other.
#[derive(Clone, Debug)]
pub struct TokenSigningKey {
    token: Arc<Mutex<Token>>,
    label: String,
}

impl TokenSigningKey {
    /// The key that `uri` names: loads the library, reads the PIN, logs in, and has the key sign once, so that a key
    /// that is not there or of another kind shows now.
    ///
    /// # Errors
    /// [`TokenError`]; [`TokenError::Pin`] when the file of the PIN cannot be read.
    pub fn open(uri: &KeyUri) -> Result<Self, TokenError> {
        let mut text = fs::read_to_string(&uri.pin_source).map_err(TokenError::Pin)?;
        let pin = AuthPin::from(text.lines().next().unwrap_or_default().to_owned());
        text.zeroize();
        let token = Module::load(&uri.module_path)?.open(&uri.token, &pin)?;
        Self::new(token, &uri.object)
    }

    /// The private key `label` of `token`.
    ///
    /// # Errors
    /// [`TokenError`] when it does not sign.
    pub fn new(token: Token, label: &str) -> Result<Self, TokenError> {
        token.sign(label, SignatureScheme::EcdsaSha2Nistp256, b"")?;
        Ok(Self { token: Arc::new(Mutex::new(token)), label: label.to_owned() })
    }
}

impl SigningKey for TokenSigningKey {
    fn choose_scheme(&self, offered: &[TlsScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&TlsScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TokenSigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        // A signature that panicked elsewhere leaves nothing half done in here.
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token
            .sign(&self.label, SignatureScheme::EcdsaSha2Nistp256, message)
            .map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> TlsScheme {
        TlsScheme::ECDSA_NISTP256_SHA256
    }
}
