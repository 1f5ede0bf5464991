//! The timer of one CPU: takes a sample after so much time, whoever runs.
//!
//! Its interval is drawn anew now and then. The samples of one look at the ring share the time that passed since the look
//! before, so that all weights add up to that time, less what no thread had ([`super::spare`]). A sample must not count for
//! the interval before it: intervals begin when this service gets a CPU, which is when a real-time task has just left it; a
//! sample that finds the task running then comes after a short interval, one that does not after a long one, and 40 % would
//! read as 32 %.

use std::io;
use std::time::{Duration, Instant};

use telemetry::SchedulingClass;

use super::super::perf::{Contents, PerfEvent, Scope, Trigger};
use super::super::poisson::SplitMix64;
use super::super::rate::RateLaw;

/// Intervals after which another one is drawn, whether they brought samples or found the CPU idle: one that is in step with
/// a cyclic task would find it never. Each redraw interrupts the CPU for some 25 microseconds.
const INTERVALS_PER_DRAW: u32 = 4;
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
    /// The clock's time now, and when the interval was drawn.
    passed: Duration,
    drawn_at: Duration,
    /// Time that samples have been given.
    accounted: Duration,
    realtime_until: Option<Instant>,
}

impl Clock {
    pub(super) fn open(cpu: u32, rate: &mut RateLaw) -> io::Result<Self> {
        let class = SchedulingClass::Normal;
        let (interval, mean) = (rate.draw(class), rate.mean(class));
        let event = PerfEvent::open(Trigger::CpuClock(interval), Scope::Cpu(cpu), CONTENTS, true)?;
        let id = event.id()?;
        let (passed, drawn_at, accounted) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Ok(Self { cpu, event, id, mean, passed, drawn_at, accounted, realtime_until: None })
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

    /// So many samples came since the last call, and so much of this CPU's time was no thread's since the start: the time
    /// that each sample stands for.
    pub(super) fn handle_samples(&mut self, samples: u32, spare: Duration) -> Duration {
        // A CPU that went away is not heard of again.
        let Ok(passed) = self.event.cpu_time() else { return Duration::ZERO };
        self.passed = passed;
        share(&mut self.accounted, passed.saturating_sub(spare), samples)
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
        let due = self.passed.saturating_sub(self.drawn_at) >= self.mean * INTERVALS_PER_DRAW;
        if !due && !changed {
            return;
        }
        let interval = rate.draw(class);
        // A CPU that went away is not heard of again.
        if self.event.set_period(interval).is_ok() {
            (self.mean, self.drawn_at) = (mean, self.passed);
        }
    }
}

/// What is new of the time that threads `had`, for each of so many samples.
fn share(accounted: &mut Duration, had: Duration, samples: u32) -> Duration {
    // The kernel's accounts are in ticks: what threads had may seem to stand still, or to fall back.
    let Some(weight) = had.saturating_sub(*accounted).checked_div(samples) else {
        // The next look's samples stand for this time too.
        return Duration::ZERO;
    };
    *accounted = had.max(*accounted);
    weight
}

#[cfg(test)]
mod tests {
    use super::super::super::config::Config;
    use super::*;

    const MS: u64 = 1_000;

    /// A real-time task of 8 ms in each 20 ms beside others that take the rest, sampled for five minutes in microseconds:
    /// looks come every half second, but only when the task has left the CPU, and begin an interval. The share seen.
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

    /// The same task on a CPU that a hypervisor takes and gives back, each for half of a `round` on average, for a minute in
    /// steps of 50 microseconds. The task makes up for what it has missed. What its samples tell of the time that it had, with an
    /// account of what was stolen and without.
    fn told_of_what_was_had(round: u64, seed: u64) -> [f64; 2] {
        const STEP: u64 = 50;
        let (mut law, mut host) = (RateLaw::new(&Config::default(), seed), SplitMix64(seed));
        let micros = |time: u64| Duration::from_micros(time);
        let (mut accounted, mut told, mut had) = ([Duration::ZERO; 2], [0.0; 2], 0);
        let (mut owed, mut running, mut taken, mut stolen) = (0, false, true, 0);
        let (mut turns_at, mut tick_at, mut ticks, mut found) = (0, 10 * MS, 0, 0);
        for now in (0..60_000 * MS / STEP).map(|step| step * STEP) {
            if now % (20 * MS) == 0 {
                owed += 8 * MS;
            }
            if now >= turns_at {
                taken = !taken;
                turns_at += round / 4 + host.below(round / 2);
            }
            if taken {
                stolen += STEP;
                continue;
            }
            if now >= tick_at {
                // Ticks that were missed are one, and find who ran when the CPU was taken away.
                ticks += 1;
                found += u32::from(running);
                tick_at = now + u64::try_from(law.draw(REALTIME).as_micros()).unwrap();
            }
            running = owed > 0;
            owed -= u64::from(running) * STEP;
            had += u64::from(running) * STEP;
            if now % (500 * MS) == 0 {
                for (n, stolen) in [stolen, 0].into_iter().enumerate() {
                    let weight = share(&mut accounted[n], micros(now).saturating_sub(micros(stolen)), ticks);
                    told[n] += weight.as_secs_f64() * f64::from(found);
                }
                (ticks, found) = (0, 0);
            }
        }
        told.map(|told| told / micros(had).as_secs_f64())
    }

    /// Where the host's turns are as long as the timer's, ticks come when the CPU is about to be taken and the task, which
    /// makes up for its losses at once, has done so: it reads as less than it had. Never as more.
    #[test]
    fn what_a_hypervisor_takes_is_nobodys_and_a_task_that_makes_up_for_it_reads_as_what_it_had() {
        let bounds = [(2, 0.95), (7, 0.9), (30, 0.65), (100, 0.65), (500, 0.9)];
        for (round, least) in bounds {
            let ratios = (0..10).map(|seed| told_of_what_was_had(round * MS, seed));
            let sum = ratios.fold([0.0, 0.0], |sum, ratio| [sum[0] + ratio[0], sum[1] + ratio[1]]);
            let [with, without] = sum.map(|sum| sum / 10.0);
            println!(
                "rounds of {round} ms: {with:.3} with an account of what was stolen, {without:.3} without"
            );
            assert!((least..=1.1).contains(&with), "rounds of {round} ms: {with}");
            assert!(without > with * 1.8, "rounds of {round} ms: {without} without, {with} with");
        }
    }

    #[test]
    fn an_account_that_falls_back_is_made_up_for_and_time_without_samples_goes_to_the_next() {
        let second = Duration::from_secs(1);
        let mut accounted = Duration::ZERO;
        assert_eq!(share(&mut accounted, second, 4), second / 4);
        assert_eq!(share(&mut accounted, second / 2, 4), Duration::ZERO);
        assert_eq!(share(&mut accounted, second * 3 / 2, 1), second / 2);
        assert_eq!(share(&mut accounted, second * 2, 0), Duration::ZERO);
        assert_eq!(share(&mut accounted, second * 3, 2), second * 3 / 4);
    }
}
