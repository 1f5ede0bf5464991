//! The programs in the kernel: loaded once, attached while events are taken, their maps read.

use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, Program, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};

use super::super::super::perf::{Contents, PerfEvent, Scope, Trigger};
use super::super::events::Group;
use super::super::tracepoint::Format;
use super::words::{Control, ControlWords, Counted, Stack, Sum, SumKey, Tally, TallyWords};

/// The programs, as the build script had them compiled.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/capture.o"));

/// Stacks that are kept, beside those that each CPU sets aside for itself.
const STACKS: u32 = 1_024;
const STACKS_PER_CPU: u32 = 128;
/// Most entries that are read of a map at a time: more than the largest holds.
const MAX_ENTRIES: usize = 8_192;

/// Where a program belongs.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A tracepoint by its type in the kernel's BTF.
    Typed(&'static str),
    /// One by its number, with the fields that the program reads: name, offset, size.
    Numbered(&'static str, &'static str, &'static [(&'static str, usize, usize)]),
}

struct Entry {
    group: Group,
    name: &'static str,
    place: Place,
}

#[rustfmt::skip]
const PROGRAMS: [Entry; 7] = [
    Entry { group: Group::Blocking, name: "on_switch", place: Place::Typed("sched_switch") },
    Entry { group: Group::Locks, name: "on_contention", place: Place::Numbered("lock", "contention_begin", &[("lock_addr", 8, 8), ("flags", 16, 4)]) },
    Entry { group: Group::Locks, name: "on_contention_end", place: Place::Numbered("lock", "contention_end", &[("lock_addr", 8, 8)]) },
    Entry { group: Group::Memory, name: "on_pages", place: Place::Typed("mm_page_alloc") },
    Entry { group: Group::BlockIo, name: "on_insert", place: Place::Typed("block_rq_insert") },
    Entry { group: Group::BlockIo, name: "on_issue", place: Place::Typed("block_rq_issue") },
    Entry { group: Group::BlockIo, name: "on_complete", place: Place::Typed("block_rq_complete") },
];

/// A program that was loaded.
#[derive(Debug)]
struct Ready {
    group: Group,
    name: &'static str,
    /// The tracepoint's number, of one that has one.
    number: Option<u32>,
    attached: Option<Attached>,
}

#[derive(Debug)]
enum Attached {
    Link(BtfTracePointLinkId),
    /// The program runs as long as the event exists, on all CPUs.
    #[allow(dead_code, reason = "held for its end")]
    Event(PerfEvent),
}

/// The kernel's side.
pub(super) struct Object {
    ebpf: Ebpf,
    ready: Vec<Ready>,
    /// A CPU that is online.
    cpu: u32,
    /// Keeps the kernel counting the programs' run time.
    _statistics: Option<OwnedFd>,
    control: Array<MapData, ControlWords>,
    halts: Array<MapData, u64>,
    tallies: PerCpuArray<MapData, TallyWords>,
    sums: HashMap<MapData, SumKey, Sum>,
    stacks: HashMap<MapData, u64, Stack>,
    latencies: HashMap<MapData, u64, Counted>,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// What could not be loaded, and why.
pub(super) type Missing = Vec<(Group, String)>;

impl Object {
    /// Loads the programs of `wanted` groups, attached to nothing. `cpus` are those online.
    ///
    /// Where the kernel's fields lie is read from its own description of its types, which takes some 11 MB for a moment.
    pub(super) fn load(wanted: &[Group], cpus: &[u32]) -> Result<(Self, Missing), String> {
        let cpu = *cpus.first().ok_or("no CPU is online")?;
        let mut loader = EbpfLoader::new();
        // It has read the types by itself; not twice at a time.
        loader.btf(None);
        let btf = Btf::from_sys_fs().map_err(|error| format!("the kernel's types: {}", short(&error)))?;
        let stacks = u32::try_from(cpus.len()).unwrap_or(u32::MAX).saturating_mul(STACKS_PER_CPU);
        let mut ebpf = loader
            .btf(Some(&btf))
            .map_max_entries("stacks", STACKS.saturating_add(stacks))
            .load(OBJECT)
            .map_err(|error| short(&error))?;
        drop(loader);
        let (mut ready, mut missing) = (Vec::new(), Vec::new());
        for entry in PROGRAMS.iter().filter(|it| wanted.contains(&it.group)) {
            match load_one(&mut ebpf, entry, &btf) {
                Ok(number) => {
                    ready.push(Ready { group: entry.group, name: entry.name, number, attached: None });
                }
                Err(reason) => missing.push((entry.group, format!("{}: {reason}", entry.name))),
            }
        }
        drop(btf);
        crate::heap::give_back();
        if ready.is_empty() {
            return Err(missing.into_iter().map(|(_, reason)| reason).next().unwrap_or_default());
        }
        let object = Self {
            control: typed(&mut ebpf, "control", Array::try_from)?,
            halts: typed(&mut ebpf, "halts", Array::try_from)?,
            tallies: typed(&mut ebpf, "tallies", PerCpuArray::try_from)?,
            sums: typed(&mut ebpf, "sums", HashMap::try_from)?,
            stacks: typed(&mut ebpf, "stacks", HashMap::try_from)?,
            latencies: typed(&mut ebpf, "latencies", HashMap::try_from)?,
            // Only CAP_SYS_ADMIN may ask for it; the programs then count for themselves.
            _statistics: aya::sys::enable_stats(aya::sys::Stats::RunTime).ok(),
            cpu,
            ebpf,
            ready,
        };
        Ok((object, missing))
    }

