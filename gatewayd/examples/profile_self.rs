//! Profiles itself while one thread is busy, in both ways of sampling, and prints what was found and what it cost.
//!
//! `cargo run -p gatewayd --release --example profile_self [SECONDS]`

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gatewayd::profiler::config::{BackendChoice, Config};
use gatewayd::profiler::sampler::Sampler;
use telemetry::{BootId, Encoder, Frame, StreamId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let seconds = std::env::args().nth(1).map_or(Ok(20), |text| text.parse())?;
    let stop = Arc::new(AtomicBool::new(false));
    let busy = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new().name("busy".into()).spawn(move || keep_busy(&stop))?
    };
    for backend in [BackendChoice::Perf, BackendChoice::Procfs] {
        if let Err(error) = profile(backend, Duration::from_secs(seconds)) {
            writeln!(std::io::stdout(), "not checked: {backend:?}: {error}")?;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let _finished = busy.join();
    Ok(())
}

fn profile(backend: BackendChoice, span: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config { backend, window: Duration::from_secs(2), ..Config::default() };
    let start = Instant::now();
    let mut sampler = Sampler::new(std::process::id(), &config, 1, start)?;
    let mut encoder = Encoder::new(BootId(1), StreamId::PROFILE)?;
    let mut weights: BTreeMap<String, u64> = BTreeMap::new();
    let (mut samples, mut bytes, mut cost_us) = (0_u32, 0_u32, 0);
    while start.elapsed() < span {
        std::thread::sleep(sampler.poll_timeout().saturating_duration_since(Instant::now()));
        let Some(window) = sampler.handle_timeout(Instant::now())? else { continue };
        bytes += u32::try_from(encoder.encode(&window)?.len())?;
        samples += u32::try_from(window.samples().len())?;
        for series in window.metrics().series().iter().filter(|series| &**series.name() == "profiler_cost_us")
        {
            cost_us += series.values().iter().sum::<i64>();
        }
        for sample in window.samples() {
            let thread = window.thread_of(sample).map_or("?", |thread| &thread.name);
            let frame = window.stack_of(sample).and_then(|stack| stack.first().cloned());
            let place = match frame {
                None => "no stack".to_owned(),
                Some(Frame::Symbol(name)) => name.to_string(),
                Some(Frame::Address { mapping, offset }) => format!("{} +{offset:#x}", mapping.path),
            };
            *weights.entry(format!("{thread}: {place}")).or_default() += sample.weight_ns;
        }
    }
    let elapsed = start.elapsed();
    let out = &mut std::io::stdout();
    let mut weights: Vec<_> = weights.into_iter().collect();
    weights.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    writeln!(out, "{} for {elapsed:.1?}: {samples} samples", sampler.backend())?;
    for (place, weight) in weights.iter().take(5) {
        writeln!(out, "  {:8.3} s  {place}", Duration::from_nanos(*weight).as_secs_f64())?;
    }
    let all: u64 = weights.iter().map(|(_, weight)| weight).sum();
    writeln!(out, "  {:8.3} s  in all", Duration::from_nanos(all).as_secs_f64())?;
    let share = Duration::from_micros(u64::try_from(cost_us)?).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
    let verdict = if share <= 0.5 { "met" } else { "short" };
    writeln!(out, "figure profiler_cost_{} {share:.3} % goal <= 0.5 % {verdict}", sampler.backend())?;
    let blocks = encoder.next_seq();
    writeln!(
        out,
        "  {bytes} B in {blocks} blocks, {:.1} B per sample, metrics included",
        f64::from(bytes) / f64::from(samples.max(1))
    )?;
    Ok(())
}

#[inline(never)]
fn keep_busy(stop: &AtomicBool) -> u64 {
    let mut number = 1_u64;
    while !stop.load(Ordering::Relaxed) {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    number
}
