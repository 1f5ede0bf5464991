//! Off the CPU: from context switches and wake-ups, how long each thread slept and how long it then waited for a CPU. Two
//! things, because they have two cures: a slow disk, or too much work for the CPUs.

use std::sync::Arc;

use telemetry::Dimension;

use super::measured::{Detail, Measured, Open, Place};

/// Pairs a thread's leaving of the CPU with its coming back. No clock: times are the events'.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    off: Open<u32, Off>,
}

#[derive(Debug)]
struct Off {
    since_ns: u64,
    why: Why,
    woken_ns: Option<u64>,
    place: Arc<Place>,
}

/// Why a thread left the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Another one was to run; it could have gone on.
    Preempted,
    /// It sleeps and may be woken by a signal.
    Sleeping,
    /// It sleeps and may not: a disk, or a lock of the kernel.
    Uninterruptible,
    /// It is gone for good.
    Ended,
}

impl Why {
    /// By the state in `sched_switch`: its lowest bits are the same in every kernel, the preempted mark is above them.
    pub(super) fn of_state(state: u64) -> Self {
        match state & 0xFF {
            0 => Self::Preempted,
            state if state & 0x30 != 0 => Self::Ended,
            state if state & 2 != 0 => Self::Uninterruptible,
            _ => Self::Sleeping,
        }
    }
}

/// A thread that slept without being interruptible runs again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    /// When it was woken.
    pub(super) woken_ns: u64,
}

impl Blocking {
    /// At `ns`, the thread at `place` left a CPU, and `next` runs there now.
    pub(super) fn handle_switch(
        &mut self,
        ns: u64,
        why: Why,
        place: &Arc<Place>,
        next: u32,
        out: &mut Vec<Measured>,
    ) -> Option<Resumed> {
        // The idle thread is neither asleep nor waiting. (The kernel calls one that is ending -1.)
        if place.tid != 0 && place.tid != u32::MAX && why != Why::Ended {
            let off = Off { since_ns: ns, why, woken_ns: None, place: Arc::clone(place) };
            self.off.insert(place.tid, off);
        }
        let off = self.off.remove(&next)?;
        // CPUs' clocks may differ by a little.
        let ns = ns.max(off.since_ns);
        let span_ns = ns - off.since_ns;
        let mut tell = |dimension, detail, amount: u64| {
            if amount > 0 {
                let place = Arc::clone(&off.place);
                out.push(Measured { dimension, detail, place, amount, span_ns });
            }
        };
        if off.why == Why::Preempted {
            tell(Dimension::RunQueue, Detail::None, span_ns);
            return None;
        }
        // Without a wake-up (its record was lost) all counts as sleep.
        let woken_ns = off.woken_ns.unwrap_or(ns).clamp(off.since_ns, ns);
        tell(Dimension::Blocked, Detail::Syscall, woken_ns - off.since_ns);
        tell(Dimension::RunQueue, Detail::None, ns - woken_ns);
        (off.why == Why::Uninterruptible).then_some(Resumed { woken_ns })
    }

    /// At `ns`, thread `tid` was woken.
    pub(super) fn handle_wakeup(&mut self, ns: u64, tid: u32) {
        if let Some(off) = self.off.get_mut(&tid) {
            // A second one changes nothing.
            off.woken_ns.get_or_insert(ns);
        }
    }

    /// Events were missed from here on: who sleeps now may have run in between.
    pub(super) fn handle_gap(&mut self) {
        self.off.clear();
    }

    /// Sleeps that were not followed for want of room, since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        self.off.take_refused()
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::MAX_OPEN;
    use super::super::measured::testing::place;
    use super::*;

    fn amounts(out: &[Measured]) -> Vec<(Dimension, u32, u64)> {
        out.iter().map(|it| (it.dimension, it.place.tid, it.amount)).collect()
    }

    #[test]
    fn a_sleep_ends_at_the_wake_up_and_the_rest_is_waiting_for_a_cpu() {
        let (mut blocking, mut out) = (Blocking::default(), Vec::new());
        assert_eq!(blocking.handle_switch(100, Why::Uninterruptible, &place(7), 8, &mut out), None);
        blocking.handle_wakeup(400, 7);
        blocking.handle_wakeup(500, 7);
        let resumed = blocking.handle_switch(1_650, Why::Preempted, &place(8), 7, &mut out);
        assert_eq!(resumed, Some(Resumed { woken_ns: 400 }));
        assert_eq!(amounts(&out), [(Dimension::Blocked, 7, 300), (Dimension::RunQueue, 7, 1_250)]);
    }

    #[test]
    fn who_was_pushed_off_waits_for_a_cpu_and_does_not_sleep() {
        let (mut blocking, mut out) = (Blocking::default(), Vec::new());
        blocking.handle_switch(100, Why::Preempted, &place(7), 8, &mut out);
        blocking.handle_switch(130, Why::Sleeping, &place(8), 7, &mut out);
        assert_eq!(amounts(&out), [(Dimension::RunQueue, 7, 30)]);
    }

    #[test]
    fn a_sleep_over_a_gap_is_not_told() {
        let (mut blocking, mut out) = (Blocking::default(), Vec::new());
        blocking.handle_switch(100, Why::Sleeping, &place(7), 0, &mut out);
        blocking.handle_gap();
        blocking.handle_switch(200, Why::Preempted, &place(0), 7, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn a_thread_that_came_back_before_it_left_slept_for_no_time() {
        let (mut blocking, mut out) = (Blocking::default(), Vec::new());
        blocking.handle_switch(100, Why::Sleeping, &place(7), 0, &mut out);
        blocking.handle_wakeup(120, 7);
        blocking.handle_switch(90, Why::Preempted, &place(0), 7, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn who_ended_is_not_waited_for() {
        let (mut blocking, mut out) = (Blocking::default(), Vec::new());
        blocking.handle_switch(100, Why::Ended, &place(7), 0, &mut out);
        blocking.handle_switch(100, Why::Sleeping, &place(u32::MAX), 0, &mut out);
        assert_eq!(blocking.off.len(), 0);
    }

    #[test]
    fn a_hostile_number_of_sleepers_is_bounded_and_counted() {
        let (mut blocking, mut out) = (Blocking::default(), Vec::new());
        for tid in 1..=u32::try_from(MAX_OPEN).unwrap() + 5 {
            blocking.handle_switch(1, Why::Sleeping, &place(tid), 0, &mut out);
        }
        assert_eq!((blocking.off.len(), blocking.take_refused(), blocking.take_refused()), (MAX_OPEN, 5, 0));
    }

    #[test]
    fn states_are_told_by_their_low_bits() {
        let of = Why::of_state;
        assert_eq!((of(0), of(0x100)), (Why::Preempted, Why::Preempted));
        assert_eq!((of(1), of(2), of(0x80)), (Why::Sleeping, Why::Uninterruptible, Why::Sleeping));
        assert_eq!((of(0x10), of(0x20)), (Why::Ended, Why::Ended));
    }
}
