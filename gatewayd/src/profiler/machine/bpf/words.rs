//! What the programs keep in their maps, word by word as `bpf/capture.h` has it. Whatever the words are, nothing here
//! panics, and no length in them is believed.

use telemetry::{Dimension, IoHistogram, IoOperation, IoTerm};

use super::super::super::record::USER_MARK;
use super::super::blockio::Device;
use super::super::events::Group;
use super::super::locks::kind;
use super::super::measured::Detail;

/// Most addresses of a stack in the kernel, and in the program.
const KERNEL_FRAMES: usize = 48;
const USER_FRAMES: usize = 96;
/// A lock that is a program's.
const KIND_FUTEX: u8 = 0x40;
const OPERATIONS: [IoOperation; 4] =
    [IoOperation::Read, IoOperation::Write, IoOperation::Flush, IoOperation::Discard];
const TERMS: [IoTerm; 4] = [IoTerm::Queue, IoTerm::Device, IoTerm::Flush, IoTerm::RunQueue];
const DIMENSIONS: [Dimension; 5] =
    [Dimension::Blocked, Dimension::RunQueue, Dimension::Lock, Dimension::Pages, Dimension::BlockIo];

pub(super) type SumKey = [u64; 3];
/// Count, amount, and the thread's name.
pub(super) type Sum = [u64; 4];
/// Count and nanoseconds.
pub(super) type Counted = [u64; 2];
pub(super) type Stack = [u64; 1 + KERNEL_FRAMES + USER_FRAMES];
pub(super) type TallyWords = [u64; 6];
pub(super) type ControlWords = [u64; 6];

/// What the service asks of the programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// Mixed into the names of stacks.
    pub(super) seed: u64,
    /// The number of the stretch in which events of a group are taken; 0 for none.
    pub(super) generation: [u32; 4],
    /// Runs on one CPU after which the programs of a group end the stretch by themselves.
    pub(super) allowed: [u32; 4],
    /// Dimensions that are told.
    pub(super) tell: u32,
    /// Bytes of a page, as a power of two.
    pub(super) page_shift: u32,
}

impl Control {
    pub(super) fn words(&self) -> ControlWords {
        let [g0, g1, g2, g3] = self.generation;
        let [a0, a1, a2, a3] = self.allowed;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [self.seed, pair(g0, g1), pair(g2, g3), pair(a0, a1), pair(a2, a3), pair(self.tell, self.page_shift)]
    }
}

/// The bits of `tell` for groups that are wanted. A lock of a program is seen where its thread leaves the CPU.
pub(super) fn tell(wanted: &[Group]) -> u32 {
    let of = |group| match group {
        Group::Blocking => 0b011,
        Group::Locks => 0b100,
        Group::Memory | Group::BlockIo => 0,
    };
    wanted.iter().fold(0, |bits, group| bits | of(*group))
}

/// What a group's programs have done since they were loaded, on one CPU or on all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) runs: u64,
    /// Time that the runs took, as they say themselves.
    pub(super) ns: u64,
    /// Measurements that were dropped.
    pub(super) lost: u64,
    /// Measurements without a stack.
    pub(super) stackless: u64,
    /// Most runs on one CPU in stretch `generation`.
    pub(super) runs_in: u32,
}

impl Tally {
    /// Adds up what CPUs have counted; `generation` is that of the stretch under way.
    pub(super) fn of<'a>(cpus: impl IntoIterator<Item = &'a TallyWords>, generation: u32) -> Self {
        cpus.into_iter().fold(Self::default(), |all, [runs, ns, lost, stackless, _, last]| {
            let (of, runs_in) = halves(*last);
            Self {
                runs: all.runs.saturating_add(*runs),
                ns: all.ns.saturating_add(*ns),
                lost: all.lost.saturating_add(*lost),
                stackless: all.stackless.saturating_add(*stackless),
                runs_in: if of == generation { all.runs_in.max(runs_in) } else { all.runs_in },
            }
        })
    }

    /// What was added since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            runs: self.runs.saturating_sub(before.runs),
            ns: self.ns.saturating_sub(before.ns),
            lost: self.lost.saturating_sub(before.lost),
            stackless: self.stackless.saturating_sub(before.stackless),
            runs_in: self.runs_in,
        }
    }
}

