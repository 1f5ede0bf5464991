//! Update and telemetry daemon of a vehicle gateway.
#![deny(unsafe_code)]

pub mod profiler;
