//! A window: the measurements of one stretch of time, complete in itself and small enough for one block.

use std::collections::HashMap;
use std::sync::Arc;

use crate::io::{IO_BUCKETS, IoHistogram};
use crate::limits::{
    MAX_IO_HISTOGRAMS, MAX_METRIC_SERIES, MAX_METRIC_VALUES, MAX_PLAIN_LEN, MAX_STACK_DEPTH, MAX_STRING_LEN,
    MAX_WINDOW_FRAMES, MAX_WINDOW_SAMPLES, MAX_WINDOW_THREADS,
};
use crate::sample::{Frame, Metrics, Sample, Series, StackIndex, ThreadIndex, ThreadInfo};

/// The frames of one stack, innermost first, as in pprof.
pub type Stack = Arc<[Frame]>;

/// Measurements of one stretch of time. Made by a [`WindowBuilder`] or a [`Decoder`](crate::Decoder), so its indexes
/// are always in range and it always fits one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub(crate) start_unix_ms: u64,
    pub(crate) duration_ms: u32,
    pub(crate) lost: u64,
    pub(crate) threads: Vec<ThreadInfo>,
    pub(crate) stacks: Vec<Stack>,
    pub(crate) samples: Vec<Sample>,
    /// One sample per thread and stack, in the order of these, and no times.
    pub(crate) aggregated: bool,
    pub(crate) metrics: Metrics,
    pub(crate) io: Vec<IoHistogram>,
}

impl Window {
    pub(crate) fn new(start_unix_ms: u64) -> Self {
        Self {
            start_unix_ms,
            duration_ms: 0,
            lost: 0,
            threads: Vec::new(),
            stacks: Vec::new(),
            samples: Vec::new(),
            aggregated: false,
            metrics: Metrics::default(),
            io: Vec::new(),
        }
    }

    /// When the window began, in milliseconds since 1970-01-01 UTC by the vehicle's clock.
    pub fn start_unix_ms(&self) -> u64 {
        self.start_unix_ms
    }

    /// How long it lasted, in milliseconds.
    pub fn duration_ms(&self) -> u32 {
        self.duration_ms
    }

    /// Samples that were taken (or due) but did not make it into this or an earlier window, counted once.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The threads that [`Sample::thread`] points into, in order of first use.
    pub fn threads(&self) -> &[ThreadInfo] {
        &self.threads
    }

    /// The stacks that [`Sample::stack`] points into, in order of first use.
    pub fn stacks(&self) -> &[Stack] {
        &self.stacks
    }

    /// The samples, in order of time; of an aggregated window, one per thread and stack in the order of these.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// True when samples of one thread on one stack are counted together, without their times.
    pub fn is_aggregated(&self) -> bool {
        self.aggregated
    }