/// Of what a sum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summed {
    /// The stack's name; `None` where there was none.
    pub(super) stack: Option<u64>,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) group: Group,
    pub(super) dimension: Dimension,
    pub(super) detail: Detail,
    /// How long each measurement took to be seen, about.
    pub(super) span_ns: u64,
}

impl Summed {
    /// Reads a key; `None` for one that no program makes.
    pub(super) fn of([stack, thread, what]: SumKey) -> Option<Self> {
        let (pid, tid) = halves(thread);
        let (device, _) = halves(what);
        let [_, _, _, _, group, dimension, lock, span] = what.to_le_bytes();
        let dimension = *DIMENSIONS.get(usize::from(dimension))?;
        let detail = match dimension {
            Dimension::Blocked => Detail::Syscall,
            Dimension::Lock if lock == KIND_FUTEX => Detail::Symbol("[futex]"),
            Dimension::Lock => Detail::Symbol(kind(u64::from(lock))),
            Dimension::BlockIo => Detail::Device(device),
            _ => Detail::None,
        };
        Some(Self {
            stack: (stack != 0).then_some(stack),
            pid,
            tid,
            group: *Group::ALL.get(usize::from(group))?,
            dimension,
            detail,
            span_ns: span_ns(span),
        })
    }
}

/// The middle of a range of spans: below 1 ms, below 4 ms, and so on, the last without an end.
fn span_ns(span: u8) -> u64 {
    500_000 << (2 * span.min(7))
}

/// A stack as a call chain with its marks; `None` where its lengths are not those of a stack.
pub(super) fn chain(words: &Stack) -> Option<Box<[u64]>> {
    let [lens, frames @ ..] = words;
    let (kernel, user) = halves(*lens);
    let (kernel, user) = (usize::try_from(kernel).ok()?, usize::try_from(user).ok()?);
    if kernel > KERNEL_FRAMES || user > USER_FRAMES {
        return None;
    }
    let (kernel, rest) = frames.split_at_checked(kernel)?;
    let user = rest.get(..user)?;
    Some(kernel.iter().chain(std::iter::once(&USER_MARK)).chain(user).copied().collect())
}

/// Requests of one device, operation, term and power of two: their number and the sum of their times.
pub(super) fn latency(
    key: u64,
    [count, sum_ns]: Counted,
    name: impl FnOnce(Device) -> std::sync::Arc<str>,
) -> Option<IoHistogram> {
    let (device, _) = halves(key);
    let [_, _, _, _, operation, term, ..] = key.to_le_bytes();
    let operation = *OPERATIONS.get(usize::from(operation))?;
    let term = *TERMS.get(usize::from(term))?;
    let mut all = IoHistogram::new(name(device), operation, term);
    // As many requests of their mean, one nanosecond longer until the sum is right: all of one power of two.
    let mean = sum_ns.checked_div(count)?;
    let longer = sum_ns % count;
    for (ns, times) in [(mean, count - longer), (mean.saturating_add(1), longer)] {
        let mut one = IoHistogram::new(std::sync::Arc::clone(all.device()), operation, term);
        one.record(ns);
        repeat(one, times, &mut all);
    }
    Some(all)
}

/// Adds `one` so many times, by doubling.
fn repeat(mut one: IoHistogram, mut times: u64, all: &mut IoHistogram) {
    while times > 0 {
        if times & 1 == 1 {
            all.merge(&one);
        }
        let same = one.clone();
        one.merge(&same);
        times >>= 1;
    }
}

fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key_of(group: u8, dimension: u8, detail: u8, span: u8) -> SumKey {
        let what = u64::from_le_bytes([1, 0, 0x80, 0, group, dimension, detail, span]);
        [77, 7 | 8 << 32, what]
    }

    #[test]
    fn a_sum_says_whose_it_is_and_of_what() {
        let summed = Summed::of(key_of(0, 0, 0, 2)).unwrap();
        assert_eq!((summed.stack, summed.pid, summed.tid), (Some(77), 7, 8));
        assert_eq!((summed.group, summed.dimension), (Group::Blocking, Dimension::Blocked));
        assert_eq!((summed.detail, summed.span_ns), (Detail::Syscall, 8_000_000));
        let detail = |dimension, detail| Summed::of(key_of(1, dimension, detail, 0)).unwrap().detail;
        assert_eq!((detail(2, 0x40), detail(2, 32)), (Detail::Symbol("[futex]"), Detail::Symbol("[mutex]")));
        assert_eq!((detail(4, 0), detail(1, 9)), (Detail::Device(8 << 20 | 1), Detail::None));
    }

    #[test]
    fn the_last_group_and_dimension_are_read_and_one_past_them_is_not() {
        assert!(Summed::of(key_of(3, 4, 0, 0)).is_some());
        assert_eq!((Summed::of(key_of(4, 4, 0, 0)), Summed::of(key_of(3, 5, 0, 0))), (None, None));
    }

    #[test]
    fn a_stack_has_the_kernels_part_the_mark_and_the_programs_part() {
        let mut words = [0; 145];
        words[..6].copy_from_slice(&[2 | 3 << 32, 0xA, 0xB, 1, 2, 3]);
        assert_eq!(*chain(&words).unwrap(), [0xA, 0xB, USER_MARK, 1, 2, 3]);
    }

    #[test]
    fn the_deepest_stack_is_read_and_one_past_it_is_not() {
        let mut words = [1; 145];
        words[0] = 48 | 96 << 32;
        assert_eq!(chain(&words).unwrap().len(), 48 + 1 + 96);
        for lens in [49 | 1 << 32, 1 | 97 << 32, u64::MAX] {
            words[0] = lens;
            assert_eq!(chain(&words), None);
        }
    }

    #[test]
    fn requests_come_back_with_their_number_and_sum_in_one_bucket() {
        // 5 requests to 8:1 that write, in the device, of 2^10 ns each and more.
        let key = u64::from_le_bytes([1, 0, 0x80, 0, 1, 1, 10, 0]);
        let histogram = latency(key, [5, 5 * 1_024 + 3], |_| "sda1".into()).unwrap();
        assert_eq!((histogram.operation(), histogram.term()), (IoOperation::Write, IoTerm::Device));
        assert_eq!((histogram.buckets()[10], histogram.sum_ns()), (5, 5 * 1_024 + 3));
        assert_eq!(latency(key, [0, 9], |_| "sda1".into()), None, "no requests");
    }

    #[test]
    fn tallies_of_all_cpus_add_up_and_only_this_stretch_counts_for_the_limit() {
        let cpus = [[10, 100, 1, 2, 0, 3 | 7 << 32], [20, 200, 0, 1, 0, 2 | 900 << 32]];
        let tally = Tally::of(&cpus, 3);
        assert_eq!(tally, Tally { runs: 30, ns: 300, lost: 1, stackless: 3, runs_in: 7 });
        let before = Tally { runs: 10, ns: 100, ..Tally::default() };
        assert_eq!(tally.since(&before).runs, 20);
    }

    #[test]
    fn what_is_asked_stands_where_the_programs_look() {
        let control =
            Control { seed: 9, generation: [1, 2, 3, 4], allowed: [5, 6, 7, 8], tell: 7, page_shift: 12 };
        assert_eq!(control.words(), [9, 1 | 2 << 32, 3 | 4 << 32, 5 | 6 << 32, 7 | 8 << 32, 7 | 12 << 32]);
        assert_eq!((tell(&[Group::Locks]), tell(&Group::ALL), tell(&[Group::Memory])), (4, 7, 0));
    }

    proptest! {
        #[test]
        fn no_words_make_the_reader_panic(
            key in any::<[u64; 3]>(), lens in any::<u64>(), latency_key in any::<u64>(), sum in any::<[u64; 2]>(),
        ) {
            let _ = Summed::of(key);
            let mut words = [u64::MAX; 145];
            words[0] = lens;
            if let Some(chain) = chain(&words) {
                prop_assert!(chain.len() <= 145);
            }
            if let Some(histogram) = latency(latency_key, sum, |_| "".into()) {
                prop_assert_eq!(histogram.buckets().iter().map(|it| u128::from(*it)).sum::<u128>(), u128::from(sum[0]));
            }
        }
    }
}
