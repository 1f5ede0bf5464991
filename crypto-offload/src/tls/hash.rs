//! SM3 (GB/T 32905) as rustls wants a hash, HMAC (RFC 2104) and HKDF (RFC 5869) over it.

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::hmac::{Hmac, Key, Tag};
use rustls::crypto::tls13::HkdfUsingHmac;

use super::primitives::{DIGEST_LEN, Sm3};

/// Bytes of a block of SM3.
const BLOCK_LEN: usize = 64;
/// What the TLS registry of hash algorithms calls SM3. rustls has no name for it and only compares.
const SM3_ID: u8 = 7;

/// SM3 for transcripts.
pub(super) static SM3: Sm3Hash = Sm3Hash;
/// HKDF with SM3 for the key schedule.
pub(super) static HKDF_SM3: HkdfUsingHmac<'static> = HkdfUsingHmac(&HmacSm3);

pub(super) struct Sm3Hash;

impl Hash for Sm3Hash {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Running(Sm3::new()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        let mut running = Sm3::new();
        running.update(data);
        Output::new(&running.finish())
    }

    fn output_len(&self) -> usize {
        DIGEST_LEN
    }

    fn algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::Unknown(SM3_ID)
    }
}

struct Running(Sm3);

impl Context for Running {
    fn fork_finish(&self) -> Output {
        Output::new(&self.0.clone().finish())
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> Output {
        Output::new(&self.0.finish())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

pub(super) struct HmacSm3;

impl Hmac for HmacSm3 {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        Box::new(HmacKey::new(key))
    }

    fn hash_output_len(&self) -> usize {
        DIGEST_LEN
    }
}

/// Both hashes with the padded key behind them, so that each use costs two blocks less.
struct HmacKey {
    inner: Sm3,
    outer: Sm3,
}

impl HmacKey {
    fn new(key: &[u8]) -> Self {
        let mut block = zeroize::Zeroizing::new([0; BLOCK_LEN]);
        if key.len() > BLOCK_LEN {
            let mut running = Sm3::new();
            running.update(key);
            block[..DIGEST_LEN].copy_from_slice(&running.finish());
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let keyed = |pad: u8| {
            let mut running = Sm3::new();
            running.update(&*zeroize::Zeroizing::new(block.map(|octet| octet ^ pad)));
            running
        };
        Self { inner: keyed(0x36), outer: keyed(0x5c) }
    }
}

impl Key for HmacKey {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut inner = self.inner.clone();
        inner.update(first);
        middle.iter().for_each(|part| inner.update(part));
        inner.update(last);
        let mut outer = self.outer.clone();
        outer.update(&inner.finish());
        Tag::new(&outer.finish())
    }

    fn tag_len(&self) -> usize {
        DIGEST_LEN
    }
}
