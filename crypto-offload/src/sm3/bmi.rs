//! The compression function of one message, compiled for CPUs with three-operand rotations and AND-NOT.
#![allow(unsafe_code, reason = "instructions that not every x86-64 has")]

use super::{BLOCK_LEN, compress};

/// Whether this CPU can run this file.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("avx2")
}

/// Hashes `blocks` into `chain`.
pub(super) fn compress(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
    assert!(is_available(), "asked for instructions that this CPU does not have");
    // SAFETY: the CPU has the instructions, as was just checked.
    unsafe { compiled(chain, blocks) }
}

#[target_feature(enable = "bmi1,bmi2,avx2")]
fn compiled(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
    compress::portable(chain, blocks);
}
