//! The page itself, from top to bottom.

use ota::stage::{Stage, Status};
use ota::uptane::UtcTime;

use super::Material;
use super::flame::{Flame, flame};
use super::format;
use super::html::Html;
use super::spans::{Span, VEHICLE, Waterfall, waterfall};
use super::style::STYLE;
use super::summary::{BusSummary, EcuSummary, Summary, Verdict};

/// Makes the page. Whatever stands in the material, the page loads nothing and runs nothing.
pub fn render(material: &Material) -> String {
    let summary = &material.summary;
    let mut html = Html::default();
    html.markup("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n")
        // A second lock on the door that escaping already keeps shut.
        .markup("<meta http-equiv=\"Content-Security-Policy\" ")
        .markup("content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n")
        .markup("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>")
        .text(&format!("{} on {}", or_dash(&summary.campaign), or_dash(&summary.vehicle)))
        .markup("</title>\n<style>")
        .markup(STYLE)
        .markup("</style></head>\n<body><main>\n");
    header(&mut html, summary);
    tiles(&mut html, summary);
    alarms(&mut html, summary);
    timeline(&mut html, summary, &waterfall(summary, &material.events));
    ecus(&mut html, &summary.ecus);
    buses(&mut html, &summary.buses);
    cpu(&mut html, &flame(&material.folded));
    footer(&mut html, material);
    html.markup("</main></body></html>\n");
    html.finish()
}

fn header(html: &mut Html, summary: &Summary) {
    html.element("<header><div class=\"eyebrow\">", "gatewayd campaign report", "</div>").element(
        "<h1>",
        &headline(&summary.ecus),
        "</h1><div class=\"facts\">",
    );
    html.element("<span>Campaign <b>", or_dash(&summary.campaign), "</b></span>")
        .element("<span>Vehicle <b class=\"mono\">", or_dash(&summary.vehicle), "</b></span>")
        .element("<span>Trace <b class=\"mono\">", or_dash(&summary.ota_trace_id), "</b></span>");
    if summary.started_at_ms > 0 {
        let began = UtcTime::from_unix(summary.started_at_ms / 1000).to_string().replace('T', " ");
        html.element("<span>Began <b>", began.strip_suffix('Z').unwrap_or(&began), " UTC</b></span>");
    }
    html.markup("</div></header>\n");
}

/// The outcome in one sentence.
fn headline(ecus: &[EcuSummary]) -> String {
    let updated = ecus.iter().filter(|it| it.verdict == Verdict::Updated).count();
    let others: Vec<_> = ecus.iter().filter(|it| it.verdict != Verdict::Updated).collect();
    match (ecus.len(), updated) {
        (0, _) => "No ECU took part".to_owned(),
        (1, 1) => "The ECU runs its new software".to_owned(),
        (all, updated) if all == updated => format!("All {all} ECUs run their new software"),
        (all, updated) => {
            let fate = match others.as_slice() {
                [one] => match one.verdict {
                    Verdict::Unchanged => format!("{} kept its old software, untouched", one.serial),
                    Verdict::RolledBack => format!("{} was rolled back to its old software", one.serial),
                    _ => format!("{} failed", one.serial),
                },
                many => format!("{} were not", many.len()),
            };
            format!("{updated} of {all} ECUs were updated; {fate}")
        }
    }
}

fn tiles(html: &mut Html, summary: &Summary) {
    let totals = &summary.totals;
    let updated = summary.ecus.iter().filter(|it| it.verdict == Verdict::Updated).count();
    let proven = summary.ecus.iter().filter(|it| it.identical == Some(true)).count();
    html.markup("<div class=\"tiles\">");
    let mut tile = |name: &'static str, value: &str, note: &str| {
        html.markup("<div class=\"tile\">").element("<div class=\"k\">", name, "</div>");
        html.element("<div class=\"v\">", value, "</div>").element("<div class=\"n\">", note, "</div></div>");
    };
    tile(
        "ECUs updated",
        &format!("{updated} / {}", summary.ecus.len()),
        &format!("{proven} compared byte for byte"),
    );
    tile("Time", &format::duration(totals.duration_ms), "announcement to report");
    tile(
        "Written to ECUs",
        &format::bytes(totals.bytes),
        &format!("{} fetched", format::bytes(totals.downloaded_bytes)),
    );
    let fastest = summary.ecus.iter().max_by(|a, b| used(a).total_cmp(&used(b)));
    if let Some(ecu) = fastest.filter(|it| used(it) > 0.0) {
        tile("Best use of a bus", &format::share(used(ecu)), &format!("{} on {}", ecu.serial, ecu.bus));
    }
    if totals.peak_memory_bytes > 0 {
        tile("Gateway's memory", &format::bytes(totals.peak_memory_bytes), "at its peak");
    }
    html.markup("</div>\n");
}

