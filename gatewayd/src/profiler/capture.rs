//! What the ways of sampling have in common, and the choice between them.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use telemetry::WindowBuilder;
use tracing::{debug, info, warn};

use super::config::{BackendChoice, Config};
use super::cputime::CpuTimeCapture;
use super::procfs::tasks;
use super::rate::RateLaw;
use super::state::DimensionState;

/// Which way of sampling is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Programs in the kernel that add up events, and a timer on each CPU: the whole machine, in all dimensions.
    Bpf,
    /// Perf events on each CPU: the whole machine, in all dimensions.
    Machine,
    /// Perf events on one process: call stacks, taken by the kernel after so much CPU time of a thread.
    Perf,
    /// Procfs: CPU time of each thread from its accounts, without stacks.
    Procfs,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "bpf",
            Self::Machine => "machine",
            Self::Perf => "perf",
            Self::Procfs => "procfs",
        })
    }
}

/// Why a process cannot be sampled.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The process ended.
    #[error("process {0} is gone")]
    Gone(u32),
    /// The configuration asks for perf events and the kernel refuses them.
    #[error(
        "the kernel refuses perf events on process {pid}: {source}; grant CAP_PERFMON or set backend = \"auto\""
    )]
    Perf {
        /// The process to be sampled.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The configuration asks for the whole machine and the kernel refuses it.
    #[error(
        "the kernel refuses perf events on the machine's CPUs: {source}; grant CAP_PERFMON or set backend = \"auto\""
    )]
    Machine {
        /// What the kernel said.
        source: io::Error,
    },
    /// The configuration asks for programs in the kernel, and there can be none.
    #[error("no programs in the kernel: {reason}; backend = \"auto\" does without")]
    Programs {
        /// What the kernel, or the build, said.
        reason: String,
    },
    /// The process' threads cannot be read.
    #[error("threads of process {pid}: {source}")]
    Threads {
        /// The process to be sampled.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A way of sampling the machine or one process.
pub trait Capture: fmt::Debug {
    /// Which one it is.
    fn backend(&self) -> Backend;

    /// Does what is due at `now` (`unix_ms` by the wall clock), puts samples into `window`, and says when to be called
    /// again.
    ///
    /// # Errors
    /// [`CaptureError`] when there is nothing to sample any more.
    fn capture(
        &mut self,
        now: Instant,
        unix_ms: u64,
        rate: &mut RateLaw,
        window: &mut WindowBuilder,
    ) -> Result<Instant, CaptureError>;

    /// CPU time that sampling took from others since the last call: what the caller's own clock does not show.
    fn take_hidden_cost(&mut self) -> Duration;

    /// Measurements since the last call whose stack could not be had.
    fn take_stackless(&mut self) -> u64 {
        0
    }

    /// Each dimension, and the share of time in which it was looked at since the last call.
    fn dimensions(&mut self) -> Vec<DimensionState> {
        vec![DimensionState { name: "cpu".to_owned(), state: "on".to_owned(), share_ppm: 1_000_000 }]
    }
}

/// A way of sampling that was chosen, and why no better one.
#[derive(Debug)]
pub struct Opened {
    /// The way.
    pub capture: Box<dyn Capture + Send>,
    /// What refused the better ones; empty for the best.
    pub reason: String,
}

/// Chooses a way of sampling: the machine by programs or by events, else process `pid`, else its accounts. Says in the log which one and why.
///
/// # Errors
/// [`CaptureError`] when the process is gone, or the kernel refuses what `config` insists on.
pub fn open(pid: u32, config: &Config, seed: u64, rate: &mut RateLaw) -> Result<Opened, CaptureError> {
    let choice = config.backend;
    let mut reason = String::new();
    for (backend, wanted) in [(Backend::Bpf, BackendChoice::Bpf), (Backend::Machine, BackendChoice::Machine)]
    {
        if choice != BackendChoice::Auto && choice != wanted {
            continue;
        }
        match open_machine(config, backend == Backend::Bpf, seed, rate) {
            Ok(capture) => {
                info!(%backend, reason, "sampling the whole machine");
                return Ok(Opened { capture, reason });
            }
            Err(error) if choice == wanted => return Err(error),
            Err(error) => reason = error.to_string(),
        }
    }
    if matches!(choice, BackendChoice::Auto | BackendChoice::Perf) {
        match open_perf(pid, rate) {
            Ok(capture) => {
                info!(pid, backend = %Backend::Perf, reason, "sampling call stacks of one process");
                return Ok(Opened { capture, reason });
            }
            Err(error @ CaptureError::Perf { .. }) if choice == BackendChoice::Auto => {
                reason = error.to_string()
            }
            Err(error) => return Err(error),
        }
    }
    if choice == BackendChoice::Procfs {
        info!(pid, backend = %Backend::Procfs, "sampling CPU time without call stacks, as configured");
    } else {
        warn!(pid, backend = %Backend::Procfs, reason, "no perf events: sampling CPU time without call stacks");
    }
    Ok(Opened { capture: Box::new(CpuTimeCapture::open(pid)?), reason })
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
fn open_machine(
    config: &Config,
    by_programs: bool,
    seed: u64,
    rate: &mut RateLaw,
) -> Result<Box<dyn Capture + Send>, CaptureError> {
    Ok(Box::new(super::machine::MachineCapture::open(config, by_programs, seed, rate)?))
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
fn open_machine(
    _: &Config,
    _: bool,
    _: u64,
    _: &mut RateLaw,
) -> Result<Box<dyn Capture + Send>, CaptureError> {
    Err(CaptureError::Machine { source: io::Error::from(io::ErrorKind::Unsupported) })
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
fn open_perf(pid: u32, rate: &mut RateLaw) -> Result<Box<dyn Capture + Send>, CaptureError> {
    Ok(Box::new(super::callstack::CallStackCapture::open(pid, rate)?))
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
fn open_perf(pid: u32, _: &mut RateLaw) -> Result<Box<dyn Capture + Send>, CaptureError> {
    Err(CaptureError::Perf { pid, source: io::Error::from(io::ErrorKind::Unsupported) })
}

/// The threads of process `pid` that are sampled.
pub(super) fn sampled_tasks(pid: u32) -> Result<Vec<u32>, CaptureError> {
    let tasks = tasks(pid).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CaptureError::Gone(pid),
        _ => CaptureError::Threads { pid, source },
    })?;
    if tasks.beyond > 0 {
        debug!(pid, beyond = tasks.beyond, "more threads than are sampled");
    }
    Ok(tasks.tids)
}

/// Milliseconds from a window's start to a moment; a moment before it (taken before, read after) counts as its start.
pub(super) fn since_start(window: &WindowBuilder, unix_ms: u64) -> u32 {
    u32::try_from(unix_ms.saturating_sub(window.start_unix_ms())).unwrap_or(u32::MAX)
}
