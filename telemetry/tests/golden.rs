//! The format held still, and read by somebody else: blocks that lie beside this file mean what they always meant, and
//! a reader of another language, written from WIRE.md, says the same.
//!
//! After a change of the format, `GOLDEN=write cargo test -p telemetry --test golden` writes the files anew.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests; a panic in one is a failed test"
)]

use std::fmt::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use telemetry::{
    BootId, BuildId, Decoded, Decoder, DictionaryId, Encoder, Frame, IoHistogram, IoOperation, IoTerm,
    Mapping, SchedulingClass, StreamId, ThreadInfo, Window, WindowBuilder,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Windows with everything in them; neighbours share much, times and weights vary.
fn windows() -> Vec<Window> {
    (0..9_u32).map(window).collect()
}

fn window(number: u32) -> Window {
    let mut builder = WindowBuilder::new(1_700_000_000_000 + u64::from(number) * 10_003);
    builder.add_lost(u64::from(number) * 3);
    for sample in 0..30_u32 {
        let tid = sample % 4;
        let class = if tid == 3 { SchedulingClass::Realtime(50) } else { SchedulingClass::Normal };
        let thread = ThreadInfo { pid: 742, tid: 742 + tid, name: format!("thread-{tid}").into(), class };
        let frames: Vec<_> = (0..sample % 7).map(|depth| frame((sample * 5 + depth + number) % 23)).collect();
        let weight = if tid == 3 { 20_000_000 } else { 100_000_000 + u64::from(number * sample % 3) };
        builder.push(sample * 331, &thread, &frames, weight).unwrap();
    }
    for row in 0..8_u32 {
        let counter = i64::from(number * 8 + row) * 4_097;
        let gauge = i64::from((number * 7 + row * 5) % 11) - 5;
        let extreme = if row % 2 == 0 { i64::MAX } else { i64::MIN };
        let row_values = [("written_bytes", counter), ("load_ppm", gauge), ("edge_ms", extreme)];
        builder.push_metrics(row * 250, &row_values).unwrap();
    }
    for (device, term) in [("mmcblk0", IoTerm::Queue), ("mmcblk0", IoTerm::RunQueue), ("sda", IoTerm::Flush)]
    {
        let mut histogram = IoHistogram::new(device.into(), IoOperation::Write, term);
        (0..number * 5).for_each(|at| histogram.record(u64::from(at) << (at % 40)));
        builder.push_io(histogram).unwrap();
    }
    let window = builder.finish(10_000);
    if number % 3 == 1 { window.aggregate() } else { window }
}

fn frame(place: u32) -> Frame {
    let path = match place % 3 {
        0 => return Frame::Symbol(format!("module::function_{place}").into()),
        1 => "/usr/bin/gatewayd",
        _ => "/usr/lib/libc.so.6",
    };
    let build_id = BuildId::new(&[u8::try_from(path.len()).unwrap(); 20]).unwrap();
    let mapping = Arc::new(Mapping { build_id, path: path.into() });
    Frame::Address { mapping, offset: u64::from(place) * 0x1357 }
}

fn blocks() -> Vec<u8> {
    let mut encoder = Encoder::new(BootId(0x0123_4567_89AB_CDEF), StreamId::PROFILE).unwrap();
    encoder.keyframe_interval(NonZeroU32::new(5).unwrap());
    let mut out = Vec::new();
    for (number, window) in windows().iter().enumerate() {
        if number == 3 {
            encoder.use_dictionary(DictionaryId::PROFILE_1).unwrap();
        }
        let block = encoder.encode(window).unwrap();
        out.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
        out.extend(block);
    }
    out
}

/// The windows as the other reader prints them.
fn text(windows: &[Window]) -> String {
    let mut out = String::new();
    for window in windows {
        writeln!(out, "window {} {} {}", window.start_unix_ms(), window.duration_ms(), window.lost())
            .unwrap();
        let mut lines: Vec<_> = window
            .samples()
            .iter()
            .map(|sample| {
                let thread = window.thread_of(sample).unwrap();
                let class = match thread.class {
                    SchedulingClass::Normal => 0,
                    SchedulingClass::Realtime(priority) => priority,
                };
                let frames: Vec<_> = window.stack_of(sample).unwrap().iter().map(frame_text).collect();
                format!(
                    "sample {} {} {} {} {} {} {class} {}",
                    sample.at_ms,
                    sample.count,
                    sample.weight_ns,
                    thread.pid,
                    thread.tid,
                    thread.name,
                    frames.join(";")
                )
            })
            .collect();
        if window.is_aggregated() {
            lines.sort();
        }
        for series in window.metrics().series() {
            let pairs = window.metrics().at_ms().iter().zip(series.values());
            let pairs: Vec<_> = pairs.map(|(at, value)| format!("{at}:{value}")).collect();
            lines.push(format!("metric {} {}", series.name(), pairs.join(" ")));
        }
        lines.extend(window.io().iter().map(histogram_text));
        lines.iter().for_each(|line| writeln!(out, "{line}").unwrap());
    }
    out
}

fn frame_text(frame: &Frame) -> String {
    match frame {
        Frame::Symbol(name) => name.to_string(),
        Frame::Address { mapping, offset } => {
            let id: String = mapping.build_id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{id}@{}+{offset:#x}", mapping.path)
        }
    }
}

fn histogram_text(histogram: &IoHistogram) -> String {
    let (operation, term) = (histogram.operation() as u8, histogram.term() as u8);
    let mut out = format!("io {} {operation} {term} {}", histogram.device(), histogram.sum_ns());
    let counts = histogram.buckets();
    let used = counts.iter().position(|it| *it > 0).zip(counts.iter().rposition(|it| *it > 0));
    for bucket in used.into_iter().flat_map(|(first, last)| first..=last) {
        write!(out, " {bucket}:{}", counts[bucket]).unwrap();
    }
    out
}

fn golden() -> Vec<u8> {
    let path = file("tests/golden/blocks.bin");
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(&path, blocks()).unwrap();
    }
    std::fs::read(path).unwrap()
}

#[test]
fn the_blocks_of_the_past_decode_to_the_same_windows() {
    let golden = golden();
    let (mut rest, mut decoder, mut windows) = (&golden[..], Decoder::new(), Vec::new());
    while let Some((len, more)) = rest.split_first_chunk::<4>() {
        let (block, more) = more.split_at(usize::try_from(u32::from_be_bytes(*len)).unwrap());
        rest = more;
        match decoder.decode(block) {
            Ok(Decoded::Window { window, .. }) => windows.push(window),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(windows, self::windows());
}

#[test]
fn a_reader_written_from_the_specification_reads_the_same() {
    let interpreter = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let ready = Command::new(&interpreter).args(["-c", "import zstandard"]).output();
    if !ready.is_ok_and(|output| output.status.success()) {
        eprintln!("not checked: python3 with the package zstandard is missing");
        return;
    }
    golden();
    let output = Command::new(interpreter)
        .args([file("tests/decode.py"), file("tests/golden/blocks.bin"), file("src/trained/profile-1.zdict")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text(&windows()));
}
