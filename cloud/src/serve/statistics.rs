//! What the origin counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of a running origin. Each only grows.
#[derive(Debug, Default)]
pub struct Statistics {
    pub(super) connections: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) body_bytes: AtomicU64,
    pub(super) aborted: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    /// Connections whose handshake was good.
    pub connections: u64,
    /// Connections refused because there were as many as allowed.
    pub refused: u64,
    /// Handshakes that failed: no certificate, a foreign one, a deadline.
    pub handshakes_failed: u64,
    /// Requests answered, with whatever status.
    pub requests: u64,
    /// Of these, answered with a status of 400 or more.
    pub errors: u64,
    /// Bytes of bodies handed to the transport.
    pub body_bytes: u64,
    /// Responses that ended early: the client went away or was too slow, or the file could not be read.
    pub aborted: u64,
}

impl Statistics {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.connections.load(Relaxed),
            refused: self.refused.load(Relaxed),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
            requests: self.requests.load(Relaxed),
            errors: self.errors.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
        }
    }
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
