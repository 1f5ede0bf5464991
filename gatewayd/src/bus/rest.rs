//! Times in which a bus need not be listened to, so that its thread wakes once for many frames and not for each.
//!
//! While the one open session has frames with the controller and nothing is awaited but their confirmation, one after the
//! other, the thread rests until half of them are on the wire. It wakes a few times less often, and the other half keeps
//! the bus busy if it wakes late. What an ECU says in the midst of a message, an early refusal, is heard at most
//! [`LONGEST`] later. With several sessions open each frame may be what another one waits for, so there are no rests.
//!
//! A bus that is found empty sooner than its bit rates allow is another one than was configured, as a simulated one may
//! be: then every frame wakes the thread again for [`DISTRUST`]. The soonest is counted from when frames were handed out,
//! not from when they were seen to be through: a thread that was kept from looking would blame the bus for its own delay.

use std::time::{Duration, Instant};

/// Longest rest.
const LONGEST: Duration = Duration::from_millis(5);
/// With fewer frames than these the bus is empty before a thread that is a little late has woken.
const FEWEST: u32 = 4;
/// No rests for so long after the bus was faster than it can be.
const DISTRUST: Duration = Duration::from_secs(1);

/// When to rest.
#[derive(Debug, Default)]
pub(super) struct Rest {
    busy: Option<Busy>,
    not_before: Option<Instant>,
}

/// A time in which frames of ours were with the bus without a break.
#[derive(Debug)]
struct Busy {
    since: Instant,
    /// How long all frames handed out since hold the bus
    time: Duration,
}

impl Rest {
    /// How long to rest where it pays: `in_flight` frames, each of which holds the bus for about `frame`, are with it.
    pub(super) fn poll(&self, now: Instant, in_flight: u32, frame: Duration) -> Option<Instant> {
        if in_flight < FEWEST || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        Some(now + frame.saturating_mul(in_flight / 2).min(LONGEST))
    }

    /// A frame that holds the bus for `frame` is handed out.
    pub(super) fn handle_sent(&mut self, now: Instant, frame: Duration) {
        self.busy.get_or_insert(Busy { since: now, time: Duration::ZERO }).time += frame;
    }

    /// The last frame that was with the bus is confirmed; it held the bus for `frame`.
    pub(super) fn handle_empty(&mut self, now: Instant, frame: Duration) {
        let Some(Busy { since, time }) = self.busy.take() else { return };
        // A frame less: confirmations come before the intermission. An eighth less: stuff bits are estimated.
        if now + frame < since + time * 7 / 8 {
            self.not_before = Some(now + DISTRUST);
        }
    }

    /// The bus is gone, and what was with it.
    pub(super) fn handle_down(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_micros(347);
    const NANO: Duration = Duration::from_nanos(1);

    #[test]
    fn a_rest_lasts_half_of_what_is_in_flight_and_never_longer_than_its_bound() {
        let now = Instant::now();
        let rest = Rest::default();
        assert_eq!(rest.poll(now, 3, FRAME), None);
        assert_eq!(rest.poll(now, 4, FRAME), Some(now + FRAME * 2));
        assert_eq!(rest.poll(now, 9, FRAME), Some(now + FRAME * 4));
        assert_eq!(rest.poll(now, 28, FRAME), Some(now + FRAME * 14));
        assert_eq!(rest.poll(now, 30, FRAME), Some(now + LONGEST));
    }

    #[test]
    fn a_bus_that_is_empty_too_soon_is_not_left_alone_for_a_second() {
        let now = Instant::now();
        for (at, blamed) in [(now + FRAME * 6 - NANO, true), (now + FRAME * 6, false)] {
            let mut rest = Rest::default();
            for _ in 0..8 {
                rest.handle_sent(now, FRAME);
            }
            rest.handle_empty(at, FRAME);
            assert_eq!(rest.poll(at, 8, FRAME).is_none(), blamed);
            assert_eq!(rest.poll(at + DISTRUST - NANO, 8, FRAME).is_none(), blamed);
            assert!(rest.poll(at + DISTRUST, 8, FRAME).is_some());
        }
    }

    #[test]
    fn a_thread_that_is_kept_from_looking_does_not_blame_the_bus() {
        // Half of 16 frames were through long before that was seen; eight more went out and were through right after.
        let now = Instant::now();
        let mut rest = Rest::default();
        for at in [now, now + FRAME * 15] {
            for _ in 0..if at == now { 16 } else { 8 } {
                rest.handle_sent(at, FRAME);
            }
        }
        let empty = now + FRAME * 24;
        rest.handle_empty(empty, FRAME);
        assert!(rest.poll(empty, 8, FRAME).is_some());
    }

    #[test]
    fn a_bus_that_is_gone_takes_what_was_with_it_along() {
        let now = Instant::now();
        let mut rest = Rest::default();
        for _ in 0..100 {
            rest.handle_sent(now, FRAME);
        }
        rest.handle_down();
        rest.handle_sent(now, FRAME);
        rest.handle_empty(now + FRAME, FRAME);
        assert!(rest.poll(now + FRAME, 8, FRAME).is_some());
    }
}
