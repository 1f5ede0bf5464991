//! Times in which a bus need not be listened to, so that its thread wakes once for many frames and not for each.
//!
//! While the one open session has frames with the controller and nothing is awaited but their confirmation, one after the
//! other, the thread rests until half of them are on the wire. It wakes a few times less often, and the other half keeps
//! the bus busy if it wakes late. What an ECU says in the midst of a message, an early refusal, is heard at most
//! [`LONGEST`] later. With several sessions open each frame may be what another one waits for, so there are no rests.
//!
//! A bus that is found empty sooner than its bit rates allow is another one than was configured, as a simulated one may
//! be: then every frame wakes the thread again for [`DISTRUST`].

use std::time::{Duration, Instant};

/// Longest rest.
const LONGEST: Duration = Duration::from_millis(5);
/// With fewer frames than these the bus is empty before a thread that is a little late has woken.
const FEWEST: u32 = 4;
/// No rests for so long after one that the bus did not keep to.
const DISTRUST: Duration = Duration::from_secs(1);

/// When to rest.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// While resting: when the frames that were with the bus can all be on the wire at the earliest
    empty_at: Option<Instant>,
    not_before: Option<Instant>,
}

impl Rest {
    /// Begins a rest where it pays: `in_flight` frames, each of which holds the bus for about `frame`, are with the bus.
    pub(super) fn begin(&mut self, now: Instant, in_flight: u32, frame: Duration) -> Option<Instant> {
        if in_flight < FEWEST || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        // The first may be nearly through, and frames differ by their stuff bits.
        self.empty_at = Some(now + frame.saturating_mul(in_flight - 2));
        Some(now + frame.saturating_mul(in_flight / 2).min(LONGEST))
    }

    /// A frame was confirmed, and so many are still with the bus.
    pub(super) fn handle_confirmed(&mut self, now: Instant, left: u32) {
        if left == 0 && self.empty_at.is_some_and(|at| now < at) {
            self.not_before = Some(now + DISTRUST);
        }
    }

    /// Everything that the rest left lying has been heard.
    pub(super) fn end(&mut self) {
        self.empty_at = None;
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
        let mut rest = Rest::default();
        assert_eq!(rest.begin(now, 3, FRAME), None);
        assert_eq!(rest.begin(now, 4, FRAME), Some(now + FRAME * 2));
        assert_eq!(rest.begin(now, 9, FRAME), Some(now + FRAME * 4));
        assert_eq!(rest.begin(now, 28, FRAME), Some(now + FRAME * 14));
        assert_eq!(rest.begin(now, 30, FRAME), Some(now + LONGEST));
    }

    #[test]
    fn a_bus_that_is_empty_too_soon_is_not_left_alone_for_a_second() {
        let now = Instant::now();
        let mut rest = Rest::default();
        rest.handle_confirmed(now, 0);
        assert!(rest.begin(now, 8, FRAME).is_some(), "it was empty, but not after a rest");
        let soon = now + FRAME * 6 - NANO;
        rest.handle_confirmed(soon, 1);
        rest.handle_confirmed(soon, 0);
        rest.end();
        assert_eq!(rest.begin(soon + DISTRUST - NANO, 8, FRAME), None);
        assert!(rest.begin(soon + DISTRUST, 8, FRAME).is_some());
    }

    #[test]
    fn a_thread_that_wakes_late_does_not_blame_the_bus() {
        let now = Instant::now();
        let mut rest = Rest::default();
        assert!(rest.begin(now, 8, FRAME).is_some());
        rest.handle_confirmed(now + FRAME * 6, 0);
        rest.end();
        assert!(rest.begin(now + FRAME * 6, 8, FRAME).is_some());
    }
}
