//! Simulators of everything around the daemon.
#![forbid(unsafe_code)]

pub mod bus;
pub mod ecu;
