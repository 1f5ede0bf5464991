//! Bytes per sample on a workload like a gateway's, against pprof with gzip of the same samples; metrics in bytes per
//! value; cost and recovery. Every block is decoded and compared.
//!
//! `cargo run -p telemetry --release --example size`; with `train FILE` it trains the dictionary instead, on programs
//! other than the one that is measured.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement of its own made-up data"
)]

mod counters;
mod pprof;
mod workload;

use std::collections::HashSet;
use std::io::Write;

use telemetry::{
    BlockHeader, BootId, Decoded, Decoder, DictionaryId, Encoder, Frame, IoHistogram, IoOperation, IoTerm,
    StreamId, Window, WindowBuilder, limits,
};
use workload::{Kind, Program, SplitMix64, WINDOWS};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The programs that are measured, with the runs: the second to show that nothing was fitted to the first.
const PROGRAMS: [(&str, u64, u64); 2] = [("telemetry", 1, 42), ("telemetry_second", 77, 5)];
/// The programs that the dictionary is trained on.
const TRAINING: std::ops::Range<u64> = 1_000..1_012;
const KEYFRAME_INTERVAL: usize = 30;

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => measure(),
        [verb, file] if verb == "train" => Ok(std::fs::write(file, train()?)?),
        _ => Err("usage: size [train FILE]".into()),
    }
}

fn measure() -> Outcome<()> {
    for (prefix, program, run) in PROGRAMS {
        sizes(prefix, &Program::new(program), run)?;
    }
    let (_, program, run) = PROGRAMS[0];
    let program = Program::new(program);
    recovery(&program, run)?;
    cost(&program, run)?;
    metrics()?;
    histograms()?;
    line("telemetry_decoder_memory_bound", limits::DECODER_MEMORY as f64 / f64::from(1 << 20), "MiB", None)
}

fn sizes(prefix: &str, program: &Program, run: u64) -> Outcome<()> {
    let (trained, none) = (DictionaryId::PROFILE_1, DictionaryId::NONE);
    for (kind, name) in [(Kind::Address, "address"), (Kind::Symbol, "symbol")] {
        let timed = program.run(kind, run, WINDOWS)?;
        describe(name, &timed)?;
        let windows: Vec<_> = timed.iter().cloned().map(Window::aggregate).collect();
        let samples: u64 = windows.iter().flat_map(|it| it.samples()).map(|it| u64::from(it.count)).sum();
        let per_sample = |bytes: usize| bytes as f64 / samples as f64;
        let blocks = encode(&windows, trained)?;
        check(&windows, &blocks)?;
        let bytes = per_sample(total(&blocks));
        let peer = timed.iter().map(|it| pprof::gzipped(it).map(|it| it.len())).sum::<Result<usize, _>>()?;
        let peer = per_sample(peer);
        line(&format!("{prefix}_{name}_bytes_per_sample"), bytes, "B", Some(("<=", 6.0)))?;
        line(
            &format!("{prefix}_{name}_times_smaller_than_pprof_gzip"),
            peer / bytes,
            "x",
            Some((">=", 8.0)),
        )?;
        line(&format!("{prefix}_{name}_pprof_gzip_bytes_per_sample"), peer, "B", None)?;
        line(
            &format!("{prefix}_{name}_bytes_per_second"),
            bytes * samples as f64 / (f64::from(WINDOWS) * 10.0),
            "B/s",
            None,
        )?;
        let plain = encode(&windows, none)?;
        check(&windows, &plain)?;
        line(&format!("{prefix}_{name}_without_dictionary"), per_sample(total(&plain)), "B", None)?;
        let with_times = encode(&timed, trained)?;
        check(&timed, &with_times)?;
        line(&format!("{prefix}_{name}_with_times"), per_sample(total(&with_times)), "B", None)?;
        let keyframes = blocks.iter().step_by(KEYFRAME_INTERVAL).map(Vec::len).max().unwrap_or_default();
        line(&format!("{prefix}_{name}_largest_keyframe"), keyframes as f64, "B", None)?;
        let mut lens: Vec<_> = blocks.iter().map(Vec::len).collect();
        lens.sort_unstable();
        line(&format!("{prefix}_{name}_median_block"), lens[lens.len() / 2] as f64, "B", None)?;
    }
    Ok(())
}

