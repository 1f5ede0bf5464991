//! Which suites a connection may have, decided before its handshake.
//!
//! rustls negotiates suite, group and signature one by one, RFC 8998 wants them together. So one handshake offers one
//! [`Family`] and never a mixture:
//!
//! * A **client** that prefers SM tries [`Family::Sm`] on a connection of its own, and [`Family::International`] on a
//!   second one when the server turns the first one down. Whoever can break connections can so force the second family;
//!   a vehicle that must not have it is configured [`Suites::SmOnly`].
//! * A **server** that prefers SM reads the ClientHello first ([`Suites::family_for_hello`]) and goes on with the configuration
//!   of that family.
//!
//! After the handshake [`Negotiated::check`] looks at what came of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ParsedCertificate};
use rustls::{CipherSuite, CommonState, NamedGroup, SignatureScheme};

use super::group::CURVE_SM2;
use super::signature::SM2SIG_SM3;
use super::{TLS_SM4_CCM_SM3, TLS_SM4_GCM_SM3, international_provider, sm_provider};
use crate::job::key_text;

/// The policy, as configuration writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Suites {
    /// `sm-only`: RFC 8998 or no connection.
    SmOnly,
    /// `sm-preferred`: RFC 8998 where the peer has it.
    SmPreferred,
    /// `international`: AES and ChaCha20 suites, as everywhere.
    #[default]
    International,
}

/// Suite, group and signatures that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// SM4, SM3, curveSM2, SM2 (RFC 8998).
    Sm,
    /// What rustls offers by default.
    International,
}

/// Not a policy. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not sm-only, sm-preferred or international")]
pub struct UnknownSuites(String);

impl Suites {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SmOnly, Self::SmPreferred, Self::International];

    /// As configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SmOnly => "sm-only",
            Self::SmPreferred => "sm-preferred",
            Self::International => "international",
        }
    }

    /// The families allowed, in the order in which a client tries them.
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::SmOnly => &[Family::Sm],
            Self::SmPreferred => &[Family::Sm, Family::International],
            Self::International => &[Family::International],
        }
    }

    /// The family in which a server answers this ClientHello.
    pub fn family_for_hello(self, hello: &ClientHello<'_>) -> Family {
        let groups = hello.named_groups().unwrap_or_default();
        self.family_for(hello.cipher_suites(), groups, hello.signature_schemes())
    }

    /// The family in which a server answers a ClientHello with these offers.
    pub fn family_for(
        self,
        suites: &[CipherSuite],
        groups: &[NamedGroup],
        schemes: &[SignatureScheme],
    ) -> Family {
        let sm4 = suites.iter().any(|it| is_sm4(*it));
        let whole = sm4 && groups.contains(&CURVE_SM2) && schemes.contains(&SM2SIG_SM3);
        match self {
            Self::SmOnly => Family::Sm,
            Self::SmPreferred if whole => Family::Sm,
            Self::SmPreferred | Self::International => Family::International,
        }
    }
}

impl Family {
    /// What rustls needs to offer this family and nothing else.
    pub fn provider(self) -> Arc<CryptoProvider> {
        match self {
            Self::Sm => Arc::new(sm_provider()),
            Self::International => Arc::new(international_provider()),
        }
    }

    /// The family that a certificate's key belongs to, or `None` for bytes that are no certificate.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let sm2 = key_text::read_point(key_text::SM2, &parsed.subject_public_key_info()).is_some();
        Some(if sm2 { Self::Sm } else { Self::International })
    }
}

impl FromStr for Suites {
    type Err = UnknownSuites;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or_else(|| UnknownSuites(text.to_owned()))
    }
}

impl fmt::Display for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a handshake came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The suite.
    pub suite: CipherSuite,
    /// The group of the key exchange.
    pub group: NamedGroup,
    /// The family of the peer's key; `None` where the peer showed no certificate.
    pub peer: Option<Family>,
}

/// A handshake that is not of one family, or not of one that the policy allows. The peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("suites = \"{policy}\" does not allow suite {:#06x} with group {:#06x} and a peer key of {:?}",
    u16::from(.found.suite), u16::from(.found.group), .found.peer)]
pub struct PolicyViolation {
    /// The policy.
    pub policy: Suites,
    /// What came instead.
    pub found: Negotiated,
}

impl Negotiated {
    /// What a finished handshake came to; `None` before its end.
    pub fn of(connection: &CommonState) -> Option<Self> {
        let peer = connection.peer_certificates().and_then(|chain| chain.first());
        Some(Self {
            suite: connection.negotiated_cipher_suite()?.suite(),
            group: connection.negotiated_key_exchange_group()?.name(),
            peer: peer.and_then(Family::of_certificate),
        })
    }

    /// The family, where all three are of one that `policy` allows.
    ///
    /// # Errors
    /// [`PolicyViolation`] when they are not.
    pub fn check(&self, policy: Suites) -> Result<Family, PolicyViolation> {
        let family = if is_sm4(self.suite) { Family::Sm } else { Family::International };
        let one =
            (self.group == CURVE_SM2) == (family == Family::Sm) && self.peer.is_none_or(|it| it == family);
        if one && policy.families().contains(&family) {
            Ok(family)
        } else {
            Err(PolicyViolation { policy, found: self.clone() })
        }
    }
}

fn is_sm4(suite: CipherSuite) -> bool {
    [TLS_SM4_GCM_SM3, TLS_SM4_CCM_SM3].contains(&suite)
}
