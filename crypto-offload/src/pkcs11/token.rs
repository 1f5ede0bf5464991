//! One session with one token.

use std::ffi::c_ulong;
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use crate::job::{Cipher, Digest, HashAlgorithm, Seal, SignatureScheme, Verdict, der, key_text};
use crate::software::hash;

/// `namedCurve` of P-256, as CKA_EC_PARAMS wants it (RFC 5480 clause 2.1.1).
const P256_PARAMETERS: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Bits of a GCM tag.
const TAG_BITS: c_ulong = 128;
/// Bytes of the salt of RSASSA-PSS.
const SALT_LEN: c_ulong = 32;

/// Why a token did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The library, the token or its driver failed, or the PIN is wrong.
    #[error("token failed: {0}")]
    Pkcs11(#[from] Error),
    /// No token of that label is plugged in.
    #[error("there is no token `{0}`")]
    NoToken(String),
    /// No key of that label and kind is on the token.
    #[error("token has no such key `{0}`")]
    NoKey(String),
    /// The file of the PIN cannot be read.
    #[error("the PIN cannot be read: {0}")]
    Pin(#[source] std::io::Error),
    /// The token has no mechanism for this.
    #[error("token cannot do {0}")]
    Unsupported(&'static str),
    /// The data's or the key's fault: the authentication tag is wrong.
    #[error("authentication tag does not match")]
    TagMismatch,
    /// The key in the token is not the one that the certificate is for, or the certificate is none.
    #[error("the token's key is not the certificate's")]
    Certificate,
    /// The token's fault: it has not answered in time, or has so much to do that it will not.
    #[error("token does not answer in time")]
    Silent,
    /// The thread that speaks to the token has ended.
    #[error("token is not spoken to any more")]
    Gone,
    /// No thread to speak to the token.
    #[error("there is no thread for the token: {0}")]
    Thread(#[source] std::io::Error),
    /// The token's fault: something else than a signature or a digest came out.
    #[error("token answers with something else than a {0}")]
    Answer(&'static str),
}

impl TokenError {
    /// Whether the same may go well later without anybody changing anything: the token is plugged in, or its driver
    /// starts. A wrong PIN is not such a case, and a token that is asked again with it locks itself.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::NoToken(_)
                | Self::Silent
                | Self::Gone
                | Self::Thread(_)
                | Self::Pkcs11(Error::Pkcs11(
                    RvError::DeviceError | RvError::DeviceRemoved | RvError::TokenNotPresent,
                    _
                ))
        )
    }
}

/// A PKCS#11 library. A process loads each library once and shares it.
#[derive(Clone, Debug)]
pub struct Module(Pkcs11);

impl Module {
    /// Loads and initialises the library at `path`.
    ///
    /// # Errors
    /// [`TokenError::Pkcs11`] when it is none or does not start.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let library = Pkcs11::new(path)?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(Self(library)),
            Err(error) => Err(error.into()),
        }
    }

    /// Logs in to the token of that label.
    ///
    /// # Errors
    /// [`TokenError::NoToken`], or [`TokenError::Pkcs11`] for a wrong PIN.
    pub fn open(&self, label: &str, pin: &AuthPin) -> Result<Token, TokenError> {
        for slot in self.0.get_slots_with_initialized_token()? {
            let info = self.0.get_token_info(slot)?;
            if info.label() != label {
                continue;
            }
            let mechanisms = self.0.get_mechanism_list(slot)?;
            let session = self.0.open_rw_session(slot)?;
            match session.login(UserType::User, Some(pin)) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(error.into()),
            }
            let identity =
                format!("{} {} serial {}", info.manufacturer_id(), info.model(), info.serial_number());
            return Ok(Token { session, mechanisms, identity });
        }
        Err(TokenError::NoToken(label.to_owned()))
    }
}

/// A token that is logged in to. Private keys are named by their label (CKA_LABEL), and none is ever read.
#[derive(Debug)]
pub struct Token {
    session: Session,
    mechanisms: Vec<MechanismType>,
    identity: String,
}

impl Token {
    /// Manufacturer, model and serial number.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Signs `message` with the private key `label`, in the scheme's encoding.
    ///
    /// # Errors
    /// [`TokenError`]; [`TokenError::Unsupported`] for Ed25519 and SM2.
    pub fn sign(&self, label: &str, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let mechanism = self.signature_mechanism(scheme)?;
        let key = self.key(label, ObjectClass::PRIVATE_KEY, key_type(scheme)?)?;
        let signature = self.session.sign(&mechanism, key, &to_be_signed(scheme, message))?;
        match scheme {
            SignatureScheme::EcdsaSha2Nistp256 => {
                let both: [u8; 64] = signature.try_into().map_err(|_| TokenError::Answer("signature"))?;
                Ok(der::write_signature(&both))
            }
            _ => Ok(signature),
        }
    }

