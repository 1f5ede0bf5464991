//! The whole machine: on each CPU a timer that samples whatever runs there into a ring, and tracepoints for what the timer
//! cannot see. These come as perf events through the same ring, or are added up in the kernel by programs ([`bpf`]).
//!
//! * The timer ticks at the real-time interval while real-time threads are about, else at that of normal threads. Samples
//!   of normal threads that come too often are left out at random, and those kept count for the others.
//! * [`events`] opens tracepoints and reads them; [`gate::Gate`] says when they are listened to.
//! * [`blocking`], [`locks`] and [`blockio`] pair events, whatever CPU they came from; [`tasks`] names places.
//! * What is measured is chosen at random by its size ([`super::poisson`]) before it is named: naming is what costs.

mod blocking;
mod blockio;
#[cfg(feature = "bpf")]
mod bpf;
#[cfg(not(feature = "bpf"))]
#[path = "no_bpf.rs"]
mod bpf;
mod clock;
mod events;
mod gate;
mod kernel;
mod locks;
mod measured;
mod pairing;
mod spare;
mod tasks;
mod tracepoint;

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use telemetry::limits::MAX_WINDOW_FRAMES;
use telemetry::{Frame, IoHistogram, ThreadInfo, WindowBuilder};
use tracing::{debug, info};

use super::capture::{Backend, Capture, CaptureError, since_start};
use super::config::Config;
use super::perf::Ring;
use super::poisson::SplitMix64;
use super::rate::RateLaw;
use super::record::{Record, parse};
use super::state::{DimensionState, OFF};
use bpf::Programs;
use clock::Clock;
use events::{Event, Group, Probe};
use gate::{Command, Gate, Stretch};
use measured::{Detail, Measured, Place};
use pairing::Pairing;
use spare::Spare;
use tasks::Tasks;

/// How often the rings are read: seldom while they stay empty, often while much comes.
const POLL: Duration = Duration::from_millis(500);
const BUSY_POLL: Duration = Duration::from_millis(100);
/// What a record with a stack takes in a ring, on the mean and with some to spare.
const RECORD_LEN: usize = 320;
/// CPU time that one event is taken to cost the thread in which it happens: an estimate, the kernel does not account it.
const EVENT_COST: Duration = Duration::from_nanos(1_500);
/// CPU time that one sample of the timer is taken to cost, likewise.
const SAMPLE_COST: Duration = Duration::from_micros(4);
/// Most measurements that wait for their gate to close.
const MAX_PENDING: usize = 8_192;
/// Most samples of a CPU's timer that wait for its accounts: those of half a second at a hundred times the real-time rate.
const MAX_TICKS: usize = 4_096;
/// Ring of each CPU for the timer's samples alone: half a second of the deepest stacks at the real-time rate fits.
const TIMER_RING: usize = 64 << 10;
/// Most CPUs that are watched.
const MAX_CPUS: usize = 256;

/// Whole-machine capture.
#[derive(Debug)]
pub(super) struct MachineCapture {
    cpus: Vec<OnCpu>,
    /// Index into `probes` by the kernel's number of an event.
    ids: HashMap<u64, usize>,
    probes: Vec<Probe>,
    groups: Vec<Gated>,
    missing: Vec<(Group, String)>,
    /// What measures in place of the probes.
    programs: Option<Programs>,
    /// Dimensions that the configuration asks for.
    wanted: Vec<Group>,
    pairing: Pairing,
    spare: Spare,
    tasks: Tasks,
    random: SplitMix64,
    hidden_cost: Duration,
    frames: Vec<Frame>,
    /// Events that are newer than the last look: others that came before them may still lie in a ring.
    held: Vec<Event>,
    /// Start of the window under way, and frames that events have put into it.
    told: (u64, usize),
}

#[derive(Debug)]
struct OnCpu {
    clock: Clock,
    ring: Ring,
    /// Samples of the timer that wait to be told how much time they share.
    ticks: Vec<Place>,
}

#[derive(Debug)]
struct Gated {
    group: Group,
    gate: Gate,
    pending: Vec<Measured>,
    /// Events of late, and when the kernel first stopped one by itself.
    taken: (u64, Option<u64>),
    /// Nanoseconds with the gate open, and in all, since they were last asked for.
    cover: (u64, u64),
}

