//! Simulators of everything around the daemon.
#![forbid(unsafe_code)]

pub mod broker;
pub mod bus;
pub mod ecu;
pub mod errors;
pub mod origin;
pub mod random;
pub mod vehicle;
