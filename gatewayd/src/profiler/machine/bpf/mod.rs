//! The events of the machine counted in the kernel: programs at the tracepoints add up what they measure by thread and
//! stack, and the service reads sums. `bpf/capture.c` says how.
//!
//! A group's programs are attached only while its gate is open: a tracepoint that nobody listens to costs nothing, where one
//! whose program returns at once would still cost a busy machine more than the whole budget. Within a stretch the programs
//! themselves end it when they have run as often as they were allowed, should the service come late.

mod object;
mod sums;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use telemetry::IoHistogram;
use tracing::debug;

use super::super::perf::page_len;
use super::super::poisson::SplitMix64;
use super::Gated;
use super::blockio::Device;
use super::events::Group;
use super::gate::{Command, Stretch};
use super::measured::Measured;
use super::pairing;
use object::Object;
use sums::{Comm, measure};
use words::{Control, Tally, latency, tell};

/// What one event of the law stands for, in nanoseconds: gates count cost in these.
const EVENT_NS: u64 = 2_000;
/// What a run costs beside the time that the programs and the kernel account to it: the way from the tracepoint and back.
const WAY_NS: u64 = 40;
/// What a run is taken to cost before any was measured.
const FIRST_RUN_NS: u64 = 500;
/// Fewest runs that are allowed at a time.
const FEWEST_RUNS: u32 = 256;

/// The programs and what was read of them.
#[derive(Debug)]
pub(super) struct Programs {
    object: Object,
    control: Control,
    /// Each group as of the last look.
    seen: HashMap<Group, Seen>,
    stackless: u64,
}

/// A group's counts, its run time by the kernel's account, and the mean cost of a run.
#[derive(Debug)]
struct Seen {
    tally: Tally,
    run_time_ns: u64,
    ns_per_run: u64,
    /// Number of the last stretch.
    stretch: u32,
}

/// What a turn brought.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Measurements that are complete, by stretches.
    pub(super) told: Vec<(Stretch, Vec<Measured>)>,
    /// CPU time that the programs took.
    pub(super) cost: Duration,
    /// Threads that were measured, by process and thread, with their names.
    pub(super) met: Vec<(u32, u32, Comm)>,
    /// Measurements that found no room.
    pub(super) lost: u64,
    /// Groups whose programs the kernel did not let run, and why.
    pub(super) refused: Vec<(Group, String)>,
    /// True while the gates want to be looked after more often.
    pub(super) busy: bool,
}

impl Programs {
    /// Loads the programs for `wanted` dimensions. Groups that the kernel does not offer are left out, with the reason.
    pub(super) fn open(
        wanted: &[Group],
        cpus: &[u32],
        seed: u64,
    ) -> Result<(Self, Vec<(Group, String)>), String> {
        // Waits for the locks of programs are seen where their threads leave the CPU.
        let mut groups = wanted.to_vec();
        if wanted.contains(&Group::Locks) && !wanted.contains(&Group::Blocking) {
            groups.push(Group::Blocking);
        }
        let (object, missing) = Object::load(&groups, cpus)?;
        let page_shift = page_len().ilog2();
        let control = Control { seed, tell: tell(wanted), page_shift, ..Control::default() };
        Ok((Self { object, control, seen: HashMap::new(), stackless: 0 }, missing))
    }

    /// The groups that can be measured.
    pub(super) fn groups(&self) -> Vec<Group> {
        self.object.groups()
    }

    /// Turns the gates and reads what is complete. `allowed` events per second may be taken.
    pub(super) fn turn(
        &mut self,
        groups: &mut [Gated],
        now_ns: u64,
        allowed: f64,
        random: &mut SplitMix64,
    ) -> Turn {
        let mut turn = Turn::default();
        let mut complete = Vec::new();
        for (index, gated) in groups.iter_mut().enumerate() {
            let group = gated.group;
            let (mut taken, mut halted) = (0, None);
            if gated.gate.is_open() {
                let events = self.look(group, &mut turn) / EVENT_NS;
                taken = u32::try_from(events).unwrap_or(u32::MAX);
                halted = self.object.halted(group);
            }
            let (command, stretch) =
                gated.gate.handle_tick(now_ns, f64::from(taken), halted, allowed * group.share(), random);
            match command {
                Command::Open => {
                    turn.busy = true;
                    if let Err(reason) = self.start(group, gated.gate.left()) {
                        turn.refused.push((group, reason));
                    }
                    gated.gate.handle_opened(super::monotonic_ns());
                }
                Command::Stay if gated.gate.is_open() => {
                    let left = gated.gate.left();
                    // Much of what is saved went between two looks: look more often.
                    turn.busy |= taken > left / 4;
                    self.allow(group, left);
                }
                Command::Stay => {}
                Command::Close => self.stop(group),
            }
            if let Some(stretch) = stretch {
                complete.push((index, stretch));
            }
        }
        if let Err(reason) = self.object.set_control(&self.control) {
            debug!(reason, "programs not told what to do");
        }
        if !complete.is_empty() {
            self.read(groups, random, &mut turn);
        }
        for (index, stretch) in complete {
            if let Some(gated) = groups.get_mut(index) {
                let (open, all) = stretch.cover();
                gated.cover = (gated.cover.0 + open, gated.cover.1 + all);
                turn.told.push((stretch, std::mem::take(&mut gated.pending)));
            }
        }
        turn
    }

