//! The tracepoints that are listened to, in groups that open and close together, and what their records say.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::super::perf::{Contents, PerfEvent, Scope, Trigger, page_len};
use super::super::poisson::SplitMix64;
use super::super::record::Sample;
use super::blocking::Why;
use super::blockio;
use super::locks::LOCK_FUTEX;
use super::measured::Place;
use super::tracepoint::{Field, Format};

/// Of pages, one allocation in about so many is looked at; the others cost next to nothing.
const PAGES_EVERY: u64 = 64;
/// Allocations that cost as much as one that is looked at.
const PAGES_PER_EVENT: u64 = 40;
/// Events without a stack that cost, and take in a ring, as much as one with a stack.
const STACKLESS_PER_EVENT: u32 = 4;
/// For an event that is not counted down: more often than it will ever happen.
const ALWAYS: u32 = 1 << 30;

/// Events that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Group {
    /// Context switches and wake-ups.
    Blocking,
    /// Waits for locks.
    Locks,
    /// Pages.
    Memory,
    /// Requests to block devices.
    BlockIo,
}

impl Group {
    pub(super) const ALL: [Self; 4] = [Self::Blocking, Self::Locks, Self::Memory, Self::BlockIo];

    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Locks => "locks",
            Self::Memory => "memory",
            Self::BlockIo => "block-io",
        }
    }

    /// Its place among all.
    #[cfg(feature = "bpf")]
    pub(super) fn index(self) -> usize {
        match self {
            Self::Blocking => 0,
            Self::Locks => 1,
            Self::Memory => 2,
            Self::BlockIo => 3,
        }
    }

    /// Its share of the events that may be taken.
    pub(super) fn share(self) -> f64 {
        match self {
            Self::Blocking => 0.5,
            Self::Locks | Self::BlockIo => 0.2,
            Self::Memory => 0.1,
        }
    }
}

impl Group {
    /// Its part of a ring: one in so many records.
    pub(super) fn ring_part(self) -> u32 {
        match self {
            Self::Blocking => 2,
            Self::Locks | Self::BlockIo => 5,
            Self::Memory => 10,
        }
    }
}

/// One event, without reference to the ring.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) ns: u64,
    pub(super) group: Group,
    /// Who ran, and where.
    pub(super) place: Arc<Place>,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Switch { why: Why, next: u32 },
    Wakeup { tid: u32 },
    Contention { flags: u64 },
    ContentionEnd,
    Futex,
    FutexEnd,
    Pages { bytes: u64 },
    Insert(Request),
    Issue(Request),
    Complete(Request),
}

/// A request to a block device, as the tracepoints know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) device: blockio::Device,
    pub(super) sector: u64,
    pub(super) kind: blockio::Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Wakeup,
    Contention,
    ContentionEnd,
    Futex,
    FutexEnd,
    Pages,
    Insert,
    Issue,
    Complete,
}

struct Tracepoint {
    group: Group,
    kind: Kind,
    system: &'static str,
    name: &'static str,
    fields: [&'static str; 3],
    stack: bool,
}

#[rustfmt::skip]
const TRACEPOINTS: [Tracepoint; 10] = [
    Tracepoint { group: Group::Blocking, kind: Kind::Switch, system: "sched", name: "sched_switch", fields: ["prev_state", "next_pid", ""], stack: true },
    Tracepoint { group: Group::Blocking, kind: Kind::Wakeup, system: "sched", name: "sched_wakeup", fields: ["pid", "", ""], stack: false },
    Tracepoint { group: Group::Locks, kind: Kind::Contention, system: "lock", name: "contention_begin", fields: ["flags", "", ""], stack: true },
    Tracepoint { group: Group::Locks, kind: Kind::ContentionEnd, system: "lock", name: "contention_end", fields: ["", "", ""], stack: false },
    Tracepoint { group: Group::Locks, kind: Kind::Futex, system: "syscalls", name: "sys_enter_futex", fields: ["", "", ""], stack: true },
    Tracepoint { group: Group::Locks, kind: Kind::FutexEnd, system: "syscalls", name: "sys_exit_futex", fields: ["", "", ""], stack: false },
    Tracepoint { group: Group::Memory, kind: Kind::Pages, system: "kmem", name: "mm_page_alloc", fields: ["order", "", ""], stack: true },
    Tracepoint { group: Group::BlockIo, kind: Kind::Insert, system: "block", name: "block_rq_insert", fields: ["dev", "sector", "rwbs"], stack: true },
    Tracepoint { group: Group::BlockIo, kind: Kind::Issue, system: "block", name: "block_rq_issue", fields: ["dev", "sector", "rwbs"], stack: true },
    Tracepoint { group: Group::BlockIo, kind: Kind::Complete, system: "block", name: "block_rq_complete", fields: ["dev", "sector", "rwbs"], stack: false },
];

/// A tracepoint on each CPU.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) group: Group,
    kind: Kind,
    fields: [Option<Field>; 3],
    /// What each record stands for, in events.
    every: u64,
    /// One for each CPU, in the order of the CPUs.
    events: Vec<OnCpu>,
}

