//! The CPU time of the gateway as a flame graph.

use crate::report::flame::Flame;
use crate::report::format;
use crate::report::html::Html;

/// Height of one row of the flame graph, in CSS pixels.
const ROW: u32 = 20;

/// Adds the section, unless there is no sample.
pub(super) fn cpu(html: &mut Html, flame: &Flame) {
    if flame.frames.is_empty() {
        return;
    }
    let time = |nanoseconds: u64| format::duration(nanoseconds.div_ceil(1_000_000));
    html.markup("<section class=\"card\"><h2>CPU of the gateway</h2><p class=\"lead\">").text(&format!(
        "{} of CPU time in {} threads",
        time(flame.nanoseconds),
        flame.threads.len()
    ));
    if let Some((name, nanoseconds)) = flame.threads.first() {
        html.text(&format!("; {name} took most of it, {}", time(*nanoseconds)));
    }
    html.markup(". Threads on top, what they called below; a wider box took longer.</p>")
        .markup("<div class=\"flame\" style=\"height:")
        // At most 48 rows.
        .number(f64::from(ROW * u32::try_from(flame.depth).unwrap_or(0)))
        .markup("px\">\n");
    for frame in &flame.frames {
        let tip = format!(
            "{} · {} · {}",
            frame.name,
            time(frame.nanoseconds),
            format::share(format::precise(frame.nanoseconds) / format::precise(flame.nanoseconds.max(1)))
        );
        html.markup("<div class=\"")
            .markup(if frame.depth == 0 { "t" } else { shade(&frame.name) })
            .markup("\" style=\"left:")
            .number(100.0 * frame.left)
            .markup("%;width:")
            .number(100.0 * frame.width)
            .markup("%;top:")
            .number(f64::from(ROW * u32::try_from(frame.depth).unwrap_or(0)))
            .element("px\" title=\"", &tip, "\">")
            .text(&frame.name)
            .markup("</div>\n");
    }
    html.markup("</div></section>\n");
}

/// The same name has the same shade wherever it stands.
fn shade(name: &str) -> &'static str {
    let sum = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    ["f0", "f1", "f2", "f3"][sum as usize % 4]
}
