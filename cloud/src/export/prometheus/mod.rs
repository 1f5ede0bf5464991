//! Metrics and block input and output for Prometheus: pulled by scrape ([`Scrape`]), or pushed by remote write
//! ([`RemoteWrite`]).

mod families;
mod push;
mod registry;
mod scrape;
mod text;
mod write_request;

pub(crate) use families::{operation, term};
pub use push::{Endpoint, EndpointError, PushStatistics, RemoteWrite};
pub use registry::{Registry, STALE};
pub use scrape::Scrape;