impl MachineCapture {
    /// Opens the timer on each CPU and the tracepoints of the configured dimensions, these by programs or as perf events. The
    /// first refusal of a timer decides; a tracepoint that is refused is left out, and said.
    pub(super) fn open(
        config: &Config,
        by_programs: bool,
        seed: u64,
        rate: &mut RateLaw,
    ) -> Result<Self, CaptureError> {
        let refused = |source| CaptureError::Machine { source };
        let (mut cpus, mut ids) = (Vec::new(), HashMap::new());
        let numbers = online().map_err(refused)?;
        let wanted: Vec<Group> =
            Group::ALL.into_iter().filter(|it| config.dimensions.contains(&it.dimension())).collect();
        let mut loaded = None;
        if by_programs && !wanted.is_empty() {
            let outcome = Programs::open(&wanted, &numbers, seed);
            loaded = Some(outcome.map_err(|reason| CaptureError::Programs { reason })?);
        }
        // Only the timer's samples go through the ring where programs do the rest.
        let ring_len = if by_programs { config.ring.min(TIMER_RING) } else { config.ring };
        let spare = Spare::open(Instant::now()).map_err(refused)?;
        for cpu in numbers {
            let clock = Clock::open(cpu, rate).map_err(refused)?;
            let ring = Ring::map(clock.event(), ring_len).map_err(refused)?;
            cpus.push(OnCpu { clock, ring, ticks: Vec::new() });
        }
        let (programs, probes, missing) = match loaded {
            Some((programs, missing)) => (Some(programs), Vec::new(), missing),
            None => {
                let leaders: Vec<_> = cpus.iter().map(|it| (it.clock.cpu(), it.clock.event())).collect();
                let (probes, missing) = events::open(&wanted, &leaders, &mut ids);
                (None, probes, missing)
            }
        };
        for (group, reason) in &missing {
            info!(dimension = group.name(), reason, "not measured");
        }
        let now_ns = monotonic_ns();
        // Sums are complete at any time, and reading them costs; events are many, and wait in this process.
        let longest = Duration::from_secs(if by_programs { 5 } else { 1 });
        let tell_after = (config.window / 2).min(longest);
        let measured = |group: &Group| match &programs {
            Some(programs) => programs.groups().contains(group),
            None => probes.iter().any(|it| it.group == *group),
        };
        let groups: Vec<Gated> = Group::ALL
            .into_iter()
            .filter(measured)
            .map(|group| Gated {
                group,
                gate: Gate::new(now_ns).telling_after(tell_after),
                pending: Vec::new(),
                taken: (0, None),
                cover: (0, 0),
            })
            .collect();
        rate.handle_events(!groups.is_empty());
        Ok(Self {
            cpus,
            ids,
            probes,
            groups,
            missing,
            programs,
            wanted,
            pairing: Pairing::default(),
            spare,
            tasks: Tasks::new(),
            random: SplitMix64(seed),
            hidden_cost: Duration::ZERO,
            frames: Vec::new(),
            held: Vec::new(),
            told: (0, 0),
        })
    }

