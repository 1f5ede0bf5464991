//! What the profiling service says of itself to `gatewayctl telemetry`.

use serde::{Deserialize, Serialize};

/// State of a dimension that the configuration leaves out.
pub const OFF: &str = "off: not in profile.dimensions";

/// The service at a glance, once per window. Fields are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfilerState {
    /// `bpf`, `machine`, `perf` or `procfs`.
    pub backend: String,
    /// Why it is not a better one; empty when it is the best.
    #[serde(default)]
    pub reason: String,
    /// Each dimension.
    pub dimensions: Vec<DimensionState>,
    /// Mean interval of normal threads now, in microseconds.
    pub interval_us: u64,
    /// Mean interval of real-time threads now, in microseconds.
    pub realtime_interval_us: u64,
    /// Events per second that may be taken now, on the whole machine.
    pub events_per_second: u64,
    /// By how much measuring is rarer than wished because of its cost, in millionths; 1000000 is not at all.
    pub stretch_ppm: u64,
    /// Own cost over the last window, in millionths of one CPU.
    pub cost_ppm: u64,
    /// The same as it may be.
    pub budget_ppm: u64,
    /// Resident memory of the service in bytes.
    pub resident_bytes: u64,
    /// Samples in the last window.
    pub samples: u64,
    /// Samples and events lost in the last window.
    pub lost: u64,
    /// Measurements of the last window whose stack the kernel could not give: told without one.
    #[serde(default)]
    pub stackless: u64,
    /// Bytes of the last window's block.
    pub block_bytes: u64,
    /// Blocks dropped since the start because the daemon did not take them.
    pub dropped_blocks: u64,
    /// Windows waiting for bytes to be sent with.
    #[serde(default)]
    pub waiting_windows: u64,
    /// Bytes a second that telemetry may take; 0 for any number.
    #[serde(default)]
    pub bytes_per_second: u64,
}

/// One dimension.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DimensionState {
    /// `cpu`, `blocking`, `locks`, `memory` or `block-io`.
    pub name: String,
    /// `on`, or why not.
    pub state: String,
    /// Share of the time in which events were taken, in millionths; what was measured then stands for the rest.
    pub share_ppm: u64,
}

/// Longest state on the link, in bytes.
pub(crate) const MAX_LEN: usize = 8 * 1_024;

impl ProfilerState {
    /// As it travels to the daemon: JSON, which no block begins like.
    pub(crate) fn to_frame(&self) -> Vec<u8> {
        // Plain numbers and strings can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it back; `None` for a telemetry block and for anything else.
    pub(crate) fn from_frame(frame: &[u8]) -> Option<Self> {
        (frame.first() == Some(&b'{') && frame.len() <= MAX_LEN)
            .then(|| serde_json::from_slice(frame).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_as_it_was_and_a_block_is_none() {
        let state = ProfilerState { backend: "machine".into(), cost_ppm: 4_000, ..ProfilerState::default() };
        assert_eq!(ProfilerState::from_frame(&state.to_frame()), Some(state));
        assert_eq!(ProfilerState::from_frame(b"GT\x02"), None);
        assert_eq!(ProfilerState::from_frame(&[b'{'; MAX_LEN + 1]), None);
    }
}