    /// The histograms of block input and output, each device, operation and term once, in the order of these.
    pub fn io(&self) -> &[IoHistogram] {
        &self.io
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The thread of one of this window's samples; `None` for a sample of another window.
    pub fn thread_of(&self, sample: &Sample) -> Option<&ThreadInfo> {
        self.threads.get(usize::try_from(sample.thread.0).ok()?)
    }

    /// The frames of one of this window's samples, innermost first; `None` for a sample of another window.
    pub fn stack_of(&self, sample: &Sample) -> Option<&Stack> {
        self.stacks.get(usize::try_from(sample.stack.0).ok()?)
    }

    /// Counts samples of one thread on one stack together and forgets their times: what a profile needs, in fewer
    /// bytes. Weights add up, at most to 2^64 - 1.
    #[must_use]
    pub fn aggregate(mut self) -> Self {
        let mut sums: HashMap<(ThreadIndex, StackIndex), (u32, u64)> = HashMap::new();
        for sample in &self.samples {
            let (count, weight_ns) = sums.entry((sample.thread, sample.stack)).or_default();
            *count = count.saturating_add(sample.count);
            *weight_ns = weight_ns.saturating_add(sample.weight_ns);
        }
        let sample =
            |((thread, stack), (count, weight_ns))| Sample { at_ms: 0, thread, stack, count, weight_ns };
        self.samples = sums.into_iter().map(sample).collect();
        self.aggregated = true;
        self.into_canonical()
    }

    /// Leaves the samples out, and counts them as lost.
    #[must_use]
    pub fn without_samples(mut self) -> Self {
        let samples = self.samples.iter().map(|sample| u64::from(sample.count)).sum();
        self.lost = self.lost.saturating_add(samples);
        self.samples.clear();
        self.into_canonical()
    }

    /// The one form of a window, in which it compares equal after a journey: samples in order, threads and stacks in
    /// order of first use.
    pub(crate) fn into_canonical(mut self) -> Self {
        if self.aggregated {
            let (all_threads, all_stacks) = (&self.threads, &self.stacks);
            self.samples.sort_by(|a, b| {
                let key = |sample: &Sample| {
                    (all_threads.get(sample.thread.0 as usize), all_stacks.get(sample.stack.0 as usize))
                };
                key(a).cmp(&key(b))
            });
        } else {
            self.samples.sort_by_key(|sample| sample.at_ms);
        }
        let mut threads = Renumbered::new(self.threads.len());
        let mut stacks = Renumbered::new(self.stacks.len());
        for sample in &mut self.samples {
            sample.thread = ThreadIndex(threads.number(sample.thread.0));
            sample.stack = StackIndex(stacks.number(sample.stack.0));
        }
        self.threads = threads.apply(&self.threads);
        self.stacks = stacks.apply(&self.stacks);
        self
    }
}

/// Why a window did not take something. Each is the caller's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The window is full; the sample is counted as lost.
    #[error("the window is full")]
    Full,
    /// A row's number of values differs from the first row's.
    #[error("row of {found} values in a table of {expected} columns")]
    RowWidth {
        /// Columns of the table.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The stack is deeper than [`MAX_STACK_DEPTH`].
    #[error("stack of {0} frames")]
    StackTooDeep(usize),
    /// A string is longer than [`MAX_STRING_LEN`].
    #[error("string of {0} bytes")]
    StringTooLong(usize),
}

/// Collects a window. What it refuses, it counts as lost.
#[derive(Debug)]
pub struct WindowBuilder {
    window: Window,
    thread_index: HashMap<ThreadInfo, u32>,
    stack_index: HashMap<Stack, u32>,
    stack_frames: usize,
    /// Bytes that the window takes in a block at the very most.
    cost: usize,
}

// Largest encoded sizes in bytes. A varint of 17 bits takes 3, of 32 bits 5, of 64 bits 10; dictionary indexes have
// at most 17 bits.
const COST_FIXED: usize = 128;
/// Time, row, rank or new cell, weight.
const COST_SAMPLE: usize = 5 + 3 + (3 + 3) + 10;
const COST_STRING: usize = 3;
const COST_THREAD: usize = 5 + 5 + 3 + 1 + COST_STRING;
/// A mapping with its path and build id, a frame in it, and a trie node.
const COST_FRAME: usize = (COST_STRING + 3 + 33) + (3 + 10) + (3 + 3);
const COST_SERIES: usize = COST_STRING + 3 + 1;
/// A histogram with all its buckets full.
const COST_IO: usize = COST_STRING + 3 + 1 + 10 + 1 + 1 + 10 * IO_BUCKETS;

impl WindowBuilder {
    /// An empty window that begins at `start_unix_ms` (milliseconds since 1970-01-01 UTC).
    pub fn new(start_unix_ms: u64) -> Self {
        Self {
            window: Window::new(start_unix_ms),
            thread_index: HashMap::new(),
            stack_index: HashMap::new(),
            stack_frames: 0,
            cost: COST_FIXED,
        }
    }

    /// When the window began, in milliseconds since 1970-01-01 UTC.
    pub fn start_unix_ms(&self) -> u64 {
        self.window.start_unix_ms
    }

    /// Samples taken so far.
    pub fn len(&self) -> usize {
        self.window.samples.len()
    }

    /// True before the first sample.
    pub fn is_empty(&self) -> bool {
        self.window.samples.is_empty()
    }

    /// Counts samples that were lost before they came here.
    pub fn add_lost(&mut self, samples: u64) {
        self.window.lost = self.window.lost.saturating_add(samples);
    }

    /// Takes one sample: `at_ms` milliseconds after the window's start, `frames` innermost first, `weight_ns` the
    /// nanoseconds it stands for.
    ///
    /// # Errors
    /// [`Refused`] when the window is full or the sample exceeds a limit; it is then counted as lost.
    pub fn push(
        &mut self,
        at_ms: u32,
        thread: &ThreadInfo,
        frames: &[Frame],
        weight_ns: u64,
    ) -> Result<(), Refused> {
        let outcome = self.try_push(at_ms, thread, frames, weight_ns);
        if outcome.is_err() {
            self.add_lost(1);
        }
        outcome
    }