    /// Empties the rings: the timer's samples go to the window, events are handed back in order of time.
    fn drain(
        &mut self,
        now: Instant,
        at_ms: u32,
        rate: &mut RateLaw,
        window: &mut WindowBuilder,
    ) -> Vec<Event> {
        let Self { cpus, ids, probes, spare, tasks, random, frames, held, .. } = self;
        let accounted = spare.look(now);
        let begun_ns = monotonic_ns();
        let (mut events, mut samples) = (std::mem::take(held), 0);
        let mut last = vec![0; probes.len()];
        for (cpu, OnCpu { clock, ring, ticks }) in cpus.iter_mut().enumerate() {
            last.fill(0);
            ring.drain(|words| {
                let probe = |id| ids.get(&id).and_then(|index: &usize| probes.get(*index));
                let has_stack =
                    |id| if id == clock.id() { Some(true) } else { probe(id).map(Probe::has_stack) };
                match parse(words, has_stack) {
                    Some(Record::Sample(sample)) if sample.event == clock.id() => {
                        if ticks.len() >= MAX_TICKS {
                            window.add_lost(1);
                            return;
                        }
                        let chain = sample.callchain.into();
                        ticks.push(Place { pid: sample.pid, tid: sample.tid, chain });
                    }
                    Some(Record::Sample(sample)) => {
                        if let Some(at) = ids.get(&sample.event).and_then(|index| last.get_mut(*index)) {
                            *at = sample.ns;
                        }
                        events.extend(probe(sample.event).and_then(|probe| probe.event(&sample)));
                    }
                    Some(Record::Lost(records)) => window.add_lost(records),
                    Some(Record::Mapped(mapped)) => tasks.handle_mapped(&mapped),
                    Some(Record::Renamed { pid, tid, exec }) => tasks.handle_renamed(pid, tid, exec),
                    Some(Record::Ended { pid, tid }) => tasks.handle_ended(pid, tid),
                    None => {}
                }
            });
            for (probe, ns) in probes.iter_mut().zip(&last).filter(|(_, ns)| **ns > 0) {
                probe.handle_last(cpu, *ns);
            }
            if !accounted {
                continue;
            }
            let len = u32::try_from(ticks.len()).unwrap_or(u32::MAX);
            samples += len;
            let weight = clock.handle_samples(len, spare.of(clock.cpu()));
            for place in ticks.drain(..) {
                clock_sample(clock, &place, weight, now, at_ms, tasks, rate, random, window, frames);
            }
        }
        self.hidden_cost += SAMPLE_COST * samples;
        events.sort_by_key(|event| event.ns);
        self.held = events.split_off(events.partition_point(|event| event.ns <= begun_ns));
        events
    }

    /// Asks the kernel how many events there were.
    fn count(&mut self) {
        for gated in &mut self.groups {
            let (mut taken, mut stopped) = (0, None::<u64>);
            for probe in self.probes.iter_mut().filter(|it| it.group == gated.group) {
                let (events, stopped_ns) = probe.poll_taken();
                taken += events;
                if let Some(ns) = stopped_ns.filter(|_| gated.gate.is_open()) {
                    stopped = Some(stopped.map_or(ns, |other| other.min(ns)));
                }
            }
            gated.taken = (taken, stopped);
            self.hidden_cost += EVENT_COST * u32::try_from(taken).unwrap_or(u32::MAX);
        }
    }

    /// Turns the gates, and hands on what is complete. True if much came, or will.
    fn turn_gates(&mut self, now: Instant, at_ms: u32, rate: &RateLaw, window: &mut WindowBuilder) -> bool {
        let (now_ns, allowed) = (monotonic_ns(), rate.events_per_second());
        let cpus = u32::try_from(self.cpus.len()).unwrap_or(u32::MAX).max(1);
        let capacity = self.cpus.first().map_or(0, |it| it.ring.capacity() / RECORD_LEN);
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        let mut busy = false;
        for index in 0..self.groups.len() {
            let Some(gated) = self.groups.get_mut(index) else { break };
            let group = gated.group;
            let mut probes: Vec<_> = self.probes.iter_mut().filter(|it| it.group == group).collect();
            let (taken, stopped_ns) = gated.taken;
            let events = f64::from(u32::try_from(taken).unwrap_or(u32::MAX));
            let (command, stretch) =
                gated.gate.handle_tick(now_ns, events, stopped_ns, allowed * group.share(), &mut self.random);
            let kinds = u32::try_from(probes.len()).unwrap_or(1).max(1);
            // What one tick may bring must fit the ring, with what the other groups bring.
            let fits = capacity / group.ring_part();
            let times = (gated.gate.left() / (cpus * kinds)).clamp(1, fits.max(1));
            busy |= command == Command::Open || gated.gate.is_open() && taken > u64::from(fits * cpus / 4);
            match command {
                Command::Open => probes.iter_mut().for_each(|it| it.start(times, &mut self.random)),
                Command::Stay if gated.gate.is_open() => probes.iter_mut().for_each(|it| it.allow(times)),
                Command::Stay => {}
                Command::Close => probes.iter_mut().for_each(|it| it.stop()),
            }
            if command == Command::Close {
                self.pairing.handle_gap(group);
            }
            let Some(stretch) = stretch else { continue };
            let (open, all) = stretch.cover();
            gated.cover = (gated.cover.0 + open, gated.cover.1 + all);
            let measured = std::mem::take(&mut gated.pending);
            self.tell(stretch, &measured, now, at_ms, window);
        }
        busy
    }

