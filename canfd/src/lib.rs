//! From the bus to a UDS answer.
#![forbid(unsafe_code)]

pub mod uds;
