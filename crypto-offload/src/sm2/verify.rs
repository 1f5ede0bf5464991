//! Verification (GB/T 32918.2 clause 7). Not constant time: everything it sees is public.

use std::fmt;

use super::field::Field;
use super::limbs;
use super::point::Jacobian;
use super::scalar::{ORDER, Scalar};
use super::table::Comb;
use super::{PublicKey, Signature, UserId, digest, multiply};
use crate::job::Verdict;

impl PublicKey {
    /// Whether `signature` is this key's over `parts` as one message.
    pub fn verify(&self, user_id: UserId<'_>, parts: &[&[u8]], signature: &Signature) -> Verdict {
        let digest = digest::message(user_id, self, parts);
        verdict(&digest, signature, |s, t| multiply::public_sum(s, t, &self.0))
    }
}

/// A public key with multiples computed ahead: making one takes as long as about three verifications and 16 KiB, and each
/// verification with it a third of the time.
#[derive(Clone)]
pub struct PreparedKey {
    key: PublicKey,
    comb: Comb,
}

impl PreparedKey {
    /// Prepares `key` for verifying often.
    pub fn new(key: PublicKey) -> Self {
        Self { key, comb: Comb::new(&key.0) }
    }

    /// The key itself.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// As [`PublicKey::verify`].
    pub fn verify(&self, user_id: UserId<'_>, parts: &[&[u8]], signature: &Signature) -> Verdict {
        let digest = digest::message(user_id, &self.key, parts);
        verdict(&digest, signature, |s, t| multiply::public_sum_combed(s, t, &self.comb))
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("sm2::PreparedKey").field(&self.key).finish()
    }
}

/// `sum` gives s G + t P.
pub(super) fn verdict(
    digest: &Scalar,
    signature: &Signature,
    sum: impl FnOnce(&Scalar, &Scalar) -> Jacobian,
) -> Verdict {
    let t = signature.r.add(&signature.s);
    if t.is_zero() {
        return Verdict::Invalid;
    }
    let point = sum(&signature.s, &t);
    if has_x(&point, &signature.r.sub(digest)) { Verdict::Valid } else { Verdict::Invalid }
}

/// Whether the point's affine x, which is below p, is `wanted` modulo n. Found out without an inversion: either number
/// below p that is `wanted` modulo n is brought to the point's own scale.
fn has_x(point: &Jacobian, wanted: &Scalar) -> bool {
    if point.z.is_zero() {
        return false;
    }
    let z_squared = point.z.square();
    let is = |x: Field| x.mul(&z_squared) == point.x;
    if is(Field::from_limbs(wanted.limbs())) {
        return true;
    }
    let (larger, carry) = limbs::add(wanted.limbs(), &ORDER);
    carry == 0 && Field::from_be_bytes(&limbs::to_be_bytes(&larger)).is_some_and(is)
}
