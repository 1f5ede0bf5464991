//! Names and labels, the same for scrape and remote write.

use telemetry::{IO_BUCKETS, IoHistogram, IoOperation, IoTerm};

/// Histogram of how long block input and output took.
pub(super) const IO: &str = "gatewayd_block_io_duration_seconds";

/// When a vehicle's stream ended its last window, seconds since 1970.
pub(super) const LAST_SEEN: &str = "gatewayd_last_window_timestamp_seconds";

/// Samples that no window carries, since the subscriber began.
pub(super) const LOST: &str = "gatewayd_profile_lost_samples";

/// First and last bucket that get a bound of their own: 1 us and 69 s. What is shorter or longer falls into the first
/// bound above it.
const FIRST: usize = 9;
const LAST: usize = 35;

/// Requests that took no longer than each bound (seconds), cumulated; and of all.
pub(super) struct Cumulated {
    pub(super) bounds: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum_seconds: f64,
}

pub(super) fn cumulate(histogram: &IoHistogram) -> Cumulated {
    let mut bounds = Vec::new();
    let mut count = 0_u64;
    for (index, requests) in histogram.buckets().iter().enumerate() {
        count = count.saturating_add(*requests);
        if (FIRST..=LAST).contains(&index) && index < IO_BUCKETS {
            // The longest that bucket `index` counts.
            bounds.push((seconds((2_u64 << index) - 1), count));
        }
    }
    Cumulated { bounds, count, sum_seconds: seconds(histogram.sum_ns()) }
}

#[allow(clippy::cast_precision_loss, reason = "the format has doubles")]
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

pub(crate) fn operation(histogram: &IoHistogram) -> &'static str {
    match histogram.operation() {
        IoOperation::Read => "read",
        IoOperation::Write => "write",
        IoOperation::Flush => "flush",
        IoOperation::Discard => "discard",
    }
}

pub(crate) fn term(histogram: &IoHistogram) -> &'static str {
    match histogram.term() {
        IoTerm::Queue => "queue",
        IoTerm::Device => "device",
        IoTerm::Flush => "flush",
        IoTerm::RunQueue => "run_queue",
    }
}

/// The vehicle's name of a metric as one of Prometheus's.
pub(super) fn metric_name(name: &str) -> String {
    let mut metric = "gatewayd_".to_owned();
    metric.extend(name.chars().map(|it| if it.is_ascii_alphanumeric() || it == '_' { it } else { '_' }));
    // Endings that OpenMetrics keeps for itself.
    for reserved in ["_total", "_count", "_sum", "_bucket", "_created", "_info"] {
        if metric.ends_with(reserved) {
            metric.push_str("_value");
        }
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_cumulate_and_what_is_longer_is_in_the_count_alone() {
        let mut histogram = IoHistogram::new("sda".into(), IoOperation::Read, IoTerm::Device);
        for ns in [1, 1023, 1024, u64::MAX >> 1] {
            histogram.record(ns);
        }
        let cumulated = cumulate(&histogram);
        assert_eq!(cumulated.bounds[0], (1023e-9, 2));
        assert_eq!(cumulated.bounds[1], (2047e-9, 3));
        assert_eq!((cumulated.bounds.last().unwrap().1, cumulated.count), (3, 4));
        assert_eq!(cumulated.bounds.len(), 27);
    }

    #[test]
    fn names_are_those_that_prometheus_allows() {
        assert_eq!(metric_name("psi.cpu-some_ppm"), "gatewayd_psi_cpu_some_ppm");
        assert_eq!(metric_name("frames_total"), "gatewayd_frames_total_value");
    }
}
