//! How often to sample: a law of load, of the thread's priority and of what sampling itself costs.
//!
//! * A normal thread is sampled every `base` on average, every `loaded` while the machine is busier than `high_load`.
//!   The load counts at once when it rises and is forgotten slowly when it falls, so that bursts are not flapped over.
//! * A real-time thread is sampled every `realtime`, under high load too: it is the one whose deadline is at stake
//!   exactly then, its 50 samples a second cost about 0.02 % of a CPU, and it rarely is what makes the load.
//! * Own cost above `budget` makes measuring rarer at once by as much as it is above, and lets go slowly. Events
//!   (switches, locks, pages, requests) give way first: they are what costs, while the timer's samples cost next to
//!   nothing and say where time goes. Then the intervals of normal threads stretch, and those of real-time threads only
//!   when normal ones have given all they can.
//! * Every interval is drawn anew between half and one and a half of its mean. Vehicles run cyclic tasks of 5, 10, 20
//!   and 100 ms; a fixed interval falls in step with them and reads 0 % or 100 % for a task that takes 40 %.

use std::time::{Duration, Instant};

use telemetry::SchedulingClass;

use super::config::Config;
use super::poisson::SplitMix64;

/// Events get rarer by this at most before the timer's intervals stretch.
const EVENT_STRETCH: f64 = 50.0;
/// What an event costs at the very least: so many are allowed that with this cost they would take the whole budget.
const LEAST_EVENT_COST: Duration = Duration::from_micros(2);
/// A normal thread's interval is stretched by this at most before real-time threads give way.
const NORMAL_STRETCH: f64 = 20.0;
/// A real-time thread's interval is stretched by this at most.
const REALTIME_STRETCH: f64 = 50.0;
/// Time in which the pressure of own cost falls to 1/e.
const COST_MEMORY: Duration = Duration::from_secs(30);
/// Time in which a past load falls to 1/e.
const LOAD_MEMORY: Duration = Duration::from_secs(10);

/// The law. Pure: time, load and cost are handed in.
#[derive(Debug)]
pub struct RateLaw {
    base: Duration,
    loaded: Duration,
    realtime: Duration,
    high_load: f64,
    budget: f64,
    /// [`EVENT_STRETCH`] where there are events, else 1.
    event_stretch: f64,
    /// Highest load of late, 0 to 1.
    load: f64,
    load_at: Option<Instant>,
    /// By how much sampling must be rarer than wished, 1 and up.
    pressure: f64,
    cost_at: Option<Instant>,
    random: SplitMix64,
}

impl RateLaw {
    /// The law of `config`, with intervals drawn from `seed`.
    pub fn new(config: &Config, seed: u64) -> Self {
        Self {
            base: config.base,
            loaded: config.loaded,
            realtime: config.realtime,
            high_load: config.high_load,
            budget: config.budget,
            event_stretch: 1.0,
            load: 0.0,
            load_at: None,
            pressure: 1.0,
            cost_at: None,
            random: SplitMix64(seed),
        }
    }

    /// Says whether events are measured beside the timer's samples, which then give way before those.
    pub fn handle_events(&mut self, measured: bool) {
        self.event_stretch = if measured { EVENT_STRETCH } else { 1.0 };
    }

    /// Takes the share of all CPUs' time that was busy of late, 0 to 1.
    pub fn handle_load(&mut self, now: Instant, share: f64) {
        let remembered = self.load * decay(self.load_at, now, LOAD_MEMORY);
        self.load = share.clamp(0.0, 1.0).max(remembered);
        self.load_at = Some(now);
    }

    /// Takes what profiling cost: `spent` CPU time since the last call. The first call only sets the start.
    pub fn handle_cost(&mut self, now: Instant, spent: Duration) {
        let Some(before) = self.cost_at.replace(now) else { return };
        let elapsed = now.saturating_duration_since(before);
        if elapsed.is_zero() {
            return;
        }
        let share = spent.as_secs_f64() / elapsed.as_secs_f64();
        // What the pressure should have been, as the cost goes with the rate.
        let needed = self.pressure * share / self.budget;
        let remembered = self.pressure * decay(Some(before), now, COST_MEMORY);
        let most = self.event_stretch * NORMAL_STRETCH * REALTIME_STRETCH;
        self.pressure = needed.max(remembered).clamp(1.0, most);
    }

    /// The mean interval in force for a thread of this class.
    pub fn mean(&self, class: SchedulingClass) -> Duration {
        match class {
            SchedulingClass::Normal => {
                let nominal = if self.load > self.high_load { self.loaded } else { self.base };
                nominal.mul_f64(self.timer_pressure().min(NORMAL_STRETCH))
            }
            SchedulingClass::Realtime(_) => {
                self.realtime.mul_f64((self.timer_pressure() / NORMAL_STRETCH).clamp(1.0, REALTIME_STRETCH))
            }
        }
    }

