//! Pins threads and prefers memory: the only file of this crate that talks to the scheduler.
//!
//! A thread that was pinned to a CPU which then goes offline may run anywhere from then on, and stays so when the CPU
//! returns. So a pin is a thing to be watched: [`Pinned::verify`] says whether it still holds, [`Pinned::restore`]
//! sets it again. Both work from any thread.
#![allow(
    unsafe_code,
    reason = "the scheduler is reached by system calls that no safe crate offers for masks"
)]

use crate::cpuset::{CpuId, CpuSet, MAX_CPUS};
use crate::node::{NodeId, Topology};
use std::io;

/// Nodes that a memory policy can name here.
const MAX_NODES: usize = 1024;

/// `MPOL_PREFERRED` of `linux/mempolicy.h`: other nodes serve when this one is full.
const MPOL_PREFERRED: libc::c_int = 1;

/// Kernel's number of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(libc::pid_t);

impl ThreadId {
    /// The calling thread.
    pub fn current() -> Self {
        // SAFETY: gettid takes no argument, touches no memory and cannot fail. std offers no kernel thread number.
        Self(unsafe { libc::gettid() })
    }
}

/// Why a thread is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    /// The caller asked for no CPU at all.
    #[error("cannot pin to an empty CPU set")]
    EmptySet,
    /// None of these CPUs is online and allowed by the cpuset this process lives in.
    #[error("none of the CPUs {wanted} is online and allowed")]
    NotAllowed {
        /// The CPUs asked for.
        wanted: Box<CpuSet>,
    },
    /// The thread has ended.
    #[error("thread {} has ended", .thread.0)]
    ThreadGone {
        /// The thread.
        thread: ThreadId,
    },
    /// The node's number is beyond what a memory policy takes here.
    #[error("node {node} is beyond the highest supported, {}", MAX_NODES - 1)]
    NodeOutOfRange {
        /// The node.
        node: NodeId,
    },
    /// The kernel refused, most likely because of a system call filter.
    #[error("{call} refused")]
    Kernel {
        /// The system call.
        call: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

/// A thread that was pinned, and what became of it.
#[derive(Clone, Debug)]
pub struct Pinned {
    thread: ThreadId,
    wanted: CpuSet,
    fallback: CpuSet,
    granted: CpuSet,
}

/// State of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinState {
    /// The thread runs on CPUs that were asked for, and on no other. After a hot-unplug these may be fewer.
    Held {
        /// Where the thread may run.
        actual: CpuSet,
    },
    /// The thread runs on its fallback because nothing that was asked for is there.
    Fallback {
        /// Where the thread may run.
        actual: CpuSet,
    },
    /// The thread may run on CPUs that were never asked for.
    Lost {
        /// Where the thread may run.
        actual: CpuSet,
    },
}

/// What was done about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// New memory of this thread comes from the node while it has any.
    Preferred(NodeId),
    /// There is only one node, nothing to choose.
    OneNode,
}

/// CPUs the calling thread may use now: those the cpuset allows and an earlier pin left.
pub fn allowed_cpus() -> Result<CpuSet, AffinityError> {
    affinity_of(ThreadId::current())
}

/// Pins the calling thread to `cpus` and reads back what the kernel made of it.
pub fn pin_current_thread(cpus: &CpuSet) -> Result<Pinned, AffinityError> {
    pin_current_thread_or(cpus, &CpuSet::EMPTY)
}

/// Pins the calling thread to `cpus`; if none of them is there, to `fallback` (its cluster, say).
pub fn pin_current_thread_or(cpus: &CpuSet, fallback: &CpuSet) -> Result<Pinned, AffinityError> {
    if cpus.is_empty() {
        return Err(AffinityError::EmptySet);
    }
    let mut pinned =
        Pinned { thread: ThreadId::current(), wanted: *cpus, fallback: *fallback, granted: CpuSet::EMPTY };
    let single = cpus.first().filter(|_| cpus.len() == 1);
    match single.is_some_and(|cpu| core_affinity::set_for_current(core_affinity::CoreId { id: cpu.number() }))
    {
        true => pinned.granted = affinity_of(pinned.thread)?,
        // A mask, or a core that is away: `restore` knows the reasons and the fallback.
        false => {
            pinned.restore()?;
        }
    }
    Ok(pinned)
}

