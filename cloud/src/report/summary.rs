//! The outcome of one campaign on one vehicle, as `summary.json`.

use ota::stage::{Stage, Status};
use serde::{Deserialize, Serialize};

/// The outcome of one campaign on one vehicle. Fields that are missing in an older file are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The vehicle's VIN.
    pub vehicle: String,
    /// The campaign's id.
    pub campaign: String,
    /// The campaign's trace id.
    pub ota_trace_id: String,
    /// When it began, in milliseconds since 1970-01-01T00:00:00Z.
    pub started_at_ms: u64,
    /// The ECUs, in the order in which the page shows them.
    pub ecus: Vec<EcuSummary>,
    /// The buses.
    pub buses: Vec<BusSummary>,
    /// Sums.
    pub totals: Totals,
}

/// What became of one ECU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EcuSummary {
    /// The ECU.
    pub serial: String,
    /// The bus it hangs on.
    pub bus: String,
    /// The image's name in metadata.
    pub target: String,
    /// What it ran before.
    pub version_before: String,
    /// What it runs now.
    pub version_after: String,
    /// Plain bytes of the image.
    pub bytes: u64,
    /// `none`, `aes-128-gcm`, `aes-256-gcm` or `sm4-gcm`.
    pub cipher: String,
    /// Hash function of the chunk tree: `sha256` or `sm3`.
    pub tree_hash: String,
    /// Its stages; used where no event tells of them.
    pub stages: Vec<StageSpan>,
    /// Plain bytes per second over the bus while the image was transferred; 0 where nothing was.
    pub throughput: f64,
    /// The most that the bus could carry, in plain bytes per second; 0 where not known.
    pub wire_limit: f64,
    /// The outcome.
    pub verdict: Verdict,
    /// Whether what the ECU holds was compared with the package byte for byte, and was equal.
    pub identical: Option<bool>,
    /// Why it was not updated: which chunk, which step, whose fault.
    pub error: Option<String>,
}

/// One stage of one ECU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpan {
    /// The stage.
    pub stage: Stage,
    /// When it began, in milliseconds after the campaign did.
    pub start_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What came of it.
    pub status: Status,
}

/// What became of an ECU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It runs the new software.
    Updated,
    /// It runs the old software, which nothing touched.
    Unchanged,
    /// It was being programmed, and runs the old software again.
    RolledBack,
    /// It runs neither.
    Failed,
    /// Nothing is known.
    #[default]
    Unknown,
}

/// How busy one bus was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BusSummary {
    /// The bus.
    pub name: String,
    /// Arbitration phase, bit/s.
    pub nominal_bitrate: u64,
    /// Data phase, bit/s.
    pub data_bitrate: u64,
    /// Frames seen.
    pub frames: u64,
    /// Share of the time in which the bus was busy, 0 to 1.
    pub load: f64,
    /// The same in the busiest second.
    pub peak_load: f64,
}

/// Sums over the campaign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// From the announcement to the report, in milliseconds.
    pub duration_ms: u64,
    /// Plain bytes given to ECUs.
    pub bytes: u64,
    /// Bytes fetched from the origin.
    pub downloaded_bytes: u64,
    /// Most memory the gateway held, in bytes; 0 where not known.
    pub peak_memory_bytes: u64,
    /// Telemetry windows that arrived.
    pub telemetry_windows: u64,
}
