//! Many messages at once.

use super::{DIGEST_LEN, Sm3};

/// The digests of `messages`, in order. A message is `parts` hashed one after the other.
pub fn digest_many(messages: &[[&[u8]; 2]]) -> Vec<[u8; DIGEST_LEN]> {
    let one = |[head, tail]: &[&[u8]; 2]| {
        let mut hash = Sm3::new();
        hash.update(head);
        hash.update(tail);
        hash.finish()
    };
    messages.iter().map(one).collect()
}
