//! The processes and threads of the machine, as far as they were met: names, classes and code, so that a place can be
//! told. Bounded, and so is what may be read from procfs at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry::{BuildId, Frame, SchedulingClass, ThreadInfo};

use super::super::maps::{Files, Maps};
use super::super::procfs::thread_stat;
use super::super::record::{FIRST_MARK, Mapped, split};
use super::kernel::Kernel;

/// Most processes and threads that are remembered.
const MAX_PROCESSES: usize = 256;
const MAX_THREADS: usize = 2_048;
/// How long a thread's name and class are believed.
const REFRESH: Duration = Duration::from_secs(10);
/// How soon maps that lack an address are read again.
const REREAD: Duration = Duration::from_secs(5);
/// Reads between two calls of [`Tasks::begin`]. Some 200 microseconds for maps, 20 for a thread.
const MAX_MAPS_READS: u32 = 4;
const MAX_THREAD_READS: u32 = 64;
/// Frames kept of a stack: room for a mark and its detail is left.
const MAX_FRAMES: usize = 120;
/// Most equal addresses in a row: code without frame pointers can send the kernel round in a circle.
const MAX_REPEATS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Tasks {
    kernel: Kernel,
    files: Files,
    processes: HashMap<u32, Process>,
    threads: HashMap<u32, Thread>,
    maps_reads: u32,
    thread_reads: u32,
}

#[derive(Debug, Default)]
struct Process {
    maps: Maps,
    read_at: Option<Instant>,
}

#[derive(Debug)]
struct Thread {
    info: ThreadInfo,
    /// `None` while only its name was heard.
    read_at: Option<Instant>,
}

impl Tasks {
    /// Learns what the kernel tells of itself.
    pub(super) fn new() -> Self {
        Self { kernel: Kernel::read(), ..Self::default() }
    }

    /// A new round: procfs may be read again.
    pub(super) fn begin(&mut self) {
        self.maps_reads = 0;
        self.thread_reads = 0;
    }

    /// Takes note of code that a process mapped. Of a process not met yet nothing is kept: it may never be.
    pub(super) fn handle_mapped(&mut self, mapped: &Mapped<'_>) {
        let Some(process) = self.processes.get_mut(&mapped.pid) else { return };
        let name: Vec<u8> =
            mapped.name.iter().flat_map(|word| word.to_ne_bytes()).take_while(|it| *it != 0).collect();
        let path = String::from_utf8_lossy(&name);
        let path = if path.starts_with("//anon") || path.is_empty() { "[anonymous]".into() } else { path };
        let id = mapped.build_id.get(..mapped.build_id_len).and_then(BuildId::new).unwrap_or_default();
        let mapping = self.files.of_build_id(id, &path);
        process.maps.insert(mapped.start, mapped.len, mapped.offset, mapping);
    }

    /// A thread has another name, and after `exec` its process other code.
    pub(super) fn handle_renamed(&mut self, pid: u32, tid: u32, exec: bool) {
        self.threads.remove(&tid);
        if exec {
            // Its mappings follow.
            self.remember(pid, Process { maps: Maps::default(), read_at: None });
        }
    }

    /// A thread of this name, padded with zero bytes, was met; it may end before it can be looked at.
    pub(super) fn handle_met(&mut self, pid: u32, tid: u32, name: &[u8]) {
        let known = self.threads.get(&tid).is_some_and(|it| it.info.pid == pid);
        if known || self.threads.len() >= MAX_THREADS {
            return;
        }
        let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default());
        let info = ThreadInfo { pid, tid, name: name.into(), class: SchedulingClass::Normal };
        self.threads.insert(tid, Thread { info, read_at: None });
    }

    /// A thread ended.
    pub(super) fn handle_ended(&mut self, pid: u32, tid: u32) {
        self.threads.remove(&tid);
        if pid == tid {
            self.processes.remove(&pid);
        }
    }

    /// Name and class of a thread; one that ended meanwhile has lost both.
    pub(super) fn thread(&mut self, pid: u32, tid: u32, now: Instant) -> ThreadInfo {
        let known = self.threads.get(&tid);
        let fresh = known
            .and_then(|it| it.read_at)
            .is_some_and(|read_at| now.saturating_duration_since(read_at) < REFRESH);
        let heard = known.filter(|it| it.info.pid == pid).map(|it| it.info.clone());
        let unread = || {
            let unknown = || ThreadInfo { pid, tid, name: "[ended]".into(), class: SchedulingClass::Normal };
            heard.unwrap_or_else(unknown)
        };
        if fresh || self.thread_reads >= MAX_THREAD_READS {
            return unread();
        }
        self.thread_reads += 1;
        let Ok(stat) = thread_stat(pid, tid) else { return unread() };
        if self.threads.len() >= MAX_THREADS {
            // Those that matter come back at once.
            self.threads.clear();
        }
        self.threads.insert(tid, Thread { info: stat.info.clone(), read_at: Some(now) });
        stat.info
    }

    /// The system call that a chain is in.
    pub(super) fn syscall(&self, chain: &[u64]) -> Option<Frame> {
        self.kernel.syscall(split(chain).0).map(|name| Frame::Symbol(Arc::clone(name)))
    }

    /// The frames of a call chain of process `pid`, innermost first.
    pub(super) fn frames(&mut self, pid: u32, chain: &[u64], now: Instant, frames: &mut Vec<Frame>) {
        let (kernel, user) = split(chain);
        self.kernel_frames(kernel, frames);
        if !user.is_empty() {
            self.user_frames(pid, user, now, frames);
        }
        frames.truncate(MAX_FRAMES);
    }

    fn kernel_frames(&self, chain: &[u64], frames: &mut Vec<Frame>) {
        let mut hidden = false;
        for address in Addresses::new(chain) {
            match self.kernel.frame(address) {
                Some(frame) => {
                    hidden = false;
                    frames.push(frame);
                }
                // A module, or a kernel that keeps its places to itself: one mark for all in a row.
                None if hidden => {}
                None => {
                    hidden = true;
                    frames.push(Frame::Symbol("[kernel]".into()));
                }
            }
        }
    }

    fn user_frames(&mut self, pid: u32, chain: &[u64], now: Instant, frames: &mut Vec<Frame>) {
        let innermost = Addresses::new(chain).next().unwrap_or(0);
        if self.processes.get(&pid).is_none_or(|it| it.maps.find(innermost).is_none()) {
            self.read_maps(pid, now);
        }
        let maps = self.processes.get(&pid).map(|it| &it.maps);
        for (depth, address) in Addresses::new(chain).enumerate() {
            match maps.and_then(|maps| maps.find(address)) {
                Some((mapping, offset)) => {
                    frames.push(Frame::Address { mapping: Arc::clone(mapping), offset });
                }
                None => {
                    // What lies behind it was read off a stack that keeps no frame pointers.
                    if depth == 0 {
                        frames.push(Frame::Symbol("[unknown]".into()));
                    }
                    break;
                }
            }
        }
    }

    fn read_maps(&mut self, pid: u32, now: Instant) {
        let read_at = self.processes.get(&pid).and_then(|it| it.read_at);
        let recent = read_at.is_some_and(|at| now.saturating_duration_since(at) < REREAD);
        if recent || self.maps_reads >= MAX_MAPS_READS {
            return;
        }
        self.maps_reads += 1;
        match Maps::read(pid, &mut self.files) {
            Ok(maps) => self.remember(pid, Process { maps, read_at: Some(now) }),
            // No permission, or it ended: what the kernel told of it is all there is.
            Err(_) => match self.processes.get_mut(&pid) {
                Some(known) => known.read_at = Some(now),
                None => self.remember(pid, Process { maps: Maps::default(), read_at: Some(now) }),
            },
        }
    }

    fn remember(&mut self, pid: u32, process: Process) {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            // Any one: those that matter come back at once.
            if let Some(other) = self.processes.keys().next().copied() {
                self.processes.remove(&other);
            }
        }
        self.processes.insert(pid, process);
    }
}

