//! The whole machine on a real kernel: of a load whose causes are known, each cause must be on top of its dimension. Needs a
//! kernel that gives perf events on its CPUs and a mounted tracefs; where it does not, the test says so and checks nothing.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "helpers of tests; a panic in one is a failed test, and no digits matter"
)]

#[path = "../examples/load.rs"]
#[allow(dead_code, reason = "the program's own start")]
mod load;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gatewayd::profiler::capture::{Backend, CaptureError};
use gatewayd::profiler::config::{BackendChoice, Config};
use gatewayd::profiler::sampler::Sampler;
use gatewayd::profiler::state::ProfilerState;
use telemetry::{Dimension, Frame, Window};

/// Windows of two seconds that are looked at.
const WINDOWS: usize = 5;

/// The ways of measuring the whole machine.
const EVENTS: BackendChoice = BackendChoice::Machine;
const PROGRAMS: BackendChoice = BackendChoice::Bpf;

fn config(backend: BackendChoice) -> Config {
    Config {
        backend,
        window: Duration::from_secs(2),
        // The rate is not what is tested here: take enough that the outcome is not left to chance, on a busy machine too.
        base: Duration::from_millis(20),
        loaded: Duration::from_millis(20),
        budget: 0.1,
        ..Config::default()
    }
}

/// So many windows, and what is said of the last; `None` where the kernel, or the build, does not have this back end.
fn windows(
    config: &Config,
    count: usize,
    begun: impl FnOnce(),
) -> Result<Option<(Vec<Window>, ProfilerState)>, CaptureError> {
    let mut sampler = match Sampler::new(std::process::id(), config, 1, Instant::now()) {
        Err(error @ (CaptureError::Machine { .. } | CaptureError::Programs { .. })) => {
            println!("not checked: {error}");
            return Ok(None);
        }
        other => other?,
    };
    let wanted = if config.backend == PROGRAMS { Backend::Bpf } else { Backend::Machine };
    assert_eq!(sampler.backend(), wanted);
    begun();
    let mut windows = Vec::new();
    while windows.len() < count {
        std::thread::sleep(sampler.poll_timeout().saturating_duration_since(Instant::now()));
        windows.extend(sampler.handle_timeout(Instant::now())?);
    }
    Ok(Some((windows, sampler.state().clone())))
}

