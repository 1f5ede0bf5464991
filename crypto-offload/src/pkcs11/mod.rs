//! Tokens behind PKCS#11: hardware security modules, smart cards, SoftHSM.
//!
//! A [`Token`] signs, checks and opens with keys that never leave it; each call waits for the token. [`Pkcs11Engine`] is
//! a token as an engine for jobs, on a thread of its own. PKCS#11 has no mechanisms for SM2, SM3 and SM4, and none that
//! takes a hash's midstate in, so a token gets what needs neither.
//!
//! A configuration names a key by a [`KeyUri`]; with feature `tls`, `TokenSigningKey` signs TLS handshakes with it.

mod engine;
#[cfg(feature = "tls")]
mod signer;
mod token;
mod uri;

pub use engine::Pkcs11Engine;
#[cfg(feature = "tls")]
pub use signer::TokenSigningKey;
pub use token::{Module, Token, TokenError};
pub use uri::{KeyUri, PinSource, UriError};
