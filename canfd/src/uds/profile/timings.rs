//! How long a kind of ECU may take.

use super::super::client::ClientTimings;
use super::super::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Waiting times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// P2 of the client, the way included. Default: 150ms.
    #[serde(with = "duration")]
    pub p2: Duration,
    /// P2* of the client. Default: 5100ms.
    #[serde(with = "duration")]
    pub p2_star: Duration,
    /// Silence after which tester present is sent. Default: 2s.
    #[serde(with = "duration")]
    pub s3: Duration,
    /// Longest time one request may stay pending (NRC 0x78). Default: 2m.
    #[serde(with = "duration")]
    pub pending_total: Duration,
    /// Pause after NRC 0x21 or 0x94. Default: 200ms.
    #[serde(with = "duration")]
    pub busy_delay: Duration,
    /// Most repetitions after NRC 0x21 or 0x94. Default: 10.
    pub busy_max: u32,
    /// Longest time the transport may take for one request. Default: 10s.
    #[serde(with = "duration")]
    pub send: Duration,
    /// Pause before the one repetition of 0x27 after NRC 0x37. Default: 11s.
    #[serde(with = "duration")]
    pub security_delay: Duration,
    /// Pause between reset and first sign of life, and between later tries. Default: 500ms.
    #[serde(with = "duration")]
    pub reset_poll: Duration,
    /// Longest time from reset to the read-back of the version. Default: 30s.
    #[serde(with = "duration")]
    pub reset_wait: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let client = ClientTimings::default();
        Self {
            p2: client.p2,
            p2_star: client.p2_star,
            s3: client.s3,
            pending_total: client.pending_total,
            busy_delay: client.busy_delay,
            busy_max: client.busy_max,
            send: client.send,
            security_delay: Duration::from_secs(11),
            reset_poll: Duration::from_millis(500),
            reset_wait: Duration::from_secs(30),
        }
    }
}

impl Timings {
    /// The part that the client needs.
    pub fn client(&self) -> ClientTimings {
        ClientTimings {
            p2: self.p2,
            p2_star: self.p2_star,
            s3: self.s3,
            pending_total: self.pending_total,
            busy_delay: self.busy_delay,
            busy_max: self.busy_max,
            send: self.send,
            ..ClientTimings::default()
        }
    }
}
