//! Digests, signatures and AEAD as jobs for an engine: software, or a coprocessor.
#![deny(unsafe_code)]

pub mod job;
