//! One bus and the ECUs on it: a programming session each, over ISO-TP, sans-io.
//!
//! Every call of a `handle_*` method is followed by a full drain of `poll_transmit` and `poll_report`.

mod feed;
mod identify;
mod master;
mod message;
mod recovery;
mod rest;
mod seat;
pub(crate) mod session;
mod silence;
mod telemetry;
#[cfg(test)]
mod tests;

pub use self::master::BusMaster;
pub(crate) use self::message::chain;
pub use self::message::{EcuError, EcuOrder, EcuReport, Program, SeatConfig};
pub use self::recovery::{Off, Pause, Recovery, Return};
pub use self::telemetry::{SourceBlock, TelemetryOrder, TelemetryPort, TelemetrySource};