/// Prefers the memory of `node` for what the calling thread allocates from now on.
pub fn prefer_memory_of(node: NodeId, topology: &Topology) -> Result<MemoryPolicy, AffinityError> {
    if topology.nodes().len() < 2 {
        return Ok(MemoryPolicy::OneNode);
    }
    let number = usize::try_from(node.0).unwrap_or(usize::MAX);
    let bits = libc::c_ulong::BITS as usize;
    let mut mask: [libc::c_ulong; MAX_NODES / libc::c_ulong::BITS as usize] =
        [0; MAX_NODES / libc::c_ulong::BITS as usize];
    match mask.get_mut(number / bits) {
        Some(word) => *word = 1 << (number % bits),
        None => return Err(AffinityError::NodeOutOfRange { node }),
    }
    // SAFETY: the kernel reads at most `maxnode - 1` bits from `mask`, which holds MAX_NODES of them and outlives the
    // call. libc wraps no set_mempolicy, and libnuma would be a second C library for one call.
    let result =
        unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_PREFERRED, mask.as_ptr(), MAX_NODES + 1) };
    if result != 0 {
        return Err(AffinityError::Kernel { call: "set_mempolicy", source: io::Error::last_os_error() });
    }
    Ok(MemoryPolicy::Preferred(node))
}

impl Pinned {
    /// The thread.
    pub fn thread(&self) -> ThreadId {
        self.thread
    }

    /// The CPUs asked for.
    pub fn wanted(&self) -> &CpuSet {
        &self.wanted
    }

    /// The CPUs the kernel gave when the thread was last pinned. Fewer than asked for when some were offline.
    pub fn granted(&self) -> &CpuSet {
        &self.granted
    }

    /// Asks the kernel whether the pin still holds. Call it every few seconds: CPUs go offline with power modes, and
    /// cpusets change under running services.
    pub fn verify(&self) -> Result<PinState, AffinityError> {
        Ok(self.state_of(affinity_of(self.thread)?))
    }

    /// Pins the thread again: to the CPUs asked for, or to the fallback while they are away.
    pub fn restore(&mut self) -> Result<PinState, AffinityError> {
        match set_affinity(self.thread, &self.wanted) {
            Err(AffinityError::NotAllowed { .. }) if !self.fallback.is_empty() => {
                set_affinity(self.thread, &self.fallback)?;
            }
            other => other?,
        }
        self.granted = affinity_of(self.thread)?;
        Ok(self.state_of(self.granted))
    }

    fn state_of(&self, actual: CpuSet) -> PinState {
        if actual.is_subset(&self.wanted) {
            PinState::Held { actual }
        } else if actual.is_subset(&self.fallback) {
            PinState::Fallback { actual }
        } else {
            PinState::Lost { actual }
        }
    }
}

fn affinity_of(thread: ThreadId) -> Result<CpuSet, AffinityError> {
    // SAFETY: cpu_set_t is a plain array of integers, for which all bits zero is a valid value.
    let mut mask: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the given size, which is that of `mask`. core_affinity cannot read masks.
    let result = unsafe { libc::sched_getaffinity(thread.0, size_of::<libc::cpu_set_t>(), &raw mut mask) };
    if result != 0 {
        return Err(refused("sched_getaffinity", thread, &CpuSet::EMPTY));
    }
    Ok((0..MAX_CPUS)
        // SAFETY: CPU_ISSET indexes below CPU_SETSIZE, which is MAX_CPUS (asserted below).
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &mask) })
        .filter_map(|cpu| CpuId::new(cpu).ok())
        .collect())
}

fn set_affinity(thread: ThreadId, cpus: &CpuSet) -> Result<(), AffinityError> {
    // SAFETY: cpu_set_t is a plain array of integers, for which all bits zero is a valid value.
    let mut mask: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter() {
        // SAFETY: a CpuId is below MAX_CPUS, which is CPU_SETSIZE (asserted below).
        unsafe { libc::CPU_SET(cpu.number(), &mut mask) };
    }
    // SAFETY: the kernel reads the given size, which is that of `mask`. core_affinity sets single CPUs of the calling
    // thread only.
    let result = unsafe { libc::sched_setaffinity(thread.0, size_of::<libc::cpu_set_t>(), &raw const mask) };
    if result == 0 { Ok(()) } else { Err(refused("sched_setaffinity", thread, cpus)) }
}

fn refused(call: &'static str, thread: ThreadId, wanted: &CpuSet) -> AffinityError {
    let source = io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::ESRCH) => AffinityError::ThreadGone { thread },
        // The mask has no CPU in common with those online and allowed.
        Some(libc::EINVAL) if !wanted.is_empty() => AffinityError::NotAllowed { wanted: Box::new(*wanted) },
        _ => AffinityError::Kernel { call, source },
    }
}

