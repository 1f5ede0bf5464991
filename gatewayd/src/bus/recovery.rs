//! How a bus that fails is come back to: less and less eagerly, and never in a loop.
//!
//! A controller that is bus-off is not ours to restart, that takes a privilege: the kernel does it after the interface's
//! `restart-ms`, or a person. Here is only the limit on it: however soon it is back, it is used again after a pause
//! that doubles with every time it went off.

use std::time::{Duration, Instant};

/// The first pause, and what every failure doubles.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause: what a bus that fails again and again costs is one attempt a minute.
const LONGEST: Duration = Duration::from_secs(60);
/// A bus that worked for so long is sound again.
const SOUND: Duration = Duration::from_secs(60);
/// A controller of which nothing is heard for so long after it went off is looked at anew, in case its word was lost.
const SILENCE: Duration = Duration::from_secs(60);
/// Failures in a row after which it is said that a person has to look.
const LIMIT: u32 = 8;

/// Pauses between the attempts to use one bus, after bus-off and any other loss.
#[derive(Debug, Default)]
pub struct Recovery {
    failures: u32,
    up_since: Option<Instant>,
}

/// A controller that is bus-off: whether it may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Off {
    usable_at: Instant,
    given_up_at: Instant,
    back: bool,
}

/// What to do about a controller that was off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// Ask again at this instant, or once more is heard of it.
    Wait(Instant),
    /// It takes part again, and long enough has passed.
    Use,
    /// Nothing was heard of it.
    Reopen,
}

impl Off {
    /// It went off at `now`, and is not to be used for so long.
    pub fn new(now: Instant, pause: Pause) -> Self {
        let usable_at = now + pause.span;
        Self { usable_at, given_up_at: usable_at.max(now + SILENCE), back: false }
    }

    /// It takes part again.
    pub fn handle_back(&mut self) {
        self.back = true;
    }

    /// It went off once more before it was used.
    pub fn handle_off(&mut self) {
        self.back = false;
    }

    /// What to do now.
    pub fn poll(&self, now: Instant) -> Return {
        let due = if self.back { self.usable_at } else { self.given_up_at };
        match (now < due, self.back) {
            (true, _) => Return::Wait(due),
            (false, true) => Return::Use,
            (false, false) => Return::Reopen,
        }
    }
}

/// What to do about a bus that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Wait for so long before the next attempt.
    pub span: Duration,
    /// It has failed so often in a row that a person should look at wiring and bit rates. Attempts go on, rarely.
    pub hopeless: bool,
}

impl Recovery {
    /// The bus is usable.
    pub fn handle_up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// The bus went away while it was in use. One that cannot even be opened costs nothing and is tried every second.
    pub fn handle_down(&mut self, now: Instant) -> Pause {
        let Some(since) = self.up_since.take() else { return Pause { span: FIRST, hopeless: false } };
        if now.saturating_duration_since(since) >= SOUND {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let span = FIRST * 2_u32.saturating_pow(self.failures - 1).min(1 << 16);
        Pause { span: span.min(LONGEST), hopeless: self.failures >= LIMIT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_the_eighth_failure_calls_for_a_person() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        let pauses: Vec<Pause> = (0..40)
            .map(|_| {
                recovery.handle_up(now);
                recovery.handle_down(now + SOUND - Duration::from_nanos(1))
            })
            .collect();
        let seconds: Vec<u64> = pauses.iter().take(8).map(|pause| pause.span.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses.iter().position(|pause| pause.hopeless), Some(7));
        assert!(pauses.iter().all(|pause| pause.span <= LONGEST));
    }

    #[test]
    fn a_bus_that_worked_for_a_minute_starts_over() {
        let (mut recovery, now) = (Recovery::default(), Instant::now());
        for _ in 0..5 {
            recovery.handle_up(now);
            recovery.handle_down(now);
        }
        recovery.handle_up(now);
        assert_eq!(recovery.handle_down(now + SOUND), Pause { span: FIRST, hopeless: false });
    }

    #[test]
    fn a_controller_that_is_restarted_at_once_is_used_after_the_pause_and_not_before() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        for seconds in [1, 2, 4] {
            recovery.handle_up(now);
            let mut off = Off::new(now, recovery.handle_down(now));
            assert_eq!(off.poll(now), Return::Wait(now + SILENCE));
            off.handle_back();
            let at = now + Duration::from_secs(seconds);
            assert_eq!(off.poll(at - Duration::from_nanos(1)), Return::Wait(at));
            assert_eq!(off.poll(at), Return::Use);
            off.handle_off();
            assert_eq!(off.poll(at), Return::Wait(now + SILENCE), "it went off again before it was used");
        }
    }

    #[test]
    fn a_controller_of_which_nothing_is_heard_is_opened_anew_after_a_minute() {
        let now = Instant::now();
        let off = Off::new(now, Pause { span: FIRST, hopeless: false });
        assert_eq!(off.poll(now + SILENCE - Duration::from_nanos(1)), Return::Wait(now + SILENCE));
        assert_eq!(off.poll(now + SILENCE), Return::Reopen);
        let long = Off::new(now, Pause { span: LONGEST * 2, hopeless: true });
        assert_eq!(long.poll(now + SILENCE), Return::Wait(now + LONGEST * 2));
    }

    #[test]
    fn a_bus_that_cannot_be_opened_is_tried_every_second() {
        let mut recovery = Recovery::default();
        for _ in 0..20 {
            assert_eq!(recovery.handle_down(Instant::now()), Pause { span: FIRST, hopeless: false });
        }
    }
}
