//! Windows in the forms that other programs read.
//!
//! * `profile`: a window's samples, one dimension at a time, with names where symbols are known.
//! * `pprof`, `otlp`, `text`: profiles as files.
//! * [`prometheus`]: metrics and block input and output.
//! * [`symbols`]: names of places by build id.

mod otlp;
mod pprof;
mod profile;
pub mod prometheus;
mod protobuf;
pub mod symbols;
mod text;

pub use otlp::otlp;
pub use pprof::pprof;
pub use profile::{Entry, Function, Place, Profile, Source, profiles, slug};
pub use text::{folded, perf_script, stack_line};
