//! A coprocessor behind a character device, or its emulator behind a Unix socket.
//!
//! [`abi`] is the wire that `crypto-offload/DEVICE.md` describes, [`Transport`] carries it, [`DeviceEngine`] makes an
//! [`Engine`](crate::engine::Engine) of both. Whatever comes from the device is taken for hostile: a reply that does
//! not fit its request costs the device its place, never memory or an answer.

pub mod abi;
mod chardev;
#[cfg(feature = "emulator")]
pub mod emulator;
mod engine;
mod frames;
mod keys;
mod plan;
mod socket;
mod transport;

pub use chardev::CharacterDevice;
pub use engine::{DeviceEngine, OpenError};
pub use frames::{ReplyReader, RequestReader};
pub use socket::SocketDevice;
pub use transport::{Answer, Buffers, Transport, TransportError};