    /// Checks a signature by the token's own public key `label`.
    ///
    /// # Errors
    /// [`TokenError`], when there is no verdict.
    pub fn verify(
        &self,
        label: &str,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Verdict, TokenError> {
        let key = self.key(label, ObjectClass::PUBLIC_KEY, key_type(scheme)?)?;
        self.verify_by(key, scheme, message, signature)
    }

    /// Opens `data` (ciphertext, then tag) with the secret AES key `label`: unwraps a content key, say.
    ///
    /// # Errors
    /// [`TokenError::TagMismatch`] when the tag is wrong or missing; any other when the token did not look.
    pub fn open(
        &self,
        label: &str,
        nonce: [u8; Cipher::NONCE_LEN],
        aad: &[u8],
        data: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        let key = self.key(label, ObjectClass::SECRET_KEY, KeyType::AES)?;
        self.open_by(key, nonce, aad, data)
    }

    /// Whether the token has that mechanism.
    pub(super) fn has(&self, mechanism: MechanismType) -> bool {
        self.mechanisms.contains(&mechanism)
    }

    /// Hashes `parts` one after the other.
    pub(super) fn digest(&self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Result<Digest, TokenError> {
        let mechanism = match algorithm {
            HashAlgorithm::Sha256 => Mechanism::Sha256,
            HashAlgorithm::Sha512 => Mechanism::Sha512,
            HashAlgorithm::Sm3 => return Err(TokenError::Unsupported("SM3")),
        };
        let digest = match parts {
            [whole] => self.session.digest(&mechanism, whole)?,
            _ => {
                self.session.digest_init(&mechanism)?;
                for part in parts {
                    self.session.digest_update(part)?;
                }
                self.session.digest_final()?
            }
        };
        Digest::new(&digest).ok_or(TokenError::Answer("digest"))
    }

    /// Opens with a key that comes along; the token holds it for the time of the call.
    pub(super) fn open_sealed(&self, seal: &Seal, data: &[u8]) -> Result<Vec<u8>, TokenError> {
        let key = self.session.create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Decrypt(true),
            Attribute::Value(seal.key.expose().to_vec()),
        ])?;
        let opened = self.open_by(key, seal.nonce, &seal.aad, data);
        self.session.destroy_object(key)?;
        opened
    }

    /// Checks a signature by a P-256 key that comes along.
    pub(super) fn verify_p256(
        &self,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<Verdict, TokenError> {
        let Some(point) = key_text::read_point(key_text::P256, spki) else { return Ok(Verdict::Invalid) };
        // CKA_EC_POINT is the point inside an OCTET STRING; 65 bytes fit a length of one byte.
        let Ok(len) = u8::try_from(point.len()) else { return Ok(Verdict::Invalid) };
        let key = self.session.create_object(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(false),
            Attribute::Verify(true),
            Attribute::EcParams(P256_PARAMETERS.to_vec()),
            Attribute::EcPoint([&[0x04, len], point].concat()),
        ])?;
        let verdict = self.verify_by(key, SignatureScheme::EcdsaSha2Nistp256, message, signature);
        self.session.destroy_object(key)?;
        verdict
    }

    fn verify_by(
        &self,
        key: ObjectHandle,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Verdict, TokenError> {
        let mechanism = self.signature_mechanism(scheme)?;
        let plain = match scheme {
            SignatureScheme::EcdsaSha2Nistp256 => der::read_signature(signature).map(|both| both.to_vec()),
            _ => Some(signature.to_vec()),
        };
        let Some(plain) = plain else { return Ok(Verdict::Invalid) };
        match self.session.verify(&mechanism, key, &to_be_signed(scheme, message), &plain) {
            Ok(()) => Ok(Verdict::Valid),
            Err(Error::Pkcs11(RvError::SignatureInvalid | RvError::SignatureLenRange, _)) => {
                Ok(Verdict::Invalid)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_by(
        &self,
        key: ObjectHandle,
        mut nonce: [u8; Cipher::NONCE_LEN],
        aad: &[u8],
        data: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        if !self.has(MechanismType::AES_GCM) {
            return Err(TokenError::Unsupported("AES-GCM"));
        }
        if data.len() < Cipher::TAG_LEN {
            return Err(TokenError::TagMismatch);
        }
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, TAG_BITS.into())?);
        self.session.decrypt(&mechanism, key, data).map_err(|error| match error {
            // The standard has no code for a wrong tag; SoftHSM says the last of these.
            Error::Pkcs11(
                RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange | RvError::GeneralError,
                cryptoki::context::Function::Decrypt,
            ) => TokenError::TagMismatch,
            error => error.into(),
        })
    }

    fn signature_mechanism(&self, scheme: SignatureScheme) -> Result<Mechanism<'static>, TokenError> {
        let (mechanism, kind) = match scheme {
            SignatureScheme::EcdsaSha2Nistp256 => (Mechanism::Ecdsa, MechanismType::ECDSA),
            SignatureScheme::RsaPssSha256 => {
                let parameters = PkcsPssParams {
                    hash_alg: MechanismType::SHA256,
                    mgf: PkcsMgfType::MGF1_SHA256,
                    s_len: SALT_LEN.into(),
                };
                (Mechanism::Sha256RsaPkcsPss(parameters), MechanismType::SHA256_RSA_PKCS_PSS)
            }
            _ => return Err(TokenError::Unsupported(scheme.name())),
        };
        if self.has(kind) { Ok(mechanism) } else { Err(TokenError::Unsupported(scheme.name())) }
    }

    fn key(&self, label: &str, class: ObjectClass, kind: KeyType) -> Result<ObjectHandle, TokenError> {
        let template =
            [Attribute::Class(class), Attribute::KeyType(kind), Attribute::Label(label.as_bytes().to_vec())];
        let found = self.session.find_objects(&template)?;
        found.first().copied().ok_or_else(|| TokenError::NoKey(label.to_owned()))
    }
}

/// What the mechanism signs: ECDSA takes the digest, RSASSA-PSS hashes by itself.
fn to_be_signed(scheme: SignatureScheme, message: &[u8]) -> Vec<u8> {
    match scheme {
        SignatureScheme::EcdsaSha2Nistp256 => {
            hash::digest(HashAlgorithm::Sha256, &[message]).as_bytes().to_vec()
        }
        _ => message.to_vec(),
    }
}

fn key_type(scheme: SignatureScheme) -> Result<KeyType, TokenError> {
    match scheme {
        SignatureScheme::EcdsaSha2Nistp256 => Ok(KeyType::EC),
        SignatureScheme::RsaPssSha256 => Ok(KeyType::RSA),
        _ => Err(TokenError::Unsupported(scheme.name())),
    }
}
