//! When events are taken, and when not: a bucket of tokens that fills with the rate that the law allows.
//!
//! Taking every n-th event would be of no use, as most measure the time between two. So the gate opens for a stretch, in
//! which all events are taken, and closes when the tokens are used up, until enough are saved for the next stretch. While
//! the machine is calm it never closes. What was measured in a stretch stands for the time since the stretch before. How
//! long the gate stays closed is drawn anew each time, so that no cyclic task falls in step with it.

use super::super::poisson::SplitMix64;

/// Seconds of the allowed rate that may be saved up: the stretch is then long enough for sleeps of many milliseconds even
/// when events come ten times as fast as allowed.
const SAVED_SECONDS: f64 = 5.0;
/// Fewest tokens worth a stretch.
const FEWEST: f64 = 64.0;
/// Nanoseconds of open gate after which measurements are handed on, unless another time is wanted.
const TELL_AFTER: u64 = 1_000_000_000;
/// Tokens at the start: a first look at once.
const FIRST: f64 = 1_000.0;
/// An interval that few stretches could have held counts at most so many times as one that all could.
const MOST_CORRECTION: u64 = 4;

/// The gate of one group of events. Times in nanoseconds of the events' clock.
#[derive(Debug)]
pub(super) struct Gate {
    tokens: f64,
    at_ns: u64,
    open_since_ns: Option<u64>,
    /// Tokens at which it opens next.
    opens_at: f64,
    /// Until when measurements have been handed on.
    told_ns: u64,
    tell_after_ns: u64,
}

/// What to do with the events of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing changes.
    Stay,
    /// Take events from now on.
    Open,
    /// Take none from now on.
    Close,
}

/// Measurements that are complete, and what they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    open_since_ns: u64,
    told_ns: u64,
    end_ns: u64,
}

impl Stretch {
    /// What an amount seen in this stretch stands for, if seeing it took `span_ns` from its first event to its last: only
    /// what began after the gate opened could be seen.
    pub(super) fn estimate(&self, amount: u64, span_ns: u64) -> u64 {
        let first_ns = self.told_ns.max(self.open_since_ns);
        let open_ns = self.end_ns.saturating_sub(first_ns).max(1);
        let seen_from = self.told_ns.max(self.open_since_ns.saturating_add(span_ns));
        let seeing_ns = self.end_ns.saturating_sub(seen_from).max(open_ns / MOST_CORRECTION).max(1);
        let whole_ns = self.end_ns.saturating_sub(self.told_ns).max(1);
        let estimate = u128::from(amount) * u128::from(whole_ns) / u128::from(seeing_ns);
        u64::try_from(estimate).unwrap_or(u64::MAX)
    }

    /// Nanoseconds in which events were taken, and in all.
    pub(super) fn cover(&self) -> (u64, u64) {
        let open_ns = self.end_ns.saturating_sub(self.told_ns.max(self.open_since_ns));
        (open_ns, self.end_ns.saturating_sub(self.told_ns))
    }
}

