//! What is known of all vehicles: the last value of each metric, and histograms added up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry::{IoHistogram, Window};

use super::families::{metric_name, operation, term};

/// A stream not heard of for this long is shown no more, as if it had gone from a scraped program.
pub const STALE: Duration = Duration::from_secs(900);

/// Streams kept; of more vehicles the one not heard of for longest is forgotten.
const MAX_STREAMS: usize = 65_536;

/// Metrics and histograms of one stream; more are left out.
const MAX_METRICS: usize = 1024;
const MAX_HISTOGRAMS: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct Registry {
    /// By vehicle and stream.
    pub(super) streams: BTreeMap<(String, String), StreamState>,
}

#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) heard: Instant,
    pub(super) end_unix_ms: u64,
    pub(super) lost: u64,
    pub(super) metrics: BTreeMap<Arc<str>, (String, i64)>,
    pub(super) io: BTreeMap<(Arc<str>, &'static str, &'static str), IoHistogram>,
}

impl Registry {
    /// Takes a window in.
    pub fn add(&mut self, vin: &str, stream: &str, window: &Window, now: Instant) {
        let key = (vin.to_owned(), stream.to_owned());
        if !self.streams.contains_key(&key) {
            self.forget(now);
        }
        let state = self.streams.entry(key).or_insert_with(|| StreamState {
            heard: now,
            end_unix_ms: 0,
            lost: 0,
            metrics: BTreeMap::new(),
            io: BTreeMap::new(),
        });
        state.heard = now;
        let end = window.start_unix_ms().saturating_add(u64::from(window.duration_ms()));
        let newest = end >= state.end_unix_ms;
        state.end_unix_ms = state.end_unix_ms.max(end);
        state.lost = state.lost.saturating_add(window.lost());
        for series in window.metrics().series() {
            let known = state.metrics.contains_key(series.name());
            // A window that comes late has no last value.
            if let Some(&last) = series.values().last()
                && (known || state.metrics.len() < MAX_METRICS)
                && (newest || !known)
            {
                state.metrics.insert(series.name().clone(), (metric_name(series.name()), last));
            }
        }
        for histogram in window.io() {
            let key = (histogram.device().clone(), operation(histogram), term(histogram));
            if let Some(sum) = state.io.get_mut(&key) {
                sum.merge(histogram);
            } else if state.io.len() < MAX_HISTOGRAMS {
                state.io.insert(key, histogram.clone());
            }
        }
    }

    /// The streams heard of within [`STALE`].
    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = (&(String, String), &StreamState)> {
        self.streams.iter().filter(move |(_, it)| now.saturating_duration_since(it.heard) < STALE)
    }

    /// The sums of one stream.
    pub(super) fn stream(&self, vin: &str, stream: &str) -> Option<&StreamState> {
        self.streams.get(&(vin.to_owned(), stream.to_owned()))
    }

    fn forget(&mut self, now: Instant) {
        if self.streams.len() < MAX_STREAMS {
            return;
        }
        let oldest = self.streams.iter().map(|(key, it)| (it.heard, key)).min().map(|(_, key)| key.clone());
        self.streams.retain(|key, it| {
            Some(key) != oldest.as_ref() && now.saturating_duration_since(it.heard) < STALE
        });
    }
}
