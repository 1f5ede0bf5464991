//! SM3 (GB/T 32905) as rustls wants a hash, HMAC (RFC 2104) and HKDF (RFC 5869) over it.

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::hmac::{Hmac, Key, Tag};
use rustls::crypto::tls13::HkdfUsingHmac;

use crate::sm3::{DIGEST_LEN, HmacSm3, Sm3};

/// What the TLS registry of hash algorithms calls SM3. rustls has no name for it and only compares.
const SM3_ID: u8 = 7;

/// SM3 for transcripts.
pub(super) static SM3: Sm3Hash = Sm3Hash;
/// HKDF with SM3 for the key schedule.
pub(super) static HKDF_SM3: HkdfUsingHmac<'static> = HkdfUsingHmac(&HkdfHmac);

pub(super) struct Sm3Hash;

impl Hash for Sm3Hash {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Running(Sm3::new()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        Output::new(&Sm3::digest(data))
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

pub(super) struct HkdfHmac;

impl Hmac for HkdfHmac {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        Box::new(Keyed(HmacSm3::new(key)))
    }

    fn hash_output_len(&self) -> usize {
        DIGEST_LEN
    }
}

/// An HMAC that has seen its key only.
struct Keyed(HmacSm3);

impl Key for Keyed {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut running = self.0.clone();
        running.update(first);
        middle.iter().for_each(|part| running.update(part));
        running.update(last);
        Tag::new(&running.finish())
    }

    fn tag_len(&self) -> usize {
        DIGEST_LEN
    }
}
