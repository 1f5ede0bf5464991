//! Prometheus remote write 1.0: `prometheus.WriteRequest`, compressed with snappy's block format.

use std::collections::BTreeMap;

use telemetry::Window;

use super::families::{IO, cumulate, metric_name};
use super::registry::Registry;
use crate::export::protobuf::Message;

/// Labels in order of name, as receivers demand.
type Labels = BTreeMap<&'static str, String>;

/// What one window says, with its own times; histograms as the registry has added them up, at the window's end. `None`
/// for a window without metrics.
pub(super) fn write_request(
    registry: &Registry,
    vin: &str,
    stream: &str,
    window: &Window,
) -> Option<Vec<u8>> {
    let mut out = Message::default();
    let start = window.start_unix_ms();
    let base = || Labels::from([("vin", vin.to_owned()), ("stream", stream.to_owned())]);
    for series in window.metrics().series() {
        let mut labels = base();
        labels.insert("__name__", metric_name(series.name()));
        let times = window.metrics().at_ms().iter().map(|at| start.saturating_add(u64::from(*at)));
        #[allow(clippy::cast_precision_loss, reason = "the protocol has doubles")]
        let mut samples: Vec<_> = series.values().iter().map(|it| *it as f64).zip(times).collect();
        // Receivers refuse a second value for the same moment.
        samples.dedup_by_key(|(_, at)| *at);
        put(&mut out, &labels, &samples);
    }
    let end = start.saturating_add(u64::from(window.duration_ms()));
    let state = registry.stream(vin, stream)?;
    let told: Vec<_> = window.io().iter().map(|it| (it.device(), it.operation(), it.term())).collect();
    for ((device, operation, term), histogram) in &state.io {
        if !told.contains(&(histogram.device(), histogram.operation(), histogram.term())) {
            continue;
        }
        let cumulated = cumulate(histogram);
        let mut labels = base();
        labels.insert("device", device.to_string());
        labels.insert("operation", (*operation).to_owned());
        labels.insert("term", (*term).to_owned());
        let mut one = |name: String, le: Option<String>, value: f64| {
            let mut labels = labels.clone();
            labels.insert("__name__", name);
            labels.extend(le.map(|it| ("le", it)));
            put(&mut out, &labels, &[(value, end)]);
        };
        for (bound, count) in cumulated.bounds {
            one(format!("{IO}_bucket"), Some(bound.to_string()), double(count));
        }
        one(format!("{IO}_bucket"), Some("+Inf".to_owned()), double(cumulated.count));
        one(format!("{IO}_sum"), None, cumulated.sum_seconds);
        one(format!("{IO}_count"), None, double(cumulated.count));
    }
    let bytes = out.into_bytes();
    // Compressing fails only past 4 GiB; a window is 1 MiB at most.
    if bytes.is_empty() { None } else { snap::raw::Encoder::new().compress_vec(&bytes).ok() }
}

#[allow(clippy::cast_precision_loss, reason = "the protocol has doubles")]
fn double(count: u64) -> f64 {
    count as f64
}

fn put(out: &mut Message, labels: &Labels, samples: &[(f64, u64)]) {
    out.message(1, |series| {
        for (name, value) in labels {
            series.message(1, |it| {
                it.bytes(1, name.as_bytes()).bytes(2, value.as_bytes());
            });
        }
        for (value, at) in samples {
            series.message(2, |it| {
                it.double(1, *value).uint(2, *at);
            });
        }
    });
}
