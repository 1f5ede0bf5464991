//! Samples into windows: joins a way of sampling, the law of its rate, and the metrics.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telemetry::{SchedulingClass, Window, WindowBuilder};
use tracing::debug;

use super::capture::{Backend, CaptureError, Opened, open, since_start};
use super::config::Config;
use super::metrics::{MetricsReader, micros, ppm};
use super::rate::RateLaw;
use super::state::ProfilerState;

/// How often load and own cost are measured for the law.
const MEASURE: Duration = Duration::from_secs(1);

/// Samples the machine, or one process. Its own cost is measured on the calling thread's CPU clock, so one thread drives it.
#[derive(Debug)]
pub struct Sampler {
    opened: Opened,
    rate: RateLaw,
    metrics: MetricsReader,
    window_len: Duration,
    window: WindowBuilder,
    window_end: Instant,
    capture_at: Instant,
    measure_at: Instant,
    load: f64,
    /// The thread's CPU clock at the last measurement.
    own_cpu: Duration,
    /// Own cost in the window so far.
    cost: Duration,
    /// As of the last window.
    state: ProfilerState,
}

impl Sampler {
    /// Begins to sample process `pid` at `now`; `seed` for the jitter.
    ///
    /// # Errors
    /// [`CaptureError`] when the process cannot be sampled.
    pub fn new(pid: u32, config: &Config, seed: u64, now: Instant) -> Result<Self, CaptureError> {
        let mut rate = RateLaw::new(config, seed);
        Ok(Self {
            opened: open(pid, config, seed, &mut rate)?,
            rate,
            metrics: MetricsReader::new(pid),
            window_len: config.window,
            window: WindowBuilder::new(unix_ms()),
            window_end: now + config.window,
            capture_at: now,
            measure_at: now,
            load: 0.0,
            own_cpu: thread_cpu_time(),
            cost: Duration::ZERO,
            state: ProfilerState::default(),
        })
    }

    /// Which way of sampling is in use.
    pub fn backend(&self) -> Backend {
        self.opened.capture.backend()
    }

    /// Counts samples of windows that were lost on the way out.
    pub fn add_lost(&mut self, samples: u64) {
        self.window.add_lost(samples);
    }

    /// When to call [`Sampler::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Instant {
        self.capture_at.min(self.measure_at).min(self.window_end)
    }

    /// Does what is due at `now`, and gives out a window when one is complete.
    ///
    /// # Errors
    /// [`CaptureError`] when the process cannot be sampled any more.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<Window>, CaptureError> {
        let closing = now >= self.window_end;
        if closing || now >= self.capture_at {
            self.capture_at =
                self.opened.capture.capture(now, unix_ms(), &mut self.rate, &mut self.window)?;
        }
        if closing || now >= self.measure_at {
            self.measure(now);
        }
        Ok(closing.then(|| self.close(now)))
    }

    fn measure(&mut self, now: Instant) {
        self.load = self.metrics.load();
        self.rate.handle_load(now, self.load);
        let own_cpu = thread_cpu_time();
        let spent = own_cpu.saturating_sub(self.own_cpu) + self.opened.capture.take_hidden_cost();
        self.own_cpu = own_cpu;
        self.cost += spent;
        self.rate.handle_cost(now, spent);
        self.measure_at = now + MEASURE;
    }

    fn close(&mut self, now: Instant) -> Window {
        let unix_ms = unix_ms();
        let duration_ms = since_start(&self.window, unix_ms);
        let mut row = self.metrics.row(self.load);
        let cost = std::mem::take(&mut self.cost);
        row.push(("profiler_cost_us", micros(cost)));
        row.push(("profiler_stretch_ppm", ppm(self.rate.stretch())));
        row.push(("profiler_interval_us", micros(self.rate.mean(SchedulingClass::Normal))));
        if let Err(refused) = self.window.push_metrics(duration_ms, &row) {
            debug!(%refused, "metrics left out");
        }
        self.state = self.describe(cost, duration_ms);
        for dimension in &self.state.dimensions {
            debug!(
                name = dimension.name,
                state = dimension.state,
                share_ppm = dimension.share_ppm,
                "dimension"
            );
        }
        self.window_end = now + self.window_len;
        let window = std::mem::replace(&mut self.window, WindowBuilder::new(unix_ms)).finish(duration_ms);
        self.state.samples = window.samples().len() as u64;
        self.state.lost = window.lost();
        // When each sample was taken is of no use to a profile, and would cost half as much again on the way.
        window.aggregate()
    }

    fn describe(&mut self, cost: Duration, duration_ms: u32) -> ProfilerState {
        let share = |part: f64| u64::try_from(ppm(part)).unwrap_or(0);
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let seconds = Duration::from_millis(u64::from(duration_ms.max(1))).as_secs_f64();
        ProfilerState {
            backend: self.opened.capture.backend().to_string(),
            reason: self.opened.reason.clone(),
            dimensions: self.opened.capture.dimensions(),
            interval_us: micros(self.rate.mean(SchedulingClass::Normal)),
            realtime_interval_us: micros(self.rate.mean(SchedulingClass::Realtime(1))),
            events_per_second: share(self.rate.events_per_second() / 1e6),
            stretch_ppm: share(self.rate.stretch()),
            cost_ppm: share(cost.as_secs_f64() / seconds),
            budget_ppm: share(self.rate.budget()),
            resident_bytes: resident_bytes(),
            stackless: self.opened.capture.take_stackless(),
            ..ProfilerState::default()
        }
    }

    /// What there is to say of the last window and of how it was made.
    pub fn state(&self) -> &ProfilerState {
        &self.state
    }
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) * 1_024
}

/// CPU time of the calling thread.
fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Milliseconds since 1970-01-01 UTC; 0 with a clock set before that.
fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
