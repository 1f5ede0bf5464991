//! The profiler on a real kernel: it must find the thread, and with call stacks the function, that keeps a CPU busy.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic in one is a failed test")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gatewayd::profiler::capture::{Backend, CaptureError};
use gatewayd::profiler::config::{BackendChoice, Config};
use gatewayd::profiler::link::{FrameReader, REBIRTH};
use gatewayd::profiler::sampler::Sampler;
use gatewayd::profiler::service::{ShutdownFlag, Target, run};
use telemetry::{BlockHeader, Decoded, Decoder, Frame, Window};

const BUSY: &str = "busy-thread";
/// The busy function is smaller than this many bytes of code in any build.
const FUNCTION_LEN: u64 = 1_024;

/// Works in plain operators, which are no calls even in a build without optimisation: the function itself is the
/// innermost frame.
#[inline(never)]
fn keep_busy(stop: &AtomicBool) -> u64 {
    let mut number = 88_172_645_463_325_252_u64;
    while !stop.load(Ordering::Relaxed) {
        let mut round = 0_u32;
        while round < 1_000_000 {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            round += 1;
        }
    }
    number
}

/// Runs `profile` while a thread named [`BUSY`] keeps a CPU busy.
fn while_busy<T>(profile: impl FnOnce() -> T) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let busy = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new().name(BUSY.into()).spawn(move || keep_busy(&stop)).unwrap()
    };
    let outcome = profile();
    stop.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    outcome
}

fn config(backend: BackendChoice) -> Config {
    Config {
        backend,
        window: Duration::from_secs(1),
        // The rate is not what is tested here, and few samples of much weight would leave the outcome to chance: take
        // many, whatever else the machine does and whatever they cost in a build without optimisation.
        loaded: Duration::from_millis(10),
        base: Duration::from_millis(10),
        budget: 0.1,
        ..Config::default()
    }
}

fn windows(config: &Config, count: usize) -> Result<Vec<Window>, CaptureError> {
    let mut sampler = Sampler::new(std::process::id(), config, 1, Instant::now())?;
    let expected = if config.backend == BackendChoice::Perf { Backend::Perf } else { Backend::Procfs };
    assert_eq!(sampler.backend(), expected);
    let mut windows = Vec::new();
    while windows.len() < count {
        std::thread::sleep(sampler.poll_timeout().saturating_duration_since(Instant::now()));
        windows.extend(sampler.handle_timeout(Instant::now())?);
    }
    Ok(windows)
}

/// The thread with the most weight, and in seconds: what is in its innermost frames that `pick` picks, what is in all its
/// samples, and what is in all samples.
fn heaviest(windows: &[Window], pick: impl Fn(&Frame) -> bool) -> (String, f64, f64, f64) {
    let mut weights: HashMap<String, (u64, u64)> = HashMap::new();
    for window in windows {
        for sample in window.samples() {
            let thread = window.thread_of(sample).unwrap().name.to_string();
            let (picked, all) = weights.entry(thread).or_default();
            *all += sample.weight_ns;
            if window.stack_of(sample).unwrap().first().is_some_and(&pick) {
                *picked += sample.weight_ns;
            }
        }
    }
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    let total = seconds(weights.values().map(|(_, all)| all).sum());
    let (thread, (picked, all)) = weights.into_iter().max_by_key(|(_, (_, all))| *all).unwrap();
    (thread, seconds(picked), seconds(all), total)
}

/// Where in its file a function of this program lies.
fn file_offset(address: u64) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    maps.lines()
        .find_map(|line| {
            let mut fields = line.split(' ');
            let (start, end) = fields.next()?.split_once('-')?;
            let offset = hex(fields.nth(1)?);
            (hex(start)..hex(end)).contains(&address).then(|| address - hex(start) + offset)
        })
        .unwrap()
}

#[test]
fn call_stacks_show_the_busy_function() {
    let windows = match while_busy(|| windows(&config(BackendChoice::Perf), 3)) {
        Err(CaptureError::Perf { source, .. }) => {
            println!("not checked: call stacks, the kernel refuses perf events ({source})");
            return;
        }
        other => other.unwrap(),
    };
    let program = std::env::current_exe().unwrap();
    let function = file_offset(keep_busy as fn(&'static AtomicBool) -> u64 as usize as u64);
    let (thread, picked, all, total) = heaviest(&windows, |frame| match frame {
        Frame::Address { mapping, offset } => {
            std::path::Path::new(&*mapping.path) == program
                && !mapping.build_id.as_bytes().is_empty()
                && (function..function + FUNCTION_LEN).contains(offset)
        }
        Frame::Symbol(_) => false,
    });
    assert_eq!(thread, BUSY);
    assert!(picked > 0.8 * all, "{picked} s of the thread's {all} s in its function");
    assert!(all > 0.5 * total, "{all} s of {total} s in the thread");
}

#[test]
fn accounts_show_the_busy_thread() {
    let windows = while_busy(|| windows(&config(BackendChoice::Procfs), 3)).unwrap();
    let (thread, picked, all, total) =
        heaviest(&windows, |frame| matches!(frame, Frame::Symbol(place) if place.starts_with(BUSY)));
    assert_eq!(thread, BUSY);
    assert!(picked == all && all > 0.5 * total, "{picked} s, {all} s, {total} s");
    assert!(total > 0.1, "{total} s of CPU time in three seconds");
    let metrics: Vec<_> = windows[1].metrics().series().iter().map(|series| &**series.name()).collect();
    for name in ["system_cpu_ppm", "process_cpu_ppm", "process_rss_bytes", "load1_ppm", "profiler_cost_us"] {
        assert!(metrics.contains(&name), "{name} in {metrics:?}");
    }
}

#[test]
fn the_service_reaches_a_daemon_that_comes_late_and_heeds_its_rebirth() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("profile.sock");
    let shutdown = ShutdownFlag::new();
    let service = {
        let (path, shutdown) = (path.clone(), shutdown.clone());
        std::thread::spawn(move || run(&config(BackendChoice::Auto), path, Target::Peer, &shutdown))
    };
    let listener = UnixListener::bind(&path).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut reader, mut decoder, mut headers) = (FrameReader::new(), Decoder::new(), Vec::new());
    while headers.len() < 3 {
        let mut bytes = [0; 4_096];
        let len = stream.read(&mut bytes).unwrap();
        assert!(len > 0, "the service hung up");
        reader.handle_bytes(&bytes[..len]);
        while let Some(block) = reader.poll_block().unwrap() {
            if block.starts_with(b"{") {
                // A note on how it goes.
                continue;
            }
            headers.push(BlockHeader::parse(&block).unwrap());
            assert!(matches!(decoder.decode(&block), Ok(Decoded::Window { missed: 0, .. })));
            if headers.len() == 2 {
                stream.write_all(&[REBIRTH]).unwrap();
            }
        }
    }
    shutdown.raise();
    service.join().unwrap().unwrap();
    assert_eq!(headers.iter().map(|h| h.keyframe).collect::<Vec<_>>(), [true, false, true]);
}
