//! The publishing side: making keys, signing with them, sealing chunks. Nothing here runs in a vehicle.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256, RsaKeyPair};
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use zeroize::Zeroizing;

use crate::job::der::{self, Reader};
use crate::job::{Cipher, JobError, PublicKey, Seal, SecretKey, SignatureScheme, key_text, pem};
use crate::sm2::{self, UserId};
pub use crate::software::aead::seal;

const LABEL: &str = "PRIVATE KEY";
/// `id-Ed25519`, 1.3.101.112 (RFC 8410).
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Why a key could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The machine's fault: no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The file's fault: not exactly one PEM block labelled `PRIVATE KEY`. Encrypted keys are not read.
    #[error("private key is not one PEM block \"PRIVATE KEY\"")]
    Pem,
    /// The file's fault: PKCS#8 of an algorithm that no scheme of ours uses.
    #[error("private key is not one of an algorithm that can be signed with here")]
    Algorithm,
    /// The file's fault: the algorithm is known, the key is damaged or out of bounds.
    #[error("{} private key is damaged or out of bounds", .0.name())]
    Key(SignatureScheme),
    /// The library's fault: it could not do what it was asked with this key.
    #[error("{} operation failed", .0.name())]
    Failed(SignatureScheme),
}

/// A private key. Wiped when dropped; never printed.
pub struct SigningKey(Secret);

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::SecretKey),
    Rsa(Box<RsaKeyPair>),
    Sm2(Box<sm2::SigningKey>),
}

impl SigningKey {
    /// A new key from the operating system's random numbers. RSA keys get 3072 bits.
    ///
    /// # Errors
    /// [`SigningError::Random`] without random numbers, [`SigningError::Failed`] when the library cannot make a key.
    pub fn generate(scheme: SignatureScheme) -> Result<Self, SigningError> {
        let secret = match scheme {
            SignatureScheme::Ed25519 => {
                Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(&*random_array()?))
            }
            SignatureScheme::EcdsaSha2Nistp256 => {
                Secret::EcdsaP256(draw_scalar(|bytes| p256::SecretKey::from_slice(bytes).ok())?)
            }
            SignatureScheme::RsaPssSha256 => Secret::Rsa(Box::new(
                RsaKeyPair::generate(KeySize::Rsa3072).map_err(|_| SigningError::Failed(scheme))?,
            )),
            SignatureScheme::Sm2Sm3 => Secret::Sm2(prepare_sm2(sm2::SecretKey::generate(getrandom::fill)?)),
        };
        Ok(Self(secret))
    }

    /// The key in an unencrypted PKCS#8 PEM file (RFC 5958, RFC 7468), whichever of our schemes it is for.
    ///
    /// # Errors
    /// [`SigningError::Pem`], [`SigningError::Algorithm`] or [`SigningError::Key`], by how far reading got.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, SigningError> {
        let der = Zeroizing::new(pem::decode(LABEL, text).ok_or(SigningError::Pem)?);
        let scheme = scheme_of(&der).ok_or(SigningError::Algorithm)?;
        let secret = match scheme {
            SignatureScheme::Ed25519 => {
                ed25519_dalek::SigningKey::from_pkcs8_der(&der).ok().map(Secret::Ed25519)
            }
            SignatureScheme::EcdsaSha2Nistp256 => {
                p256::SecretKey::from_pkcs8_der(&der).ok().map(Secret::EcdsaP256)
            }
            SignatureScheme::RsaPssSha256 => {
                RsaKeyPair::from_pkcs8(&der).ok().map(|pair| Secret::Rsa(Box::new(pair)))
            }
            SignatureScheme::Sm2Sm3 => {
                sm2::SecretKey::from_pkcs8_der(&der).ok().map(|key| Secret::Sm2(prepare_sm2(key)))
            }
        };
        secret.map(Self).ok_or(SigningError::Key(scheme))
    }

    /// The key as an unencrypted PKCS#8 PEM file.
    ///
    /// # Errors
    /// [`SigningError::Failed`] when the library cannot write the key down.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, SigningError> {
        let der = match &self.0 {
            // Without the public half (version 1), which is the form that every OpenSSL reads.
            Secret::Ed25519(key) => {
                ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }
                    .to_pkcs8_der()
                    .ok()
                    .map(|der| der.to_bytes())
            }
            Secret::EcdsaP256(key) => key.to_pkcs8_der().ok().map(|der| der.to_bytes()),
            Secret::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair.as_ref())
                .ok()
                .map(|der| Zeroizing::new(der.as_ref().to_vec())),
            Secret::Sm2(key) => Some(Zeroizing::new(key.secret().to_pkcs8_der().to_vec())),
        };
        let der = der.ok_or_else(|| self.failed())?;
        Ok(Zeroizing::new(pem::encode(LABEL, &der)))
    }

    /// The scheme this key signs with.
    pub const fn scheme(&self) -> SignatureScheme {
        match &self.0 {
            Secret::Ed25519(_) => SignatureScheme::Ed25519,
            Secret::EcdsaP256(_) => SignatureScheme::EcdsaSha2Nistp256,
            Secret::Rsa(_) => SignatureScheme::RsaPssSha256,
            Secret::Sm2(_) => SignatureScheme::Sm2Sm3,
        }
    }

    /// The public half.
    ///
    /// # Errors
    /// [`SigningError::Failed`] when the library cannot write an RSA key down.
    pub fn public(&self) -> Result<PublicKey, SigningError> {
        let bytes = match &self.0 {
            Secret::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
            Secret::EcdsaP256(key) => {
                key_text::write_point(key_text::P256, key.public_key().to_sec1_point(false).as_bytes())
            }
            Secret::Rsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
                .map_err(|_| self.failed())?
                .as_ref()
                .to_vec(),
            Secret::Sm2(key) => key.secret().public_key().to_uncompressed().to_vec(),
        };
        Ok(PublicKey { scheme: self.scheme(), bytes })
    }

    /// The signature over `message`, in the encoding that [`SignatureScheme`] prescribes. ECDSA and SM2 draw their
    /// nonces by RFC 6979.
    ///
    /// # Errors
    /// [`SigningError::Failed`] when the library refuses, which it does for no message.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        match &self.0 {
            Secret::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Secret::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from(key).try_sign(message).map_err(|_| self.failed())?;
                Ok(der::write_signature(&signature.to_bytes().into()))
            }
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = aws_lc_rs::rand::SystemRandom::new();
                pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature).map_err(|_| self.failed())?;
                Ok(signature)
            }
            Secret::Sm2(key) => Ok(key.sign(UserId::DEFAULT, &[message]).to_der()),
        }
    }

    const fn failed(&self) -> SigningError {
        SigningError::Failed(self.scheme())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.scheme().name())
    }
}