    /// Hands on what was measured in a stretch, each for as much as it stands for.
    fn tell(
        &mut self,
        stretch: Stretch,
        measured: &[Measured],
        now: Instant,
        at_ms: u32,
        window: &mut WindowBuilder,
    ) {
        for measured in measured {
            // Half of a window is the timer's: where time goes must not be lost for want of room.
            if self.told.0 != window.start_unix_ms() {
                self.told = (window.start_unix_ms(), 0);
            }
            self.told.1 += measured.place.chain.len();
            if self.told.1 > MAX_WINDOW_FRAMES / 2 {
                window.add_lost(1);
                continue;
            }
            let weight = stretch.estimate(measured.amount, measured.span_ns);
            push(measured, weight, now, at_ms, &mut self.tasks, &self.pairing, window, &mut self.frames);
        }
    }

    /// The same as the gates' turn where programs measure. True if much came, or will.
    fn turn_programs(
        &mut self,
        now: Instant,
        at_ms: u32,
        rate: &RateLaw,
        window: &mut WindowBuilder,
    ) -> bool {
        let Some(programs) = &mut self.programs else { return false };
        let turn =
            programs.turn(&mut self.groups, monotonic_ns(), rate.events_per_second(), &mut self.random);
        if !turn.told.is_empty() {
            let pairing = &self.pairing;
            for histogram in programs.poll_histograms(|device| pairing.device_name(device)) {
                push_io(histogram, window);
            }
        }
        self.hidden_cost += turn.cost;
        window.add_lost(turn.lost);
        for (pid, tid, name) in turn.met {
            self.tasks.handle_met(pid, tid, &name);
        }
        for (group, reason) in turn.refused {
            if !self.missing.iter().any(|(known, _)| *known == group) {
                info!(dimension = group.name(), reason, "not measured");
                self.missing.push((group, reason));
            }
        }
        for (stretch, measured) in &turn.told {
            self.tell(*stretch, measured, now, at_ms, window);
        }
        turn.busy
    }

    fn pair(&mut self, events: Vec<Event>, window: &mut WindowBuilder) {
        let mut out = Vec::new();
        for event in events {
            let Some(gated) = self.groups.iter_mut().find(|it| it.group == event.group) else { continue };
            // What lies in the rings from before the gate opened, or came after one CPU was stopped, belongs to a gap.
            let (open, stopped) = (gated.gate.open_since(), gated.taken.1);
            if open.is_none_or(|since| event.ns < since) || stopped.is_some_and(|until| event.ns > until) {
                continue;
            }
            self.pairing.handle(&event, &mut out);
            for mut measured in out.drain(..) {
                // Chosen before it waits, so that little waits; each dimension at its own coarseness.
                let chosen = pairing::choose(&measured, &mut self.random);
                let Some(amount) = chosen else { continue };
                measured.amount = amount;
                if gated.pending.len() < MAX_PENDING {
                    gated.pending.push(measured);
                } else {
                    window.add_lost(1);
                }
            }
        }
    }
}

impl Capture for MachineCapture {
    fn backend(&self) -> Backend {
        if self.programs.is_some() { Backend::Bpf } else { Backend::Machine }
    }

    fn capture(
        &mut self,
        now: Instant,
        unix_ms: u64,
        rate: &mut RateLaw,
        window: &mut WindowBuilder,
    ) -> Result<Instant, CaptureError> {
        let at_ms = since_start(window, unix_ms);
        self.tasks.begin();
        let events = self.drain(now, at_ms, rate, window);
        let busy = if self.programs.is_some() {
            self.turn_programs(now, at_ms, rate, window)
        } else {
            self.count();
            self.pair(events, window);
            self.turn_gates(now, at_ms, rate, window)
        };
        window.add_lost(self.pairing.take_refused());
        for histogram in self.pairing.poll_histograms() {
            push_io(histogram, window);
        }
        for OnCpu { clock, .. } in &mut self.cpus {
            clock.redraw(now, rate);
        }
        Ok(now + if busy { BUSY_POLL } else { POLL })
    }

