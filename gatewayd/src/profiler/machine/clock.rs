//! The timer of one CPU: takes a sample after so much time, whoever runs.
//!
//! Its interval is drawn anew now and then. The samples of one look at the ring share the time that passed since the look
//! before, so that all weights add up to that time. A sample must not count for the interval before it: intervals begin
//! when this service gets a CPU, which is when a real-time task has just left it; a sample that finds the task running
//! then comes after a short interval, one that does not after a long one, and 40 % would read as 32 %.

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
    /// The mean that the interval was drawn from.
    mean: Duration,
    since_redraw: u32,
    /// Time that samples have been given, idle ones included.
    accounted: Duration,
    realtime_until: Option<Instant>,
}

impl Clock {
    pub(super) fn open(cpu: u32, rate: &mut RateLaw) -> io::Result<Self> {
        let class = SchedulingClass::Normal;
        let (interval, mean) = (rate.draw(class), rate.mean(class));
        let event = PerfEvent::open(Trigger::CpuClock(interval), Scope::Cpu(cpu), CONTENTS, true)?;
        let id = event.id()?;
        Ok(Self { cpu, event, id, mean, since_redraw: 0, accounted: Duration::ZERO, realtime_until: None })
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

    /// So many samples came since the last call: the time that each stands for.
    pub(super) fn handle_samples(&mut self, samples: u32) -> Duration {
        self.since_redraw = self.since_redraw.saturating_add(samples);
        // A CPU that went away is not heard of again.
        let passed = self.event.cpu_time().unwrap_or(self.accounted);
        let Some(weight) = passed.saturating_sub(self.accounted).checked_div(samples) else {
            // The next look's samples stand for this time too.
            return Duration::ZERO;
        };
        self.accounted = passed;
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
        if self.event.set_period(interval).is_ok() {
            (self.mean, self.since_redraw) = (mean, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::config::Config;
    use super::*;

    const MS: u64 = 1_000;

    /// A real-time task of 8 ms in each 20 ms, sampled for five minutes in microseconds: looks come every half second, but
    /// only when the task has left the CPU, and begin an interval. The share seen.
    fn share_seen(class: SchedulingClass, seed: u64) -> f64 {
        let mut law = RateLaw::new(&Config::default(), seed);
        let (mut now, mut seen, mut all) = (0, 0.0, 0.0);
        while now < 300_000 * MS {
            let interval = u64::try_from(law.draw(class).as_micros()).unwrap();
            let wanted = now + 500 * MS;
            let look =
                if wanted % (20 * MS) < 8 * MS { wanted - wanted % (20 * MS) + 8 * MS } else { wanted };
            let samples = (now + interval..look).step_by(usize::try_from(interval).unwrap());
            let found: Vec<bool> = samples.map(|at| at % (20 * MS) < 8 * MS).collect();
            let weight = (look - now) as f64 / found.len().max(1) as f64;
            seen += weight * found.iter().filter(|running| **running).count() as f64;
            all += (look - now) as f64;
            now = look;
        }
        seen / all
    }

    #[test]
    fn a_cyclic_task_that_decides_when_intervals_begin_still_reads_36_to_44_per_cent() {
        for (class, seeds) in [(REALTIME, 20), (SchedulingClass::Normal, 20)] {
            let mean = (0..seeds).map(|seed| share_seen(class, seed)).sum::<f64>() / f64::from(20);
            assert!((0.36..=0.44).contains(&mean), "{class:?}: {mean}");
        }
    }
}
