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

/// The program that is measured, and its run.
const PROGRAM: u64 = 1;
const RUN: u64 = 42;
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
    let program = Program::new(PROGRAM);
    let (trained, none) = (DictionaryId::PROFILE_1, DictionaryId::NONE);
    for (kind, name) in [(Kind::Address, "address"), (Kind::Symbol, "symbol")] {
        let timed = program.run(kind, RUN, WINDOWS)?;
        describe(name, &timed)?;
        let windows: Vec<_> = timed.iter().cloned().map(Window::aggregate).collect();
        let samples: u64 = windows.iter().flat_map(|it| it.samples()).map(|it| u64::from(it.count)).sum();
        let per_sample = |bytes: usize| bytes as f64 / samples as f64;
        let blocks = encode(&windows, trained)?;
        check(&windows, &blocks)?;
        let bytes = per_sample(total(&blocks));
        let peer = timed.iter().map(|it| pprof::gzipped(it).map(|it| it.len())).sum::<Result<usize, _>>()?;
        let peer = per_sample(peer);
        line(&format!("telemetry_{name}_bytes_per_sample"), bytes, "B", Some(("<=", 6.0)))?;
        line(
            &format!("telemetry_{name}_times_smaller_than_pprof_gzip"),
            peer / bytes,
            "x",
            Some((">=", 8.0)),
        )?;
        line(&format!("telemetry_{name}_pprof_gzip_bytes_per_sample"), peer, "B", None)?;
        line(
            &format!("telemetry_{name}_bytes_per_second"),
            bytes * samples as f64 / (f64::from(WINDOWS) * 10.0),
            "B/s",
            None,
        )?;
        let plain = encode(&windows, none)?;
        check(&windows, &plain)?;
        line(&format!("telemetry_{name}_without_dictionary"), per_sample(total(&plain)), "B", None)?;
        let with_times = encode(&timed, trained)?;
        check(&timed, &with_times)?;
        line(&format!("telemetry_{name}_with_times"), per_sample(total(&with_times)), "B", None)?;
        let keyframes = blocks.iter().step_by(KEYFRAME_INTERVAL).map(Vec::len).max().unwrap_or_default();
        line(&format!("telemetry_{name}_largest_keyframe"), keyframes as f64, "B", None)?;
        let mut lens: Vec<_> = blocks.iter().map(Vec::len).collect();
        lens.sort_unstable();
        line(&format!("telemetry_{name}_median_block"), lens[lens.len() / 2] as f64, "B", None)?;
    }
    recovery(&program)?;
    cost(&program)?;
    metrics()?;
    histograms()?;
    line("telemetry_decoder_memory_bound", limits::DECODER_MEMORY as f64 / f64::from(1 << 20), "MiB", None)
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

/// Loses every single block and random sets of one in a hundred, without asking for a rebirth.
fn recovery(program: &Program) -> Outcome<()> {
    const BLOCKS: u32 = 300;
    let windows: Vec<_> =
        program.run(Kind::Address, RUN, BLOCKS)?.into_iter().map(Window::aggregate).collect();
    let blocks = encode(&windows, DictionaryId::PROFILE_1)?;
    let mut random = SplitMix64(7);
    let single = (1..blocks.len()).map(|lost| vec![lost]);
    let sets = (0..50).map(|_| (0..blocks.len() / 100).map(|_| random.below(blocks.len())).collect());
    let mut worst = 0;
    for lost in single.chain(sets.collect::<Vec<_>>()) {
        let (mut decoder, mut blind) = (Decoder::new(), 0);
        for (number, block) in blocks.iter().enumerate() {
            blind += 1;
            if lost.contains(&number) {
                continue;
            }
            match decoder.decode(block) {
                Ok(Decoded::Window { window, .. }) if window == windows[number] => blind = 0,
                Err(error) if error.wants_rebirth() => worst = worst.max(blind),
                other => return Err(format!("{other:?}").into()),
            }
        }
    }
    line("telemetry_blocks_until_recovery", worst as f64, "blocks", Some(("<=", KEYFRAME_INTERVAL as f64)))
}

fn cost(program: &Program) -> Outcome<()> {
    const ROUNDS: u32 = 20;
    let windows: Vec<_> =
        program.run(Kind::Address, RUN, WINDOWS)?.into_iter().map(Window::aggregate).collect();
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
                    let frame = [&[0x28, 0xB5, 0x2F, 0xFD], BlockHeader::frame_of(&block)?].concat();
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
