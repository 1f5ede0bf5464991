//! What was measured: samples on stacks, and metrics.

use std::sync::Arc;

use crate::limits::MAX_BUILD_ID_LEN;

/// Identity of an executable file's contents: its GNU build id, empty where the file has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// `None` when longer than [`MAX_BUILD_ID_LEN`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX_BUILD_ID_LEN).then(|| Self(bytes.to_vec()))
    }

    /// The id's bytes; empty when unknown.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An executable file that was mapped into the sampled process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mapping {
    /// Which build of the file; symbols are looked up by this, away from the vehicle.
    pub build_id: BuildId,
    /// Where the file lay on the vehicle; a hint for people.
    pub path: Arc<str>,
}

/// One place in a program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Frame {
    /// A place in an executable file, to be given a name by whoever has the file's symbols.
    Address {
        /// The file.
        mapping: Arc<Mapping>,
        /// Offset in the file in bytes (not a virtual address).
        offset: u64,
    },
    /// A place known only by name.
    Symbol(Arc<str>),
}

/// How the scheduler treats a thread (`sched(7)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchedulingClass {
    /// `SCHED_OTHER`, `SCHED_BATCH` or `SCHED_IDLE`.
    #[default]
    Normal,
    /// `SCHED_FIFO` or `SCHED_RR` with this priority (1 to 99), or `SCHED_DEADLINE`, written as 100.
    Realtime(u8),
}

/// A sampled thread.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadInfo {
    /// Process id as the vehicle's kernel counts.
    pub pid: u32,
    /// Thread id as the vehicle's kernel counts.
    pub tid: u32,
    /// The thread's name (15 bytes on Linux).
    pub name: Arc<str>,
    /// How it is scheduled; a thread that changes class is told as a new thread.
    pub class: SchedulingClass,
}

/// Position of a thread in [`Window::threads`](crate::Window::threads).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadIndex(pub u32);

/// Position of a stack in [`Window::stacks`](crate::Window::stacks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackIndex(pub u32);

/// A thread seen on a CPU: at one moment, or in an aggregated window all through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sample {
    /// Milliseconds since the window's start; 0 in an aggregated window.
    pub at_ms: u32,
    /// Who ran.
    pub thread: ThreadIndex,
    /// Where.
    pub stack: StackIndex,
    /// How often; 1, except in an aggregated window.
    pub count: u32,
    /// What this stands for: of CPU time the nanoseconds of the sampling interval in force, summed over the count; of other
    /// dimensions what [`Dimension::unit`](crate::Dimension::unit) says. Without it samples taken at different rates could
    /// not be added up.
    pub weight_ns: u64,
}

/// Metrics of one window: a table whose rows are moments and whose columns are metrics. Values are integers in the
/// unit that the metric's name ends with (`_bytes`, `_ppm`, `_ms`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    pub(crate) at_ms: Vec<u32>,
    pub(crate) series: Vec<Series>,
}

/// One column of [`Metrics`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub(crate) name: Arc<str>,
    pub(crate) values: Vec<i64>,
}

impl Metrics {
    /// Moments of the rows in milliseconds since the window's start, ascending.
    pub fn at_ms(&self) -> &[u32] {
        &self.at_ms
    }

    /// The columns, each as long as [`Metrics::at_ms`].
    pub fn series(&self) -> &[Series] {
        &self.series
    }
}

impl Series {
    /// The metric's name, its unit at the end.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// One value per row.
    pub fn values(&self) -> &[i64] {
        &self.values
    }
}
