//! The campaigns by trace id, each as a waterfall.

use std::collections::BTreeMap;

use ota::stage::{StageEvent, Status};

use super::timeline::timeline;
use crate::report::format;
use crate::report::html::Html;
use crate::report::spans::waterfall;
use crate::report::summary::Summary;

/// Campaigns on one page; of more the latest are taken.
const MAX_CAMPAIGNS: usize = 50;

/// Adds a waterfall for the summary's campaign, and one to be opened for each other that events tell of.
pub(super) fn campaigns(html: &mut Html, summary: &Summary, events: &[StageEvent]) {
    let mut own = Vec::new();
    let mut others: BTreeMap<(String, String), Vec<StageEvent>> = BTreeMap::new();
    let has_summary = *summary != Summary::default();
    for event in events {
        let trace = event.ota_trace_id.map(|it| it.to_string()).unwrap_or_default();
        let of_summary = has_summary
            && (trace.is_empty() || summary.ota_trace_id.is_empty() || trace == summary.ota_trace_id)
            && (summary.vehicle.is_empty() || summary.vehicle == event.vin.as_str());
        if of_summary {
            own.push(event.clone());
        } else {
            others.entry((trace, event.vin.to_string())).or_default().push(event.clone());
        }
    }
    timeline(html, summary, &waterfall(summary, &own));
    let mut others: Vec<_> = others.into_iter().collect();
    others.sort_by_key(|(_, events)| std::cmp::Reverse(events.iter().map(|it| it.at).max()));
    let left_out = others.len().saturating_sub(MAX_CAMPAIGNS);
    others.truncate(MAX_CAMPAIGNS);
    for (index, ((trace, vin), events)) in others.iter().enumerate() {
        let failed = events.iter().any(|it| it.status == Status::Failed);
        let open = !has_summary && index == 0;
        html.markup(if open {
            "<details class=\"campaign\" open><summary>"
        } else {
            "<details class=\"campaign\"><summary>"
        })
        .text(&format!(
            "Trace {} on {vin}: {} events{}",
            if trace.is_empty() { "–" } else { trace },
            format::count(events.len() as u64),
            if failed { ", with failures" } else { "" }
        ))
        .markup("</summary>\n");
        timeline(html, &Summary::default(), &waterfall(&Summary::default(), events));
        html.markup("</details>\n");
    }
    if left_out > 0 {
        html.element("<p class=\"lead\">", &format!("{left_out} earlier campaigns are not shown."), "</p>");
    }
}
