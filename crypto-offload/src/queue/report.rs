//! An engine as `gatewayctl status` shows it.

use super::cost::Class;
use crate::engine::Capabilities;
use crate::job::JobError;

/// An engine as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// Its name.
    pub name: &'static str,
    /// What exactly it is.
    pub identity: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether jobs go to it.
    pub in_use: bool,
    /// Its health, as the queue sees it.
    pub state: EngineState,
    /// Why it was last taken out of use.
    pub reason: Option<JobError>,
    /// Jobs at it now.
    pub in_flight: usize,
    /// Jobs it was ever given, known questions not counted.
    pub jobs: u64,
    /// Those of them that another engine had to do after all.
    pub fallbacks: u64,
    /// Of a device that was measured: the size in bytes from which on it is faster than the CPU; `None` where it never
    /// is.
    pub crossovers: Vec<(Class, Option<usize>)>,
}

/// Whether jobs go to an engine, and how far it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// In use.
    Up,
    /// In use for one job at a time, and the CPU does each of them again: it has failed not long ago, or says so
    /// itself.
    Degraded,
    /// Not in use, until it is asked known questions.
    Down,
    /// Being asked known questions.
    Probation,
}

impl EngineState {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Probation => "probation",
        }
    }
}
