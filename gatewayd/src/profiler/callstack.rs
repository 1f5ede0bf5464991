//! Sampling by perf events: one event per thread of the process, so that each thread has its own rate.
//!
//! The kernel takes a sample after so much CPU time of the thread, whether or not this process runs; this side reads
//! the rings twice a second. A thread's period is drawn anew after some samples, which starts the kernel's count anew;
//! what the thread had run since its last sample is then added to the next sample's weight, so that the weights of a
//! thread add up to its CPU time.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use telemetry::{Frame, SchedulingClass, ThreadInfo, WindowBuilder};
use tracing::debug;

use super::capture::{Backend, Capture, CaptureError, sampled_tasks, since_start};
use super::maps::{Files, Maps};
use super::perf::{Contents, PerfEvent, Ring, Scope, Trigger};
use super::procfs::thread_stat;
use super::rate::RateLaw;
use super::record::{FIRST_MARK, Record, parse};

/// How often the rings are read and threads that came or went are looked for.
const POLL: Duration = Duration::from_millis(500);
/// How often a thread's name and class are read again.
const REFRESH: Duration = Duration::from_secs(5);
/// Samples after which a period is drawn anew. Each redraw costs a system call of some 25 microseconds.
const SAMPLES_PER_PERIOD: u32 = 8;
/// How often the maps are read again at most, when code lies outside the known ones.
const REREAD_MAPS: Duration = Duration::from_secs(5);
/// CPU time that one sample takes from the sampled thread, as measured with stacks of mean depth.
const SAMPLE_COST: Duration = Duration::from_micros(4);
/// Bytes of a thread's ring: they hold half a second of the deepest stacks at 50 Hz.
const RING_LEN: usize = 32 * 1_024;
/// Kernel addresses of a single process are left out: the process is what is looked at.
const CONTENTS: Contents = Contents { user_stack: true, kernel_stack: false, tasks: false, unix_time: true };
/// Most equal addresses in a row: code without frame pointers can send the kernel round in a circle.
const MAX_REPEATS: usize = 8;

#[derive(Debug)]
pub(super) struct CallStackCapture {
    pid: u32,
    maps: Maps,
    files: Files,
    /// When to read the maps again; `None` while every address is found in them.
    maps_at: Option<Instant>,
    threads: BTreeMap<u32, Thread>,
    refresh_at: Option<Instant>,
    hidden_cost: Duration,
}

#[derive(Debug)]
struct Thread {
    event: PerfEvent,
    ring: Ring,
    info: ThreadInfo,
    period: Duration,
    /// The mean that the period was drawn from.
    mean: Duration,
    since_redraw: u32,
    /// Weight given to samples so far.
    accounted: Duration,
    /// CPU time that fell between two periods, due to the next sample.
    carry: Duration,
}

impl CallStackCapture {
    /// Opens an event on each thread of `pid`. The first refusal decides.
    pub(super) fn open(pid: u32, rate: &mut RateLaw) -> Result<Self, CaptureError> {
        let mut capture = Self {
            pid,
            maps: Maps::default(),
            files: Files::default(),
            maps_at: None,
            threads: BTreeMap::new(),
            refresh_at: None,
            hidden_cost: Duration::ZERO,
        };
        let main = open_thread(pid, pid, rate).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CaptureError::Gone(pid),
            _ => CaptureError::Perf { pid, source },
        })?;
        capture.threads.insert(pid, main);
        capture.read_maps();
        capture.follow_threads(rate)?;
        Ok(capture)
    }

    fn follow_threads(&mut self, rate: &mut RateLaw) -> Result<(), CaptureError> {
        let pid = self.pid;
        let tids = sampled_tasks(pid)?;
        self.threads.retain(|tid, _| tids.binary_search(tid).is_ok());
        for tid in tids {
            if self.threads.contains_key(&tid) {
                continue;
            }
            match open_thread(pid, tid, rate) {
                Ok(thread) => {
                    self.threads.insert(tid, thread);
                }
                // It ended meanwhile, or there is no room for another ring: the others go on.
                Err(error) => debug!(pid, tid, %error, "thread not sampled"),
            }
        }
        Ok(())
    }

    fn refresh(&mut self) {
        for (tid, thread) in &mut self.threads {
            if let Ok(stat) = thread_stat(self.pid, *tid) {
                thread.info = stat.info;
            }
        }
    }

    fn read_maps(&mut self) {
        match Maps::read(self.pid, &mut self.files) {
            Ok(maps) => self.maps = maps,
            Err(error) => debug!(pid = self.pid, %error, "maps not read"),
        }
    }

    fn drain(&mut self, now: Instant, window: &mut WindowBuilder) {
        if self.maps_at.is_some_and(|at| at <= now) {
            self.maps_at = None;
            self.read_maps();
        }
        let maps = &self.maps;
        let (mut taken, mut unknown) = (0, false);
        for thread in self.threads.values_mut() {
            let Thread { ring, info, period, since_redraw, accounted, carry, .. } = thread;
            ring.drain(|words| match parse(words, |_| Some(true)) {
                Some(Record::Lost(samples)) => window.add_lost(samples),
                Some(Record::Sample(sample)) => {
                    taken += 1;
                    *since_redraw += 1;
                    let weight = *period + std::mem::take(carry);
                    *accounted += weight;
                    let frames = frames(maps, sample.in_kernel, sample.callchain, &mut unknown);
                    let at_ms = since_start(window, sample.ns / 1_000_000);
                    let weight_ns = u64::try_from(weight.as_nanos()).unwrap_or(u64::MAX);
                    // What the window refuses, it counts.
                    let _counted = window.push(at_ms, info, &frames, weight_ns);
                }
                _ => {}
            });
        }
        if unknown {
            // The process loaded code, or runs code of its own making, which no map will ever name.
            self.maps_at.get_or_insert(now + REREAD_MAPS);
        }
        self.hidden_cost += SAMPLE_COST * taken;
    }

    fn redraw(&mut self, rate: &mut RateLaw) {
        for thread in self.threads.values_mut() {
            let mean = rate.mean(thread.info.class);
            if !redraw_due(thread.since_redraw, thread.mean, mean) {
                continue;
            }
            let period = rate.draw(thread.info.class);
            // A thread that ended meanwhile is found out at the next look.
            let Ok(cpu_time) = thread.event.cpu_time() else { continue };
            if thread.event.set_period(period).is_ok() {
                thread.carry = cpu_time.saturating_sub(thread.accounted);
                thread.period = period;
                thread.mean = mean;
                thread.since_redraw = 0;
            }
        }
    }
}

