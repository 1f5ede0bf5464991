//! Perf events: `perf_event_open(2)`, their ring buffers, and what can be changed while they run.
//!
//! The kernel offers this only through raw system calls and shared memory, for which there is no safe crate; all of
//! the crate's unsafe code for it stands here, behind functions that are safe to call with anything. What is in the
//! records is taken apart in `record.rs`.
#![allow(unsafe_code, reason = "perf events are only to be had through raw system calls and shared memory")]

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use perf_event_open_sys as sys;
use sys::bindings::{self, perf_event_attr, perf_event_mmap_page};

/// Deepest call chain asked for, the kernel's default limit.
const MAX_CALLCHAIN: u16 = 127;

/// What makes an event happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// CPU time, every so often, unless the CPU is idle.
    CpuClock(Duration),
    /// A tracepoint of this id, every n-th time it is passed.
    Tracepoint {
        /// As in the tracepoint's `format` file.
        id: u32,
        /// 1 for each time.
        every: u64,
    },
}

/// Whom an event watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// One thread, on whichever CPU it runs.
    Thread(u32),
    /// One CPU, whichever thread runs there.
    Cpu(u32),
}

/// What a record holds beside the event's id, the thread and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contents {
    /// The user's part of the call chain.
    pub(super) user_stack: bool,
    /// The kernel's part of the call chain.
    pub(super) kernel_stack: bool,
    /// Records of new mappings, names, and of threads that begin and end come with the samples.
    pub(super) tasks: bool,
    /// Time is that since 1970; else `CLOCK_MONOTONIC`.
    pub(super) unix_time: bool,
}

/// An event. Its records go to the [`Ring`] that was made of it, or to that of the event it was redirected to.
#[derive(Debug)]
pub(super) struct PerfEvent {
    file: File,
}

