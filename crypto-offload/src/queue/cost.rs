//! What an engine's work costs, as measured, and from which size on a device pays.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::job::{Cipher, HashAlgorithm, Operation, SignatureScheme};

/// A kind of work whose cost depends on nothing but the size of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Hashing.
    Hash(HashAlgorithm),
    /// Opening.
    Open(Cipher),
    /// Checking a signature.
    Verify(SignatureScheme),
}

impl Class {
    /// The algorithm's name in metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash(algorithm) => algorithm.name(),
            Self::Open(cipher) => cipher.name(),
            Self::Verify(scheme) => scheme.name(),
        }
    }
}

/// Time by size: straight lines between measured sizes, and on beyond the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Curve(BTreeMap<usize, Duration>);

impl Curve {
    pub(super) fn add(&mut self, bytes: usize, took: Duration) {
        self.0.insert(bytes, took);
    }

    fn at(&self, bytes: usize) -> Option<Duration> {
        let below = self.0.range(..=bytes).next_back();
        let above = self.0.range(bytes.saturating_add(1)..).next();
        let ((x0, y0), (x1, y1)) = match (below, above) {
            (Some(below), Some(above)) => (below, above),
            // Below the smallest size: what the smallest costs.
            (None, Some((_, &took))) => return Some(took),
            (Some(last), None) => match self.0.range(..last.0).next_back() {
                Some(before) => (before, last),
                None => return Some(*last.1),
            },
            (None, None) => return None,
        };
        let slope = (y1.as_secs_f64() - y0.as_secs_f64()) / (*x1 as f64 - *x0 as f64);
        let took = y0.as_secs_f64() + slope * (bytes as f64 - *x0 as f64);
        Some(Duration::try_from_secs_f64(took).unwrap_or(*y0))
    }
}

/// An engine's costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Costs(pub(super) BTreeMap<Class, Curve>);

impl Costs {
    /// What `operation` would take, with nothing else to do; `None` when a part of it was not measured.
    pub(super) fn of(&self, operation: &Operation) -> Option<Duration> {
        let bytes = operation.len();
        match operation {
            Operation::Chunk(chunk) => {
                let hashes = chunk.running.iter().map(|state| state.algorithm);
                let hashes = hashes.chain([chunk.tree_algorithm]).map(Class::Hash);
                let opening = chunk.seal.as_ref().map(|seal| Class::Open(seal.cipher));
                hashes.chain(opening).map(|class| self.at(class, bytes)).sum()
            }
            Operation::Digest { algorithm, .. } => self.at(Class::Hash(*algorithm), bytes),
            Operation::Open { seal, .. } => self.at(Class::Open(seal.cipher), bytes),
            Operation::VerifySignature { key, .. } => self.at(Class::Verify(key.scheme), bytes),
        }
    }

    pub(super) fn at(&self, class: Class, bytes: usize) -> Option<Duration> {
        self.0.get(&class)?.at(bytes)
    }

    /// The smallest size from 64 bytes to 1 MiB from which on this engine is faster than `reference` up to the largest,
    /// for each class that both have; `None` where it never is.
    pub(super) fn crossovers(&self, reference: &Self) -> Vec<(Class, Option<usize>)> {
        let classes = self.0.keys().filter(|class| reference.0.contains_key(class));
        classes.map(|&class| (class, self.crossover(reference, class))).collect()
    }

    fn crossover(&self, reference: &Self, class: Class) -> Option<usize> {
        let pays = |bytes| self.at(class, bytes) < reference.at(class, bytes);
        let (mut pays_at, mut smaller) = (1 << 20, 64);
        if !pays(pays_at) {
            return None;
        }
        if pays(smaller) {
            return Some(smaller);
        }
        while pays_at - smaller > 1 {
            let middle = smaller.midpoint(pays_at);
            if pays(middle) { pays_at = middle } else { smaller = middle }
        }
        Some(pays_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SM4: Class = Class::Open(Cipher::Sm4Gcm);

    /// Costs of one class: so much at once, and so many nanoseconds per KiB.
    fn linear(fixed_us: u64, per_kib: u64) -> Costs {
        let mut curve = Curve::default();
        for kib in [1, 16, 128] {
            curve
                .add(kib << 10, Duration::from_micros(fixed_us) + Duration::from_nanos(per_kib * kib as u64));
        }
        Costs([(SM4, curve)].into())
    }

    #[test]
    fn a_cost_lies_on_the_line_between_measured_sizes_and_beyond() {
        let costs = linear(10, 2560);
        for kib in [1, 8, 16, 100, 128, 1024] {
            let expected = Duration::from_micros(10) + Duration::from_nanos(2560 * kib);
            let found = costs.at(SM4, usize::try_from(kib).unwrap() << 10).unwrap();
            assert!(found.abs_diff(expected) <= Duration::from_nanos(1), "{kib} KiB: {found:?}");
        }
        assert_eq!(costs.at(SM4, 0), costs.at(SM4, 1024));
        assert_eq!(costs.at(Class::Hash(HashAlgorithm::Sm3), 1), None);
    }

    #[test]
    fn the_crossover_is_where_the_overhead_is_earned_back() {
        // 10 us at 2560 ns/KiB against 9.8 us/KiB: 10000 / (9800 - 2560) KiB.
        let [(class, Some(bytes))] = linear(10, 2560).crossovers(&linear(0, 9800))[..] else { panic!() };
        assert_eq!((class, class.name()), (SM4, "sm4-gcm"));
        assert!((1410..=1418).contains(&bytes), "{bytes}");
        assert_eq!(linear(10, 2560).crossovers(&linear(0, 2560)), [(SM4, None)]);
        assert_eq!(linear(0, 100).crossovers(&linear(1, 2560)), [(SM4, Some(64))]);
    }
}
