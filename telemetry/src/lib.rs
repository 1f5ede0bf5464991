//! What is measured on a vehicle, and how it is written down.
//!
//! Every [`Window`] given to an [`Encoder`] becomes one block, to be sent in order; every block given to a
//! [`Decoder`] becomes a window, a duplicate, or an error that says whether to ask for a rebirth. The format is
//! specified in `WIRE.md`. This crate knows no runtime, no clock and no socket.
//!
//! ```
//! use telemetry::{BootId, Decoded, Decoder, Encoder, Frame, SchedulingClass, StreamId, ThreadInfo, WindowBuilder};
//!
//! let thread = ThreadInfo { pid: 7, tid: 8, name: "bus".into(), class: SchedulingClass::Realtime(50) };
//! let mut builder = WindowBuilder::new(1_700_000_000_000);
//! builder.push(20, &thread, &[Frame::Symbol("poll".into()), Frame::Symbol("main".into())], 20_000_000)?;
//! let window = builder.finish(10_000);
//!
//! let mut encoder = Encoder::new(BootId(4711), StreamId::PROFILE)?;
//! let block = encoder.encode(&window)?;
//!
//! let mut decoder = Decoder::new();
//! match decoder.decode(&block) {
//!     Ok(Decoded::Window { window: received, missed: 0, .. }) => assert_eq!(received, window),
//!     Ok(other) => panic!("{other:?}"),
//!     Err(error) if error.wants_rebirth() => encoder.request_keyframe(),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod additions;
pub mod budget;
mod contexts;
mod decoder;
mod dictionary;
mod dimension;
mod encoder;
pub mod fragment;
mod header;
mod interner;
mod io;
pub mod limits;
mod metrics;
mod ranges;
pub mod request;
mod rows;
mod sample;
mod stacks;
pub mod topics;
mod trained;
mod window;
mod wire;

pub use decoder::{DecodeError, Decoded, Decoder, Malformed};
pub use dimension::{Dimension, WeightUnit};
pub use encoder::{EncodeError, Encoder};
pub use header::{BlockHeader, BootId, DictionaryId, StreamId};
pub use io::{IO_BUCKETS, IoHistogram, IoOperation, IoTerm};
pub use sample::{
    BuildId, Frame, Mapping, Metrics, Sample, SchedulingClass, Series, StackIndex, ThreadIndex, ThreadInfo,
};
pub use window::{Refused, Stack, Window, WindowBuilder};
