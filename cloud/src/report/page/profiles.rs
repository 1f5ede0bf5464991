//! Where time and memory went: a table for each dimension, and flame graphs for those who have scripts.

use crate::report::format;
use crate::report::html::Html;
use crate::report::telemetry::{Profiles, Tree};

/// Places in each table.
const TOP: usize = 6;

/// What the flame graphs are made with; the page allows this script and no other.
pub(crate) const SCRIPT: &str = include_str!("../flame.js");

/// Adds the section, unless there is no profile.
pub(super) fn profiles(html: &mut Html, profiles: &Profiles) {
    if profiles.trees.is_empty() {
        return;
    }
    html.markup("<section class=\"card\"><h2>Profiles</h2><p class=\"lead\">").text(&format!(
        "{} windows of {}",
        format::count(profiles.windows),
        vehicles(profiles)
    ));
    if profiles.lost > 0 {
        html.text(&format!(
            "; {} samples were lost on the way and are in none",
            format::count(profiles.lost)
        ));
    }
    html.markup(
        ". The places that took most themselves, what they called not counted.</p><div class=\"tops\">\n",
    );
    for tree in &profiles.trees {
        top(html, tree);
    }
    html.markup("</div>\n<noscript><p class=\"lead\">Flame graphs need scripts, which are switched off here.</p></noscript>\n")
        .markup(CONTROLS)
        .markup("<script type=\"application/json\" id=\"profiles-data\">")
        .json(&profiles.to_json())
        .markup("</script>\n</section>\n");
}

fn vehicles(profiles: &Profiles) -> String {
    match profiles.vehicles.as_slice() {
        [one] => one.clone(),
        many => format!("{} vehicles", many.len()),
    }
}

fn top(html: &mut Html, tree: &Tree) {
    let total = tree.total();
    html.element("<div><h3>", tree.title, "</h3><div class=\"soft\">")
        .text(&format!("{} of {}", amount(tree, total), tree.what))
        .markup("</div><table><tbody>\n");
    for (name, value) in tree.top(TOP) {
        let share = format::precise(value) / format::precise(total.max(1));
        html.element("<tr><td title=\"", name, "\">").text(name).markup("</td><td class=\"num\">");
        html.text(&amount(tree, value)).element(
            "</td><td class=\"num\">",
            &format::share(share),
            "</td></tr>\n",
        );
    }
    html.markup("</tbody></table></div>\n");
}

fn amount(tree: &Tree, value: u64) -> String {
    if tree.unit == "B" { format::bytes(value) } else { format::nanoseconds(value) }
}

/// Shown by the script when it runs.
const CONTROLS: &str = r#"<div id="flame-app" hidden>
<div class="tabs" role="tablist" aria-label="Dimension" id="flame-tabs"></div>
<div role="tabpanel" id="flame-panel" aria-labelledby="flame-tabs">
<p class="lead" id="flame-what" style="margin-top:12px"></p>
<div id="flame-times">
<div class="strip" id="flame-strip" aria-hidden="true"></div>
<div class="soft" id="flame-scale" style="font-size:12px;text-align:right"></div>
<div class="times">
<div><b>Shown</b><label>from <input type="range" id="flame-shown-from" min="0" value="0"></label>
<label>to <input type="range" id="flame-shown-to" min="0" value="0"></label><output id="flame-shown-text"></output>
<label><input type="checkbox" id="flame-compare"> compare with another time</label></div>
<div id="flame-base" hidden><b>Base</b><label>from <input type="range" id="flame-base-from" min="0" value="0"></label>
<label>to <input type="range" id="flame-base-to" min="0" value="0"></label><output id="flame-base-text"></output></div>
</div></div>
<div class="tools"><label>Search <input type="search" id="flame-search" autocomplete="off" spellcheck="false"></label>
<span id="flame-matched" aria-live="polite"></span>
<button type="button" class="tool" id="flame-reset">Show everything</button></div>
<div class="legend" id="flame-legend" style="margin:12px 0 0" hidden><span>Per second, against the base:</span></div>
<div class="flame" id="flame" role="tree" aria-label="Flame graph"></div>
<p id="flame-detail" aria-live="polite"></p>
<p id="flame-notes"></p>
<p class="keys">Click a box to zoom. Keys in the graph: <kbd>arrows</kbd> move, <kbd>Enter</kbd> zooms, <kbd>Esc</kbd> shows everything,
<kbd>/</kbd> searches. Times are UTC by the vehicle's clock.</p>
</div></div>
"#;
