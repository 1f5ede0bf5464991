//! Made-up windows of all kinds, the same at every run.

use std::sync::Arc;

use telemetry::{
    BuildId, Dimension, Frame, IoHistogram, IoOperation, IoTerm, Mapping, SchedulingClass, ThreadInfo,
    Window, WindowBuilder,
};

/// When the first window begins: 2026-03-01T12:00:00Z.
pub(crate) const START: u64 = 1_772_366_400_000;

/// How long each lasts, in milliseconds.
pub(crate) const LENGTH: u64 = 10_000;

fn thread(tid: u32, name: &str, class: SchedulingClass) -> ThreadInfo {
    ThreadInfo { pid: 700, tid, name: name.into(), class }
}

fn symbols(innermost_first: &[&str]) -> Vec<Frame> {
    innermost_first.iter().map(|it| Frame::Symbol((*it).into())).collect()
}

/// Window number `index`: all dimensions, metrics, and histograms of block input and output. With `hostile`, names try to
/// break out of whatever they are written into.
pub(crate) fn window(index: u64, hostile: bool) -> Window {
    let mut builder = WindowBuilder::new(START + index * LENGTH);
    let mapping = Arc::new(Mapping {
        build_id: BuildId::new(&[0xab; 20]).unwrap(),
        path: if hostile { "/opt/<script>alert(1)</script>" } else { "/usr/bin/gatewayd" }.into(),
    });
    let bus = thread(701, "bus can0", SchedulingClass::Realtime(50));
    let cloud = thread(702, if hostile { "\"><img src=x>" } else { "cloud" }, SchedulingClass::Normal);
    let evil = if hostile { "</script><script>document.title='x'</script>" } else { "serde_json::to_vec<T>" };
    let grown = 1 + index % 5;
    let mut push = |dimension: Dimension, thread: &ThreadInfo, frames: &[Frame], weight: u64| {
        let stack: Vec<Frame> = dimension.frame().into_iter().chain(frames.iter().cloned()).collect();
        builder.push(1, thread, &stack, weight).unwrap();
    };
    let isotp = symbols(&["isotp::Link::handle_frame", "bus::run", "main"]);
    let hash = vec![
        Frame::Address { mapping: mapping.clone(), offset: 0x4_1200 },
        Frame::Address { mapping, offset: 0x1_0000 },
        Frame::Symbol("main".into()),
    ];
    let json = symbols(&[evil, "telemetry::encode", "cloud::run", "main"]);
    for _ in 0..4 {
        push(Dimension::Cpu, &bus, &isotp, 20_000_000);
    }
    push(Dimension::Cpu, &cloud, &hash, 300_000_000 * grown);
    push(Dimension::Cpu, &cloud, &json, 100_000_000);
    push(Dimension::Heap, &cloud, &json, 524_288 * grown);
    push(Dimension::Pages, &cloud, &symbols(&["[kernel]", "mmap", "cloud::run", "main"]), 65_536);
    push(
        Dimension::Blocked,
        &cloud,
        &symbols(&["fsync", "journal::commit", "cloud::run", "main"]),
        4_720_000,
    );
    push(Dimension::Blocked, &bus, &symbols(&["epoll_wait", "bus::run", "main"]), 9_000_000_000);
    push(Dimension::RunQueue, &cloud, &symbols(&["journal::commit", "cloud::run", "main"]), 1_250_000);
    push(
        Dimension::BlockIo,
        &cloud,
        &symbols(&["mmcblk0", "fsync", "journal::commit", "cloud::run", "main"]),
        3_100_000,
    );
    push(Dimension::Lock, &bus, &symbols(&["[futex]", "Mutex::lock", "bus::run", "main"]), 2_000_000 * grown);
    for row in 0..10_u32 {
        let value = i64::from(row) * 1000 + i64::try_from(index).unwrap();
        let metrics = [("cpu_busy_ppm", 200_000 + value), ("memory_available_bytes", 900_000_000 - value)];
        builder.push_metrics(row * 1000, &metrics).unwrap();
    }
    let histogram = |operation, term, durations: &[u64]| {
        let mut histogram = IoHistogram::new("mmcblk0".into(), operation, term);
        durations.iter().for_each(|it| histogram.record(*it));
        histogram
    };
    builder.push_io(histogram(IoOperation::Write, IoTerm::Device, &[318_000, 410_000, 20_300_000])).unwrap();
    builder.push_io(histogram(IoOperation::Write, IoTerm::RunQueue, &[1_250_000 * grown])).unwrap();
    builder.push_io(histogram(IoOperation::Flush, IoTerm::Flush, &[4_000_000])).unwrap();
    builder.add_lost(index % 2);
    builder.finish(u32::try_from(LENGTH).unwrap()).aggregate()
}
