//! What a scrape is answered with: OpenMetrics 1.0, or the older text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use super::families::{Cumulated, IO, LAST_SEEN, LOST, cumulate, seconds};
use super::registry::Registry;

/// The two formats of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Plain,
}

impl Format {
    /// By the request's `Accept`.
    pub(super) fn for_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Plain }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Registry {
    /// Everything that is live, as OpenMetrics.
    pub fn open_metrics(&self, now: Instant) -> String {
        self.render(Format::OpenMetrics, now)
    }

    /// Everything that is live, in the text format 0.0.4.
    pub fn plain_text(&self, now: Instant) -> String {
        self.render(Format::Plain, now)
    }

    pub(super) fn render(&self, format: Format, now: Instant) -> String {
        // A family's lines have to stand together.
        let mut families: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut io = Vec::new();
        let (mut seen, mut lost) = (Vec::new(), Vec::new());
        for ((vin, stream), state) in self.live(now) {
            let labels = format!("vin=\"{}\",stream=\"{}\"", escape(vin), escape(stream));
            for (name, value) in state.metrics.values() {
                families.entry(name).or_default().push(format!("{name}{{{labels}}} {value}"));
            }
            for ((device, operation, term), histogram) in &state.io {
                let labels = format!(
                    "{labels},device=\"{}\",operation=\"{operation}\",term=\"{term}\"",
                    escape(device)
                );
                put_histogram(&mut io, &labels, &cumulate(histogram));
            }
            seen.push(format!(
                "{LAST_SEEN}{{{labels}}} {}",
                seconds(state.end_unix_ms.saturating_mul(1_000_000))
            ));
            lost.push(format!("{LOST}_total{{{labels}}} {}", state.lost));
        }
        let open = format == Format::OpenMetrics;
        let mut text = String::new();
        for (name, lines) in families {
            family(&mut text, name, if open { "unknown" } else { "untyped" }, "", &lines);
        }
        family(&mut text, IO, "histogram", "Durations of block input and output requests", &io);
        family(&mut text, LAST_SEEN, "gauge", "End of the last window, by the vehicle's clock", &seen);
        let counter = if open { LOST.to_owned() } else { format!("{LOST}_total") };
        family(&mut text, &counter, "counter", "Samples that no window carries", &lost);
        if open {
            text.push_str("# EOF\n");
        }
        text
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    // Writing to a string does not fail.
    let _ = writeln!(text, "# TYPE {name} {kind}");
    if !help.is_empty() {
        let _ = writeln!(text, "# HELP {name} {help}");
    }
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
}

fn put_histogram(lines: &mut Vec<String>, labels: &str, cumulated: &Cumulated) {
    for (bound, count) in &cumulated.bounds {
        lines.push(format!("{IO}_bucket{{{labels},le=\"{bound}\"}} {count}"));
    }
    lines.push(format!("{IO}_bucket{{{labels},le=\"+Inf\"}} {}", cumulated.count));
    lines.push(format!("{IO}_sum{{{labels}}} {}", cumulated.sum_seconds));
    lines.push(format!("{IO}_count{{{labels}}} {}", cumulated.count));
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