/// True on a machine whose CPUs are wanted by so many others that the load cannot show what it is; says so.
fn too_busy() -> bool {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let average = text.split_once("avg10=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let busy = average.is_some_and(|percent| percent > 50.0);
    if busy {
        println!("not checked: the machine is busy with other things (CPU pressure {average:?} %)");
    }
    busy
}

/// Weights of this process' threads in one dimension, heaviest first, and the symbols below the marks.
fn ranking(windows: &[Window], dimension: Dimension) -> Vec<(String, u64, Vec<String>)> {
    let mut weights: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for window in windows {
        for sample in window.samples() {
            let (thread, stack) = (window.thread_of(sample).unwrap(), window.stack_of(sample).unwrap());
            let (measured, place) = Dimension::of(stack);
            if measured != dimension || thread.pid != std::process::id() {
                continue;
            }
            let (weight, symbols) = weights.entry(thread.name.to_string()).or_default();
            *weight += sample.weight_ns;
            if let Some(Frame::Symbol(symbol)) = place.first() {
                symbols.push(symbol.to_string());
            }
        }
    }
    let mut ranking: Vec<_> =
        weights.into_iter().map(|(name, (weight, symbols))| (name, weight, symbols)).collect();
    ranking.sort_by_key(|(_, weight, _)| std::cmp::Reverse(*weight));
    ranking
}

#[test]
#[ignore = "measures the machine it runs on, which must be quiet: make test-profiler"]
fn each_cause_is_on_top_of_its_dimension_by_events() {
    causes(EVENTS);
}

#[test]
#[ignore = "measures the machine it runs on, which must be quiet: make test-profiler"]
fn each_cause_is_on_top_of_its_dimension_by_programs() {
    causes(PROGRAMS);
}

fn causes(backend: BackendChoice) {
    if too_busy() {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let file = folder.path().join("load");
    let load = std::thread::spawn(move || load::run(Duration::from_secs(12), file));
    let outcome = windows(&config(backend), WINDOWS, || ());
    load.join().unwrap();
    let Some((windows, state)) = outcome.unwrap() else { return };
    println!("{state:#?}");
    for histogram in windows.iter().flat_map(Window::io) {
        let (operation, term) = (histogram.operation(), histogram.term());
        println!("{} {operation:?} {term:?}: {} ns", histogram.device(), histogram.sum_ns());
    }
    for dimension in Dimension::ALL {
        let lines: Vec<_> = ranking(&windows, dimension)
            .into_iter()
            .take(4)
            .map(|(name, weight, _)| (name, weight))
            .collect();
        println!("{dimension:?}: {lines:?}");
    }
    let top = |dimension| {
        ranking(&windows, dimension).into_iter().next().map(|(name, ..)| name).unwrap_or_default()
    };
    assert_eq!(top(Dimension::Cpu), "cpu-hog");
    let measured = |name: &str| {
        // On a machine that is flooded with such events they are looked at too rarely to expect anything of ten seconds.
        let on =
            state.dimensions.iter().any(|it| it.name == name && it.state == "on" && it.share_ppm > 300_000);
        if !on {
            println!("not checked: {name}, {:?}", state.dimensions);
        }
        on
    };
    if measured("memory") {
        assert_eq!(top(Dimension::Pages), "leaker");
    }
    if measured("locks") {
        assert!(top(Dimension::Lock).starts_with("convoy-"), "{}", top(Dimension::Lock));
        let seconds = ranking(&windows, Dimension::Lock).iter().map(|(_, weight, _)| weight).sum::<u64>()
            / 1_000_000_000;
        // Three of four wait all the time: 30 seconds in ten.
        assert!((10..=60).contains(&seconds), "{seconds} s of waiting");
    }
    if measured("block-io") {
        assert_eq!(top(Dimension::BlockIo), "fsync-writer");
        let requests: u64 =
            windows.iter().flat_map(Window::io).map(|it| it.buckets().iter().sum::<u64>()).sum();
        assert!(requests > 20, "{requests} requests in the histograms");
    }
    if measured("blocking") {
        let slept = ranking(&windows, Dimension::Blocked);
        assert!(slept.iter().any(|(name, ..)| name == "fsync-writer"), "{slept:?}");
        assert!(!ranking(&windows, Dimension::RunQueue).is_empty());
    }
}

/// How a cyclic task is looked at: back end, mean interval for real-time threads in milliseconds, threads that take whatever
/// CPU time is left, windows of ten seconds.
///
/// Beside others the standard error is 1.3 points with 1500 samples; alone on its CPU the task has all of them.
const SETTINGS: [(BackendChoice, u64, usize, usize); 5] =
    [(EVENTS, 20, 0, 2), (EVENTS, 20, 4, 3), (EVENTS, 10, 4, 2), (EVENTS, 40, 4, 6), (PROGRAMS, 20, 4, 3)];

/// A cyclic task of the highest urgency: 8 ms of each 20 ms. Needs the right to real-time scheduling.
///
/// Compared with its CPU time, which is the clock's on the wall less what a host has lent out to others meanwhile.
#[test]
#[ignore = "measures the machine it runs on, which must be quiet: make test-profiler"]
fn a_cyclic_real_time_task_of_40_per_cent_reads_as_that_at_every_setting() {
    let (stop, worked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (sender, receiver) = std::sync::mpsc::channel();
    let task = {
        let (stop, worked) = (Arc::clone(&stop), Arc::clone(&worked));
        std::thread::Builder::new()
            .name("cyclic".into())
            .spawn(move || cyclic(&stop, &worked, &sender))
            .unwrap()
    };
    if receiver.recv().unwrap() {
        let off =
            SETTINGS.into_iter().filter(|setting| !reads_as_it_is(setting, &worked)).collect::<Vec<_>>();
        stop.store(true, Ordering::Relaxed);
        assert!(off.is_empty(), "not 36 to 44 %: {off:?}");
    } else {
        println!("not checked: real-time scheduling is refused here");
    }
    task.join().unwrap();
}

/// Tells others to stop when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// True if 40 % reads as 36 to 44 %, or if this kernel does not have the back end.
fn reads_as_it_is(setting: &(BackendChoice, u64, usize, usize), worked: &AtomicU64) -> bool {
    let &(backend, realtime, others, count) = setting;
    let stop = AtomicBool::new(false);
    let (mut before, mut after) = (0, 0);
    let outcome = std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // As shipped, but for the budget: a build without optimisation costs more than what is shipped.
        let config = Config {
            window: Duration::from_secs(10),
            realtime: Duration::from_millis(realtime),
            budget: 0.1,
            backend,
            ..Config::default()
        };
        let _others_end = Stop(&stop);
        let outcome = windows(&config, count, || before = worked.load(Ordering::Relaxed));
        after = worked.load(Ordering::Relaxed);
        outcome
    });
    let Some((windows, _)) = outcome.unwrap() else { return true };
    let ranking = ranking(&windows, Dimension::Cpu);
    let seen = ranking.iter().find(|(name, ..)| name == "cyclic").map_or(0, |(_, seen, _)| *seen);
    let ratio = seen as f64 / (after - before) as f64;
    let lost: Vec<u64> = windows.iter().map(Window::lost).collect();
    println!("{setting:?}: 40 % reads as {:.1} %; lost {lost:?}", ratio * 40.0);
    (0.9..=1.1).contains(&ratio)
}

/// Runs until told to stop and tells how much CPU time it had. Says first whether it runs in real time.
fn cyclic(stop: &AtomicBool, worked: &AtomicU64, started: &std::sync::mpsc::Sender<bool>) {
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let tid = thread.file_name().unwrap().to_str().unwrap();
    let allowed = std::process::Command::new("chrt").args(["-f", "-p", "50", tid]).status();
    let allowed = allowed.is_ok_and(|status| status.success());
    started.send(allowed).unwrap();
    let (period, busy) = (Duration::from_millis(20), Duration::from_millis(8));
    let mut next = Instant::now();
    while allowed && !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        while begun.elapsed() < busy {
            std::hint::spin_loop();
        }
        let had = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        worked.store(u64::try_from(Duration::try_from(had).unwrap().as_nanos()).unwrap(), Ordering::Relaxed);
        next += period;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