/// The addresses of a chain, without marks; callers' moved back into the call, circles cut.
struct Addresses<'a> {
    rest: std::slice::Iter<'a, u64>,
    previous: Option<u64>,
    repeats: usize,
}

impl<'a> Addresses<'a> {
    fn new(chain: &'a [u64]) -> Self {
        Self { rest: chain.iter(), previous: None, repeats: 0 }
    }
}

impl Iterator for Addresses<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let address = *self.rest.find(|address| **address < FIRST_MARK)?;
        let innermost = self.previous.is_none();
        self.repeats = if self.previous == Some(address) { self.repeats + 1 } else { 0 };
        self.previous = Some(address);
        if self.repeats >= MAX_REPEATS {
            self.rest = [].iter();
            return None;
        }
        Some(if innermost { address } else { address.saturating_sub(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u64 = u64::MAX - 511;

    #[test]
    fn a_place_in_this_program_is_told_and_the_kernel_is_one_mark_where_it_is_hidden() {
        let here = Tasks::new as fn() -> Tasks as usize as u64;
        let mut tasks = Tasks::default();
        let mut frames = Vec::new();
        tasks.frames(std::process::id(), &[u64::MAX - 127, 5, 6, USER, here, 1], Instant::now(), &mut frames);
        assert_eq!(frames[0], Frame::Symbol("[kernel]".into()));
        let Frame::Address { mapping, .. } = &frames[1] else { panic!("{frames:?}") };
        assert_eq!(std::path::Path::new(&*mapping.path), std::env::current_exe().unwrap());
        assert_eq!(frames.len(), 2, "the chain ends where code ends");
    }

    #[test]
    fn an_address_outside_all_code_is_unknown() {
        let (mut tasks, mut frames) = (Tasks::default(), Vec::new());
        tasks.frames(std::process::id(), &[USER, 1], Instant::now(), &mut frames);
        assert_eq!(frames, [Frame::Symbol("[unknown]".into())]);
    }

    #[test]
    fn a_chain_that_goes_in_a_circle_is_cut() {
        assert_eq!(Addresses::new(&[7; 120]).count(), MAX_REPEATS);
    }

    #[test]
    fn reads_of_a_round_are_bounded() {
        let mut tasks = Tasks::default();
        let now = Instant::now();
        for pid in 4_000_000..4_000_100 {
            tasks.frames(pid, &[USER, 1], now, &mut Vec::new());
            assert_eq!(&*tasks.thread(pid, pid, now).name, "[ended]");
        }
        assert_eq!((tasks.maps_reads, tasks.thread_reads), (MAX_MAPS_READS, MAX_THREAD_READS));
        assert_eq!(tasks.processes.len(), MAX_MAPS_READS as usize);
    }

    #[test]
    fn a_thread_that_ended_has_the_name_that_was_heard_and_another_process_does_not() {
        let (mut tasks, now) = (Tasks::default(), Instant::now());
        tasks.handle_met(4_000_000, 4_000_000, b"brief\0\0\0");
        assert_eq!(&*tasks.thread(4_000_000, 4_000_000, now).name, "brief");
        assert_eq!(&*tasks.thread(4_000_001, 4_000_000, now).name, "[ended]");
    }

    #[test]
    fn this_thread_has_a_name_and_a_class() {
        let pid = std::process::id();
        assert_eq!(Tasks::default().thread(pid, pid, Instant::now()).class, SchedulingClass::Normal);
    }
}
