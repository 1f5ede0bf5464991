//! HMAC (RFC 2104) over SM3.

use super::{BLOCK_LEN, DIGEST_LEN, Sm3};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

/// A running HMAC-SM3, or, cloned before its first byte, a key for many. Wiped when dropped.
#[derive(Clone, Debug)]
pub struct HmacSm3 {
    inner: Sm3,
    outer: Sm3,
}

impl HmacSm3 {
    /// A key of any length.
    pub fn new(key: &[u8]) -> Self {
        let mut padded = [0; BLOCK_LEN];
        if key.len() > BLOCK_LEN {
            padded[..DIGEST_LEN].copy_from_slice(&Sm3::digest(key));
        } else {
            padded[..key.len()].copy_from_slice(key);
        }
        let begin = |padded: &mut [u8; BLOCK_LEN], pad: u8| {
            padded.iter_mut().for_each(|byte| *byte ^= pad);
            let mut hash = Sm3::new();
            hash.update(padded);
            hash
        };
        let inner = begin(&mut padded, 0x36);
        let outer = begin(&mut padded, 0x36 ^ 0x5c);
        padded.zeroize();
        Self { inner, outer }
    }

    /// Authenticates `data` after what came before.
    pub fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }

    /// The code over everything.
    pub fn finish(self) -> [u8; DIGEST_LEN] {
        let mut outer = self.outer;
        outer.update(&self.inner.finish());
        outer.finish()
    }

    /// Whether `code` is the one over everything, or the beginning of it, at least 16 bytes; compared in constant time.
    pub fn verify(self, code: &[u8]) -> bool {
        let expected = self.finish();
        (16..=DIGEST_LEN).contains(&code.len()) && bool::from(expected[..code.len()].ct_eq(code))
    }
}
