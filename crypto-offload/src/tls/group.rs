//! Key exchange on curveSM2 (RFC 8998 clause 3.1): ECDHE with the x coordinate as the secret.

use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

use super::primitives::{POINT_LEN, Sm2Scalar, sm2_agree};

/// `curveSM2` in the registry of TLS supported groups.
pub const CURVE_SM2: NamedGroup = NamedGroup::Unknown(41);

/// The group as rustls wants it.
#[derive(Debug)]
pub(super) struct CurveSm2;

impl SupportedKxGroup for CurveSm2 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let scalar = Sm2Scalar::generate().ok_or(GetRandomFailed)?;
        let share = scalar.public_point();
        Ok(Box::new(Exchange { scalar, share }))
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
    scalar: Sm2Scalar,
    share: [u8; POINT_LEN],
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let point = peer_pub_key.try_into().ok().filter(|point: &&[u8; POINT_LEN]| point[0] == 4);
        let secret = point.and_then(|point| sm2_agree(&self.scalar, point));
        let secret = secret.ok_or(PeerMisbehaved::InvalidKeyShare)?;
        Ok(SharedSecret::from(&secret[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        CURVE_SM2
    }
}
