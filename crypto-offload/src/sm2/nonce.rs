//! Nonces by RFC 6979 clause 3.2 with HMAC-SM3: the same key and digest give the same nonce, so that a weak random
//! generator cannot give the key away. Fresh random bytes may be mixed in (clause 3.6), against fault attacks.

use zeroize::{Zeroize, Zeroizing};

use super::scalar::Scalar;
use crate::sm3::Sm3;

/// Bytes per input block of SM3.
const BLOCK: usize = 64;

/// The generator of one signature's candidates.
pub(super) struct Nonces {
    key: [u8; 32],
    value: [u8; 32],
}

impl Nonces {
    /// Seeded by secret key, digest and `extra` (empty, or 32 random bytes).
    pub(super) fn new(secret: &Scalar, digest: &Scalar, extra: &[u8]) -> Self {
        let mut nonces = Self { key: [0; 32], value: [1; 32] };
        let secret = Zeroizing::new(secret.to_be_bytes());
        for round in [0, 1] {
            nonces.rekey(round, &[&*secret, &digest.to_be_bytes(), extra]);
        }
        nonces
    }

    /// The next number from 1 to n - 1.
    pub(super) fn next(&mut self) -> Zeroizing<Scalar> {
        loop {
            self.value = hmac(&self.key, &[&self.value]);
            let candidate = Scalar::from_be_bytes(&self.value).map(Zeroizing::new);
            // Should this one be refused, here or by the caller, the next is independent of it.
            let candidate = candidate.filter(|candidate| !candidate.is_zero());
            if let Some(candidate) = candidate {
                return candidate;
            }
            self.refuse();
        }
    }

    /// To be called after a candidate that could not be used, before the next.
    pub(super) fn refuse(&mut self) {
        self.rekey(0, &[]);
    }

    fn rekey(&mut self, round: u8, seed: &[&[u8]]) {
        let value = Zeroizing::new(self.value);
        let round = [round];
        let parts: Vec<&[u8]> = [&value[..], &round].into_iter().chain(seed.iter().copied()).collect();
        self.key = hmac(&self.key, &parts);
        self.value = hmac(&self.key, &[&*value]);
    }
}

impl Drop for Nonces {
    fn drop(&mut self) {
        self.key.zeroize();
        self.value.zeroize();
    }
}

/// HMAC-SM3 (RFC 2104) over the parts as one.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let keyed = |pad: u8| {
        let mut block = Zeroizing::new([pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        let mut hash = Sm3::new();
        hash.update(&block[..]);
        hash
    };
    let mut inner = keyed(0x36);
    parts.iter().for_each(|part| inner.update(part));
    let mut outer = keyed(0x5c);
    outer.update(&inner.finish());
    outer.finish()
}