    /// The groups of which any program was loaded.
    pub(super) fn groups(&self) -> Vec<Group> {
        Group::ALL.into_iter().filter(|group| self.ready.iter().any(|it| it.group == *group)).collect()
    }

    /// Tells the programs what is asked of them.
    pub(super) fn set_control(&mut self, control: &Control) -> Result<(), String> {
        self.control.set(0, control.words(), 0).map_err(|error| short(&error))
    }

    /// When a group used up what it was allowed, if it did.
    pub(super) fn halted(&self, group: Group) -> Option<u64> {
        self.halts.get(&slot(group), 0).ok().filter(|ns| *ns > 0)
    }

    /// Forgets that a group has used up what it was allowed.
    pub(super) fn clear_halt(&mut self, group: Group) -> Result<(), String> {
        self.halts.set(slot(group), 0, 0).map_err(|error| short(&error))
    }

    /// What a group's programs have counted.
    pub(super) fn tally(&self, group: Group, generation: u32) -> Tally {
        let cpus = self.tallies.get(&slot(group), 0);
        cpus.map_or_else(|_| Tally::default(), |cpus| Tally::of(cpus.iter(), generation))
    }

    /// Run time of a group's programs by the kernel's account, in nanoseconds; 0 while it does not count.
    pub(super) fn run_time(&self, group: Group) -> u64 {
        let of = |ready: &Ready| {
            let info = self.ebpf.program(ready.name)?.info().ok()?;
            u64::try_from(info.run_time().as_nanos()).ok()
        };
        self.ready.iter().filter(|it| it.group == group).filter_map(of).sum()
    }

    /// Lets a group's programs run at their tracepoints.
    pub(super) fn attach(&mut self, group: Group) -> Result<(), String> {
        let Self { ebpf, ready, cpu, .. } = self;
        for it in ready.iter_mut().filter(|it| it.group == group && it.attached.is_none()) {
            let attached = attach_one(ebpf, it, *cpu);
            it.attached = Some(attached.map_err(|reason| format!("{}: {reason}", it.name))?);
        }
        Ok(())
    }

    /// Takes a group's programs off their tracepoints, which then cost nothing.
    pub(super) fn detach(&mut self, group: Group) {
        for it in self.ready.iter_mut().filter(|it| it.group == group) {
            if let Some(Attached::Link(link)) = it.attached.take()
                && let Some(Program::BtfTracePoint(program)) = self.ebpf.program_mut(it.name)
            {
                // What is not attached any more is as wanted.
                let _gone = program.detach(link);
            }
        }
    }

    /// Takes the sums out of their map.
    pub(super) fn take_sums(&mut self) -> Vec<(SumKey, Sum)> {
        take_all(&mut self.sums)
    }

    /// Takes the counted requests out of their map.
    pub(super) fn take_latencies(&mut self) -> Vec<(u64, Counted)> {
        take_all(&mut self.latencies)
    }

