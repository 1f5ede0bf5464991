//! From the bus to a UDS answer: CAN FD frames, ISO-TP, UDS, bus back ends.
#![forbid(unsafe_code)]

pub mod frame;
pub mod isotp;
pub mod uds;
