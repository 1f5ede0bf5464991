//! What of the brain changes without a restart, and what a restart must not lose although no journal holds it.

use std::time::{Duration, Instant};

use ota::stage::TraceId;

use super::{Gateway, Look};

/// Settings of the brain that may change while it works. Installations under way keep what they began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a download may run ahead of its verification.
    pub read_ahead: u64,
    /// Fetch attempts in a row without a new byte.
    pub attempts: u32,
    /// How often the Director is asked without being told to.
    pub poll_interval: Duration,
}

/// A look at the Director that somebody was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What it was asked for with.
    pub trace: Option<TraceId>,
}

impl Gateway {
    /// Other limits from now on. The next look comes at the earlier of the old and the new date.
    pub fn change_limits(&mut self, now: Instant, limits: Limits) {
        self.setup.read_ahead = limits.read_ahead;
        self.setup.attempts = limits.attempts;
        self.setup.poll_interval = limits.poll_interval;
        self.next_poll = self.next_poll.min(now + limits.poll_interval);
    }

    /// A look that somebody asked for and that is not over. What it finds is in the journal.
    pub fn wish(&self) -> Option<Wish> {
        let waiting = self.check_wanted.filter(|it| it.told).map(|it| Wish { trace: it.trace });
        waiting.or_else(|| {
            (self.check.is_some() && self.told).then_some(Wish { trace: self.reporter.name.trace })
        })
    }

    /// Takes up a wish of the process before. It is carried out with the next input or timeout.
    pub fn resume_wish(&mut self, now: Instant, wish: Wish) {
        self.check_wanted = Some(Look { trace: wish.trace, told: true });
        self.next_poll = self.next_poll.min(now);
    }

    /// When the Director is asked next without being told to.
    pub const fn next_poll(&self) -> Instant {
        self.next_poll
    }

    /// Keeps the date of the process before, where it is earlier: restarts must not put the look off for ever.
    pub fn resume_next_poll(&mut self, at: Instant) {
        self.next_poll = self.next_poll.min(at);
    }
}
