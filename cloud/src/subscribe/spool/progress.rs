//! Which blocks of one life of a stream were given out. Pure.
//!
//! A keyframe begins a *run*: it and the blocks behind it up to the next keyframe. Runs are decoded independently of
//! each other, so a block that comes late (through another member of a group that had died) still finds its place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Runs kept at most; the oldest is given up, with what is missing in it.
const MAX_RUNS: usize = 4;

/// A keyframe, and the first block behind it that was not given out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Everything from here to `next` was given out: complete runs before this one are part of it.
    from: u64,
    pub(crate) key: u64,
    pub(crate) next: u64,
}

/// What was given out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// All blocks before this one are done with.
    floor: u64,
    /// In order of key.
    runs: Vec<Run>,
}

/// The block to decode next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) run: Run,
    /// Blocks before a keyframe that have not come so far.
    pub(crate) missed: u64,
}

impl Step {
    /// The number of the block.
    pub(crate) const fn seq(self) -> u64 {
        self.run.next
    }

    pub(crate) const fn is_keyframe(self) -> bool {
        self.run.key == self.run.next
    }
}

impl Progress {
    /// Whether a block was given out, or given up.
    pub(crate) fn is_done(&self, seq: u64) -> bool {
        seq < self.floor || self.runs.iter().any(|it| (it.from..it.next).contains(&seq))
    }

    /// The lowest block that can be decoded now, of those at hand (number, and whether it is a keyframe).
    pub(crate) fn step(&self, at_hand: &BTreeMap<u64, bool>) -> Option<Step> {
        let going_on = self.runs.iter().filter(|it| at_hand.get(&it.next) == Some(&false)).copied();
        let starting = at_hand.iter().filter(|&(&seq, &keyframe)| keyframe && !self.is_done(seq));
        going_on
            .map(|run| Step { run, missed: 0 })
            .chain(
                starting.map(|(&seq, _)| Step {
                    run: Run { from: seq, key: seq, next: seq },
                    missed: self.gap(seq),
                }),
            )
            .min_by_key(|it| it.seq())
    }

    /// The step's block was given out.
    pub(crate) fn done(&mut self, step: Step) {
        match self.runs.iter_mut().find(|it| it.key == step.run.key) {
            Some(run) => run.next = step.seq() + 1,
            None => {
                let run = Run { next: step.seq() + 1, ..step.run };
                let at = self.runs.partition_point(|it| it.key < run.key);
                self.runs.insert(at, run);
            }
        }
        self.runs.dedup_by(|second, first| {
            let complete = first.next == second.from;
            if complete {
                *first = Run { from: first.from, ..*second };
            }
            complete
        });
        if let [_, second, ..] = self.runs.as_slice()
            && self.runs.len() > MAX_RUNS
        {
            self.floor = second.from;
            self.runs.remove(0);
        }
    }

    /// Gives up what lies before `seq`.
    pub(crate) fn give_up(&mut self, seq: u64) {
        self.floor = self.floor.max(seq);
        self.runs.retain(|it| it.next > seq);
    }

    /// Whether a block at hand is needed: to be decoded, or to build a run's dictionary again.
    pub(crate) fn needs(&self, seq: u64) -> bool {
        !self.is_done(seq) || self.runs.iter().any(|it| (it.key..it.next).contains(&seq))
    }

    /// Blocks that have not come although later ones have, oldest first, at most `limit` ranges (first and last number).
    /// Of what lies before the first run nothing is known.
    pub(crate) fn missing(&self, at_hand: &BTreeMap<u64, bool>, limit: usize) -> Vec<(u64, u64)> {
        if self.runs.is_empty() {
            return Vec::new();
        }
        let came = self.runs.iter().map(|it| (it.from, it.next));
        let mut came: Vec<_> = came.chain(at_hand.keys().map(|&seq| (seq, seq + 1))).collect();
        came.sort_unstable();
        let mut expected = came.first().map_or(0, |&(from, _)| from).max(self.floor);
        let mut missing = Vec::new();
        for (from, next) in came {
            if from > expected && missing.len() < limit {
                missing.push((expected, from - 1));
            }
            expected = expected.max(next);
        }
        missing
    }

