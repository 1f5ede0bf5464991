//! What `gatewayctl status --json` prints. Fields are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profiler::state::ProfilerState;

/// The daemon at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// The vehicle.
    pub vin: String,
    /// How often the daemon has been started on this journal.
    pub boot: u64,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The campaign under way, or the last one.
    pub campaign: Option<CampaignStatus>,
    /// Every configured ECU.
    pub ecus: Vec<EcuStatus>,
    /// The broker.
    pub broker: BrokerStatus,
    /// Where the workers run.
    pub workers: Vec<WorkerStatus>,
    /// The crypto engines.
    #[serde(default)]
    pub crypto: CryptoStatus,
    /// Capture back end of the profiling service, or why there is none.
    pub profiler: String,
    /// What the profiling service last said of itself; absent while it is away.
    #[serde(default)]
    pub telemetry: Option<ProfilerState>,
    /// Bytes that the daemon has taken from its heap since the start, estimated from samples.
    #[serde(default)]
    pub heap_taken_bytes: u64,
    /// Processes of this service since it was last stopped, this one included: 1 plus restarts and crashes.
    #[serde(default)]
    pub generation: u64,
    /// Which configuration is in force.
    #[serde(default)]
    pub configuration: ConfigurationStatus,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// Its file.
    pub file: String,
    /// Reloads that were accepted since the start.
    pub reloads: u64,
    /// Why the last reload was refused; absent once one was accepted.
    pub refused: Option<String>,
    /// Keys of the file that are not in force before a restart.
    pub needs_restart: Vec<String>,
    /// The file could not be used after a crash: what the process before ran on is in force.
    pub fallback: bool,
}

/// A campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignStatus {
    /// Its name.
    pub campaign: String,
    /// Its trace id.
    pub ota_trace_id: String,
    /// `running` or `finished`.
    pub state: String,
}

/// One ECU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcuStatus {
    /// Uptane ECU serial.
    pub serial: String,
    /// Its bus.
    pub bus: String,
    /// Stage code, `IDLE` where nothing is under way.
    pub stage: String,
    /// The version it last reported.
    pub version: Option<String>,
    /// The version it is being brought to.
    pub target: Option<String>,
    /// Bytes done in this stage.
    pub done: u64,
    /// Bytes to do in this stage.
    pub total: u64,
    /// Why it failed, and what its old software does now.
    pub error: Option<String>,
}

/// The broker link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerStatus {
    /// Whether the broker has us.
    pub connected: bool,
    /// Messages waiting in the outbox.
    pub waiting: u64,
    /// Messages dropped since the start.
    pub dropped: u64,
}

/// One worker thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Thread name.
    pub name: String,
    /// The CPUs the kernel gave it, as a cpulist.
    pub cpus: String,
}

/// The crypto queue and its engines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CryptoStatus {
    /// The engines, in order of preference, then those that are not there.
    pub engines: Vec<EngineStatus>,
    /// Jobs taken in since the start.
    pub jobs: u64,
    /// Jobs done again by another engine.
    pub redone: u64,
    /// Times a coprocessor failed.
    pub failures: u64,
    /// Times a coprocessor hung.
    pub hangs: u64,
    /// Good answers that the CPU computed again.
    pub shadows: u64,
    /// Answers that were wrong.
    pub wrong_answers: u64,
}

/// One crypto engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// `software` or `device`.
    pub name: String,
    /// What exactly it is.
    pub identity: String,
    /// `up`, `degraded`, `down`, `probation` or `absent`.
    pub state: String,
    /// Why it was last taken out of use.
    pub reason: Option<String>,
    /// Algorithms, by their names in metadata.
    pub capabilities: Vec<String>,
    /// By algorithm: the size in bytes from which on it is faster than the CPU, none where it never is. Empty before
    /// it was measured.
    pub crossovers: BTreeMap<String, Option<u64>>,
    /// Jobs at it now.
    pub in_flight: u64,
    /// Jobs it was ever given.
    pub jobs: u64,
    /// Those of them that another engine had to do after all.
    pub fallbacks: u64,
}
