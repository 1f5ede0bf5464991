//! One perf event on one thread: `perf_event_open(2)`, its ring buffer, and the change of its period at run time.
//!
//! The kernel offers this only through raw system calls and shared memory, for which there is no safe crate; all of
//! the crate's unsafe code for it stands here, behind functions that are safe to call with anything.
#![allow(unsafe_code, reason = "perf events are only to be had through raw system calls and shared memory")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use perf_event_open_sys as sys;
use sys::bindings::{self, perf_event_attr, perf_event_mmap_page};

/// Data pages of a ring, a power of two: 32 KiB at 4 KiB pages hold half a second of the deepest stacks at 50 Hz.
const DATA_PAGES: usize = 8;
/// Deepest call chain asked for, the kernel's default limit.
const MAX_CALLCHAIN: u16 = 127;

/// Something read from a ring.
#[derive(Debug)]
pub(super) enum Record<'a> {
    /// The kernel dropped this many samples, because the ring was full.
    Lost(u64),
    /// A sample.
    Sample {
        /// Nanoseconds since 1970-01-01 UTC.
        unix_ns: u64,
        /// True when the thread was in the kernel.
        in_kernel: bool,
        /// Instruction pointers and context marks, innermost first.
        callchain: &'a [u64],
    },
}

/// A sampling event on one thread, on whichever CPU it runs.
#[derive(Debug)]
pub(super) struct PerfEvent {
    file: File,
    ring: Ring,
}

