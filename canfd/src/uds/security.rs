//! Seed and key of service 0x27, certificates of service 0x29.
//!
//! Real algorithms and keys belong to the manufacturer and live outside this crate: implement [`KeyAlgorithm`] or
//! [`Credential`] and hand it to [`Programmer::with_secrets`](super::programming::Programmer::with_secrets). Those here
//! protect nothing; they let simulators and demonstrations walk the whole sequence.

use super::message::{SecurityLevel, ServerChallenge};
use std::fmt::Debug;
use std::sync::Arc;

/// Turns an ECU's seed into the key that unlocks it.
pub trait KeyAlgorithm: Debug + Send + Sync {
    /// The key for `seed` at `level`.
    fn key(&self, level: SecurityLevel, seed: &[u8]) -> Vec<u8>;
}

/// What a tester proves itself with in service 0x29.
pub trait Credential: Debug + Send + Sync {
    /// The tester's certificate.
    fn certificate(&self) -> Vec<u8>;

    /// A fresh challenge for an ECU that is to prove itself too.
    fn challenge(&self) -> Vec<u8>;

    /// Whether the ECU's certificate is trusted and its proof answers `challenge`.
    fn accepts_server(&self, challenge: &[u8], certificate: &[u8], proof: &[u8]) -> bool;

    /// Proof of ownership over the ECU's challenge, and an ephemeral key, empty where none is agreed on.
    fn prove(&self, server: &ServerChallenge) -> (Vec<u8>, Vec<u8>);
}

/// The built-in credential of a name: `demonstration-certificate`.
pub fn credential_by_name(name: &str) -> Option<Arc<dyn Credential>> {
    (name == "demonstration-certificate").then(|| Arc::new(DemonstrationCertificate) as Arc<dyn Credential>)
}

/// For demonstrations only: everybody has the same certificate, and a proof is a scrambled challenge.
#[derive(Debug, Clone, Copy)]
pub struct DemonstrationCertificate;

impl DemonstrationCertificate {
    /// The certificate of every tester.
    pub const TESTER: &[u8] = b"demonstration tester certificate";
    /// The certificate of every ECU.
    pub const SERVER: &[u8] = b"demonstration ECU certificate";

    /// What answers `challenge` for the owner of `certificate`.
    pub fn proof(certificate: &[u8], challenge: &[u8]) -> Vec<u8> {
        let mix = |(byte, own): (&u8, &u8)| byte.rotate_left(3) ^ own;
        challenge.iter().zip(certificate.iter().cycle()).map(mix).collect()
    }
}

impl Credential for DemonstrationCertificate {
    fn certificate(&self) -> Vec<u8> {
        Self::TESTER.to_vec()
    }

    fn challenge(&self) -> Vec<u8> {
        b"demonstration challenge".to_vec()
    }

    fn accepts_server(&self, challenge: &[u8], certificate: &[u8], proof: &[u8]) -> bool {
        certificate == Self::SERVER && proof == Self::proof(Self::SERVER, challenge)
    }

    fn prove(&self, server: &ServerChallenge) -> (Vec<u8>, Vec<u8>) {
        (Self::proof(Self::TESTER, &server.challenge), Vec::new())
    }
}

/// The built-in algorithm of a name: `demonstration-xor-rotate` or `demonstration-multiply-add`.
pub fn by_name(name: &str) -> Option<Arc<dyn KeyAlgorithm>> {
    match name {
        "demonstration-xor-rotate" => Some(Arc::new(DemonstrationXorRotate)),
        "demonstration-multiply-add" => Some(Arc::new(DemonstrationMultiplyAdd)),
        _ => None,
    }
}

/// For demonstrations only: every byte is mixed with a constant and rotated by its position.
#[derive(Debug, Clone, Copy)]
pub struct DemonstrationXorRotate;

impl KeyAlgorithm for DemonstrationXorRotate {
    fn key(&self, level: SecurityLevel, seed: &[u8]) -> Vec<u8> {
        let mask = 0xA5 ^ level.request_seed();
        seed.iter().zip((1..8).cycle()).map(|(byte, turn)| (byte ^ mask).rotate_left(turn)).collect()
    }
}

/// For demonstrations only: a running multiply-and-add over the seed.
#[derive(Debug, Clone, Copy)]
pub struct DemonstrationMultiplyAdd;

impl KeyAlgorithm for DemonstrationMultiplyAdd {
    fn key(&self, level: SecurityLevel, seed: &[u8]) -> Vec<u8> {
        let step = |state: &mut u8, byte: &u8| {
            *state = state.wrapping_mul(31).wrapping_add(*byte).wrapping_add(0x3D);
            Some(*state)
        };
        seed.iter().scan(level.request_seed(), step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_found_by_name_and_differ() {
        let level = SecurityLevel::new(1).unwrap();
        let seed = [1, 2, 3, 4];
        let keys: Vec<_> = ["demonstration-xor-rotate", "demonstration-multiply-add"]
            .iter()
            .map(|name| by_name(name).unwrap().key(level, &seed))
            .collect();
        assert_eq!(keys[0].len(), seed.len());
        assert_ne!(keys[0], keys[1]);
        assert_ne!(keys[0], seed);
        assert!(by_name("xor").is_none());
    }
}