/// What the workload is like, beside what was recorded.
fn describe(name: &str, windows: &[Window]) -> Outcome<()> {
    let (mut depth, mut samples, mut stacks) = (0, 0, HashSet::<&[Frame]>::new());
    for window in windows {
        for stack in window.samples().iter().filter_map(|sample| window.stack_of(sample)) {
            depth += stack.len();
            samples += 1;
            stacks.insert(stack);
        }
    }
    let mean = f64::from(u32::try_from(depth)?) / f64::from(samples);
    let out = &mut std::io::stdout();
    writeln!(
        out,
        "by {name}: {samples} samples (recorded 4548), mean depth {mean:.1} (11.5), {} stacks ({})",
        stacks.len(),
        if name == "address" { 1_843 } else { 895 }
    )?;
    Ok(())
}

fn encode(windows: &[Window], dictionary: DictionaryId) -> Outcome<Vec<Vec<u8>>> {
    let mut encoder = Encoder::new(BootId(0x5EED), StreamId::PROFILE)?;
    encoder.use_dictionary(dictionary)?;
    Ok(windows.iter().map(|window| encoder.encode(window)).collect::<Result<_, _>>()?)
}

fn check(windows: &[Window], blocks: &[Vec<u8>]) -> Outcome<()> {
    let mut decoder = Decoder::new();
    for (window, block) in windows.iter().zip(blocks) {
        match decoder.decode(block)? {
            Decoded::Window { window: received, .. } if received == *window => {}
            _ => return Err("a block did not come back equal".into()),
        }
    }
    Ok(())
}

fn total(blocks: &[Vec<u8>]) -> usize {
    blocks.iter().map(Vec::len).sum()
}

/// Loses every single block and random sets of one in a hundred, before receivers that ask for a rebirth and before
/// such that cannot: how many blocks in a row they miss at most.
fn recovery(program: &Program, run: u64) -> Outcome<()> {
    const BLOCKS: u32 = 300;
    let windows: Vec<_> =
        program.run(Kind::Address, run, BLOCKS)?.into_iter().map(Window::aggregate).collect();
    let mut random = SplitMix64(7);
    let single = (1..windows.len()).map(|lost| vec![lost]);
    let sets = (0..50).map(|_| (0..windows.len() / 100).map(|_| random.below(windows.len())).collect());
    let all: Vec<Vec<usize>> = single.chain(sets).collect();
    let goal = Some(("<=", KEYFRAME_INTERVAL as f64));
    let mut worst = 0;
    for lost in &all {
        worst = worst.max(blind(&windows, lost, true)?);
    }
    line("telemetry_blocks_until_recovery", worst as f64, "blocks", goal)?;
    let mut worst = (0, 0);
    for lost in &all {
        let blind = blind(&windows, lost, false)?;
        let keyframes = lost.iter().filter(|it| *it % KEYFRAME_INTERVAL == 0).count();
        if keyframes == 0 {
            worst.0 = worst.0.max(blind);
        }
        worst.1 = worst.1.max(blind);
    }
    line("telemetry_blocks_until_recovery_without_asking", worst.0 as f64, "blocks", goal)?;
    line("telemetry_blocks_until_recovery_without_asking_keyframe_lost_too", worst.1 as f64, "blocks", None)
}