    /// The stack of this name; `None` when the kernel had to forget it.
    pub(super) fn stack(&self, name: u64) -> Option<Stack> {
        self.stacks.get(&name, 0).ok()
    }
}

/// The map of this name, as what it is.
fn typed<T>(
    ebpf: &mut Ebpf,
    name: &str,
    convert: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, String> {
    let map = ebpf.take_map(name).ok_or_else(|| format!("no map {name}"))?;
    convert(map).map_err(|error| format!("map {name}: {}", short(&error)))
}

/// Takes out what is there. What a program adds between reading and removing an entry is lost: one measurement at the most.
fn take_all<K: aya::Pod, V: aya::Pod>(map: &mut HashMap<MapData, K, V>) -> Vec<(K, V)> {
    let keys: Vec<K> = map.keys().take(MAX_ENTRIES).map_while(Result::ok).collect();
    let mut take = |key: K| {
        let value = map.get(&key, 0).ok()?;
        map.remove(&key).ok()?;
        Some((key, value))
    };
    keys.into_iter().filter_map(&mut take).collect()
}

fn load_one(ebpf: &mut Ebpf, entry: &Entry, btf: &Btf) -> Result<Option<u32>, String> {
    let program = ebpf.program_mut(entry.name).ok_or("no such program")?;
    match entry.place {
        Place::Typed(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into().map_err(|error| short(&error))?;
            program.load(tracepoint, btf).map_err(|error| short(&error))?;
            Ok(None)
        }
        Place::Numbered(system, name, fields) => {
            let format = Format::find(system, name)?;
            for (field, offset, size) in fields {
                if !format.field(field).is_some_and(|it| it.is_at(*offset, *size)) {
                    return Err(format!("{field} is not where it was in other kernels"));
                }
            }
            let program: &mut TracePoint = program.try_into().map_err(|error| short(&error))?;
            program.load().map_err(|error| short(&error))?;
            Ok(Some(format.id))
        }
    }
}

fn attach_one(ebpf: &mut Ebpf, ready: &Ready, cpu: u32) -> Result<Attached, String> {
    let program = ebpf.program_mut(ready.name).ok_or("no such program")?;
    let Some(id) = ready.number else {
        let program: &mut BtfTracePoint = program.try_into().map_err(|error| short(&error))?;
        return program.attach().map(Attached::Link).map_err(|error| short(&error));
    };
    let contents = Contents { user_stack: false, kernel_stack: false, tasks: false, unix_time: false };
    // The event itself never happens: it only holds the program at the tracepoint, on every CPU.
    let event = PerfEvent::open(Trigger::Tracepoint { id, every: 1 }, Scope::Cpu(cpu), contents, false)
        .map_err(|error| error.to_string())?;
    let program = program.fd().map_err(|error| short(&error))?;
    event.set_program(program.as_fd()).map_err(|error| error.to_string())?;
    Ok(Attached::Event(event))
}

/// A group's place in the maps.
fn slot(group: Group) -> u32 {
    // One of four.
    u32::try_from(group.index()).unwrap_or(0)
}

/// An error and its causes in one line that a person reads to the end: the kernel's judgement of a program is long, and its
/// last words say what is wrong.
fn short(error: &dyn std::error::Error) -> String {
    const MOST: usize = 240;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let len = text.chars().count();
    if len <= MOST {
        return text;
    }
    let (head, tail) = (MOST / 3, MOST * 2 / 3);
    text.chars().take(head).chain(" ... ".chars()).chain(text.chars().skip(len - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_judgement_is_told_by_its_beginning_and_its_end() {
        let text =
            short(&std::io::Error::other(format!("load failed: {}\nR1 invalid mem access", "x".repeat(999))));
        assert!(text.starts_with("load failed: x") && text.ends_with("R1 invalid mem access"), "{text}");
        assert!(text.chars().count() <= 245, "{text}");
        assert_eq!(short(&std::io::Error::other("all\nwell")), "all well");
    }

    #[test]
    fn every_program_is_in_the_object_under_its_name() {
        let text = String::from_utf8_lossy(OBJECT);
        for entry in &PROGRAMS {
            assert!(text.contains(entry.name), "{}", entry.name);
        }
    }
}