impl SecretKey {
    /// A new key for `cipher` from the operating system's random numbers.
    ///
    /// # Errors
    /// [`SigningError::Random`] without random numbers.
    pub fn generate(cipher: Cipher) -> Result<Self, SigningError> {
        random_bytes(cipher.key_len()).map(Self::new)
    }
}

/// `len` bytes from the operating system's random number generator.
///
/// # Errors
/// [`SigningError::Random`] when it has none.
pub fn random_bytes(len: usize) -> Result<Vec<u8>, SigningError> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Why a content key could not be wrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The machine's fault.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The caller's fault: see [`seal`].
    #[error(transparent)]
    Seal(#[from] JobError),
}

/// `content_key` under `kek`, bound to `aad`: nonce (12 bytes), ciphertext, tag (16 bytes). The nonce is random, so
/// one `kek` may wrap up to 2^32 keys (SP 800-38D clause 8.3). [`crate::software::key_wrap::unwrap`] undoes it.
///
/// # Errors
/// [`WrapError::Seal`] when `kek` is not a key for `cipher`, [`WrapError::Signing`] without random numbers.
pub fn wrap(
    kek: &SecretKey,
    cipher: Cipher,
    aad: &[u8],
    content_key: &SecretKey,
) -> Result<Vec<u8>, WrapError> {
    let nonce: [u8; Cipher::NONCE_LEN] = *random_array()?;
    let how = Seal { cipher, key: Arc::new(kek.clone()), nonce, aad: aad.to_vec() };
    // Room for the tag, so that the plain key is not left behind in an outgrown buffer.
    let mut data = Vec::with_capacity(content_key.expose().len() + Cipher::TAG_LEN);
    data.extend_from_slice(content_key.expose());
    Ok([&nonce[..], &seal(&how, data)?].concat())
}

fn prepare_sm2(key: sm2::SecretKey) -> Box<sm2::SigningKey> {
    Box::new(sm2::SigningKey::new(key))
}

/// A private scalar: 32 random bytes, drawn again in the rare case that they are zero or not below the group order.
fn draw_scalar<K>(parse: impl Fn(&[u8]) -> Option<K>) -> Result<K, SigningError> {
    loop {
        let bytes: Zeroizing<[u8; 32]> = random_array()?;
        if let Some(key) = parse(&*bytes) {
            return Ok(key);
        }
    }
}

fn random_array<const N: usize>() -> Result<Zeroizing<[u8; N]>, SigningError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes)?;
    Ok(bytes)
}

/// Which scheme a PKCS#8 `OneAsymmetricKey` is for, by its algorithm identifier.
fn scheme_of(pkcs8: &[u8]) -> Option<SignatureScheme> {
    let mut info = Reader::new(pkcs8).sequence()?;
    info.unsigned_integer()?;
    let mut algorithm = info.sequence()?;
    let id = algorithm.object_identifier()?;
    if id == ED25519 {
        Some(SignatureScheme::Ed25519)
    } else if id == key_text::RSA {
        Some(SignatureScheme::RsaPssSha256)
    } else if id == key_text::EC_PUBLIC_KEY {
        match algorithm.object_identifier()? {
            key_text::P256 => Some(SignatureScheme::EcdsaSha2Nistp256),
            key_text::SM2 => Some(SignatureScheme::Sm2Sm3),
            _ => None,
        }
    } else {
        None
    }
}
