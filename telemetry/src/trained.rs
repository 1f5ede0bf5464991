//! The trained zstd dictionaries that this crate brings, by number.

use crate::header::DictionaryId;

/// Trained by `examples/size` on programs other than those it measures.
const PROFILE_1: &[u8] = include_bytes!("trained/profile-1.zdict");

/// The bytes of a dictionary, none for [`DictionaryId::NONE`]; `None` for one that is not here.
pub(crate) fn find(id: DictionaryId) -> Option<&'static [u8]> {
    match id {
        DictionaryId::NONE => Some(&[]),
        DictionaryId::PROFILE_1 => Some(PROFILE_1),
        _ => None,
    }
}