    fn take_hidden_cost(&mut self) -> Duration {
        std::mem::take(&mut self.hidden_cost)
    }

    fn take_stackless(&mut self) -> u64 {
        self.programs.as_mut().map_or(0, Programs::take_stackless)
    }

    fn dimensions(&mut self) -> Vec<DimensionState> {
        let mut states =
            vec![DimensionState { name: "cpu".into(), state: "on".into(), share_ppm: 1_000_000 }];
        for group in Group::ALL {
            let reason = self.missing.iter().find(|(it, _)| *it == group).map(|(_, reason)| reason.clone());
            let gated = self.groups.iter_mut().find(|it| it.group == group);
            let share_ppm = gated.as_ref().map_or(0, |it| it.cover.0 * 1_000_000 / it.cover.1.max(1));
            let state = match (gated, reason) {
                // Measured for another one's sake.
                _ if !self.wanted.contains(&group) => OFF.to_owned(),
                (Some(gated), reason) => {
                    gated.cover = (0, 0);
                    reason.map_or_else(|| "on".to_owned(), |reason| format!("in part: {reason}"))
                }
                (None, Some(reason)) => reason,
                (None, None) => OFF.to_owned(),
            };
            states.push(DimensionState { name: group.name().into(), state, share_ppm });
        }
        states
    }
}

fn push_io(histogram: IoHistogram, window: &mut WindowBuilder) {
    if let Err(refused) = window.push_io(histogram) {
        debug!(%refused, "histogram left out");
    }
}

#[allow(clippy::too_many_arguments, reason = "parts of one value that are borrowed one by one")]
fn clock_sample(
    clock: &mut Clock,
    place: &Place,
    weight: Duration,
    now: Instant,
    at_ms: u32,
    tasks: &mut Tasks,
    rate: &RateLaw,
    random: &mut SplitMix64,
    window: &mut WindowBuilder,
    frames: &mut Vec<Frame>,
) {
    let Place { pid, tid, chain } = place;
    if *tid == 0 {
        return;
    }
    let info = tasks.thread(*pid, *tid, now);
    let Some(weight_ns) = clock.choose(weight, info.class, now, rate, random) else { return };
    frames.clear();
    tasks.frames(*pid, chain, now, frames);
    // What the window refuses, it counts.
    let _counted = window.push(at_ms, &info, frames, weight_ns);
}

#[allow(clippy::too_many_arguments, reason = "parts of one value that are borrowed one by one")]
fn push(
    measured: &Measured,
    weight: u64,
    now: Instant,
    at_ms: u32,
    tasks: &mut Tasks,
    pairing: &Pairing,
    window: &mut WindowBuilder,
    frames: &mut Vec<Frame>,
) {
    let Place { pid, tid, chain } = &*measured.place;
    frames.clear();
    frames.extend(measured.dimension.frame());
    frames.extend(match measured.detail {
        Detail::None => None,
        Detail::Syscall => tasks.syscall(chain),
        Detail::Symbol(name) => Some(Frame::Symbol(name.into())),
        Detail::Device(device) => Some(Frame::Symbol(pairing.device_name(device))),
    });
    tasks.frames(*pid, chain, now, frames);
    let info: ThreadInfo = tasks.thread(*pid, *tid, now);
    // What the window refuses, it counts.
    let _counted = window.push(at_ms, &info, frames, weight);
}

impl Group {
    fn dimension(self) -> super::config::Dimension {
        use super::config::Dimension as Configured;
        match self {
            Self::Blocking => Configured::Blocking,
            Self::Locks => Configured::Locks,
            Self::Memory => Configured::Memory,
            Self::BlockIo => Configured::BlockIo,
        }
    }
}

/// The CPUs that are online.
fn online() -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let set: topology::CpuSet =
        text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "list of CPUs"))?;
    let numbers = set.iter().filter_map(|cpu| u32::try_from(cpu.number()).ok());
    Ok(numbers.take(MAX_CPUS).collect())
}

/// Nanoseconds of the events' clock.
fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(time).map_or(0, |it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX))
}
