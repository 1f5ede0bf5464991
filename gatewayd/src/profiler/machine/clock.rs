//! The timer of one CPU: takes a sample after so much time, whoever runs. Its interval is a mean; each is drawn anew, and
//! what falls between two intervals is added to the next sample, so that all weights add up to the time that passed.

use std::io;
use std::time::{Duration, Instant};

use telemetry::SchedulingClass;

use super::super::perf::{Contents, PerfEvent, Scope, Trigger};
use super::super::poisson::SplitMix64;
use super::super::rate::RateLaw;

/// Samples after which the interval is drawn anew. Each redraw interrupts the CPU for some 25 microseconds.
const SAMPLES_PER_INTERVAL: u32 = 4;
/// How long the timer stays quick after a real-time thread was last seen.
const REALTIME_MEMORY: Duration = Duration::from_secs(30);

const CONTENTS: Contents = Contents { user_stack: true, kernel_stack: true, tasks: true, unix_time: false };
const REALTIME: SchedulingClass = SchedulingClass::Realtime(1);

#[derive(Debug)]
pub(super) struct Clock {
    cpu: u32,
    event: PerfEvent,
    id: u64,
    interval: Duration,
    /// The mean that the interval was drawn from.
    mean: Duration,
    since_redraw: u32,
    /// Weight given to samples so far, idle ones included.
    accounted: Duration,
    /// Time that fell between two intervals, due to the next sample.
    carry: Duration,
    realtime_until: Option<Instant>,
}

impl Clock {
    pub(super) fn open(cpu: u32, rate: &mut RateLaw) -> io::Result<Self> {
        let class = SchedulingClass::Normal;
        let (interval, mean) = (rate.draw(class), rate.mean(class));
        let event = PerfEvent::open(Trigger::CpuClock(interval), Scope::Cpu(cpu), CONTENTS, true)?;
        let id = event.id()?;
        Ok(Self {
            cpu,
            event,
            id,
            interval,
            mean,
            since_redraw: 0,
            accounted: Duration::ZERO,
            carry: Duration::ZERO,
            realtime_until: None,
        })
    }

    pub(super) fn cpu(&self) -> u32 {
        self.cpu
    }

    pub(super) fn event(&self) -> &PerfEvent {
        &self.event
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// A sample came: the time that it stands for.
    pub(super) fn handle_sample(&mut self) -> Duration {
        self.since_redraw += 1;
        let weight = self.interval + std::mem::take(&mut self.carry);
        self.accounted += weight;
        weight
    }

    /// Chooses among samples that come more often than a thread of this class wants: what one counts for, if chosen.
    pub(super) fn choose(
        &mut self,
        weight: Duration,
        class: SchedulingClass,
        now: Instant,
        rate: &RateLaw,
        random: &mut SplitMix64,
    ) -> Option<u64> {
        if class != SchedulingClass::Normal {
            self.realtime_until = Some(now + REALTIME_MEMORY);
        }
        let rarer = rate.mean(class).as_secs_f64() / self.mean.as_secs_f64().max(1e-6);
        if rarer <= 1.0 {
            return u64::try_from(weight.as_nanos()).ok();
        }
        (random.share() * rarer < 1.0)
            .then(|| u64::try_from(weight.mul_f64(rarer).as_nanos()).unwrap_or(u64::MAX))
    }

    /// Draws the interval anew when it is time, at the pace of the most urgent class about.
    pub(super) fn redraw(&mut self, now: Instant, rate: &mut RateLaw) {
        let realtime = self.realtime_until.is_some_and(|until| until > now);
        let quicker = realtime && rate.mean(REALTIME) < rate.mean(SchedulingClass::Normal);
        let class = if quicker { REALTIME } else { SchedulingClass::Normal };
        let mean = rate.mean(class);
        // Not at every small change of the mean: a redraw starts the kernel's count anew.
        let changed = mean * 2 >= self.mean * 3 || mean * 3 <= self.mean * 2;
        if self.since_redraw < SAMPLES_PER_INTERVAL && !changed {
            return;
        }
        let interval = rate.draw(class);
        // A CPU that went away is not heard of again.
        let Ok(passed) = self.event.cpu_time() else { return };
        if self.event.set_period(interval).is_ok() {
            self.carry = passed.saturating_sub(self.accounted);
            (self.interval, self.mean, self.since_redraw) = (interval, mean, 0);
        }
    }
}
