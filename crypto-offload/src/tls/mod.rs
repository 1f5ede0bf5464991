//! TLS 1.3 with the Chinese suites (RFC 8998) as a rustls provider, for TCP and for QUIC.
//!
//! Suites [`TLS_SM4_GCM_SM3`] and [`TLS_SM4_CCM_SM3`], group [`CURVE_SM2`], signatures [`SM2SIG_SM3`]; TLS 1.2 has none
//! of them. [`Suites`] is the policy, [`Family::provider`] what rustls is configured with, [`initial_suite`] what quinn
//! needs beside it.
//!
//! QUIC with TLS_SM4_GCM_SM3 is a private agreement (see `tls/quic.rs`); TLS_SM4_CCM_SM3 is for TCP only.

mod aead;
mod group;
mod hash;
mod key;
mod policy;
mod quic;
mod record;
mod signature;
#[cfg(feature = "tunnel")]
pub mod tunnel;

use rustls::crypto::{CipherSuiteCommon, CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite, Tls13CipherSuite};

pub use self::group::CURVE_SM2;
pub use self::key::{SignerError, Sm2Signer, Sm2SigningKey, SoftwareSigner};
pub use self::policy::{Family, Negotiated, PolicyViolation, Suites, UnknownSuites};
pub use self::signature::SM2SIG_SM3;

/// The suite with SM4-GCM (RFC 8998 clause 2).
pub const TLS_SM4_GCM_SM3: CipherSuite = CipherSuite::Unknown(0x00c6);
/// The suite with SM4-CCM (RFC 8998 clause 2).
pub const TLS_SM4_CCM_SM3: CipherSuite = CipherSuite::Unknown(0x00c7);

/// Records under one key: the bounds for AES (RFC 8446 clause 5.5) hold for every 128-bit block cipher in these modes.
const GCM_RECORDS: u64 = 1 << 24;
/// RFC 9001 appendix B.2 gives 2^21.5 packets for CCM; records are no longer.
const CCM_RECORDS: u64 = 1 << 21;

static SM4_GCM_SM3: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: TLS_SM4_GCM_SM3,
        hash_provider: &hash::SM3,
        confidentiality_limit: GCM_RECORDS,
    },
    hkdf_provider: &hash::HKDF_SM3,
    aead_alg: &record::Mode::Gcm,
    quic: Some(&quic::Sm4GcmQuic),
};

static SM4_CCM_SM3: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: TLS_SM4_CCM_SM3,
        hash_provider: &hash::SM3,
        confidentiality_limit: CCM_RECORDS,
    },
    hkdf_provider: &hash::HKDF_SM3,
    aead_alg: &record::Mode::Ccm,
    quic: None,
};

/// Signatures over certificates in the first list, over handshakes in the second: their user ids differ.
static SM2_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&signature::CERTIFICATE, &signature::CERTIFICATE_NULL],
    mapping: &[(SM2SIG_SM3, &[&signature::HANDSHAKE])],
};

/// SM suites, curveSM2 and SM2 signatures, and nothing else. Random numbers are the operating system's, by way of
/// AWS-LC.
pub fn sm_provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            SupportedCipherSuite::Tls13(&SM4_GCM_SM3),
            SupportedCipherSuite::Tls13(&SM4_CCM_SM3),
        ],
        kx_groups: vec![&group::CurveSm2],
        signature_verification_algorithms: SM2_SIGNATURES,
        key_provider: &key::Sm2Keys,
        ..aws_lc_rs::default_provider()
    }
}

/// What rustls has by default, by AWS-LC.
pub fn international_provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// The suite of QUIC's Initial packets, AES-128-GCM with SHA-256 whatever the handshake agrees on (RFC 9001 clause 5.2):
/// for quinn's `with_initial`.
pub fn initial_suite() -> Option<rustls::quic::Suite> {
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(Tls13CipherSuite::quic_suite)
}
