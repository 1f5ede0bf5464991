//! How long block input and output took, over time.

use std::collections::BTreeMap;

use crate::report::format;
use crate::report::html::Html;
use crate::report::telemetry::{Heat, HeatKey};

/// Maps on one page; those with most requests are taken.
const MAX_MAPS: usize = 16;

/// The drawing: margins left and below, height of one bucket, in its own units.
const WIDTH: f64 = 400.0;
const LEFT: f64 = 58.0;
const CELL: f64 = 13.0;
const BELOW: f64 = 30.0;

/// Colours, from few to many requests.
const SHADES: [&str; 7] = ["h1", "h2", "h3", "h4", "h5", "h6", "h7"];

/// Adds the section, unless there is no request.
pub(super) fn heat(html: &mut Html, heats: &BTreeMap<HeatKey, Heat>) {
    if heats.is_empty() {
        return;
    }
    let mut maps: Vec<_> = heats.iter().collect();
    maps.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then(a.0.cmp(b.0)));
    let more = maps.len().saturating_sub(MAX_MAPS);
    maps.truncate(MAX_MAPS);
    let order =
        |key: &HeatKey| ["queue", "device", "flush", "run_queue"].iter().position(|it| *it == key.term);
    maps.sort_by(|a, b| {
        let place = |it: &HeatKey| (it.vin.clone(), it.device.clone(), it.operation.clone(), order(it));
        place(a.0).cmp(&place(b.0))
    });
    let most = maps.iter().flat_map(|(_, heat)| heat.counts.values()).max().copied().unwrap_or(1);
    let several = maps.windows(2).any(|it| it[0].0.vin != it[1].0.vin);
    html.markup("<section class=\"card\"><h2>Block input and output</h2><p class=\"lead\">How many requests took how long: ")
        .markup("time to the right, duration upwards, doubling from row to row. All maps share their colours.</p>");
    html.markup("<div class=\"legend\"><span>requests in a cell:</span>");
    let mut low = 1;
    for (shade, high) in SHADES.iter().zip(bounds(most)) {
        if high < low {
            continue;
        }
        let text = if high == low {
            format::count(low)
        } else {
            format!("{} to {}", format::count(low), format::count(high))
        };
        html.markup("<span><i class=\"").markup(shade).element("\"></i>", &text, "</span>");
        low = high + 1;
    }
    html.markup("</div><div class=\"heats\">\n");
    for (key, heat) in maps {
        map(html, key, heat, most, several);
    }
    html.markup("</div>");
    if more > 0 {
        html.element(
            "<p class=\"lead\">",
            &format!("{more} more maps, of fewer requests, are not shown."),
            "</p>",
        );
    }
    html.markup("</section>\n");
}

/// The largest count of each shade: even steps of the logarithm.
fn bounds(most: u64) -> [u64; SHADES.len()] {
    let mut bounds = [0; SHADES.len()];
    for (step, bound) in (1_i32..).zip(&mut bounds) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, rounded")]
        let rounded = format::precise(most).powf(f64::from(step) / 7.0).round() as u64;
        *bound = rounded.max(1);
    }
    bounds[SHADES.len() - 1] = most;
    bounds
}

fn shade(count: u64, most: u64) -> &'static str {
    let at = bounds(most).iter().position(|bound| count <= *bound).unwrap_or(SHADES.len() - 1);
    SHADES.get(at).copied().unwrap_or("h7")
}

fn map(html: &mut Html, key: &HeatKey, heat: &Heat, most: u64, several: bool) {
    let term = match key.term.as_str() {
        "queue" => "waiting for the device",
        "device" => "in the device",
        "flush" => "flushing its cache",
        "run_queue" => "done, waiting for a CPU",
        other => other,
    };
    html.markup("<div><h3>");
    if several {
        html.text(&key.vin).markup(" · ");
    }
    html.text(&format!("{} · {} · {term}", key.device, key.operation))
        .markup("</h3><div class=\"soft\">")
        .text(&format!(
            "{} requests; half within {}, 99 % within {}; {} on average",
            format::count(heat.requests),
            format::nanoseconds(heat.quantile(0.5)),
            format::nanoseconds(heat.quantile(0.99)),
            format::nanoseconds(heat.sum_ns / heat.requests.max(1)),
        ));
    let (lowest, highest) = heat.range();
    // One row of air on each side, and never less than four rows.
    let lowest = lowest.saturating_sub(1);
    let highest = (highest + 1).clamp(lowest + 3, 66);
    let rows = highest - lowest + 1;
    let row = |it: usize| f64::from(u8::try_from(it).unwrap_or(u8::MAX));
    let height = CELL * row(rows);
    html.markup("</div><svg role=\"img\" viewBox=\"0 0 ")
        .number(WIDTH)
        .markup(" ")
        .number(height + BELOW + 6.0);
    html.element("\" aria-label=\"", &format!("Heat map of {} {}, {term}", key.device, key.operation), "\">");
    html.markup("<g transform=\"translate(0 6)\"><rect class=\"ground\" x=\"")
        .number(LEFT)
        .markup("\" y=\"0\" width=\"");
    html.number(WIDTH - LEFT).markup("\" height=\"").number(height).markup("\"/>\n");
    let width = (WIDTH - LEFT) / format::precise(heat.columns.max(1));
    for ((column, bucket), count) in &heat.counts {
        let x = LEFT + width * format::precise(*column);
        let y = height - CELL * (row(bucket - lowest) + 1.0);
        html.markup("<rect class=\"")
            .markup(shade(*count, most))
            .markup("\" x=\"")
            .number(x)
            .markup("\" y=\"")
            .number(y);
        // A hair wider than the cell, or gaps would show where it ends between two pixels.
        html.markup("\" width=\"")
            .number(width + 0.15)
            .markup("\" height=\"")
            .number(CELL - 1.0)
            .markup("\"><title>");
        html.text(&format!(
            "{} to {}: {} requests at {}",
            format::nanoseconds(if *bucket == 0 { 0 } else { 1 << bucket }),
            format::nanoseconds((2_u64 << bucket).saturating_sub(1).max(1)),
            format::count(*count),
            format::clock(heat.start_ms.saturating_add(column.saturating_mul(heat.column_ms)))
        ));
        html.markup("</title></rect>\n");
    }
    let step = rows.div_ceil(6).max(1);
    for at in (0..=rows).step_by(step) {
        let y = height - CELL * row(at);
        let bound = 1_u64.checked_shl(u32::try_from(lowest + at).unwrap_or(64)).unwrap_or(u64::MAX);
        html.markup("<line class=\"grid\" x1=\"")
            .number(LEFT - 4.0)
            .markup("\" x2=\"")
            .number(LEFT)
            .markup("\" y1=\"");
        html.number(y)
            .markup("\" y2=\"")
            .number(y)
            .markup("\"/><text text-anchor=\"end\" x=\"")
            .number(LEFT - 7.0);
        html.markup("\" y=\"").number(y + 4.0).element("\">", &format::nanoseconds(bound), "</text>\n");
    }
    super::time_axis(
        html,
        LEFT,
        WIDTH,
        height,
        heat.start_ms,
        heat.start_ms.saturating_add(heat.columns.saturating_mul(heat.column_ms)),
    );
    html.markup("</g></svg></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_go_from_one_to_the_most() {
        assert_eq!(bounds(1), [1; 7]);
        assert_eq!(bounds(10_000_000), [10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000]);
        assert_eq!((shade(1, 1), shade(1, 1000), shade(1000, 1000)), ("h1", "h1", "h7"));
    }
}
