//! Metrics over time, a small drawing for each.

use std::collections::BTreeMap;

use crate::report::format;
use crate::report::html::Html;
use crate::report::telemetry::{Line, LineKey};

/// Metrics on one page, and vehicles in one drawing.
const MAX_METRICS: usize = 36;
const MAX_VEHICLES: usize = 6;

const WIDTH: f64 = 400.0;
const LEFT: f64 = 70.0;
const HEIGHT: f64 = 110.0;
const BELOW: f64 = 30.0;

const COLOURS: [&str; MAX_VEHICLES] = ["l0", "l1", "l2", "l3", "l4", "l5"];

/// One metric: of each vehicle the times and values, in order.
type Series = BTreeMap<String, Vec<(u64, i64)>>;

/// Adds the section, unless there is no metric.
pub(super) fn metrics(html: &mut Html, lines: &BTreeMap<LineKey, Line>) {
    let mut by_name: BTreeMap<&str, Series> = BTreeMap::new();
    for (key, line) in lines {
        let who = if key.stream.starts_with("ecu/") {
            format!("{} {}", key.vin, key.stream)
        } else {
            key.vin.clone()
        };
        let points = by_name.entry(&key.name).or_default().entry(who).or_default();
        points.extend(line.points());
        points.sort_by_key(|it| it.0);
    }
    let times = || by_name.values().flat_map(BTreeMap::values).flatten().map(|it| it.0);
    let (Some(start), Some(end)) = (times().min(), times().max()) else { return };
    let mut vehicles: Vec<_> = by_name.values().flat_map(BTreeMap::keys).cloned().collect();
    vehicles.sort_unstable();
    vehicles.dedup();
    let left_out = vehicles.len().saturating_sub(MAX_VEHICLES);
    vehicles.truncate(MAX_VEHICLES);
    html.markup("<section class=\"card\"><h2>Metrics</h2><p class=\"lead\">Each drawing has its own scale, which begins ")
        .markup("at 0 unless all values lie in the upper half of it.</p>");
    if vehicles.len() > 1 {
        html.markup("<div class=\"legend\">");
        for (who, colour) in vehicles.iter().zip(COLOURS) {
            html.markup("<span><i class=\"").markup(colour).element("\"></i>", who, "</span>");
        }
        html.markup("</div>");
    }
    html.markup("<div class=\"charts\">\n");
    for (name, series) in by_name.iter().take(MAX_METRICS) {
        chart(html, name, series, &vehicles, (start, end.max(start + 1)));
    }
    html.markup("</div>");
    for (left_out, what) in [(left_out, "vehicles"), (by_name.len().saturating_sub(MAX_METRICS), "metrics")] {
        if left_out > 0 {
            html.element("<p class=\"lead\">", &format!("{left_out} more {what} are not shown."), "</p>");
        }
    }
    html.markup("</section>\n");
}

#[allow(clippy::cast_precision_loss, reason = "a drawing shows a few digits")]
fn chart(html: &mut Html, name: &str, series: &Series, vehicles: &[String], (start, end): (u64, u64)) {
    let values = || vehicles.iter().filter_map(|it| series.get(it)).flatten().map(|it| it.1);
    let (Some(low), Some(high)) = (values().min(), values().max()) else { return };
    let (bottom, top) = scale(low, high);
    let [lowest, _, highest] = labels(name, low as f64, high as f64);
    html.element("<div><h3>", name, "</h3><div class=\"soft\">");
    html.text(&format!("lowest {lowest}, highest {highest}"));
    html.markup("</div><svg role=\"img\" viewBox=\"0 0 ")
        .number(WIDTH)
        .markup(" ")
        .number(HEIGHT + BELOW + 6.0);
    html.element("\" aria-label=\"", name, "\"><g transform=\"translate(0 6)\">\n");
    for (label, share) in labels(name, bottom, top).iter().zip([0.0, 0.5, 1.0]) {
        let y = HEIGHT - HEIGHT * share;
        html.markup("<line class=\"grid\" x1=\"")
            .number(LEFT)
            .markup("\" x2=\"")
            .number(WIDTH)
            .markup("\" y1=\"");
        html.number(y)
            .markup("\" y2=\"")
            .number(y)
            .markup("\"/><text text-anchor=\"end\" x=\"")
            .number(LEFT - 7.0);
        html.markup("\" y=\"").number(y + 4.0).element("\">", label, "</text>\n");
    }
    let x = |at: u64| LEFT + (WIDTH - LEFT) * format::precise(at - start) / format::precise(end - start);
    let y = |value: i64| HEIGHT - HEIGHT * (value as f64 - bottom) / (top - bottom);
    for (who, colour) in vehicles.iter().zip(COLOURS) {
        let Some(points) = series.get(who) else { continue };
        if let [only] = points.as_slice() {
            html.markup("<circle r=\"2.5\" class=\"")
                .markup(colour)
                .markup("\" cx=\"")
                .number(x(only.0))
                .markup("\" cy=\"");
            html.number(y(only.1)).markup("\"/>\n");
            continue;
        }
        html.markup("<polyline class=\"").markup(colour).markup("\" points=\"");
        for (at, value) in points {
            html.number(x(*at)).markup(",").number(y(*value)).markup(" ");
        }
        html.element("\"><title>", who, "</title></polyline>\n");
    }
    super::time_axis(html, LEFT, WIDTH, HEIGHT, start, end);
    html.markup("</g></svg></div>\n");
}

/// The values at the lower end, in the middle and at the upper end; in full where a short form would not tell them apart.
#[allow(clippy::cast_possible_truncation, reason = "an axis needs no fractions")]
fn labels(name: &str, bottom: f64, top: f64) -> [String; 3] {
    let values = [bottom, f64::midpoint(bottom, top), top].map(|it| it.round() as i64);
    let short = values.map(|it| format::metric(name, it));
    if short[0] != short[1] && short[1] != short[2] { short } else { values.map(|it| format::metric("", it)) }
}

/// From 0 where that leaves the line at least half of the height.
#[allow(clippy::cast_precision_loss, reason = "a drawing has a few hundred pixels")]
fn scale(low: i64, high: i64) -> (f64, f64) {
    let (low, high) = (low as f64, high as f64);
    let (bottom, top) = if low >= 0.0 && low < high / 2.0 { (0.0, high) } else { (low, high) };
    if top - bottom < 1.0 { (bottom - 1.0, top + 1.0) } else { (bottom, top) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_axis_differ() {
        assert_eq!(labels("a_bytes", 0.0, 2048.0), ["0 B", "1.00 KiB", "2.00 KiB"]);
        let close = labels("a_bytes", 900_000_000.0, 900_000_010.0);
        assert_eq!(close[0], "900\u{2009}000\u{2009}000");
        assert!(close[0] != close[1] && close[1] != close[2]);
    }

    #[test]
    fn the_scale_begins_at_zero_unless_that_would_flatten_the_line() {
        assert_eq!(scale(10, 100), (0.0, 100.0));
        assert_eq!(scale(50, 100), (50.0, 100.0));
        assert_eq!(scale(-5, 100), (-5.0, 100.0));
        assert_eq!(scale(0, 0), (-1.0, 1.0));
        assert_eq!(scale(7, 7), (6.0, 8.0));
    }
}