/// A tracepoint on one CPU.
#[derive(Debug)]
struct OnCpu {
    event: PerfEvent,
    /// Times it has been allowed to happen, and did, since it was opened.
    allowed: u64,
    happened: u64,
    /// When it last did, as far as was read.
    last_ns: u64,
}

impl OnCpu {
    /// How often it happened since the last call.
    fn poll_count(&mut self) -> u64 {
        let count = self.event.count().unwrap_or(self.happened);
        let new = count.saturating_sub(self.happened);
        self.happened = count;
        new
    }

    /// True when it used up what it was allowed, so that the kernel has stopped it.
    fn is_exhausted(&self) -> bool {
        self.allowed <= self.happened
    }

    /// Allows it to happen `times` from now on. Far more often than that it was not allowed before, so nothing is
    /// asked of the kernel while enough is left.
    fn allow(&mut self, times: u32) {
        let left = self.allowed.saturating_sub(self.happened);
        if left >= u64::from(times / 2 + 1) {
            return;
        }
        let more = u32::try_from(u64::from(times) - left).unwrap_or(0);
        if self.event.allow(more).is_ok() {
            self.allowed += u64::from(more);
        }
    }

    /// Stops it; what it was allowed stays.
    fn stop(&self) {
        // A CPU that went away takes its event along.
        let _gone = self.event.stop();
    }

    /// Starts it again after a stop, allowed to happen `times`.
    fn start(&mut self, times: u32, every: u64) {
        let left = self.allowed.saturating_sub(self.happened);
        let more = u32::try_from(u64::from(times).saturating_sub(left)).unwrap_or(0).max(1);
        if self.event.allow(more).is_ok() {
            self.allowed += u64::from(more);
        }
        // Since the kernel stops an event that used up what it was allowed, allowing it more does not start it again in
        // every version (seen in 6.18); a new period does. A CPU that went away takes its event along.
        let _gone = self.event.set_every(every);
    }
}

/// Opens the tracepoints of `wanted` groups on the CPUs of `leaders`, whose rings take the records. A group that this
/// kernel does not offer is left out, with the reason.
pub(super) fn open(
    wanted: &[Group],
    leaders: &[(u32, &PerfEvent)],
    ids: &mut HashMap<u64, usize>,
) -> (Vec<Probe>, Vec<(Group, String)>) {
    let (mut probes, mut missing) = (Vec::new(), Vec::new());
    for tracepoint in TRACEPOINTS.iter().filter(|it| wanted.contains(&it.group)) {
        match open_one(tracepoint, leaders, ids, probes.len()) {
            Ok(probe) => probes.push(probe),
            Err(reason) => missing.push((tracepoint.group, format!("{}: {reason}", tracepoint.name))),
        }
    }
    (probes, missing)
}

fn open_one(
    tracepoint: &Tracepoint,
    leaders: &[(u32, &PerfEvent)],
    ids: &mut HashMap<u64, usize>,
    index: usize,
) -> Result<Probe, String> {
    let format = Format::find(tracepoint.system, tracepoint.name)?;
    let mut fields = [None; 3];
    for (field, name) in fields.iter_mut().zip(tracepoint.fields).filter(|(_, name)| !name.is_empty()) {
        *field = Some(format.field(name).ok_or_else(|| format!("it has no field {name}"))?);
    }
    let mut events = Vec::new();
    for (cpu, leader) in leaders {
        let event = open_on(tracepoint, format.id, *cpu, leader).map_err(|error| error.to_string())?;
        ids.insert(event.id().map_err(|error| error.to_string())?, index);
        events.push(OnCpu { event, allowed: 0, happened: 0, last_ns: 0 });
    }
    let (group, kind) = (tracepoint.group, tracepoint.kind);
    Ok(Probe { group, kind, fields, every: every(kind), events })
}

