//! Key exchange on curveSM2 (RFC 8998 clause 3.1): ECDHE with the x coordinate as the secret.

use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

use crate::sm2::{PublicKey, SecretKey};

/// `curveSM2` in the registry of TLS supported groups.
pub const CURVE_SM2: NamedGroup = NamedGroup::Unknown(41);

/// The group as rustls wants it.
#[derive(Debug)]
pub(super) struct CurveSm2;

impl SupportedKxGroup for CurveSm2 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret =
            SecretKey::generate(|bytes: &mut [u8]| getrandom::fill(bytes)).map_err(|_| GetRandomFailed)?;
        let share = secret.public_key().to_uncompressed();
        Ok(Box::new(Exchange { secret, share }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        CURVE_SM2
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

struct Exchange {
    secret: SecretKey,
    share: [u8; 65],
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let peer = PublicKey::from_uncompressed(peer_pub_key).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        Ok(SharedSecret::from(&self.secret.agree(&peer)[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        CURVE_SM2
    }
}