/// The longest row of blocks that do not become windows.
fn blind(windows: &[Window], lost: &[usize], asks: bool) -> Outcome<usize> {
    let mut encoder = Encoder::new(BootId(0x5EED), StreamId::PROFILE)?;
    encoder.use_dictionary(DictionaryId::PROFILE_1)?;
    let (mut decoder, mut blind, mut worst) = (Decoder::new(), 0, 0);
    // Before the first loss and long after the last one nothing happens.
    let first = lost.iter().min().map_or(0, |it| it / KEYFRAME_INTERVAL * KEYFRAME_INTERVAL);
    let end = lost.iter().max().map_or(0, |it| it + 3 * KEYFRAME_INTERVAL).min(windows.len());
    for (number, window) in windows.iter().enumerate().take(end).skip(first) {
        let block = encoder.encode(window)?;
        blind += 1;
        if lost.contains(&number) {
            continue;
        }
        match decoder.decode(&block) {
            Ok(Decoded::Window { window: received, .. }) if received == *window => blind = 0,
            Err(error) if error.wants_rebirth() => {
                worst = worst.max(blind);
                if asks {
                    encoder.request_keyframe();
                }
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(worst)
}

fn cost(program: &Program, run: u64) -> Outcome<()> {
    const ROUNDS: u32 = 20;
    let windows: Vec<_> =
        program.run(Kind::Address, run, WINDOWS)?.into_iter().map(Window::aggregate).collect();
    let Some(before) = cpu_ns() else {
        writeln!(std::io::stdout(), "cpu time: not checked, the kernel keeps no schedstat")?;
        return Ok(());
    };
    for _ in 0..ROUNDS {
        encode(&windows, DictionaryId::PROFILE_1)?;
    }
    let spent = cpu_ns().unwrap_or(before) - before;
    let per_block = spent as f64 / 1e3 / f64::from(ROUNDS * WINDOWS);
    line("telemetry_encode_cpu_per_block", per_block, "us", None)
}

/// CPU time of this thread.
fn cpu_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

fn metrics() -> Outcome<()> {
    let windows = counters::windows(28, 3)?;
    let values: usize = windows.iter().flat_map(|it| it.metrics().series()).map(|it| it.values().len()).sum();
    let mut encoder = Encoder::new(BootId(0x5EED), StreamId::METRICS)?;
    let blocks = windows.iter().map(|window| encoder.encode(window)).collect::<Result<Vec<_>, _>>()?;
    check(&windows, &blocks)?;
    line("telemetry_metrics_bytes_per_value", total(&blocks) as f64 / values as f64, "B", None)
}

/// Two devices, four terms each, as a busy logger makes them.
fn histograms() -> Outcome<()> {
    let mut random = SplitMix64(11);
    let mut windows = Vec::new();
    for number in 0..WINDOWS {
        let mut builder = WindowBuilder::new(u64::from(number) * 10_000);
        for device in ["mmcblk0", "nvme0n1"] {
            for term in [IoTerm::Queue, IoTerm::Device, IoTerm::Flush, IoTerm::RunQueue] {
                let mut histogram = IoHistogram::new(device.into(), IoOperation::Write, term);
                for _ in 0..random.below(400) {
                    let magnitude = 12 + random.below(4) + random.below(4) + random.below(4);
                    histogram.record((1 << magnitude) + random.below(1 << magnitude) as u64);
                }
                builder.push_io(histogram)?;
            }
        }
        windows.push(builder.finish(10_000));
    }
    let mut encoder = Encoder::new(BootId(0x5EED), StreamId::IO)?;
    let blocks = windows.iter().map(|window| encoder.encode(window)).collect::<Result<Vec<_>, _>>()?;
    check(&windows, &blocks)?;
    let count: usize = windows.iter().map(|window| window.io().len()).sum();
    line("telemetry_io_bytes_per_histogram", total(&blocks) as f64 / count as f64, "B", None)
}

/// Trains on the bodies of blocks, as the compressor sees them.
fn train() -> Outcome<Vec<u8>> {
    const DICTIONARY_LEN: usize = 16 << 10;
    let mut bodies = Vec::new();
    for seed in TRAINING {
        let program = Program::new(seed);
        for kind in [Kind::Address, Kind::Symbol] {
            let windows = program.run(kind, seed, WINDOWS)?;
            let aggregated: Vec<_> = windows.iter().cloned().map(Window::aggregate).collect();
            for windows in [aggregated, windows] {
                for block in encode(&windows, DictionaryId::NONE)? {
                    let header = BlockHeader::parse(&block)?;
                    // What is not compressed is too short to learn from.
                    let Some(frame) = BlockHeader::frame_of(&block)? else { continue };
                    let frame = [&[0x28, 0xB5, 0x2F, 0xFD], frame].concat();
                    bodies.push(zstd::bulk::decompress(&frame, header.plain_len)?);
                }
            }
        }
    }
    Ok(zstd::dict::from_samples(&bodies, DICTIONARY_LEN)?)
}

fn line(name: &str, value: f64, unit: &str, goal: Option<(&str, f64)>) -> Outcome<()> {
    let out = &mut std::io::stdout();
    let verdict = goal.map_or(String::new(), |(operator, goal)| {
        let met = if operator == "<=" { value <= goal } else { value >= goal };
        format!(" goal {operator} {goal} {unit} {}", if met { "met" } else { "short" })
    });
    Ok(writeln!(out, "figure {name} {value:.2} {unit}{verdict}")?)
}
