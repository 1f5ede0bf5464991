//! Sums into measurements: what the programs added up, with the stacks that they name.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::events::Group;
use super::super::measured::{Measured, Place};
use super::words::{Stack, Sum, SumKey, Summed, chain};

/// A thread's name as the kernel keeps it, padded with zero bytes.
pub(super) type Comm = [u8; 16];

/// Makes measurements of sums, each with its thread's name; `stack` looks a stack up by its name. Beside them, how many had a
/// stack once that is gone. What no program writes is left out.
pub(super) fn measure(
    sums: Vec<(SumKey, Sum)>,
    mut stack: impl FnMut(u64) -> Option<Stack>,
) -> (Vec<(Group, Measured, Comm)>, u64) {
    // One stack often has several sums: of threads, of sleep and waiting, of short times and long.
    let mut chains: HashMap<u64, Option<Box<[u64]>>> = HashMap::new();
    let (mut all, mut gone) = (Vec::with_capacity(sums.len()), 0);
    for (key, [count, amount, name @ ..]) in sums {
        let Some(summed) = Summed::of(key) else { continue };
        let known = summed
            .stack
            .map(|name| chains.entry(name).or_insert_with(|| stack(name).as_ref().and_then(chain)).clone());
        if known == Some(None) {
            gone += count;
        }
        let chain = known.flatten().unwrap_or_default();
        let measured = Measured {
            dimension: summed.dimension,
            detail: summed.detail,
            place: Arc::new(Place { pid: summed.pid, tid: summed.tid, chain }),
            amount,
            span_ns: summed.span_ns,
        };
        let mut comm = Comm::default();
        for (to, from) in comm.iter_mut().zip(name.into_iter().flat_map(u64::to_le_bytes)) {
            *to = from;
        }
        all.push((summed.group, measured, comm));
    }
    (all, gone)
}

#[cfg(test)]
mod tests {
    use telemetry::Dimension;

    use super::super::super::super::record::USER_MARK;
    use super::*;

    fn key(stack: u64, tid: u32, dimension: u8) -> SumKey {
        [stack, 7 | u64::from(tid) << 32, u64::from_le_bytes([0, 0, 0, 0, 0, dimension, 0, 0])]
    }

    fn stack(name: u64) -> Option<Stack> {
        let mut words = [0; 145];
        words[..3].copy_from_slice(&[1 | 1 << 32, name, name + 1]);
        Some(words)
    }

    #[test]
    fn each_sum_is_one_measurement_on_its_stack_and_each_stack_is_looked_up_once() {
        let mut asked = Vec::new();
        let name = u64::from_le_bytes(*b"worker\0\0");
        let sums = vec![
            (key(50, 8, 0), [3, 900, name, 0]),
            (key(50, 8, 1), [3, 30, name, 0]),
            (key(60, 9, 0), [1, 5, name, 0]),
        ];
        let (all, gone) = measure(sums, |name| {
            asked.push(name);
            stack(name)
        });
        let told: Vec<_> =
            all.iter().map(|(_, it, _)| (it.dimension, it.place.tid, it.amount, it.place.chain[0])).collect();
        assert_eq!(
            told,
            [
                (Dimension::Blocked, 8, 900, 50),
                (Dimension::RunQueue, 8, 30, 50),
                (Dimension::Blocked, 9, 5, 60)
            ]
        );
        assert_eq!(*all[0].1.place.chain, [50, USER_MARK, 51]);
        assert_eq!((asked, gone), (vec![50, 60], 0));
        assert_eq!(all[0].2, *b"worker\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn time_whose_stack_is_gone_or_was_never_taken_is_told_without_one() {
        let sums = vec![(key(50, 8, 0), [3, 900, 0, 0]), (key(0, 8, 0), [2, 100, 0, 0])];
        let (all, gone) = measure(sums, |_| None);
        assert_eq!(all.iter().map(|(_, it, _)| it.amount).sum::<u64>(), 1_000);
        assert!(all.iter().all(|(_, it, _)| it.place.chain.is_empty()));
        assert_eq!(gone, 3, "the one that was never taken is counted where it was not");
    }

    #[test]
    fn a_sum_of_no_dimension_is_left_out() {
        assert!(measure(vec![(key(50, 8, 9), [1, 1, 0, 0])], stack).0.is_empty());
    }
}
