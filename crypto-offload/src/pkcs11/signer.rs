//! A token's key as rustls wants one.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use cryptoki::types::AuthPin;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme as TlsScheme};
use zeroize::Zeroizing;

use super::{KeyUri, Module, Token, TokenError};
use crate::job::{PublicKey, SignatureScheme, Verdict};
use crate::software::signature;

const P256: SignatureScheme = SignatureScheme::EcdsaSha2Nistp256;
/// How long a token may take until it is open.
const OPENING: Duration = Duration::from_secs(10);
/// How long it may take over one signature. Beyond that the other end of a handshake has given up too.
const SIGNING: Duration = Duration::from_secs(2);
/// Signatures that may wait for the token.
const WAITING: usize = 8;
/// What is signed to see whose key it is. No handshake signs anything that begins like this (RFC 8446 clause 4.4.3).
const PROOF: &[u8] = b"whose key is this?";

/// A private P-256 key that stays in its token and signs handshakes there.
///
/// The token is asked in the middle of a handshake, and the task that drives the connection is held up for as long as it
/// takes, at most 2 s; connections that sign at once wait for each other. The token is spoken to on a thread of its own,
/// which ends with the last clone of the key.
#[derive(Clone, Debug)]
pub struct TokenSigningKey {
    orders: SyncSender<Order>,
    spki: Vec<u8>,
}

#[derive(Debug)]
struct Order {
    message: Vec<u8>,
    answer: SyncSender<Result<Vec<u8>, TokenError>>,
}

impl TokenSigningKey {
    /// The key that `uri` names, whose PIN is the first line of the file `pin`: loads the library, logs in, and has the
    /// key sign once, so that a key that is not there, of another kind or not that of `certificate` shows now.
    ///
    /// # Errors
    /// [`TokenError`]; [`TokenError::Pin`] when the file of the PIN cannot be read, [`TokenError::Certificate`] when the
    /// key is not the certificate's, [`TokenError::Silent`] when the token takes longer than 10 s.
    pub fn open(uri: &KeyUri, pin: &Path, certificate: &CertificateDer<'_>) -> Result<Self, TokenError> {
        let text = Zeroizing::new(fs::read_to_string(pin).map_err(TokenError::Pin)?);
        let pin = AuthPin::from(text.lines().next().unwrap_or_default().to_owned());
        let spki = ParsedCertificate::try_from(certificate)
            .map_err(|_| TokenError::Certificate)?
            .subject_public_key_info()
            .to_vec();
        let (orders, inbox) = sync_channel(WAITING);
        let (ready, proof) = sync_channel(1);
        let (module, token, object) = (uri.module_path.clone(), uri.token.clone(), uri.object.clone());
        // Not joined: a token that hangs must not hold the program up.
        Builder::new()
            .name("pkcs11-key".to_owned())
            .spawn(move || {
                let opened = Module::load(&module)
                    .and_then(|module| module.open(&token, &pin))
                    .and_then(|token| token.sign(&object, P256, PROOF).map(|proof| (token, proof)));
                drop(pin);
                match opened {
                    Ok((token, proof)) => {
                        if ready.send(Ok(proof)).is_ok() {
                            serve(&token, &object, &inbox);
                        }
                    }
                    // Where nobody waits any more, nobody is to be told.
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .map_err(TokenError::Thread)?;
        let proof = received(&proof, OPENING)??;
        let key = PublicKey { scheme: P256, bytes: spki };
        match signature::verify(&key, PROOF, &proof) {
            Verdict::Valid => Ok(Self { orders, spki: key.bytes }),
            Verdict::Invalid => Err(TokenError::Certificate),
        }
    }

    fn sign_in_token(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let (answer, answered) = sync_channel(1);
        self.orders.try_send(Order { message: message.to_vec(), answer }).map_err(|error| match error {
            TrySendError::Full(_) => TokenError::Silent,
            TrySendError::Disconnected(_) => TokenError::Gone,
        })?;
        received(&answered, SIGNING)?
    }
}

/// Signs until nobody can order anything any more.
fn serve(token: &Token, object: &str, orders: &Receiver<Order>) {
    for Order { message, answer } in orders {
        // Whoever has stopped waiting needs no answer.
        let _ = answer.try_send(token.sign(object, P256, &message));
    }
}

fn received<T>(from: &Receiver<T>, patience: Duration) -> Result<T, TokenError> {
    from.recv_timeout(patience).map_err(|error| match error {
        RecvTimeoutError::Timeout => TokenError::Silent,
        RecvTimeoutError::Disconnected => TokenError::Gone,
    })
}

impl SigningKey for TokenSigningKey {
    fn choose_scheme(&self, offered: &[TlsScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&TlsScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.spki.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TokenSigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign_in_token(message).map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> TlsScheme {
        TlsScheme::ECDSA_NISTP256_SHA256
    }
}
