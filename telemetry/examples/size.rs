//! Bytes per sample on a workload like a gateway's, against a self-contained window in pprof's manner.
//!
//! `cargo run -p telemetry --release --example size`. The workload is made up (seeded), so the figure is for
//! comparing versions of the codec with each other, not with a profile of a real machine.

use std::io::Write;

use telemetry::{
    BlockHeader, BootId, BuildId, Encoder, Frame, Mapping, SchedulingClass, StreamId, ThreadInfo, Window,
    WindowBuilder,
};

const WINDOWS: u32 = 61;
const SAMPLES_PER_WINDOW: u32 = 75;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut random = SplitMix64(42);
    let stacks = stacks(&mut random);
    let mut encoder = Encoder::new(BootId(1), StreamId::PROFILE)?;
    let (mut delta, mut alone, mut samples, mut keyframes) = (0, 0, 0, 0);
    let (mut late, mut late_samples) = (0, 0);
    for number in 0..WINDOWS {
        let window = window(number, &stacks, &mut random)?;
        let block = encoder.encode(&window)?;
        samples += window.samples().len();
        delta += block.len();
        keyframes += usize::from(BlockHeader::parse(&block)?.keyframe);
        alone += self_contained(&window)?;
        if number >= WINDOWS / 2 {
            late += block.len();
            late_samples += window.samples().len();
        }
    }
    let per_sample = |bytes: usize, samples: usize| bytes as f64 / samples as f64;
    let out = &mut std::io::stdout();
    let delta = per_sample(delta, samples);
    let alone = per_sample(alone, samples);
    writeln!(out, "{samples} samples in {WINDOWS} windows, {keyframes} keyframes")?;
    writeln!(out, "figure telemetry_bytes_per_sample {delta:.2} B goal <= 6.0 B {}", verdict(delta <= 6.0))?;
    writeln!(out, "second half alone: {:.2} B", per_sample(late, late_samples))?;
    writeln!(out, "the same windows self-contained, as protobuf tables and zstd 3: {alone:.2} B")?;
    Ok(())
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "short" }
}

/// 900 distinct stacks with a mean depth of about 11, that share their outer frames, as call trees do.
fn stacks(random: &mut SplitMix64) -> Vec<Vec<Frame>> {
    let mappings: Vec<_> = ["gatewayd", "libc.so.6", "libzstd.so.1", "mosquitto"]
        .iter()
        .zip(1_u8..)
        .map(|(name, id)| {
            let build_id = BuildId::new(&[id.wrapping_mul(67); 20]).unwrap_or_default();
            std::sync::Arc::new(Mapping { build_id, path: format!("/usr/bin/{name}").into() })
        })
        .collect();
    let mut stacks: Vec<Vec<Frame>> = vec![Vec::new()];
    while stacks.len() < 900 {
        // Outermost first here; a new stack leaves an old one at some depth and goes its own way.
        let mut stack = stacks[random.below(stacks.len())].clone();
        stack.truncate(random.below(stack.len() + 1));
        for _ in 0..=random.below(9) {
            let mapping = mappings[random.below(10).saturating_sub(6).min(3)].clone();
            stack.push(Frame::Address { mapping, offset: random.below(1 << 21) as u64 });
        }
        stacks.push(stack);
    }
    for stack in &mut stacks {
        stack.reverse();
    }
    stacks
}

fn window(
    number: u32,
    stacks: &[Vec<Frame>],
    random: &mut SplitMix64,
) -> Result<Window, Box<dyn std::error::Error>> {
    let mut builder = WindowBuilder::new(1_700_000_000_000 + u64::from(number) * 10_000);
    for _ in 0..SAMPLES_PER_WINDOW {
        // A few stacks are hot and most are rare: the product of uniform draws leans to zero.
        let rank = (0..4).fold(stacks.len(), |below, _| random.below(below) + 1) - 1;
        let tid = u32::try_from(random.below(6))?;
        let thread = ThreadInfo {
            pid: 100,
            tid,
            name: format!("worker-{tid}").into(),
            class: SchedulingClass::Normal,
        };
        builder.push(u32::try_from(random.below(10_000))?, &thread, &stacks[rank], 100_000_000)?;
    }
    Ok(builder.finish(10_000))
}

/// What a format without memory pays: every table again in every window (pprof's tables, its field tags included,
/// zstd 3 in place of gzip, which measured within a tenth of each other).
fn self_contained(window: &Window) -> Result<usize, Box<dyn std::error::Error>> {
    let mut out = Vec::new();
    let mut locations = Vec::new();
    let mut strings = Vec::new();
    for sample in window.samples() {
        let mut message = Vec::new();
        for frame in window.stack_of(sample).into_iter().flat_map(|stack| stack.iter()) {
            let id = locations.iter().position(|known| known == frame).unwrap_or_else(|| {
                locations.push(frame.clone());
                locations.len() - 1
            });
            put(&mut message, id as u64 + 1);
        }
        put(&mut message, 1);
        put(&mut message, sample.weight_ns);
        let name = window.thread_of(sample).map(|thread| thread.name.to_string()).unwrap_or_default();
        let name = strings.iter().position(|known| *known == name).unwrap_or_else(|| {
            strings.push(name);
            strings.len() - 1
        });
        message.extend([0x1A, 4, 0x08, 1, 0x10]);
        put(&mut message, name as u64);
        out.extend([0x12]);
        put(&mut out, message.len() as u64);
        out.extend(message);
    }
    for (id, location) in (1..).zip(&locations) {
        let mut message = vec![0x08];
        put(&mut message, id);
        if let Frame::Address { mapping, offset } = location {
            message.extend([0x10, mapping.build_id.as_bytes().first().copied().unwrap_or_default(), 0x18]);
            put(&mut message, *offset);
        }
        out.push(0x22);
        put(&mut out, message.len() as u64);
        out.extend(message);
    }
    out.extend(strings.iter().flat_map(|text| text.bytes()));
    Ok(zstd::bulk::compress(&out, 3)?.len())
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // The remainder is below the bound, which is a usize.
        usize::try_from((mixed ^ (mixed >> 31)) % (bound.max(1) as u64)).unwrap_or_default()
    }
}