impl PerfEvent {
    /// Opens an event, which begins at once if `running`.
    ///
    /// # Errors
    /// What the kernel says: no permission, no such thread, CPU or tracepoint, no perf events at all, no memory.
    pub(super) fn open(
        trigger: Trigger,
        scope: Scope,
        contents: Contents,
        running: bool,
    ) -> io::Result<Self> {
        let mut attr = perf_event_attr {
            // The structure is about a hundred bytes long.
            size: u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0),
            sample_type: u64::from(
                bindings::PERF_SAMPLE_IDENTIFIER | bindings::PERF_SAMPLE_TID | bindings::PERF_SAMPLE_TIME,
            ),
            ..perf_event_attr::default()
        };
        match trigger {
            Trigger::CpuClock(period) => {
                attr.type_ = bindings::PERF_TYPE_SOFTWARE;
                attr.config = u64::from(bindings::PERF_COUNT_SW_CPU_CLOCK);
                attr.__bindgen_anon_1.sample_period = nanos(period);
                attr.set_exclude_idle(1);
            }
            Trigger::Tracepoint { id, every } => {
                attr.type_ = bindings::PERF_TYPE_TRACEPOINT;
                attr.config = u64::from(id);
                attr.__bindgen_anon_1.sample_period = every.clamp(1, u64::MAX >> 1);
                attr.sample_type |= u64::from(bindings::PERF_SAMPLE_RAW);
            }
        }
        if contents.user_stack || contents.kernel_stack {
            attr.sample_type |= u64::from(bindings::PERF_SAMPLE_CALLCHAIN);
            attr.sample_max_stack = MAX_CALLCHAIN;
            attr.set_exclude_callchain_user(u64::from(!contents.user_stack));
            attr.set_exclude_callchain_kernel(u64::from(!contents.kernel_stack));
        }
        if contents.tasks {
            attr.set_mmap(1);
            attr.set_mmap2(1);
            attr.set_build_id(1);
            attr.set_comm(1);
            attr.set_task(1);
        }
        attr.clockid = if contents.unix_time { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC };
        attr.set_use_clockid(1);
        attr.set_exclude_hv(1);
        attr.set_disabled(u64::from(!running));
        let (tid, cpu) = match scope {
            Scope::Thread(tid) => (libc::pid_t::try_from(tid).map_err(|_| invalid())?, -1),
            Scope::Cpu(cpu) => (-1, libc::c_int::try_from(cpu).map_err(|_| invalid())?),
        };
        // SAFETY: `attr` is a whole, initialised perf_event_attr of the size it states, alive during the call, in which
        // the kernel only reads it. Sampling others does not touch this process' memory.
        let fd = unsafe {
            sys::perf_event_open(
                &raw mut attr,
                tid,
                cpu,
                -1,
                libc::c_ulong::from(bindings::PERF_FLAG_FD_CLOEXEC),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor, and nobody else knows it.
        Ok(Self { file: unsafe { File::from_raw_fd(fd) } })
    }

    /// The number by which records name this event.
    pub(super) fn id(&self) -> io::Result<u64> {
        let mut id = 0_u64;
        // SAFETY: the descriptor is a perf event's, and PERF_EVENT_IOC_ID writes one u64 behind the pointer, which is
        // alive and ours alone during the call.
        let outcome =
            unsafe { libc::ioctl(self.file.as_raw_fd(), libc::Ioctl::from(bindings::ID), &raw mut id) };
        answer(outcome).map(|()| id)
    }

    /// Sends this event's records to the ring of `other`, an event on the same CPU.
    pub(super) fn redirect(&self, other: &Self) -> io::Result<()> {
        // SAFETY: both descriptors are perf events'; PERF_EVENT_IOC_SET_OUTPUT takes the second as a plain number.
        answer(unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::Ioctl::from(bindings::SET_OUTPUT),
                libc::c_ulong::try_from(other.file.as_raw_fd()).unwrap_or(libc::c_ulong::MAX),
            )
        })
    }

    /// Lets only those passages of a tracepoint count whose fields fulfil `condition` (the kernel's own language).
    pub(super) fn filter(&self, condition: &CStr) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event's, and PERF_EVENT_IOC_SET_FILTER reads a string that ends with a zero
        // byte, as a CStr does, alive during the call.
        answer(unsafe {
            libc::ioctl(self.file.as_raw_fd(), libc::Ioctl::from(bindings::SET_FILTER), condition.as_ptr())
        })
    }

    /// Lets `program`, for tracepoints, run whenever this event's tracepoint is passed, on any CPU, as long as the event
    /// exists.
    #[cfg(feature = "bpf")]
    pub(super) fn set_program(&self, program: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: both descriptors are alive during the call, the first a perf event's; PERF_EVENT_IOC_SET_BPF takes the
        // second as a plain number, and keeps a reference of its own to what it stands for.
        answer(unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::Ioctl::from(bindings::SET_BPF),
                libc::c_ulong::try_from(program.as_raw_fd()).unwrap_or(libc::c_ulong::MAX),
            )
        })
    }

    /// Lets the event happen `times` more often than it was allowed to so far, then the kernel stops it by itself.
    pub(super) fn allow(&self, times: u32) -> io::Result<()> {
        if times == 0 {
            // The kernel would take that as "without end".
            return Ok(());
        }
        let times = libc::c_ulong::from(times.min(i32::MAX.unsigned_abs()));
        // SAFETY: the descriptor is a perf event's; PERF_EVENT_IOC_REFRESH takes a plain number.
        answer(unsafe { libc::ioctl(self.file.as_raw_fd(), libc::Ioctl::from(bindings::REFRESH), times) })
    }

    /// Stops the event until [`PerfEvent::allow`].
    pub(super) fn stop(&self) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event's; PERF_EVENT_IOC_DISABLE takes a plain number.
        answer(unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::Ioctl::from(bindings::DISABLE),
                libc::c_ulong::from(0_u8),
            )
        })
    }

    /// Samples after every `period` from now on. What ran since the last sample no longer counts towards the next: the
    /// kernel starts the period anew.
    pub(super) fn set_period(&self, period: Duration) -> io::Result<()> {
        self.set_every(nanos(period))
    }

    /// The same for a tracepoint: every so many times.
    pub(super) fn set_every(&self, period: u64) -> io::Result<()> {
        let period = period.clamp(1, u64::MAX >> 1);
        // SAFETY: the descriptor is a perf event's, and PERF_EVENT_IOC_PERIOD reads one u64 behind the pointer, which
        // is alive during the call. (The bindings' own wrapper passes the value in place of the pointer.)
        answer(unsafe {
            libc::ioctl(self.file.as_raw_fd(), libc::Ioctl::from(bindings::PERIOD), &raw const period)
        })
    }

    /// The event's count since it was opened: nanoseconds of CPU time (of a CPU: of all time), passages of a tracepoint.
    pub(super) fn count(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        (&self.file).read_exact(&mut count)?;
        Ok(u64::from_ne_bytes(count))
    }

    /// The same, of an event by CPU time.
    pub(super) fn cpu_time(&self) -> io::Result<Duration> {
        self.count().map(Duration::from_nanos)
    }
}

