//! Durations of block input and output over time.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Columns of a heat map; windows that lie closer are added up.
const MAX_COLUMNS: u64 = 72;

/// A line of `io.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Histogram {
    pub(crate) vin: String,
    pub(crate) at_ms: u64,
    pub(crate) duration_ms: u64,
    pub(crate) device: String,
    pub(crate) operation: String,
    pub(crate) term: String,
    pub(crate) sum_ns: u64,
    pub(crate) buckets: Vec<u64>,
}

/// What has a heat map of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HeatKey {
    pub(crate) vin: String,
    pub(crate) device: String,
    pub(crate) operation: String,
    pub(crate) term: String,
}

/// Counts by time and duration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Heat {
    pub(crate) start_ms: u64,
    /// How long a column lasts, in milliseconds.
    pub(crate) column_ms: u64,
    pub(crate) columns: u64,
    /// By column and bucket (2^bucket ns and longer).
    pub(crate) counts: BTreeMap<(u64, usize), u64>,
    pub(crate) requests: u64,
    pub(crate) sum_ns: u64,
}

impl Heat {
    /// The upper bound, in nanoseconds, of the bucket in which that share of all requests ends.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let mut by_bucket: BTreeMap<usize, u64> = BTreeMap::new();
        for ((_, bucket), count) in &self.counts {
            *by_bucket.entry(*bucket).or_default() += count;
        }
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let wanted = (self.requests as f64 * share).ceil() as u64;
        let mut seen = 0_u64;
        for (bucket, count) in by_bucket {
            seen = seen.saturating_add(count);
            if seen >= wanted {
                return u64::try_from(2_u128 << bucket).unwrap_or(u64::MAX);
            }
        }
        0
    }

    /// The shortest and the longest bucket with a request in it.
    pub(crate) fn range(&self) -> (usize, usize) {
        let buckets = self.counts.keys().map(|(_, bucket)| *bucket);
        (buckets.clone().min().unwrap_or(0), buckets.max().unwrap_or(0))
    }
}

/// All share one time axis.
pub(crate) fn heat(histograms: &[Histogram]) -> BTreeMap<HeatKey, Heat> {
    let start_ms = histograms.iter().map(|it| it.at_ms).min().unwrap_or(0);
    let end = histograms.iter().map(|it| it.at_ms.saturating_add(it.duration_ms)).max().unwrap_or(0);
    let longest = histograms.iter().map(|it| it.duration_ms).max().unwrap_or(1).max(1);
    let column_ms = longest.saturating_mul((end - start_ms).div_ceil(longest).div_ceil(MAX_COLUMNS).max(1));
    let columns = (end - start_ms).div_ceil(column_ms).max(1);
    let mut heats: BTreeMap<HeatKey, Heat> = BTreeMap::new();
    for it in histograms {
        let key = HeatKey {
            vin: it.vin.clone(),
            device: it.device.clone(),
            operation: it.operation.clone(),
            term: it.term.clone(),
        };
        let heat =
            heats.entry(key).or_insert_with(|| Heat { start_ms, column_ms, columns, ..Heat::default() });
        heat.sum_ns = heat.sum_ns.saturating_add(it.sum_ns);
        let column = (it.at_ms - start_ms) / column_ms;
        for (bucket, count) in it.buckets.iter().enumerate().take(64).filter(|(_, count)| **count > 0) {
            let sum = heat.counts.entry((column, bucket)).or_default();
            *sum = sum.saturating_add(*count);
            heat.requests = heat.requests.saturating_add(*count);
        }
    }
    heats.retain(|_, it| it.requests > 0);
    heats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_add_up_and_quantiles_are_upper_bounds() {
        let histogram = |at_ms, buckets: &[u64]| Histogram {
            vin: "V".into(),
            at_ms,
            duration_ms: 10,
            device: "sda".into(),
            operation: "read".into(),
            term: "device".into(),
            sum_ns: 5,
            buckets: buckets.to_vec(),
        };
        let heats = heat(&[histogram(100, &[0, 0, 98, 1]), histogram(110, &[0, 0, 0, 0, 1])]);
        let heat = heats.values().next().unwrap();
        assert_eq!((heat.columns, heat.requests, heat.sum_ns, heat.range()), (2, 100, 10, (2, 4)));
        assert_eq!((heat.quantile(0.5), heat.quantile(0.99), heat.quantile(1.0)), (8, 16, 32));
        assert_eq!(heat.counts[&(1, 4)], 1);
    }
}
