//! Silences in which ECUs get the bus, whatever their identifiers.
//!
//! CAN gives the bus to the lowest identifier. While one ECU is programmed without a pause, the answer of another with a
//! higher identifier than our requests would never win: it would wait until its own session has timed out. So with
//! several sessions open the master falls silent after every [`BURST`] of its own frames: it lets what it has queued go
//! out, then waits until no ECU has anything to say any more. With one session open nobody waits for anybody, and there
//! are no silences.
//!
//! The bound: an ECU's frame that is ready loses the bus to ours for at most [`BURST`] and two of our longest frames,
//! and then to one frame of each ECU with a lower identifier.

use std::time::{Duration, Instant};

use canfd::bit_timing::{BitTiming, FrameBits};

/// Bus time that our frames may take between two silences.
pub(super) const BURST: Duration = Duration::from_millis(5);
/// Longest silence, however much the ECUs have to say.
const LONGEST: Duration = Duration::from_millis(5);
/// How much later than on the wire the confirmation of a frame may be seen before the silence begins without it.
const DRAIN: Duration = Duration::from_millis(20);
/// Bits of an ECU's flow control or short answer with all its stuff bits, on 29-bit identifiers.
const ANSWER: FrameBits = FrameBits { nominal: 60, data: 160 };

/// When to speak and when not.
#[derive(Debug)]
pub(super) struct Silence {
    /// Long enough to see whether an ECU had something to say
    answer: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bus time of our frames since the last silence
    Speaking { spent: Duration },
    /// Frames of ours are still on their way
    Draining { until: Instant },
    /// The ECUs have the bus
    Silent { until: Instant, limit: Instant },
}

impl Silence {
    pub(super) fn new(timing: BitTiming) -> Self {
        Self { answer: timing.duration(ANSWER), state: State::Speaking { spent: Duration::ZERO } }
    }

    /// Whether a frame of ours may go; `unconfirmed` are with the bus, `sessions` are open.
    pub(super) fn may_speak(&mut self, now: Instant, unconfirmed: u32, sessions: usize) -> bool {
        if sessions < 2 {
            self.state = State::Speaking { spent: Duration::ZERO };
            return true;
        }
        if let State::Speaking { spent } = self.state
            && spent >= BURST
        {
            self.state = State::Draining { until: now + spent + DRAIN };
        }
        if let State::Draining { until } = self.state
            && (unconfirmed == 0 || now >= until)
        {
            self.state = State::Silent { until: now + self.answer, limit: now + LONGEST };
        }
        if let State::Silent { until, limit } = self.state
            && now >= until.min(limit)
        {
            self.state = State::Speaking { spent: Duration::ZERO };
        }
        matches!(self.state, State::Speaking { .. })
    }

    /// A frame of ours goes out and holds the bus for so long.
    pub(super) fn spend(&mut self, duration: Duration) {
        if let State::Speaking { spent } = &mut self.state {
            *spent += duration;
        }
    }

    /// An ECU had something to say: perhaps the next one has, too.
    pub(super) fn handle_foreign(&mut self, now: Instant) {
        if let State::Silent { until, .. } = &mut self.state {
            *until = now + self.answer;
        }
    }

    /// When to ask again, if nothing else happens.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Speaking { .. } => None,
            State::Draining { until } => Some(until),
            State::Silent { until, limit } => Some(until.min(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_micros(347);

    /// Speaks until it may not any more.
    fn exhaust(silence: &mut Silence, now: Instant) -> Duration {
        let mut spent = Duration::ZERO;
        while silence.may_speak(now, 0, 2) {
            silence.spend(FRAME);
            spent += FRAME;
            assert!(spent < BURST * 2, "no silence");
        }
        spent
    }

    #[test]
    fn a_silence_comes_after_a_burst_and_lasts_one_short_answer() {
        let (mut silence, now) = (Silence::new(BitTiming::FD_500K_2M), Instant::now());
        let spent = exhaust(&mut silence, now);
        assert!(spent >= BURST && spent < BURST + FRAME, "{spent:?}");
        let until = silence.poll_timeout().unwrap();
        assert!((100..300).contains(&(until - now).as_micros()), "{:?}", until - now);
        assert!(!silence.may_speak(until - Duration::from_nanos(1), 0, 2));
        assert!(silence.may_speak(until, 0, 2));
        assert_eq!(silence.poll_timeout(), None);
    }

    #[test]
    fn it_begins_when_the_last_frame_is_confirmed_or_when_that_never_comes() {
        let (mut silence, now) = (Silence::new(BitTiming::FD_500K_2M), Instant::now());
        silence.spend(BURST);
        assert!(!silence.may_speak(now, 3, 2));
        let given_up = silence.poll_timeout().unwrap();
        assert!(!silence.may_speak(now + FRAME, 1, 2));
        assert_eq!(silence.poll_timeout(), Some(given_up));
        assert!(!silence.may_speak(given_up, 1, 2));
        assert!(silence.poll_timeout().unwrap() > given_up, "the silence has begun");
    }

    #[test]
    fn ecus_that_go_on_talking_prolong_it_up_to_its_limit() {
        let (mut silence, now) = (Silence::new(BitTiming::FD_500K_2M), Instant::now());
        exhaust(&mut silence, now);
        let mut at = now;
        while !silence.may_speak(at, 0, 2) {
            silence.handle_foreign(at);
            at += Duration::from_micros(50);
        }
        assert_eq!(at, now + LONGEST);
    }

    #[test]
    fn with_one_session_there_is_none() {
        let (mut silence, now) = (Silence::new(BitTiming::FD_500K_2M), Instant::now());
        for _ in 0..1_000 {
            assert!(silence.may_speak(now, 8, 1));
            silence.spend(FRAME);
        }
    }
}