    /// What the kernel counted of requests since the last call.
    pub(super) fn poll_histograms(&mut self, mut name: impl FnMut(Device) -> Arc<str>) -> Vec<IoHistogram> {
        let counted = self.object.take_latencies();
        counted.into_iter().filter_map(|(key, sum)| latency(key, sum, &mut name)).collect()
    }

    /// Measurements without a stack since the last call.
    pub(super) fn take_stackless(&mut self) -> u64 {
        std::mem::take(&mut self.stackless)
    }

    /// Looks at a group's counts: what its programs cost since the last look, in nanoseconds.
    fn look(&mut self, group: Group, turn: &mut Turn) -> u64 {
        let generation = self.control.generation.get(group.index()).copied().unwrap_or(0);
        let tally = self.object.tally(group, generation);
        let run_time_ns = self.object.run_time(group);
        let seen = self.seen.entry(group).or_insert_with(Seen::new);
        let new = tally.since(&seen.tally);
        // The kernel's account where it keeps one, else the programs' own.
        let by_kernel = run_time_ns.saturating_sub(seen.run_time_ns);
        let ran_ns = if by_kernel > 0 { by_kernel } else { new.ns };
        let ns = ran_ns.saturating_add(new.runs.saturating_mul(WAY_NS));
        seen.ns_per_run = ns.checked_div(new.runs).unwrap_or(seen.ns_per_run);
        (seen.tally, seen.run_time_ns) = (tally, run_time_ns);
        turn.cost += Duration::from_nanos(ns);
        turn.lost += new.lost;
        self.stackless += new.stackless;
        ns
    }

    fn start(&mut self, group: Group, left: u32) -> Result<(), String> {
        self.object.clear_halt(group)?;
        let seen = self.seen.entry(group).or_insert_with(Seen::new);
        // 0 is for none.
        seen.stretch = seen.stretch.wrapping_add(1).max(1);
        seen.tally.runs_in = 0;
        if let Some(generation) = self.control.generation.get_mut(group.index()) {
            *generation = seen.stretch;
        }
        self.allow(group, left);
        self.object.set_control(&self.control)?;
        self.object.attach(group).inspect_err(|_| self.object.detach(group))
    }

    fn stop(&mut self, group: Group) {
        self.object.detach(group);
        if let Some(generation) = self.control.generation.get_mut(group.index()) {
            *generation = 0;
        }
    }

    /// Allows the programs as many runs on one CPU as `left` events pay for.
    fn allow(&mut self, group: Group, left: u32) {
        let seen = self.seen.entry(group).or_insert_with(Seen::new);
        let runs = u64::from(left).saturating_mul(EVENT_NS) / seen.ns_per_run.max(1);
        let runs = u32::try_from(runs).unwrap_or(u32::MAX).max(FEWEST_RUNS);
        let runs = seen.tally.runs_in.saturating_add(runs);
        if let Some(allowed) = self.control.allowed.get_mut(group.index()) {
            *allowed = runs;
        }
    }

    /// Reads the sums of all groups, each to wait for the end of its stretch; what finds no room is counted.
    fn read(&mut self, groups: &mut [Gated], random: &mut SplitMix64, turn: &mut Turn) {
        let sums = self.object.take_sums();
        let (measured, stackless) = measure(sums, |name| self.object.stack(name));
        self.stackless += stackless;
        for (group, measured, comm) in measured {
            let Some(gated) = groups.iter_mut().find(|it| it.group == group) else { continue };
            let Some(amount) = pairing::choose(&measured, random) else { continue };
            if gated.pending.len() < super::MAX_PENDING {
                turn.met.push((measured.place.pid, measured.place.tid, comm));
                gated.pending.push(Measured { amount, ..measured });
            } else {
                turn.lost += 1;
            }
        }
    }
}

impl Seen {
    fn new() -> Self {
        Self { tally: Tally::default(), run_time_ns: 0, ns_per_run: FIRST_RUN_NS, stretch: 0 }
    }
}