impl Capture for CallStackCapture {
    fn backend(&self) -> Backend {
        Backend::Perf
    }

    fn capture(
        &mut self,
        now: Instant,
        _unix_ms: u64,
        rate: &mut RateLaw,
        window: &mut WindowBuilder,
    ) -> Result<Instant, CaptureError> {
        if self.refresh_at.is_none_or(|at| at <= now) {
            self.refresh();
            self.refresh_at = Some(now + REFRESH);
        }
        self.drain(now, window);
        self.redraw(rate);
        // Last, so that what a thread that ended had left in its ring is not thrown away with it.
        self.follow_threads(rate)?;
        Ok(now + POLL)
    }

    fn take_hidden_cost(&mut self) -> Duration {
        std::mem::take(&mut self.hidden_cost)
    }
}

/// Whether a period should be drawn anew: after some samples, or when the mean in force left the old one well behind.
/// Not at every small change: a redraw makes the thread wait from the start, and a mean that glides back over half a
/// minute would keep a thread that runs little from ever being sampled.
fn redraw_due(since_redraw: u32, old_mean: Duration, mean: Duration) -> bool {
    since_redraw >= SAMPLES_PER_PERIOD || mean * 2 >= old_mean * 3 || mean * 3 <= old_mean * 2
}

fn open_thread(pid: u32, tid: u32, rate: &mut RateLaw) -> io::Result<Thread> {
    let info = thread_stat(pid, tid)?.info;
    let class: SchedulingClass = info.class;
    let (period, mean) = (rate.draw(class), rate.mean(class));
    let event = PerfEvent::open(Trigger::CpuClock(period), Scope::Thread(tid), CONTENTS, true)?;
    let ring = Ring::map(&event, RING_LEN)?;
    Ok(Thread {
        event,
        ring,
        info,
        period,
        mean,
        since_redraw: 0,
        accounted: Duration::ZERO,
        carry: Duration::ZERO,
    })
}

/// The frames of a call chain, innermost first, up to the first address that is not code: what lies behind it was
/// read off a stack that keeps no frame pointers.
fn frames(maps: &Maps, in_kernel: bool, callchain: &[u64], unknown: &mut bool) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(callchain.len() + 1);
    if in_kernel {
        frames.push(Frame::Symbol("[kernel]".into()));
    }
    let (mut previous, mut repeats, mut innermost) = (None, 0, true);
    for address in callchain.iter().copied().filter(|address| *address < FIRST_MARK) {
        repeats = if previous == Some(address) { repeats + 1 } else { 0 };
        previous = Some(address);
        if repeats >= MAX_REPEATS {
            break;
        }
        // A caller's address is where it will go on; the call stands just before it.
        let place = if innermost { address } else { address.saturating_sub(1) };
        let Some((mapping, offset)) = maps.find(place) else {
            *unknown |= innermost;
            break;
        };
        frames.push(Frame::Address { mapping: std::sync::Arc::clone(mapping), offset });
        innermost = false;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_period_is_drawn_anew_after_eight_samples() {
        assert!(!redraw_due(7, 100 * MS, 100 * MS));
        assert!(redraw_due(8, 100 * MS, 100 * MS));
    }

    #[test]
    fn a_mean_half_as_long_again_counts_at_once_and_a_smaller_change_does_not() {
        assert!(redraw_due(0, 100 * MS, 150 * MS));
        assert!(!redraw_due(0, 100 * MS, 149 * MS));
        assert!(redraw_due(0, 150 * MS, 100 * MS));
        assert!(!redraw_due(0, 150 * MS, 101 * MS));
    }

    #[test]
    fn marks_are_skipped_and_the_chain_ends_where_code_ends() {
        let here = frames as fn(&Maps, bool, &'static [u64], &mut bool) -> Vec<Frame> as usize as u64;
        let maps = Maps::read(std::process::id(), &mut Files::default()).unwrap();
        let mut unknown = false;
        let chain = [FIRST_MARK + 10, here, here + 1, 1, here];
        let found = frames(&maps, true, &chain, &mut unknown);
        // The caller's place is one byte before where it goes on.
        let place = |address| {
            let (mapping, offset) = maps.find(address).unwrap();
            Frame::Address { mapping: std::sync::Arc::clone(mapping), offset }
        };
        assert_eq!(found, [Frame::Symbol("[kernel]".into()), place(here), place(here)]);
        assert!(!unknown);
        assert!(frames(&maps, false, &[1], &mut unknown).is_empty());
        assert!(unknown, "an innermost address outside all code");
    }

    #[test]
    fn a_chain_that_goes_in_a_circle_is_cut() {
        let here = redraw_due as fn(u32, Duration, Duration) -> bool as usize as u64;
        let maps = Maps::read(std::process::id(), &mut Files::default()).unwrap();
        assert_eq!(frames(&maps, false, &[here; 120], &mut false).len(), MAX_REPEATS);
    }
}