const _: () = assert!(libc::CPU_SETSIZE as usize == MAX_CPUS, "CpuSet and cpu_set_t differ in width");

#[cfg(test)]
mod tests {
    use super::*;

    /// Each scenario changes its own thread only, so that tests may run side by side.
    fn in_thread(scenario: impl FnOnce() + Send + 'static) {
        std::thread::spawn(scenario).join().unwrap();
    }

    fn absent_cpu() -> CpuSet {
        CpuSet::single(CpuId::new(MAX_CPUS - 1).unwrap())
    }

    #[test]
    fn a_thread_pinned_to_one_cpu_runs_there() {
        in_thread(|| {
            let one = CpuSet::single(allowed_cpus().unwrap().first().unwrap());
            let pinned = pin_current_thread(&one).unwrap();
            assert_eq!(*pinned.granted(), one);
            assert_eq!(allowed_cpus().unwrap(), one);
            assert_eq!(pinned.verify().unwrap(), PinState::Held { actual: one });
        });
    }

    #[test]
    fn cpus_of_a_mask_that_do_not_exist_are_not_granted() {
        in_thread(|| {
            let allowed = allowed_cpus().unwrap();
            let pinned = pin_current_thread(&allowed.union(&absent_cpu())).unwrap();
            assert_eq!(*pinned.granted(), allowed);
            assert_eq!(pinned.verify().unwrap(), PinState::Held { actual: allowed });
        });
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_refused_and_the_thread_left_alone() {
        in_thread(|| {
            let before = allowed_cpus().unwrap();
            let error = pin_current_thread(&absent_cpu()).unwrap_err();
            assert!(matches!(error, AffinityError::NotAllowed { wanted } if *wanted == absent_cpu()));
            assert_eq!(allowed_cpus().unwrap(), before);
        });
    }

    #[test]
    fn the_fallback_serves_while_the_cpu_is_away() {
        in_thread(|| {
            let allowed = allowed_cpus().unwrap();
            let pinned = pin_current_thread_or(&absent_cpu(), &allowed).unwrap();
            assert_eq!(pinned.verify().unwrap(), PinState::Fallback { actual: allowed });
        });
    }

    #[test]
    fn an_empty_set_is_refused() {
        assert!(matches!(pin_current_thread(&CpuSet::EMPTY), Err(AffinityError::EmptySet)));
    }

    /// A hot-unplug widens the mask behind the thread's back. Needs two CPUs to be visible; with one, a pin cannot be
    /// lost.
    #[test]
    fn a_lost_pin_is_seen_and_restored_from_another_thread() {
        let allowed = allowed_cpus().unwrap();
        let one = CpuSet::single(allowed.first().unwrap());
        let (pinned_sender, pinned_receiver) = std::sync::mpsc::channel();
        let (end_sender, end_receiver) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let pinned = pin_current_thread(&one).unwrap();
            set_affinity(ThreadId::current(), &allowed).unwrap();
            pinned_sender.send(pinned).unwrap();
            // Ends when the sender is dropped.
            let _: Result<(), _> = end_receiver.recv();
        });
        let mut pinned = pinned_receiver.recv().unwrap();
        if allowed.len() > 1 {
            assert_eq!(pinned.verify().unwrap(), PinState::Lost { actual: allowed });
        }
        assert_eq!(pinned.restore().unwrap(), PinState::Held { actual: one });
        assert_eq!(pinned.verify().unwrap(), PinState::Held { actual: one });
        drop(end_sender);
        worker.join().unwrap();
        // A thread that ended has no affinity; the kernel may take a moment to forget it, but never invents a pin.
        assert!(!matches!(pinned.verify(), Ok(PinState::Lost { .. })));
    }

    #[test]
    fn memory_is_left_alone_on_one_node() {
        let topology = Topology::uniform(&allowed_cpus().unwrap()).unwrap();
        assert_eq!(prefer_memory_of(NodeId(0), &topology).unwrap(), MemoryPolicy::OneNode);
    }

    #[test]
    fn a_node_beyond_the_policys_width_is_refused() {
        let node = |id| crate::node::NumaNode { id: NodeId(id), cpus: CpuSet::EMPTY, memory_bytes: None };
        let cpus = allowed_cpus().unwrap().iter().map(crate::node::RawCpu::new).collect();
        let topology =
            Topology::assemble(crate::node::Source::Sysfs, cpus, vec![node(0), node(1024)]).unwrap();
        let error = prefer_memory_of(NodeId(1024), &topology).unwrap_err();
        assert!(matches!(error, AffinityError::NodeOutOfRange { node: NodeId(1024) }));
    }
}
