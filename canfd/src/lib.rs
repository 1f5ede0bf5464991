//! From the bus to a UDS answer: CAN FD frames, ISO-TP, UDS, bus back ends.
#![forbid(unsafe_code)]

pub mod bit_timing;
pub mod bus;
pub mod frame;
pub mod isotp;
pub mod pacing;
mod random;
pub mod uds;
pub mod virtual_bus;
