//! A made-up machine's metrics, seeded: 36 of them four times a second, mostly counters that grow in bursts.

use telemetry::{Refused, Window, WindowBuilder};

use crate::workload::SplitMix64;

const METRICS: usize = 36;
const ROWS_PER_WINDOW: u32 = 40;

/// How a metric moves. Of 36, 20 are counters, 8 gauges, 8 hardly move.
enum Movement {
    /// Up to so much per row, in a third of the rows nothing.
    Counter(usize),
    /// Up and down by up to so much.
    Gauge(usize),
    /// Once in a hundred rows.
    Rare,
}

pub(crate) fn windows(count: u32, seed: u64) -> Result<Vec<Window>, Refused> {
    let mut random = SplitMix64(seed);
    let names: Vec<_> = (0..METRICS).map(|index| format!("metric_{index:02}_total")).collect();
    let movements: Vec<_> = (0..METRICS)
        .map(|index| match index {
            0..20 => Movement::Counter(4 << (index % 10)),
            20..28 => Movement::Gauge(16 << index.saturating_sub(20)),
            _ => Movement::Rare,
        })
        .collect();
    let mut values: Vec<i64> = (0..METRICS).map(|_| random.below(1 << 34) as i64).collect();
    let mut windows = Vec::new();
    for number in 0..count {
        let mut builder = WindowBuilder::new(1_700_000_000_000 + u64::from(number) * 10_000);
        for row in 0..ROWS_PER_WINDOW {
            for (value, movement) in values.iter_mut().zip(&movements) {
                *value += match movement {
                    Movement::Counter(_) if random.below(3) == 0 => 0,
                    Movement::Counter(most) => random.below(*most) as i64,
                    Movement::Gauge(most) => random.below(2 * most + 1) as i64 - *most as i64,
                    Movement::Rare => i64::from(random.below(100) == 0),
                };
            }
            let named: Vec<_> = names.iter().map(String::as_str).zip(values.iter().copied()).collect();
            builder.push_metrics(row * 250, &named)?;
        }
        windows.push(builder.finish(10_000));
    }
    Ok(windows)
}
