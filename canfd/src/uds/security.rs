//! Seed and key of service 0x27.
//!
//! Real algorithms belong to the manufacturer and live outside this crate: implement [`KeyAlgorithm`] and hand it to
//! [`Programmer::with_key_algorithm`](super::programming::Programmer::with_key_algorithm). The two here protect
//! nothing; they let simulators and demonstrations walk the whole sequence.

use super::message::SecurityLevel;
use std::fmt::Debug;
use std::sync::Arc;

/// Turns an ECU's seed into the key that unlocks it.
pub trait KeyAlgorithm: Debug + Send + Sync {
    /// The key for `seed` at `level`.
    fn key(&self, level: SecurityLevel, seed: &[u8]) -> Vec<u8>;
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
