//! Sampling by the accounts: each thread's CPU time since the last look becomes one sample of that weight. There is no
//! stack, but no permission is needed either, and the sum is exact at any rate.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use telemetry::{Frame, SchedulingClass, WindowBuilder};

use super::capture::{Backend, Capture, CaptureError, sampled_tasks, since_start};
use super::procfs::{ThreadStat, parse_schedstat, task_dir, thread_stat};
use super::rate::RateLaw;

/// How often to look for new threads and for changes of name and class.
const RESCAN: Duration = Duration::from_secs(2);
/// When nothing is due; new threads are looked for anyway.
const IDLE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct CpuTimeCapture {
    pid: u32,
    threads: BTreeMap<u32, Thread>,
    rescan_at: Option<Instant>,
    normal_at: Option<Instant>,
    realtime_at: Option<Instant>,
}

#[derive(Debug)]
struct Thread {
    /// Kept open: a thread's CPU time is then one system call away.
    schedstat: File,
    cpu_ns: u64,
    stat: ThreadStat,
}

impl CpuTimeCapture {
    pub(super) fn open(pid: u32) -> Result<Self, CaptureError> {
        let mut capture =
            Self { pid, threads: BTreeMap::new(), rescan_at: None, normal_at: None, realtime_at: None };
        capture.rescan()?;
        Ok(capture)
    }

    fn rescan(&mut self) -> Result<(), CaptureError> {
        let pid = self.pid;
        let tids = sampled_tasks(pid)?;
        self.threads.retain(|tid, _| tids.binary_search(tid).is_ok());
        for tid in tids {
            // A thread that ends meanwhile is no loss.
            let Ok(stat) = thread_stat(pid, tid) else { continue };
            match self.threads.get_mut(&tid) {
                Some(thread) => thread.stat = stat,
                None => {
                    let Ok(schedstat) = File::open(task_dir(pid, tid).join("schedstat")) else { continue };
                    let Some(cpu_ns) = cpu_time(&schedstat) else { continue };
                    self.threads.insert(tid, Thread { schedstat, cpu_ns, stat });
                }
            }
        }
        Ok(())
    }

    fn sample(&mut self, realtime: bool, at_ms: u32, window: &mut WindowBuilder) {
        for (tid, thread) in &mut self.threads {
            if matches!(thread.stat.info.class, SchedulingClass::Realtime(_)) != realtime {
                continue;
            }
            let Some(cpu_ns) = cpu_time(&thread.schedstat) else { continue };
            let weight_ns = cpu_ns.saturating_sub(thread.cpu_ns);
            thread.cpu_ns = cpu_ns;
            if weight_ns == 0 {
                continue;
            }
            // Only a thread that ran is asked for its state.
            if let Ok(stat) = thread_stat(self.pid, *tid) {
                thread.stat = stat;
            }
            let place = format!("{} ({})", thread.stat.info.name, thread.stat.state);
            // What the window refuses, it counts.
            let _counted = window.push(at_ms, &thread.stat.info, &[Frame::Symbol(place.into())], weight_ns);
        }
    }

    fn has_realtime(&self) -> bool {
        self.threads.values().any(|thread| thread.stat.info.class != SchedulingClass::Normal)
    }
}

impl Capture for CpuTimeCapture {
    fn backend(&self) -> Backend {
        Backend::Procfs
    }

    fn capture(
        &mut self,
        now: Instant,
        unix_ms: u64,
        rate: &mut RateLaw,
        window: &mut WindowBuilder,
    ) -> Result<Instant, CaptureError> {
        let at_ms = since_start(window, unix_ms);
        if self.rescan_at.is_none_or(|at| at <= now) {
            self.rescan()?;
            self.rescan_at = Some(now + RESCAN);
        }
        if self.normal_at.is_none_or(|at| at <= now) {
            self.sample(false, at_ms, window);
            self.normal_at = Some(now + rate.draw(SchedulingClass::Normal));
        }
        if !self.has_realtime() {
            self.realtime_at = None;
        } else if self.realtime_at.is_none_or(|at| at <= now) {
            self.sample(true, at_ms, window);
            self.realtime_at = Some(now + rate.draw(SchedulingClass::Realtime(1)));
        }
        let next = [self.rescan_at, self.normal_at, self.realtime_at].into_iter().flatten().min();
        Ok(next.unwrap_or(now + IDLE))
    }

    fn take_hidden_cost(&mut self) -> Duration {
        Duration::ZERO
    }
}

fn cpu_time(schedstat: &File) -> Option<u64> {
    let mut text = [0; 96];
    let len = schedstat.read_at(&mut text, 0).ok()?;
    parse_schedstat(std::str::from_utf8(text.get(..len)?).ok()?)
}
