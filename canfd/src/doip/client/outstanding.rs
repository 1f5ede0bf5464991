//! Diagnostic messages that were not acknowledged yet, oldest first.

use crate::doip::LogicalAddress;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most of them: one for each ECU of a large vehicle.
pub(super) const MAX_OUTSTANDING: usize = 256;

/// The messages on their way.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    queued: VecDeque<(LogicalAddress, Vec<u8>)>,
    sent: VecDeque<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    target: LogicalAddress,
    at: Instant,
    deadline: Instant,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.queued.len() + self.sent.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn is_waiting(&self, target: LogicalAddress) -> bool {
        self.queued.iter().any(|(it, _)| *it == target) || self.sent.iter().any(|it| it.target == target)
    }

    pub(super) fn push(&mut self, target: LogicalAddress, data: Vec<u8>) {
        self.queued.push_back((target, data));
    }

    /// The next message to send; its acknowledgement is due from now on.
    pub(super) fn hand_out(&mut self, now: Instant, patience: Duration) -> Option<(LogicalAddress, Vec<u8>)> {
        let (target, data) = self.queued.pop_front()?;
        self.sent.push_back(Sent { target, at: now, deadline: now + patience });
        Some((target, data))
    }

    /// The message to `target` has arrived or not; either way it is no longer outstanding. False where there was none.
    pub(super) fn confirm(&mut self, target: LogicalAddress) -> bool {
        let position = self.sent.iter().position(|it| it.target == target);
        position.and_then(|at| self.sent.remove(at)).is_some()
    }

    pub(super) fn oldest(&self) -> Option<LogicalAddress> {
        self.sent.front().map(|it| it.target)
    }

    /// Takes out the oldest message whose time is over: its target, and when it was sent.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<(LogicalAddress, Instant)> {
        // All have the same patience, so the oldest is due first.
        self.sent.front().filter(|it| it.deadline <= now)?;
        self.sent.pop_front().map(|it| (it.target, it.at))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sent.front().map(|it| it.deadline)
    }
}