impl Gate {
    /// A closed gate that opens at the first tick.
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            tokens: FIRST,
            at_ns: now_ns,
            open_since_ns: None,
            opens_at: FEWEST,
            told_ns: now_ns,
            tell_after_ns: TELL_AFTER,
        }
    }

    /// The same, with another time after which measurements are handed on while it stays open.
    pub(super) fn telling_after(self, span: std::time::Duration) -> Self {
        Self { tell_after_ns: u64::try_from(span.as_nanos()).unwrap_or(u64::MAX), ..self }
    }

    /// Takes what came since the last tick: `taken` events, the moment at which the kernel stopped one by itself, and the
    /// `rate` per second that is allowed now.
    pub(super) fn handle_tick(
        &mut self,
        now_ns: u64,
        taken: f64,
        stopped_ns: Option<u64>,
        rate: f64,
        random: &mut SplitMix64,
    ) -> (Command, Option<Stretch>) {
        let seconds = std::time::Duration::from_nanos(now_ns.saturating_sub(self.at_ns)).as_secs_f64();
        let most = (rate * SAVED_SECONDS).max(FEWEST);
        self.at_ns = now_ns;
        self.tokens = (self.tokens + rate * seconds - taken).min(most);
        let Some(open_since_ns) = self.open_since_ns else {
            if self.tokens < self.opens_at.min(most) {
                return (Command::Stay, None);
            }
            self.open_since_ns = Some(now_ns);
            return (Command::Open, None);
        };
        let closing = stopped_ns.is_some() || self.tokens <= 0.0;
        // What was measured in the first moments after a pause was short, and must not stand for the pause alone.
        if !closing && now_ns.saturating_sub(self.told_ns.max(open_since_ns)) < self.tell_after_ns {
            return (Command::Stay, None);
        }
        let end_ns = stopped_ns.unwrap_or(now_ns).clamp(open_since_ns, now_ns);
        let stretch = Stretch { open_since_ns, told_ns: self.told_ns, end_ns: end_ns.max(self.told_ns) };
        self.told_ns = stretch.end_ns;
        if !closing {
            return (Command::Stay, Some(stretch));
        }
        self.open_since_ns = None;
        self.opens_at = most * (0.5 + random.share() / 2.0);
        (Command::Close, Some(stretch))
    }

    /// Events are taken only since then: opening took a while.
    #[cfg(feature = "bpf")]
    pub(super) fn handle_opened(&mut self, now_ns: u64) {
        self.open_since_ns = self.open_since_ns.map(|since| since.max(now_ns));
    }

    /// Events that may still be taken before the gate closes.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
    pub(super) fn left(&self) -> u32 {
        self.tokens.clamp(1.0, f64::from(u32::MAX)) as u32
    }

    /// Since when events are taken; `None` while they are not.
    pub(super) fn open_since(&self) -> Option<u64> {
        self.open_since_ns
    }

    /// True while events are taken.
    pub(super) fn is_open(&self) -> bool {
        self.open_since_ns.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_calm_machine_keeps_it_open_and_each_amount_stands_for_itself() {
        let (mut gate, mut random) = (Gate::new(0), SplitMix64(1));
        assert_eq!(gate.handle_tick(0, 0.0, None, 100.0, &mut random), (Command::Open, None));
        for second in 1..100 {
            let (command, stretch) = gate.handle_tick(second * SECOND, 60.0, None, 100.0, &mut random);
            assert_eq!(command, Command::Stay);
            assert_eq!(stretch.unwrap().estimate(1_000, 10), 1_000);
        }
    }

    /// A minute of `offered` events a second, in ticks of 50 ms, of intervals `span_ns` long, 1000 of which a second are
    /// measured: events taken per second, and the estimate over the truth.
    fn run(offered: f64, allowed: f64, span_ns: u64, seed: u64) -> (f64, f64) {
        let tick = SECOND / 20;
        let (mut gate, mut random) = (Gate::new(0), SplitMix64(seed));
        let (mut taken_in_all, mut estimate, mut pending, mut open_from) = (0.0, 0_u64, Vec::new(), 0);
        for number in 0..60 * 20 {
            let (from, now) = (number * tick, (number + 1) * tick);
            let mut taken = 0.0;
            let mut stopped = None;
            if gate.is_open() {
                let left = f64::from(gate.left()).min(300.0);
                taken = (offered / 20.0).min(left);
                if taken < offered / 20.0 {
                    let after = std::time::Duration::from_secs_f64(taken / offered);
                    stopped = Some(from + u64::from(after.subsec_nanos()));
                }
                let end = stopped.unwrap_or(now);
                pending.extend((0..50).map(|it| from + it * tick / 50).filter(|it| {
                    // Seen only if it began while the gate was open.
                    *it < end && it.saturating_sub(span_ns) >= open_from
                }));
            }
            taken_in_all += taken;
            let (command, stretch) = gate.handle_tick(now, taken, stopped, allowed, &mut random);
            if command == Command::Open {
                open_from = now;
            }
            if let Some(stretch) = stretch {
                estimate += pending.drain(..).map(|_: u64| stretch.estimate(1_000_000, span_ns)).sum::<u64>();
            }
        }
        (taken_in_all / 60.0, estimate as f64 / (60.0 * 1_000.0 * 1_000_000.0))
    }

    #[test]
    fn a_flood_is_held_to_the_rate_and_estimates_stay_true() {
        for (offered, span_ns) in
            [(200.0, 1_000_000), (2_000.0, 1_000_000), (2_000.0, 200_000_000), (50_000.0, 100_000)]
        {
            let mean = (0..10)
                .map(|seed| run(offered, 500.0, span_ns, seed))
                .inspect(|(taken, _)| assert!(*taken <= 560.0, "{offered}: {taken} a second"))
                .map(|(_, ratio)| ratio)
                .sum::<f64>()
                / 10.0;
            assert!((0.8..=1.2).contains(&mean), "{offered} events, {span_ns} ns: {mean}");
        }
    }

    #[cfg(feature = "bpf")]
    #[test]
    fn a_gate_that_took_a_while_to_open_counts_from_then() {
        let (mut gate, mut random) = (Gate::new(0), SplitMix64(1));
        assert_eq!(gate.handle_tick(0, 0.0, None, 100.0, &mut random).0, Command::Open);
        gate.handle_opened(SECOND / 5);
        let (_, stretch) = gate.handle_tick(2 * SECOND, 0.0, None, 100.0, &mut random);
        let stretch = stretch.unwrap();
        assert_eq!(stretch.cover(), (SECOND / 5 * 9, 2 * SECOND));
        assert_eq!(stretch.estimate(900, 0), 1_000);
    }

    #[test]
    fn stretches_are_not_cyclic() {
        let (mut gate, mut random) = (Gate::new(0), SplitMix64(3));
        let mut opened = Vec::new();
        for number in 1..2_000 {
            let now = number * SECOND / 20;
            let taken = if gate.is_open() { 500.0 } else { 0.0 };
            if gate.handle_tick(now, taken, None, 100.0, &mut random).0 == Command::Open {
                opened.push(number);
            }
        }
        let mut pauses: Vec<_> = opened.windows(2).map(|pair| pair[1] - pair[0]).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() >= 5, "{pauses:?}");
    }
}