    /// Takes one row of metrics, `at_ms` milliseconds after the window's start. The first row fixes the columns; later
    /// rows give the same metrics in the same order.
    ///
    /// # Errors
    /// [`Refused`] when the table is full, or the row does not fit its columns.
    pub fn push_metrics(&mut self, at_ms: u32, row: &[(&str, i64)]) -> Result<(), Refused> {
        strings_fit(row.iter().map(|(name, _)| name.len()))?;
        let first = self.window.metrics.at_ms.is_empty();
        let columns = if first { row.len() } else { self.window.metrics.series.len() };
        if row.len() != columns {
            return Err(Refused::RowWidth { expected: columns, found: row.len() });
        }
        let names: usize = if first { row.iter().map(|(name, _)| name.len() + COST_SERIES).sum() } else { 0 };
        let cost = self.cost + names + 5 + 10 * columns;
        let values = (self.window.metrics.at_ms.len() + 1) * columns.max(1);
        if columns > MAX_METRIC_SERIES || values > MAX_METRIC_VALUES || cost > MAX_PLAIN_LEN {
            return Err(Refused::Full);
        }
        self.cost = cost;
        let metrics = &mut self.window.metrics;
        if first {
            metrics.series =
                row.iter().map(|(name, _)| Series { name: Arc::from(*name), values: Vec::new() }).collect();
        }
        // Rows stay in order of time whatever the clock did meanwhile.
        let at_ms = metrics.at_ms.last().map_or(at_ms, |last| at_ms.max(*last));
        metrics.at_ms.push(at_ms);
        for (series, (_, value)) in metrics.series.iter_mut().zip(row) {
            series.values.push(*value);
        }
        Ok(())
    }

    /// Takes a histogram of block input and output; one of the same device, operation and term is added to.
    ///
    /// # Errors
    /// [`Refused`] when the window is full or the device's name too long.
    pub fn push_io(&mut self, histogram: IoHistogram) -> Result<(), Refused> {
        strings_fit([histogram.device.len()])?;
        match self.window.io.binary_search_by(|known| known.key().cmp(&histogram.key())) {
            Ok(at) => {
                if let Some(known) = self.window.io.get_mut(at) {
                    known.merge(&histogram);
                }
            }
            Err(at) => {
                let cost = self.cost + COST_IO + histogram.device.len();
                if self.window.io.len() >= MAX_IO_HISTOGRAMS || cost > MAX_PLAIN_LEN {
                    return Err(Refused::Full);
                }
                self.cost = cost;
                self.window.io.insert(at, histogram);
            }
        }
        Ok(())
    }

    /// Closes the window after `duration_ms` milliseconds.
    pub fn finish(mut self, duration_ms: u32) -> Window {
        self.window.duration_ms = duration_ms;
        self.window.into_canonical()
    }

    fn try_push(
        &mut self,
        at_ms: u32,
        thread: &ThreadInfo,
        frames: &[Frame],
        weight_ns: u64,
    ) -> Result<(), Refused> {
        if frames.len() > MAX_STACK_DEPTH {
            return Err(Refused::StackTooDeep(frames.len()));
        }
        strings_fit(frames.iter().map(text_len).chain([thread.name.len()]))?;
        let known_thread = self.thread_index.get(thread).copied();
        let known_stack = self.stack_index.get(frames).copied();
        let mut cost = self.cost + COST_SAMPLE;
        if known_thread.is_none() {
            cost += COST_THREAD + thread.name.len();
        }
        let mut stack_frames = self.stack_frames;
        if known_stack.is_none() {
            cost += frames.iter().map(|frame| COST_FRAME + text_len(frame)).sum::<usize>();
            stack_frames += frames.len();
        }
        if cost > MAX_PLAIN_LEN
            || stack_frames > MAX_WINDOW_FRAMES
            || self.window.samples.len() >= MAX_WINDOW_SAMPLES
            || (known_thread.is_none() && self.window.threads.len() >= MAX_WINDOW_THREADS)
        {
            return Err(Refused::Full);
        }
        self.cost = cost;
        self.stack_frames = stack_frames;
        let thread = known_thread.unwrap_or_else(|| {
            let index = index(self.window.threads.len());
            self.window.threads.push(thread.clone());
            self.thread_index.insert(thread.clone(), index);
            index
        });
        let stack = known_stack.unwrap_or_else(|| {
            let index = index(self.window.stacks.len());
            let stack: Stack = Arc::from(frames);
            self.window.stacks.push(Arc::clone(&stack));
            self.stack_index.insert(stack, index);
            index
        });
        self.window.samples.push(Sample {
            at_ms,
            thread: ThreadIndex(thread),
            stack: StackIndex(stack),
            count: 1,
            weight_ns,
        });
        Ok(())
    }
}

struct Renumbered {
    new_of_old: Vec<Option<u32>>,
    old_of_new: Vec<usize>,
}

impl Renumbered {
    fn new(len: usize) -> Self {
        Self { new_of_old: vec![None; len], old_of_new: Vec::with_capacity(len) }
    }