fn open_on(tracepoint: &Tracepoint, id: u32, cpu: u32, leader: &PerfEvent) -> io::Result<PerfEvent> {
    let contents = Contents {
        user_stack: tracepoint.stack,
        kernel_stack: tracepoint.stack,
        tasks: false,
        unix_time: false,
    };
    let event = PerfEvent::open(
        Trigger::Tracepoint { id, every: every(tracepoint.kind) },
        Scope::Cpu(cpu),
        contents,
        false,
    )?;
    if tracepoint.kind == Kind::Futex {
        event.filter(LOCK_FUTEX)?;
    }
    event.redirect(leader)?;
    Ok(event)
}

fn every(kind: Kind) -> u64 {
    if kind == Kind::Pages { PAGES_EVERY } else { 1 }
}

impl Probe {
    /// Begins to take events, on each CPU `times` at most.
    pub(super) fn start(&mut self, times: u32, random: &mut SplitMix64) {
        let mut times = self.times(times);
        if self.kind == Kind::Pages {
            times = ALWAYS;
            // Drawn anew each time, so that it does not fall in step with a program that allocates in rounds.
            self.every = PAGES_EVERY / 2 + random.below(PAGES_EVERY);
        }
        for on_cpu in &mut self.events {
            on_cpu.start(times, self.every);
        }
    }

    /// Lets events go on, on each CPU `times` at most.
    pub(super) fn allow(&mut self, times: u32) {
        if self.kind != Kind::Pages {
            let times = self.times(times);
            for on_cpu in &mut self.events {
                on_cpu.allow(times);
            }
        }
    }

    fn times(&self, times: u32) -> u32 {
        if self.has_stack() { times } else { times.saturating_mul(STACKLESS_PER_EVENT) }
    }

    /// Takes no more events.
    pub(super) fn stop(&self) {
        for on_cpu in &self.events {
            on_cpu.stop();
        }
    }

    /// Events since the last call, as far as they cost something, and when the kernel first stopped one by itself.
    pub(super) fn poll_taken(&mut self) -> (u64, Option<u64>) {
        let happened: u64 = self.events.iter_mut().map(OnCpu::poll_count).sum();
        if self.kind == Kind::Pages {
            return (happened / PAGES_PER_EVENT, None);
        }
        let happened = if self.has_stack() { happened } else { happened / u64::from(STACKLESS_PER_EVENT) };
        (happened, self.events.iter().filter(|it| it.is_exhausted()).map(|it| it.last_ns).min())
    }

    /// Takes note of the last event read from a CPU.
    pub(super) fn handle_last(&mut self, cpu: usize, ns: u64) {
        if let Some(on_cpu) = self.events.get_mut(cpu) {
            on_cpu.last_ns = ns;
        }
    }

    /// True if its samples carry a call chain.
    pub(super) fn has_stack(&self) -> bool {
        TRACEPOINTS.iter().any(|it| it.kind == self.kind && it.stack)
    }

    /// Reads a record; `None` for one that is of no use.
    pub(super) fn event(&self, sample: &Sample<'_>) -> Option<Event> {
        let number = |field: Option<Field>| field.and_then(|field| field.of(sample.raw));
        let [first, second, third] = self.fields;
        let request = || {
            Some(Request {
                device: u32::try_from(number(first)?).ok()?,
                sector: number(second)?,
                kind: blockio::Kind::of_rwbs(third?.bytes(sample.raw)?)?,
            })
        };
        let what = match self.kind {
            Kind::Switch => What::Switch {
                why: Why::of_state(number(first)?),
                next: u32::try_from(number(second)?).ok()?,
            },
            Kind::Wakeup => What::Wakeup { tid: u32::try_from(number(first)?).ok()? },
            Kind::Contention => What::Contention { flags: number(first)? },
            Kind::ContentionEnd => What::ContentionEnd,
            Kind::Futex => What::Futex,
            Kind::FutexEnd => What::FutexEnd,
            // Orders end at 10 or so.
            Kind::Pages => {
                let bytes = (page_len() as u64) << number(first)?.min(20);
                What::Pages { bytes: bytes.saturating_mul(self.every) }
            }
            Kind::Insert => What::Insert(request()?),
            Kind::Issue => What::Issue(request()?),
            Kind::Complete => What::Complete(request()?),
        };
        let place = Place { pid: sample.pid, tid: sample.tid, chain: sample.callchain.into() };
        Some(Event { ns: sample.ns, group: self.group, place: Arc::new(place), what })
    }
}
