//! Digests, signatures and AEAD as jobs for an engine: software, or a coprocessor.
#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "an error is the rare case and carries both digests of a mismatch"
)]

#[cfg(feature = "software")]
pub mod engine;
pub mod job;
#[cfg(feature = "software")]
pub mod known_answer;
#[cfg(feature = "signing")]
pub mod signing;
#[cfg(feature = "software")]
pub mod software;
