//! SM4 by vector instructions of Armv8.

pub(super) mod neon;
pub(super) mod sm4;