    /// Of a keyframe: how many blocks before it did not come. The first of a life is not missing what nobody saw.
    fn gap(&self, key: u64) -> u64 {
        let before = self.runs.iter().filter(|it| it.key < key).map(|it| it.next).max();
        before.map_or(0, |next| key.saturating_sub(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_hand(blocks: &[(u64, bool)]) -> BTreeMap<u64, bool> {
        blocks.iter().copied().collect()
    }

    fn drain(progress: &mut Progress, at_hand: &BTreeMap<u64, bool>) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(step) = progress.step(at_hand) {
            order.push(step.seq());
            progress.done(step);
        }
        order
    }

    #[test]
    fn a_late_block_finds_its_place_behind_a_newer_keyframe() {
        let mut progress = Progress::default();
        let mut blocks = at_hand(&[(0, true), (1, false), (3, false), (4, true), (5, false)]);
        assert_eq!(drain(&mut progress, &blocks), [0, 1, 4, 5]);
        assert!(!progress.is_done(2) && !progress.is_done(3));
        blocks.insert(2, false);
        assert_eq!(drain(&mut progress, &blocks), [2, 3]);
        assert!((0..6).all(|seq| progress.is_done(seq)) && !progress.is_done(6));
        assert!(!progress.needs(3), "the first run is complete");
        assert!(progress.needs(4), "the second may go on");
    }

    #[test]
    fn what_lies_before_the_first_keyframe_that_came_is_not_done() {
        let mut progress = Progress::default();
        let mut blocks = at_hand(&[(2, true), (3, true), (4, false)]);
        assert_eq!(drain(&mut progress, &blocks), [2, 3, 4]);
        blocks.extend([(0, true), (1, false)]);
        assert_eq!(drain(&mut progress, &blocks), [0, 1]);
        assert_eq!(progress.runs, [Run { from: 0, key: 3, next: 5 }]);
    }

    #[test]
    fn a_keyframe_says_what_has_not_come_before_it() {
        let mut progress = Progress::default();
        let blocks = at_hand(&[(7, true)]);
        assert_eq!(progress.step(&blocks).map(|it| it.missed), Some(0));
        drain(&mut progress, &blocks);
        assert_eq!(progress.step(&at_hand(&[(7, true), (10, true)])).map(|it| it.missed), Some(2));
    }

    #[test]
    fn what_is_missing_between_those_that_came_is_named() {
        let mut progress = Progress::default();
        let mut blocks = at_hand(&[(3, false), (5, false)]);
        assert_eq!(progress.missing(&blocks, 9), [], "no keyframe came");
        blocks.extend([(2, true), (8, false), (10, true), (11, false), (13, false)]);
        drain(&mut progress, &blocks);
        assert_eq!(progress.missing(&blocks, 9), [(4, 4), (6, 7), (9, 9), (12, 12)]);
        assert_eq!(progress.missing(&blocks, 2), [(4, 4), (6, 7)]);
        progress.give_up(8);
        assert_eq!(progress.missing(&blocks, 9), [(9, 9), (12, 12)]);
        blocks.extend([(9, false), (12, false)]);
        drain(&mut progress, &blocks);
        assert_eq!(progress.missing(&blocks, 9), []);
    }

    #[test]
    fn the_oldest_unfinished_run_is_given_up_at_the_bound() {
        let mut progress = Progress::default();
        let keys: Vec<_> = (0..=MAX_RUNS as u64).map(|it| (it * 10, true)).collect();
        drain(&mut progress, &at_hand(&keys[..MAX_RUNS]));
        assert!(!progress.is_done(1));
        drain(&mut progress, &at_hand(&keys));
        assert!(progress.is_done(1) && progress.is_done(9) && !progress.is_done(11));
    }
}
