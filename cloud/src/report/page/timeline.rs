//! The campaign as a waterfall: a bar for every stage of every ECU.

use ota::stage::{Stage, Status};

use super::or_dash;
use crate::report::format;
use crate::report::html::Html;
use crate::report::spans::{Span, VEHICLE, Waterfall};
use crate::report::summary::Summary;

/// Adds the section, unless there is no bar.
pub(super) fn timeline(html: &mut Html, summary: &Summary, waterfall: &Waterfall) {
    if waterfall.rows.is_empty() {
        return;
    }
    html.markup("<section class=\"card\"><h2>Campaign</h2><p class=\"lead\">Every stage of every ECU, ")
        .text(&format!("over {}.", format::duration(waterfall.end_ms)))
        .markup("</p><div class=\"legend\">");
    for (class, name) in [
        (Kind::Network, "network"),
        (Kind::Cryptography, "verification and decryption"),
        (Kind::Bus, "bus"),
        (Kind::Ecu, "ECU"),
        (Kind::Back, "rollback"),
        (Kind::Other, "other"),
        (Kind::Failed, "failed"),
    ] {
        html.markup("<span><i class=\"").markup(class.class()).markup("\"></i>").text(name).markup("</span>");
    }
    html.markup("</div>\n");
    for (serial, spans) in &waterfall.rows {
        let ecu = summary.ecus.iter().find(|it| it.serial == *serial);
        let title = if serial == VEHICLE { "Vehicle" } else { serial };
        html.element("<div class=\"group\">", title, "");
        if let Some(ecu) = ecu {
            html.element(
                " <span class=\"soft\">",
                &format!("{} on {}", ecu.target, or_dash(&ecu.bus)),
                "</span>",
            );
        }
        html.markup("</div>\n");
        for span in spans {
            bar(html, span, waterfall.end_ms);
        }
    }
    html.markup("<div class=\"axis\"><span></span><div>");
    for quarter in 0..=4 {
        html.element("<span>", &format::duration((waterfall.end_ms / 4).saturating_mul(quarter)), "</span>");
    }
    html.markup("</div><span></span></div></section>\n");
}

fn bar(html: &mut Html, span: &Span, end_ms: u64) {
    let whole = format::precise(end_ms);
    let note = match span.status {
        Status::Failed => " failed",
        Status::Skipped => " was not needed",
        Status::Started | Status::Progress => " did not end",
        Status::Ok => "",
    };
    let detail = span.detail.as_deref().map_or_else(String::new, |it| format!(": {it}"));
    let tip = format!(
        "{}{note} · {} after {}{detail}",
        span.stage,
        format::duration(span.duration_ms),
        format::duration(span.start_ms)
    );
    html.element("<div class=\"row\"><span class=\"s\">", span.stage.code(), "</span>")
        .element("<div class=\"track\" title=\"", &tip, "\"><div class=\"bar ")
        .markup(if span.status == Status::Failed { Kind::Failed } else { Kind::of(span.stage) }.class())
        .markup(match span.status {
            Status::Skipped => " skipped",
            Status::Started | Status::Progress => " open",
            Status::Ok | Status::Failed => "",
        })
        .markup("\" style=\"left:min(")
        .number(100.0 * format::precise(span.start_ms) / whole)
        .markup("%,100% - 3px);width:")
        .number(100.0 * format::precise(span.duration_ms) / whole)
        .markup("%\"></div></div><span class=\"d")
        .markup(if span.status == Status::Failed { " bad-text" } else { "" })
        .markup("\">")
        .text(&match span.status {
            Status::Failed => "failed".to_owned(),
            Status::Skipped => "skipped".to_owned(),
            Status::Ok | Status::Progress | Status::Started => format::duration(span.duration_ms),
        })
        .markup("</span></div>\n");
}

/// What a stage keeps busy; gives bars their colour.
#[derive(Clone, Copy)]
enum Kind {
    Network,
    Cryptography,
    Bus,
    Ecu,
    Other,
    Back,
    Failed,
}

impl Kind {
    const fn of(stage: Stage) -> Self {
        match stage {
            Stage::Metadata | Stage::Download => Self::Network,
            Stage::Verify | Stage::Decrypt => Self::Cryptography,
            Stage::Transfer => Self::Bus,
            Stage::Install | Stage::Activate => Self::Ecu,
            Stage::Rollback => Self::Back,
            Stage::Announce | Stage::Consent | Stage::PreCheck | Stage::Report => Self::Other,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Cryptography => "crypto",
            Self::Bus => "bus",
            Self::Ecu => "ecu",
            Self::Other => "other",
            Self::Back => "back",
            Self::Failed => "bad",
        }
    }
}