/// Bytes of a page of memory.
pub(super) fn page_len() -> usize {
    // SAFETY: sysconf only reads a constant.
    let len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It is never refused; the least that Linux knows in its place.
    usize::try_from(len).unwrap_or(4_096)
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

fn answer(outcome: libc::c_int) -> io::Result<()> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn nanos(period: Duration) -> u64 {
    // The kernel refuses periods with the highest bit set.
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).clamp(1, u64::MAX >> 1)
}

/// The memory shared with the kernel: one control page, then the data pages.
#[derive(Debug)]
pub(super) struct Ring {
    base: NonNull<libc::c_void>,
    page_len: usize,
    data_pages: usize,
    /// One record, put together where it wraps around the ring's end.
    record: Vec<u64>,
}

// SAFETY: the mapping belongs to this value alone and is valid in every thread; `drain` takes `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of `event` with `len` bytes of data, rounded up to a power of two of pages.
    ///
    /// # Errors
    /// The kernel's: too much locked memory, or none left.
    pub(super) fn map(event: &PerfEvent, len: usize) -> io::Result<Self> {
        let page_len = page_len();
        let data_pages = len.div_ceil(page_len).clamp(1, 1 << 12).next_power_of_two();
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page_len * (1 + data_pages),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        Ok(Self { base, page_len, data_pages, record: Vec::new() })
    }

    /// Bytes of data that the ring holds.
    pub(super) fn capacity(&self) -> usize {
        self.page_len * self.data_pages
    }

    /// Hands over each record that came since the last call, as words, its header first.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&[u64])) {
        let control: *mut perf_event_mmap_page = self.base.as_ptr().cast();
        // SAFETY: `control` points to the control page, mapped for as long as `self` lives, and page aligned. The two
        // positions in it are aligned 64-bit words that the kernel and we access atomically only.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*control).data_head),
                AtomicU64::from_ptr(&raw mut (*control).data_tail),
            )
        };
        // Everything before the head was written before the head was.
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        let capacity = self.capacity() as u64;
        // Records are whole words. What is longer than the ring, or empty, is not a record: give up what is there.
        while end.wrapping_sub(at) >= 8 && end.wrapping_sub(at) <= capacity {
            let [_, _, _, _, _, _, low, high] = self.word(at).to_ne_bytes();
            let words = u64::from(u16::from_ne_bytes([low, high])) / 8;
            if words == 0 || words * 8 > end.wrapping_sub(at) {
                break;
            }
            let mut record = std::mem::take(&mut self.record);
            record.clear();
            record.extend((0..words).map(|word| self.word(at.wrapping_add(word * 8))));
            take(&record);
            self.record = record;
            at = at.wrapping_add(words * 8);
        }
        // Only now may the kernel write over what was read.
        tail.store(end, Ordering::Release);
    }

    /// The word at a position of the ring, which wraps.
    fn word(&self, at: u64) -> u64 {
        let words = self.capacity() / 8;
        // Below the number of words, so it fits.
        let index = usize::try_from(at / 8 % words as u64).unwrap_or(0);
        // SAFETY: the data pages begin one page behind the base and hold `words` aligned words, of which `index` is one;
        // they stay mapped as long as `self` lives. The kernel does not write to a word between tail and head, and
        // volatile keeps the read where it stands.
        unsafe { self.base.as_ptr().cast::<u8>().add(self.page_len).cast::<u64>().add(index).read_volatile() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr(), self.page_len * (1 + self.data_pages)) };
    }
}
