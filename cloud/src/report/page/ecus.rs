//! The table of ECUs.

use super::{or_dash, used};
use crate::report::format;
use crate::report::html::Html;
use crate::report::summary::{EcuSummary, Verdict};

/// Adds the section, unless there is no ECU.
pub(super) fn ecus(html: &mut Html, ecus: &[EcuSummary]) {
    if ecus.is_empty() {
        return;
    }
    html.markup("<section class=\"card\"><h2>ECUs</h2><p class=\"lead\">What each one was given, ")
        .markup("and how close its transfer came to what the bus can carry.</p><div class=\"wide\"><table><thead><tr>")
        .markup("<th>ECU</th><th>Image</th><th>Protection</th><th class=\"num\">Size</th>")
        .markup("<th>Bus throughput</th><th>Outcome</th></tr></thead><tbody>\n");
    for ecu in ecus {
        html.element("<tr><td class=\"keep\"><b>", &ecu.serial, "</b>")
            .element("<div class=\"soft\">", or_dash(&ecu.bus), "</div></td>")
            .element("<td>", &ecu.target, "");
        let versions = match (ecu.version_before.as_str(), ecu.version_after.as_str()) {
            (before, after) if before == after => format!("stays at {}", or_dash(before)),
            (before, after) => format!("{} → {}", or_dash(before), or_dash(after)),
        };
        html.element("<div class=\"soft\">", &versions, "</div></td>");
        let cipher = if ecu.cipher == "none" { "not encrypted" } else { or_dash(&ecu.cipher) };
        html.element("<td class=\"keep\">", cipher, "")
            .element("<div class=\"soft\">", &format!("tree {}", or_dash(&ecu.tree_hash)), "</div></td>")
            .element("<td class=\"num\">", &format::bytes(ecu.bytes), "</td><td class=\"keep\">");
        throughput(html, ecu);
        html.markup("</td><td>");
        outcome(html, ecu);
        html.markup("</td></tr>\n");
    }
    html.markup("</tbody></table></div></section>\n");
}

fn throughput(html: &mut Html, ecu: &EcuSummary) {
    if ecu.throughput <= 0.0 {
        html.markup("<span class=\"soft\">nothing was transferred</span>");
        return;
    }
    html.text(&format::rate(ecu.throughput));
    if ecu.wire_limit > 0.0 {
        let of = format!("{} of {}", format::share(used(ecu)), format::rate(ecu.wire_limit));
        html.element("<div class=\"soft\">", &of, "</div><div class=\"meter\"><i style=\"width:")
            .number((100.0 * used(ecu)).clamp(0.0, 100.0))
            .markup("%\"></i></div>");
    }
}

fn outcome(html: &mut Html, ecu: &EcuSummary) {
    let (class, word) = match ecu.verdict {
        Verdict::Updated => ("<span class=\"pill good\">", "updated"),
        Verdict::Unchanged => ("<span class=\"pill\">", "unchanged"),
        Verdict::RolledBack => ("<span class=\"pill\">", "rolled back"),
        Verdict::Failed => ("<span class=\"pill bad\">", "failed"),
        Verdict::Unknown => ("<span class=\"pill\">", "unknown"),
    };
    html.element(class, word, "</span>");
    match ecu.identical {
        Some(true) => html.markup("<div class=\"soft\">equal to its source, byte for byte</div>"),
        Some(false) => html.markup("<div class=\"why\">differs from its source</div>"),
        None => html,
    };
}
