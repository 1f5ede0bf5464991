//! What to give up when a link is short of bytes: the oldest detail first, the newest facts last.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::window::Window;

/// How much of a window is sent, from all to least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// As measured, each sample with its time.
    Timed,
    /// Samples counted per thread and stack.
    Aggregated,
    /// Metrics and histograms; the samples count as lost.
    Summary,
}

impl Detail {
    /// The window with so much of it.
    pub fn apply(self, window: Window) -> Window {
        match self {
            Self::Timed => window,
            Self::Aggregated => window.aggregate(),
            Self::Summary => window.without_samples(),
        }
    }

    fn less(self) -> Option<Self> {
        match self {
            Self::Timed => Some(Self::Aggregated),
            Self::Aggregated => Some(Self::Summary),
            Self::Summary => None,
        }
    }
}

/// A queue of windows before the encoder, under a budget of bytes per second. Holds a fixed number of windows, and no
/// clock: the present is passed in.
///
/// While the link keeps up, windows leave as they came. When more wait than should, the oldest lose their times, then
/// their samples, and at last leave altogether.
#[derive(Debug)]
pub struct Budget {
    bytes_per_second: u32,
    burst: u64,
    /// Bytes that may be sent, in billionths; below zero after a block longer than what was left.
    tokens: i128,
    filled_at: Instant,
    /// Windows that may wait before the oldest are coarsened.
    relaxed: usize,
    capacity: usize,
    waiting: VecDeque<(Detail, Window)>,
    /// Samples of windows given up, to be counted in the next one sent.
    lost: u64,
}

const NANOS: i128 = 1_000_000_000;

impl Budget {
    /// `bytes_per_second` on the mean with up to `burst` bytes saved up; of at most `capacity` windows (at least 1) more
    /// than half may not wait with all their detail.
    pub fn new(now: Instant, bytes_per_second: u32, burst: u32, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            bytes_per_second,
            burst: u64::from(burst),
            tokens: i128::from(burst) * NANOS,
            filled_at: now,
            relaxed: capacity / 2,
            capacity,
            waiting: VecDeque::new(),
            lost: 0,
        }
    }

    /// Takes a window. One too many costs the oldest its detail, or the oldest of all its place.
    pub fn handle_window(&mut self, window: Window) {
        self.waiting.push_back((Detail::Timed, window));
        while self.waiting.len() > self.capacity {
            if let Some((_, window)) = self.waiting.pop_front() {
                self.lost = self.lost.saturating_add(window.without_samples().lost());
            }
        }
        let excess = self.waiting.len().saturating_sub(self.relaxed);
        for (detail, window) in self.waiting.iter_mut().take(excess) {
            if let Some(less) = detail.less() {
                let taken = std::mem::replace(window, Window::new(0));
                (*detail, *window) = (less, less.apply(taken));
            }
        }
    }

    /// The oldest window, if the link has bytes left; tell [`Budget::handle_sent`] what it took.
    pub fn poll_window(&mut self, now: Instant) -> Option<(Detail, Window)> {
        self.fill(now);
        if self.tokens <= 0 {
            return None;
        }
        let (detail, mut window) = self.waiting.pop_front()?;
        window.lost = window.lost.saturating_add(std::mem::take(&mut self.lost));
        Some((detail, window))
    }

    /// The last window took `bytes` on the link. More than was left delays the next.
    pub fn handle_sent(&mut self, bytes: usize) {
        self.tokens = self.tokens.saturating_sub(bytes as i128 * NANOS);
    }

    /// Windows that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the link has bytes for the next window; `None` when none waits or it never will.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front()?;
        if self.tokens > 0 {
            return Some(self.filled_at);
        }
        let nanos = (1 - self.tokens).checked_div(i128::from(self.bytes_per_second))? + 1;
        self.filled_at.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_nanos();
        let more =
            i128::try_from(elapsed).unwrap_or(i128::MAX).saturating_mul(i128::from(self.bytes_per_second));
        self.tokens = self.tokens.saturating_add(more).min(i128::from(self.burst) * NANOS);
        self.filled_at = self.filled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Frame, SchedulingClass, ThreadInfo};
    use crate::window::WindowBuilder;

    const WINDOW: Duration = Duration::from_secs(10);

    fn window(number: u64) -> Window {
        let thread = ThreadInfo { pid: 1, tid: 1, name: "t".into(), class: SchedulingClass::Normal };
        let mut builder = WindowBuilder::new(number * 10_000);
        for at in 0..10 {
            builder.push(at, &thread, &[Frame::Symbol("f".into())], 1).unwrap();
        }
        builder.finish(10_000)
    }

    /// Bytes that a window takes in this simulation.
    fn cost(detail: Detail) -> usize {
        match detail {
            Detail::Timed => 600,
            Detail::Aggregated => 400,
            Detail::Summary => 50,
        }
    }

    /// Runs 200 windows over a link and gives what was sent.
    fn run(bytes_per_second: u32) -> (Vec<(Detail, Window)>, usize) {
        let start = Instant::now();
        let mut budget = Budget::new(start, bytes_per_second, 600, 8);
        let (mut sent, mut bytes) = (Vec::new(), 0);
        for number in 0..200_u32 {
            let now = start + WINDOW * number;
            budget.handle_window(window(u64::from(number)));
            while let Some((detail, window)) = budget.poll_window(now) {
                budget.handle_sent(cost(detail));
                bytes += cost(detail);
                sent.push((detail, window));
            }
        }
        (sent, bytes)
    }

    #[test]
    fn a_link_that_keeps_up_carries_all_detail() {
        let (sent, _) = run(60);
        assert_eq!(sent.len(), 200);
        assert!(sent.iter().all(|(detail, _)| *detail == Detail::Timed));
    }

    #[test]
    fn a_short_link_is_not_overdrawn_and_gives_up_the_oldest_detail() {
        let (sent, bytes) = run(10);
        assert!(bytes <= 600 + 10 * 10 * 200 + 600, "{bytes} bytes");
        assert!(sent.iter().any(|(detail, _)| *detail == Detail::Summary));
        let starts: Vec<_> = sent.iter().map(|(_, window)| window.start_unix_ms()).collect();
        assert!(starts.is_sorted());
        assert!(sent.len() > 190, "{} windows", sent.len());
    }

    #[test]
    fn every_sample_is_sent_or_counted_as_lost() {
        for bytes_per_second in [1, 10, 30, 60] {
            let (sent, _) = run(bytes_per_second);
            let last = sent.last().unwrap().1.start_unix_ms() / 10_000;
            let counted: u64 = sent
                .iter()
                .map(|(_, window)| {
                    window.lost() + window.samples().iter().map(|it| u64::from(it.count)).sum::<u64>()
                })
                .sum();
            assert_eq!(counted, (last + 1) * 10, "{bytes_per_second} B/s");
        }
    }

    #[test]
    fn a_link_without_bytes_never_wakes_anyone() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 0, 0, 8);
        budget.handle_window(window(0));
        assert!(budget.poll_window(start + WINDOW).is_none());
        assert_eq!(budget.poll_timeout(), None);
    }
}
