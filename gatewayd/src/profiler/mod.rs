//! The profiling service: samples a process at a rate that follows load, priority and its own cost, and hands the
//! samples on as telemetry blocks.
//!
//! It runs as a process of its own (`gatewayd profile`) or as a thread; either way it reaches the daemon over a Unix
//! socket only, and a daemon that is absent, slow or dead costs telemetry and nothing else.
//!
//! * [`service::run`] is the whole service; [`link`] is what the daemon needs on its side of the socket.
//! * [`sampler::Sampler`] makes windows; [`rate::RateLaw`] says how often; [`capture::Capture`] is what samples.

pub mod capture;
pub mod config;
pub mod link;
pub mod rate;
pub mod sampler;
pub mod service;
pub mod state;

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod callstack;
mod cputime;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod machine;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod maps;
mod metrics;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod perf;
mod poisson;
mod procfs;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod record;
mod uplink;