    /// Events per second that may be taken, on the whole machine.
    pub fn events_per_second(&self) -> f64 {
        self.budget / LEAST_EVENT_COST.as_secs_f64() / self.pressure.min(self.event_stretch)
    }

    /// Draws the next interval for a thread of this class: half to one and a half of the mean.
    pub fn draw(&mut self, class: SchedulingClass) -> Duration {
        let mean = u64::try_from(self.mean(class).as_nanos()).unwrap_or(u64::MAX / 2);
        Duration::from_nanos(mean / 2 + self.random.below(mean + 1))
    }

    /// By how much sampling is rarer than wished because of its cost, 1 and up.
    pub fn stretch(&self) -> f64 {
        self.pressure
    }

    /// Share of one CPU that measuring may take.
    pub fn budget(&self) -> f64 {
        self.budget
    }

    /// What of the pressure the timer must bear.
    fn timer_pressure(&self) -> f64 {
        (self.pressure / self.event_stretch).max(1.0)
    }
}

fn decay(before: Option<Instant>, now: Instant, memory: Duration) -> f64 {
    let elapsed = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
    (-elapsed.as_secs_f64() / memory.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: SchedulingClass = SchedulingClass::Normal;
    const REALTIME: SchedulingClass = SchedulingClass::Realtime(50);
    const MS: Duration = Duration::from_millis(1);

    fn law() -> RateLaw {
        RateLaw::new(&Config::default(), 1)
    }

    /// Share of samples that fall into the first 8 ms of every 20 ms.
    fn share_seen(mut interval: impl FnMut() -> Duration, span: Duration) -> f64 {
        let (mut at, mut seen, mut all) = (Duration::ZERO, 0.0, 0.0);
        while at < span {
            if at.as_nanos() % 20_000_000 < 8_000_000 {
                seen += 1.0;
            }
            all += 1.0;
            at += interval();
        }
        seen / all
    }

    #[test]
    fn a_cyclic_task_of_40_per_cent_reads_36_to_44() {
        for (class, span) in [(REALTIME, 120), (NORMAL, 600)] {
            for seed in 0..20 {
                let mut law = RateLaw::new(&Config::default(), seed);
                let share = share_seen(|| law.draw(class), Duration::from_secs(span));
                assert!((0.36..=0.44).contains(&share), "{class:?}, seed {seed}: {share}");
            }
        }
    }

    #[test]
    fn a_fixed_interval_would_read_it_as_all_or_nothing() {
        for interval in [20, 100] {
            let share = share_seen(|| interval * MS, Duration::from_secs(120));
            assert!(share == 0.0 || share == 1.0, "{share}");
        }
    }

    #[test]
    fn intervals_keep_their_mean_and_their_bounds() {
        let mut law = law();
        let drawn: Vec<_> = (0..10_000).map(|_| law.draw(NORMAL)).collect();
        assert!(drawn.iter().all(|interval| (50 * MS..=150 * MS).contains(interval)));
        let mean = drawn.iter().sum::<Duration>() / 10_000;
        assert!((99 * MS..=101 * MS).contains(&mean), "{mean:?}");
    }

    #[test]
    fn high_load_slows_normal_threads_at_once_and_real_time_threads_never() {
        let (mut law, now) = (law(), Instant::now());
        law.handle_load(now, 0.70);
        assert_eq!(law.mean(NORMAL), 100 * MS, "at the threshold");
        law.handle_load(now, 0.71);
        assert_eq!(law.mean(NORMAL), 500 * MS, "above it");
        assert_eq!(law.mean(REALTIME), 20 * MS);
    }

    #[test]
    fn a_burst_of_load_is_forgotten_slowly() {
        let (mut law, start) = (law(), Instant::now());
        law.handle_load(start, 1.0);
        let calm_at = (1..60)
            .find(|second| {
                law.handle_load(start + Duration::from_secs(*second), 0.1);
                law.mean(NORMAL) == 100 * MS
            })
            .unwrap();
        // exp(-t / 10 s) = 0.7 at 3.57 s.
        assert_eq!(calm_at, 4);
    }

    /// Runs the law for a minute against samplers that cost `per_sample` each and `fixed` a second; the cost of the
    /// last second as a share of one CPU.
    fn settled_cost(law: &mut RateLaw, threads: f64, per_sample: Duration, fixed: Duration) -> f64 {
        let start = Instant::now();
        let mut spent = Duration::ZERO;
        for second in 0..60 {
            law.handle_cost(start + Duration::from_secs(second), spent);
            let rate = threads / law.mean(NORMAL).as_secs_f64() + 1.0 / law.mean(REALTIME).as_secs_f64();
            spent = per_sample.mul_f64(rate) + fixed;
        }
        spent.as_secs_f64()
    }

    #[test]
    fn cheap_sampling_runs_at_the_wished_rate() {
        let mut law = law();
        let cost = settled_cost(&mut law, 8.0, Duration::from_micros(4), Duration::ZERO);
        assert!(cost < 0.005, "{cost}");
        assert_eq!((law.mean(NORMAL), law.mean(REALTIME)), (100 * MS, 20 * MS));
    }

    #[test]
    fn dear_sampling_is_held_to_its_budget_by_normal_threads_first() {
        let mut law = law();
        // 100 threads at 10 Hz and 100 us would cost 10 % of a CPU, the real-time thread's 50 Hz 0.5 % alone.
        let cost = settled_cost(&mut law, 100.0, Duration::from_micros(80), Duration::ZERO);
        assert!(cost <= 0.0055, "{cost}");
        assert!(law.mean(NORMAL) > 1_000 * MS, "{:?}", law.mean(NORMAL));
    }

    #[test]
    fn when_normal_threads_have_given_all_real_time_threads_give_way() {
        let mut law = law();
        let cost = settled_cost(&mut law, 1.0, Duration::from_micros(400), Duration::ZERO);
        assert!(cost <= 0.0055, "{cost}");
        assert_eq!(law.mean(NORMAL), 2_000 * MS);
        assert!(law.mean(REALTIME) > 20 * MS, "{:?}", law.mean(REALTIME));
    }

    #[test]
    fn a_cost_that_no_rate_can_lower_ends_at_the_longest_intervals() {
        let mut law = law();
        settled_cost(&mut law, 1.0, Duration::ZERO, 100 * MS);
        assert_eq!((law.mean(NORMAL), law.mean(REALTIME)), (2_000 * MS, 1_000 * MS));
    }

    /// The law against a minute of events, `wanted` a second at 6 us each, beside a timer of 20 samples a second: the mean
    /// cost of the last half, and the events taken in the last second.
    fn events_under_law(law: &mut RateLaw, wanted: impl Fn(u64) -> f64) -> (f64, f64) {
        law.handle_events(true);
        let start = Instant::now();
        let (mut spent, mut sum, mut taken) = (Duration::ZERO, Duration::ZERO, 0.0);
        for second in 0..60 {
            law.handle_cost(start + Duration::from_secs(second), spent);
            taken = wanted(second).min(law.events_per_second());
            spent = Duration::from_micros(6).mul_f64(taken) + Duration::from_micros(80);
            if second >= 30 {
                sum += spent;
            }
        }
        (sum.as_secs_f64() / 30.0, taken)
    }

    #[test]
    fn fifty_thousand_switches_a_second_are_held_to_the_budget_and_the_timer_keeps_its_pace() {
        let mut law = law();
        let (cost, taken) = events_under_law(&mut law, |_| 50_000.0);
        assert!(cost <= 0.0055, "{cost}");
        assert!(taken > 500.0, "{taken} events a second: throttled, not switched off");
        assert_eq!((law.mean(NORMAL), law.mean(REALTIME)), (100 * MS, 20 * MS));
    }

    #[test]
    fn few_events_are_all_taken() {
        let mut law = law();
        let (cost, taken) = events_under_law(&mut law, |_| 300.0);
        assert!(cost < 0.0025, "{cost}");
        assert!((299.0..301.0).contains(&taken), "{taken}");
    }

    #[test]
    fn bursts_of_events_cost_no_more_than_the_budget_on_the_whole() {
        // As of a gateway that writes its log every ten seconds: a quiet rate, then two seconds of bursts.
        let mut law = law();
        let (cost, _) = events_under_law(&mut law, |second| if second % 10 < 2 { 12_000.0 } else { 400.0 });
        assert!(cost <= 0.005, "{cost}");
    }

    #[test]
    fn the_timer_gives_way_when_events_have_given_all() {
        let mut law = law();
        law.handle_events(true);
        settled_cost(&mut law, 1.0, Duration::ZERO, 100 * MS);
        assert!(law.events_per_second() <= 50.0, "{}", law.events_per_second());
        assert_eq!((law.mean(NORMAL), law.mean(REALTIME)), (2_000 * MS, 1_000 * MS));
    }

    #[test]
    fn a_peak_of_cost_is_answered_at_once_and_forgotten_slowly() {
        let (mut law, start) = (law(), Instant::now());
        let second = |number| start + Duration::from_secs(number);
        law.handle_cost(second(0), Duration::ZERO);
        law.handle_cost(second(1), 20 * MS);
        assert_eq!(law.mean(NORMAL), 400 * MS, "four times the budget, four times the interval");
        for number in 2..=11 {
            law.handle_cost(second(number), Duration::ZERO);
        }
        assert!(law.mean(NORMAL) > 250 * MS, "{:?} after ten calm seconds", law.mean(NORMAL));
        for number in 12..=60 {
            law.handle_cost(second(number), Duration::ZERO);
        }
        assert_eq!(law.mean(NORMAL), 100 * MS, "after a calm minute");
    }
}
