//! The daemon of a vehicle gateway: it fetches signed campaigns, verifies every byte, programs the ECUs behind it and
//! reports. In reading order:
//!
//! * [`config`]: what it is told,
//! * [`gateway`]: the brain, sans-io,
//! * [`bus`]: the ECUs of one bus and their sessions, sans-io,
//! * [`doip`]: the ECUs behind one DoIP entity, sans-io,
//! * [`io`]: one adapter per outside thing,
//! * [`event_loop`]: moves bytes between the brain and the adapters,
//! * [`daemon`]: the life of the process,
//! * [`policy`]: what a review would ask about the configuration,
//! * [`control`]: what `gatewayctl` asks and hears,
//! * [`profiler`]: what the machine and this daemon do, measured by a process of its own,
//! * [`heap`]: the allocator, which counts a sample of what it gives,
//! * [`runtime`]: which thread runs where,
//! * [`systemd`]: the service manager.
#![deny(unsafe_code)]

pub mod bus;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod doip;
pub mod event_loop;
pub mod gateway;
pub mod heap;
pub mod inspect;
pub mod io;
pub mod log;
pub mod policy;
pub mod profiler;
pub mod profiler_service;
pub mod runtime;
pub mod shutdown;
pub mod systemd;