    fn number(&mut self, old: u32) -> u32 {
        let old = old as usize;
        let next = index(self.old_of_new.len());
        // The builder made the index, so the slot exists.
        let Some(slot) = self.new_of_old.get_mut(old) else { return next };
        *slot.get_or_insert_with(|| {
            self.old_of_new.push(old);
            next
        })
    }

    fn apply<T: Clone>(&self, items: &[T]) -> Vec<T> {
        self.old_of_new.iter().filter_map(|old| items.get(*old)).cloned().collect()
    }
}

fn strings_fit(lens: impl IntoIterator<Item = usize>) -> Result<(), Refused> {
    let long = lens.into_iter().find(|len| *len > MAX_STRING_LEN);
    long.map_or(Ok(()), |long| Err(Refused::StringTooLong(long)))
}

fn text_len(frame: &Frame) -> usize {
    match frame {
        Frame::Address { mapping, .. } => mapping.path.len(),
        Frame::Symbol(name) => name.len(),
    }
}

/// The limits keep every table far below 2^32 entries.
fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::SchedulingClass;

    fn thread(tid: u32) -> ThreadInfo {
        ThreadInfo { pid: 1, tid, name: "worker".into(), class: SchedulingClass::Normal }
    }

    fn symbol(name: &str) -> Frame {
        Frame::Symbol(name.into())
    }

    #[test]
    fn samples_come_out_in_order_of_time_with_tables_in_order_of_first_use() {
        let mut builder = WindowBuilder::new(5);
        builder.push(30, &thread(2), &[symbol("b")], 1).unwrap();
        builder.push(10, &thread(1), &[symbol("a")], 1).unwrap();
        let window = builder.finish(40);
        assert_eq!(window.samples().iter().map(|s| s.at_ms).collect::<Vec<_>>(), [10, 30]);
        assert_eq!(window.threads().iter().map(|t| t.tid).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(window.thread_of(&window.samples()[1]), Some(&thread(2)));
        assert_eq!(window.stack_of(&window.samples()[0]).unwrap()[..], [symbol("a")]);
    }

    #[test]
    fn the_sample_past_the_limit_is_refused_and_counted() {
        let mut builder = WindowBuilder::new(0);
        for at in 0..u32::try_from(MAX_WINDOW_SAMPLES).unwrap() {
            builder.push(at, &thread(1), &[], 1).unwrap();
        }
        assert_eq!(builder.push(0, &thread(1), &[], 1), Err(Refused::Full));
        assert_eq!(builder.finish(1).lost(), 1);
    }

    #[test]
    fn the_deepest_stack_is_taken_and_one_frame_more_is_not() {
        let mut builder = WindowBuilder::new(0);
        let frames = vec![symbol("f"); MAX_STACK_DEPTH + 1];
        builder.push(0, &thread(1), &frames[1..], 1).unwrap();
        let refused = Refused::StackTooDeep(MAX_STACK_DEPTH + 1);
        assert_eq!(builder.push(0, &thread(1), &frames, 1), Err(refused));
    }

    #[test]
    fn the_longest_name_is_taken_and_one_byte_more_is_not() {
        let mut builder = WindowBuilder::new(0);
        let name = "n".repeat(MAX_STRING_LEN + 1);
        builder.push(0, &thread(1), &[symbol(&name[1..])], 1).unwrap();
        let refused = Refused::StringTooLong(MAX_STRING_LEN + 1);
        assert_eq!(builder.push(0, &thread(1), &[symbol(&name)], 1), Err(refused));
    }

    #[test]
    fn a_row_of_another_width_is_refused() {
        let mut builder = WindowBuilder::new(0);
        builder.push_metrics(0, &[("a_ms", 1), ("b_ms", 2)]).unwrap();
        let refused = Refused::RowWidth { expected: 2, found: 1 };
        assert_eq!(builder.push_metrics(1, &[("a_ms", 1)]), Err(refused));
        assert_eq!(builder.finish(1).metrics().series()[1].values(), [2]);
    }
}