impl PerfEvent {
    /// Samples thread `tid` after every `period` of its CPU time.
    ///
    /// # Errors
    /// What the kernel says: no permission, no such thread, no perf events at all, no memory.
    pub(super) fn open(tid: u32, period: Duration) -> io::Result<Self> {
        let tid = i32::try_from(tid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut attr = perf_event_attr {
            type_: bindings::PERF_TYPE_SOFTWARE,
            // The structure is about a hundred bytes long.
            size: u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0),
            config: u64::from(bindings::PERF_COUNT_SW_CPU_CLOCK),
            sample_type: u64::from(bindings::PERF_SAMPLE_TIME | bindings::PERF_SAMPLE_CALLCHAIN),
            clockid: libc::CLOCK_REALTIME,
            ..perf_event_attr::default()
        };
        attr.__bindgen_anon_1.sample_period = nanos(period);
        attr.sample_max_stack = MAX_CALLCHAIN;
        attr.set_use_clockid(1);
        attr.set_exclude_hv(1);
        // Kernel addresses are of no use without the kernel's symbols, and must not leave the vehicle.
        attr.set_exclude_callchain_kernel(1);
        // SAFETY: `attr` is a whole, initialised perf_event_attr of the size it states, alive during the call, in which
        // the kernel only reads it. Sampling another thread does not touch this process' memory.
        let fd = unsafe {
            sys::perf_event_open(
                &raw mut attr,
                tid,
                -1,
                -1,
                libc::c_ulong::from(bindings::PERF_FLAG_FD_CLOEXEC),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor, and nobody else knows it.
        let file = unsafe { File::from_raw_fd(fd) };
        let ring = Ring::map(&file)?;
        Ok(Self { file, ring })
    }

    /// Samples after every `period` from now on. What the thread ran since its last sample no longer counts towards
    /// the next: the kernel starts the period anew.
    pub(super) fn set_period(&self, period: Duration) -> io::Result<()> {
        let period = nanos(period);
        // SAFETY: the descriptor is a perf event's, and PERF_EVENT_IOC_PERIOD reads one u64 behind the pointer, which
        // is alive during the call. (The bindings' own wrapper passes the value in place of the pointer.)
        let outcome = unsafe {
            libc::ioctl(self.file.as_raw_fd(), libc::Ioctl::from(bindings::PERIOD), &raw const period)
        };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// CPU time of the thread since the event was opened.
    pub(super) fn cpu_time(&self) -> io::Result<Duration> {
        let mut count = [0; 8];
        (&self.file).read_exact(&mut count)?;
        Ok(Duration::from_nanos(u64::from_ne_bytes(count)))
    }

    /// Hands over what was recorded since the last call.
    pub(super) fn drain(&mut self, take: impl FnMut(Record<'_>)) {
        self.ring.drain(take);
    }
}

fn nanos(period: Duration) -> u64 {
    // The kernel refuses periods with the highest bit set.
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).clamp(1, u64::MAX >> 1)
}

/// The memory shared with the kernel: one control page, then the data pages.
#[derive(Debug)]
struct Ring {
    base: NonNull<libc::c_void>,
    page_len: usize,
    /// One record, put together where it wraps around the ring's end.
    record: Vec<u64>,
}

// SAFETY: the mapping belongs to this value alone and is valid in every thread; `drain` takes `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    fn map(file: &File) -> io::Result<Self> {
        // SAFETY: sysconf only reads a constant.
        let page_len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_len = usize::try_from(page_len).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page_len * (1 + DATA_PAGES),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        Ok(Self { base, page_len, record: Vec::new() })
    }

    fn drain(&mut self, mut take: impl FnMut(Record<'_>)) {
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
        let capacity = (self.page_len * DATA_PAGES) as u64;
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
            if let Some(record) = parse(&record) {
                take(record);
            }
            self.record = record;
            at = at.wrapping_add(words * 8);
        }
        // Only now may the kernel write over what was read.
        tail.store(end, Ordering::Release);
    }

    /// The word at a position of the ring, which wraps.
    fn word(&self, at: u64) -> u64 {
        let words = self.page_len * DATA_PAGES / 8;
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
        unsafe { libc::munmap(self.base.as_ptr(), self.page_len * (1 + DATA_PAGES)) };
    }
}

/// Takes a record apart: the header's word, then by its type (`perf_event_open(2)`): a sample is time, number of
/// addresses, addresses; a loss is id, number lost.
fn parse(words: &[u64]) -> Option<Record<'_>> {
    let [a, b, c, d, e, f, ..] = words.first()?.to_ne_bytes();
    let kind = u32::from_ne_bytes([a, b, c, d]);
    let mode = u32::from(u16::from_ne_bytes([e, f])) & bindings::PERF_RECORD_MISC_CPUMODE_MASK;
    let body = words.get(1..)?;
    match kind {
        bindings::PERF_RECORD_SAMPLE => {
            let len = usize::try_from(*body.get(1)?).ok()?;
            Some(Record::Sample {
                unix_ns: *body.first()?,
                in_kernel: mode == bindings::PERF_RECORD_MISC_KERNEL,
                callchain: body.get(2..)?.get(..len)?,
            })
        }
        bindings::PERF_RECORD_LOST => Some(Record::Lost(*body.get(1)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u32, misc: u16, words: u16) -> u64 {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[4..6].copy_from_slice(&misc.to_ne_bytes());
        bytes[6..].copy_from_slice(&(words * 8).to_ne_bytes());
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn a_sample_gives_its_time_mode_and_addresses() {
        let words = [header(bindings::PERF_RECORD_SAMPLE, 1, 5), 99, 2, 0xA, 0xB];
        let Some(Record::Sample { unix_ns: 99, in_kernel: true, callchain }) = parse(&words) else {
            panic!()
        };
        assert_eq!(callchain, [0xA, 0xB]);
    }

    #[test]
    fn a_chain_longer_than_its_record_is_no_sample() {
        let words = [header(bindings::PERF_RECORD_SAMPLE, 2, 5), 99, 3, 0xA, 0xB];
        assert!(parse(&words).is_none());
    }

    #[test]
    fn a_loss_gives_its_number() {
        let words = [header(bindings::PERF_RECORD_LOST, 0, 3), 1, 17];
        assert!(matches!(parse(&words), Some(Record::Lost(17))));
    }
}
