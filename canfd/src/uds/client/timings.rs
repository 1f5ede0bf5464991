//! How long the client waits.

use crate::uds::message::Addressing;
use std::time::Duration;

/// How long the client waits, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimings {
    /// From the confirmation of a request to the start of its answer, transport latency included (P2client).
    /// An ECU that reports a longer P2 in its answer to 0x10 gets it.
    pub p2: Duration,
    /// The same after NRC 0x78 (P2*client).
    pub p2_star: Duration,
    /// Silence after which a session is kept alive with 0x3E (S3client); below the ECU's S3, usually 5 s.
    pub s3: Duration,
    /// Longest time from a request's confirmation to its final answer, whatever the ECU promises.
    pub pending_total: Duration,
    /// Most NRC 0x78 accepted for one request.
    pub pending_max: u32,
    /// Pause before a request answered with NRC 0x21 or 0x94 is repeated.
    pub busy_delay: Duration,
    /// Most repetitions after NRC 0x21 or 0x94.
    pub busy_max: u32,
    /// Longest time the transport may take to confirm a request.
    pub send: Duration,
    /// Whom tester present addresses.
    pub tester_present: Addressing,
}

impl Default for ClientTimings {
    /// ISO 14229-2 values plus 100 ms for the way; 120 s and 200 answers for NRC 0x78; 10 repetitions 200 ms apart.
    fn default() -> Self {
        Self {
            p2: Duration::from_millis(150),
            p2_star: Duration::from_millis(5100),
            s3: Duration::from_millis(2000),
            pending_total: Duration::from_secs(120),
            pending_max: 200,
            busy_delay: Duration::from_millis(200),
            busy_max: 10,
            send: Duration::from_secs(10),
            tester_present: Addressing::Physical,
        }
    }
}
