//! Waiting for locks: those of the kernel by its contention tracepoints, those of programs by the futex calls of a thread
//! that found a lock taken.

use std::sync::Arc;

use telemetry::Dimension;

use super::measured::{Detail, Measured, Open, Place};

/// Lets only those futex calls through that wait for a lock: the priority-inheriting ones, and waits for a word that means
/// "taken, with others waiting": 2 in glibc, in Rust's library and in most locks after Drepper's paper, the highest bit
/// in musl and in the kernel's own convention. A wait for a condition is sleep, not contention, and is told as such.
/// (All bits set is how Rust parks a thread.)
pub(super) const LOCK_FUTEX: &std::ffi::CStr = c"op == 6 || op == 134 || op == 13 || op == 141 || ((op == 0 || op == 128 || op == 9 || op == 137 || op == 265 || op == 393) && (val == 2 || (val > 2147483647 && val != 4294967295)))";

/// Pairs beginnings and ends of waits. No clock: times are the events'.
#[derive(Debug, Default)]
pub(super) struct Locks {
    kernel: Open<u32, Waiting>,
    futex: Open<u32, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since_ns: u64,
    kind: &'static str,
    place: Arc<Place>,
}

impl Locks {
    /// The thread at `place` found a lock of the kernel taken; `flags` as in `contention_begin`.
    pub(super) fn handle_contention(&mut self, ns: u64, flags: u64, place: &Arc<Place>) {
        // A mutex is announced twice, first spinning, then sleeping, and ends once.
        if !self.kernel.contains(&place.tid) {
            let waiting = Waiting { since_ns: ns, kind: kind(flags), place: Arc::clone(place) };
            self.kernel.insert(place.tid, waiting);
        }
    }

    /// Thread `tid` has the lock, or gave up.
    pub(super) fn handle_contention_end(&mut self, ns: u64, tid: u32, out: &mut Vec<Measured>) {
        tell(self.kernel.remove(&tid), ns, out);
    }

    /// The thread at `place` begins to wait for a lock of its program.
    pub(super) fn handle_futex(&mut self, ns: u64, place: &Arc<Place>) {
        let waiting = Waiting { since_ns: ns, kind: "[futex]", place: Arc::clone(place) };
        self.futex.insert(place.tid, waiting);
    }

    /// A futex call of thread `tid` returned.
    pub(super) fn handle_futex_end(&mut self, ns: u64, tid: u32, out: &mut Vec<Measured>) {
        tell(self.futex.remove(&tid), ns, out);
    }

    /// Events were missed from here on.
    pub(super) fn handle_gap(&mut self) {
        self.kernel.clear();
        self.futex.clear();
    }

    /// Waits that were not followed for want of room, since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        self.kernel.take_refused() + self.futex.take_refused()
    }
}

fn tell(waiting: Option<Waiting>, ns: u64, out: &mut Vec<Measured>) {
    let Some(Waiting { since_ns, kind, place }) = waiting else { return };
    let amount = ns.saturating_sub(since_ns);
    if amount > 0 {
        out.push(Measured {
            dimension: Dimension::Lock,
            detail: Detail::Symbol(kind),
            place,
            amount,
            span_ns: amount,
        });
    }
}

/// `LCB_F_*`: 1 spin, 2 read, 4 write, 8 real-time, 16 per CPU, 32 mutex.
pub(super) fn kind(flags: u64) -> &'static str {
    match flags {
        it if it & 32 != 0 => "[mutex]",
        it if it & 2 != 0 => "[rwlock read]",
        it if it & 4 != 0 => "[rwlock write]",
        it if it & 1 != 0 => "[spin]",
        _ => "[kernel lock]",
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::testing::place;
    use super::*;

    fn told(out: &[Measured]) -> Vec<(Detail, u32, u64)> {
        out.iter().map(|it| (it.detail, it.place.tid, it.amount)).collect()
    }

    #[test]
    fn a_mutex_that_spins_and_then_sleeps_is_one_wait() {
        let (mut locks, mut out) = (Locks::default(), Vec::new());
        locks.handle_contention(100, 32 | 1, &place(7));
        locks.handle_contention(150, 32, &place(7));
        locks.handle_contention_end(900, 7, &mut out);
        locks.handle_contention_end(950, 7, &mut out);
        assert_eq!(told(&out), [(Detail::Symbol("[mutex]"), 7, 800)]);
    }

    #[test]
    fn futex_and_kernel_waits_of_one_thread_do_not_mix() {
        let (mut locks, mut out) = (Locks::default(), Vec::new());
        locks.handle_futex(100, &place(7));
        locks.handle_contention(110, 1, &place(7));
        locks.handle_contention_end(120, 7, &mut out);
        locks.handle_futex_end(600, 7, &mut out);
        assert_eq!(told(&out), [(Detail::Symbol("[spin]"), 7, 10), (Detail::Symbol("[futex]"), 7, 500)]);
    }

    #[test]
    fn an_end_without_a_beginning_and_a_wait_over_a_gap_are_not_told() {
        let (mut locks, mut out) = (Locks::default(), Vec::new());
        locks.handle_futex_end(100, 7, &mut out);
        locks.handle_futex(110, &place(7));
        locks.handle_gap();
        locks.handle_futex_end(200, 7, &mut out);
        assert!(out.is_empty());
    }
}