/// Share of the wire limit that was reached; 0 where one of them is not known.
fn used(ecu: &EcuSummary) -> f64 {
    let share = ecu.throughput / ecu.wire_limit;
    if share.is_finite() { share } else { 0.0 }
}

fn alarms(html: &mut Html, summary: &Summary) {
    for ecu in &summary.ecus {
        let Some(error) = &ecu.error else { continue };
        html.element("<div class=\"alarm\" role=\"alert\"><strong>", &ecu.serial, "</strong> ")
            .text(match ecu.verdict {
                Verdict::Unchanged => "kept its old software, untouched.",
                Verdict::RolledBack => "was rolled back to its old software.",
                Verdict::Updated => "was updated, with a remark.",
                Verdict::Failed | Verdict::Unknown => "was not updated.",
            })
            .element("<p>", error, "</p></div>\n");
    }
}

fn timeline(html: &mut Html, summary: &Summary, waterfall: &Waterfall) {
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
        html.element("<span>", &format::duration(waterfall.end_ms * quarter / 4), "</span>");
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
        .element(
            "%\"></div></div><span class=\"d\">",
            &format::duration(span.duration_ms),
            "</span></div>\n",
        );
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

fn ecus(html: &mut Html, ecus: &[EcuSummary]) {
    if ecus.is_empty() {
        return;
    }
    html.markup("<section class=\"card\"><h2>ECUs</h2><p class=\"lead\">What each one was given, ")
        .markup("and how close its transfer came to what the bus can carry.</p><div class=\"wide\"><table><thead><tr>")
        .markup("<th>ECU</th><th>Image</th><th>Protection</th><th class=\"num\">Size</th>")
        .markup("<th>Bus throughput</th><th>Outcome</th></tr></thead><tbody>\n");
    for ecu in ecus {
        html.element("<tr><td><b>", &ecu.serial, "</b>")
            .element("<div class=\"soft\">", or_dash(&ecu.bus), "</div></td>")
            .element("<td>", &ecu.target, "");
        let versions = match (ecu.version_before.as_str(), ecu.version_after.as_str()) {
            (before, after) if before == after => format!("stays at {}", or_dash(before)),
            (before, after) => format!("{} → {}", or_dash(before), or_dash(after)),
        };
        html.element("<div class=\"soft\">", &versions, "</div></td>");
        let cipher = if ecu.cipher == "none" { "not encrypted" } else { or_dash(&ecu.cipher) };
        html.element("<td>", cipher, "")
            .element("<div class=\"soft\">", &format!("tree {}", or_dash(&ecu.tree_hash)), "</div></td>")
            .element("<td class=\"num\">", &format::bytes(ecu.bytes), "</td><td>");
        throughput(html, ecu);
        html.markup("</td><td>");
        outcome(html, ecu);
        html.markup("</td></tr>\n");
    }
    html.markup("</tbody></table></div></section>\n");
}

fn throughput(html: &mut Html, ecu: &EcuSummary) {
    html.text(&format::rate(ecu.throughput));
    if ecu.wire_limit > 0.0 {
        let of = format!(" of {} ({})", format::rate(ecu.wire_limit), format::share(used(ecu)));
        html.element("<span class=\"soft\">", &of, "</span><div class=\"meter\"><i style=\"width:")
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
    if let Some(error) = &ecu.error {
        html.element("<div class=\"why\">", error, "</div>");
    }
}

fn buses(html: &mut Html, buses: &[BusSummary]) {
    if buses.is_empty() {
        return;
    }
    html.markup(
        "<section class=\"card\"><h2>Buses</h2><p class=\"lead\">How busy each was; the mark is its ",
    )
    .markup("busiest second.</p><div class=\"buses\">\n");
    for bus in buses {
        let rates = format!(
            "{} / {}, {} frames",
            format::bit_rate(bus.nominal_bitrate),
            format::bit_rate(bus.data_bitrate),
            format::count(bus.frames)
        );
        html.element("<div><div class=\"split\"><span><b>", &bus.name, "</b> ")
            .element("<span class=\"soft\">", &rates, "</span></span>")
            .element(
                "<span>",
                &format::share(bus.load),
                "</span></div><div class=\"meter\"><i style=\"width:",
            )
            .number((100.0 * bus.load).clamp(0.0, 100.0))
            .markup("%\"></i><u style=\"left:calc(")
            .number((100.0 * bus.peak_load).clamp(0.0, 100.0))
            .markup("% - 2px)\"></u></div></div>\n");
    }
    html.markup("</div></section>\n");
}

/// Height of one row of the flame graph, in CSS pixels.
const ROW: u32 = 20;

fn cpu(html: &mut Html, flame: &Flame) {
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

fn footer(html: &mut Html, material: &Material) {
    let totals = &material.summary.totals;
    html.element(
        "<footer>",
        &format!(
            "{} stage events and {} telemetry windows arrived over MQTT.",
            format::count(material.events.len() as u64),
            format::count(totals.telemetry_windows)
        ),
        "",
    );
    if material.unreadable_events > 0 {
        html.text(&format!(" {} lines of events.jsonl could not be read.", material.unreadable_events));
    }
    html.markup(" Times are the gateway's own clock.</footer>\n");
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ecu(serial: &str, verdict: Verdict) -> EcuSummary {
        EcuSummary { serial: serial.into(), verdict, ..EcuSummary::default() }
    }

    #[test]
    fn the_headline_says_what_happened() {
        use Verdict::{Failed, RolledBack, Unchanged, Updated};
        for (verdicts, expected) in [
            (vec![], "No ECU took part"),
            (vec![Updated], "The ECU runs its new software"),
            (vec![Updated, Updated], "All 2 ECUs run their new software"),
            (vec![Updated, Unchanged], "1 of 2 ECUs were updated; E1 kept its old software, untouched"),
            (vec![Updated, RolledBack], "1 of 2 ECUs were updated; E1 was rolled back to its old software"),
            (vec![Failed, Failed], "0 of 2 ECUs were updated; 2 were not"),
        ] {
            let ecus: Vec<_> =
                verdicts.into_iter().enumerate().map(|(index, it)| ecu(&format!("E{index}"), it)).collect();
            assert_eq!(headline(&ecus), expected);
        }
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = "\"><script>alert(1)</script><img src=x onerror='x'>";
        let mut bad = ecu(evil, Verdict::Failed);
        for field in
            [&mut bad.bus, &mut bad.target, &mut bad.version_before, &mut bad.cipher, &mut bad.tree_hash]
        {
            *field = evil.to_owned();
        }
        bad.error = Some(evil.to_owned());
        (bad.throughput, bad.wire_limit) = (f64::NAN, f64::INFINITY);
        let stage = super::super::StageSpan {
            stage: Stage::Verify,
            start_ms: u64::MAX,
            duration_ms: u64::MAX,
            status: Status::Failed,
        };
        bad.stages = vec![stage];
        let bus = BusSummary { name: evil.into(), load: 7.0, peak_load: -1.0, ..BusSummary::default() };
        let summary = Summary {
            vehicle: evil.into(),
            campaign: evil.into(),
            ota_trace_id: evil.into(),
            ecus: vec![bad],
            buses: vec![bus],
            ..Summary::default()
        };
        let folded = format!("V;{};{} 100\n", evil.replace(' ', "_"), evil.replace(' ', "_"));
        let page = render(&Material { summary, folded, ..Material::default() });
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() > 10);
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn an_empty_summary_still_makes_a_page_that_loads_nothing() {
        let page = render(&Material::default());
        assert!(page.contains("No ECU took part"));
        for outside in ["http://", "https://", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
