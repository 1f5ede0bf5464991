//! The records that pass between this side and a coprocessor: version 1 of the interface in `DEVICE.md`.
//!
//! All numbers are in host byte order, since both ends run on the same machine. Every field has a fixed width and its
//! natural alignment, so that 32-bit and 64-bit programs send the same bytes.

mod capability;
mod code;
mod fields;
mod reply;
mod request;

pub use capability::{CAPABILITY_SIZE, Capability, FLAG_MIDSTATES};
pub use code::{Operation, Status};
pub use reply::{FLAG_DEGRADED, REPLY_SIZE, Reply};
pub use request::{Key, MAX_AUX, MAX_DATA, MAX_EXTRA, REQUEST_SIZE, Request};

pub(super) use code::{
    ALL_CIPHERS, ALL_HASHES, ALL_SCHEMES, cipher_code, hash_code, mask, scheme_code, unmask,
};
#[cfg(feature = "emulator")]
pub(super) use code::{cipher_from, hash_from, scheme_from};
pub(super) use request::Addresses;

/// Version of the interface.
pub const VERSION: u32 = 1;

/// A record that is none. Always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AbiError {
    /// The record ends early, or goes on.
    #[error("record has {found} bytes, not {expected}")]
    Length {
        /// Bytes that the record must have.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// Another version of the interface.
    #[error("record is of version {0}, not {VERSION}")]
    Version(u32),
    /// The size that the record states is not that of its version.
    #[error("record states a size of {0} bytes")]
    Size(u32),
    /// A code, flag, length or text that the interface does not have.
    #[error("field `{0}` is out of range")]
    Field(&'static str),
    /// A field that must be zero is not.
    #[error("a reserved field is not zero")]
    Reserved,
}
