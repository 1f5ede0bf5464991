//! The ECUs behind one DoIP entity: a programming session each, over one connection, sans-io.
//!
//! Every call of a `handle_*` method is followed by a full drain of `poll_connection`, `poll_transmit` and
//! `poll_report`. The connection is opened when there is something to say and closed when there was nothing for a while:
//! an ECU that restarts in the course of its programming takes its connection with it and is called again.

mod master;
mod seat;
#[cfg(test)]
mod tests;

pub use self::master::{ConnectionOrder, DoipConfig, DoipMaster};
pub use self::seat::DoipSeatConfig;
