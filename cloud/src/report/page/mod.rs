//! The page itself, from top to bottom.

mod campaigns;
mod cpu;
mod ecus;
mod heat;
mod metrics;
mod profiles;
mod timeline;

use ota::uptane::UtcTime;

use super::Material;
use super::flame::flame;
use super::format;
use super::html::Html;
use super::style::STYLE;
use super::style_telemetry;
use super::summary::{BusSummary, EcuSummary, Summary, Verdict};

/// Makes the page. Whatever stands in the material, the page loads nothing and runs nothing but its own script.
pub fn render(material: &Material) -> String {
    let summary = &material.summary;
    let telemetry = &material.telemetry;
    let scripts = !telemetry.profiles.trees.is_empty();
    let mut html = Html::default();
    html.markup("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n")
        // A second lock on the door that escaping already keeps shut.
        .markup("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
    if scripts {
        html.element("script-src 'sha256-", &script_hash(), "'; ");
    }
    html.markup("style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n")
        .markup("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>")
        .text(&title(material))
        .markup("</title>\n<style>")
        .markup(STYLE)
        .markup(style_telemetry::STYLE)
        .markup("</style></head>\n<body><main>\n");
    header(&mut html, material);
    if *summary != Summary::default() || telemetry.is_empty() {
        tiles(&mut html, summary);
    }
    alarms(&mut html, summary);
    campaigns::campaigns(&mut html, summary, &material.events);
    ecus::ecus(&mut html, &summary.ecus);
    buses(&mut html, &summary.buses);
    profiles::profiles(&mut html, &telemetry.profiles);
    if scripts {
        html.markup("<noscript>");
    }
    cpu::cpu(&mut html, &flame(&material.folded));
    if scripts {
        html.markup("</noscript>\n");
    }
    heat::heat(&mut html, &telemetry.heat);
    metrics::metrics(&mut html, &telemetry.lines);
    footer(&mut html, material);
    html.markup("</main>");
    if scripts {
        html.markup("<script>").markup(profiles::SCRIPT).markup("</script>");
    }
    html.markup("</body></html>\n");
    html.finish()
}

/// What names the page's own script, and no other.
fn script_hash() -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(profiles::SCRIPT))
}

/// The times at the ends and in the middle of a drawing's lower edge.
fn time_axis(html: &mut Html, left: f64, right: f64, height: f64, start_ms: u64, end_ms: u64) {
    html.markup("<line class=\"axis-line\" x1=\"")
        .number(left)
        .markup("\" x2=\"")
        .number(right)
        .markup("\" y1=\"");
    html.number(height).markup("\" y2=\"").number(height).markup("\"/>");
    let middle = start_ms.midpoint(end_ms);
    for (anchor, x, at) in
        [("start", left, start_ms), ("middle", f64::midpoint(left, right), middle), ("end", right, end_ms)]
    {
        html.markup("<text text-anchor=\"").markup(anchor).markup("\" x=\"").number(x).markup("\" y=\"");
        html.number(height + 16.0).element("\">", &format::clock(at), "</text>");
    }
    html.markup("\n");
}

fn title(material: &Material) -> String {
    let summary = &material.summary;
    if *summary == Summary::default() && !material.telemetry.is_empty() {
        return "Telemetry".to_owned();
    }
    format!("{} on {}", or_dash(&summary.campaign), or_dash(&summary.vehicle))
}

fn header(html: &mut Html, material: &Material) {
    let summary = &material.summary;
    if *summary == Summary::default() && !material.telemetry.is_empty() {
        let profiles = &material.telemetry.profiles;
        html.markup("<header><div class=\"eyebrow\">gatewayd telemetry report</div><h1>");
        match profiles.vehicles.as_slice() {
            [one] => html.text(&format!("What {one} reported")),
            [] => html.text("What vehicles reported"),
            many => html.text(&format!("What {} vehicles reported", many.len())),
        };
        html.markup("</h1><div class=\"facts\">");
        if let (Some(first), Some(last)) = (profiles.buckets.first(), profiles.buckets.last()) {
            let day = UtcTime::from_unix(first.at_ms / 1000).to_string();
            let day = day.split('T').next().unwrap_or_default();
            let end = format::clock(last.at_ms.saturating_add(profiles.bucket_ms));
            let when = format!("{day}, {} to {end} UTC", format::clock(first.at_ms));
            html.element("<span>Profiles of <b>", &when, "</b></span>");
        }
        html.markup("</div></header>\n");
        return;
    }
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

fn footer(html: &mut Html, material: &Material) {
    let totals = &material.summary.totals;
    html.element(
        "<footer>",
        &format!(
            "{} stage events and {} telemetry windows arrived over MQTT.",
            format::count(material.events.len() as u64),
            format::count(totals.telemetry_windows.max(material.telemetry.profiles.windows))
        ),
        "",
    );
    if material.unreadable_events > 0 {
        html.text(&format!(" {} lines of events.jsonl could not be read.", material.unreadable_events));
    }
    let telemetry = &material.telemetry;
    if telemetry.unreadable > 0 {
        html.text(&format!(" {} lines of telemetry could not be read.", telemetry.unreadable));
    }
    for name in &telemetry.cut {
        html.text(&format!(" {name} is longer than a page reads: its later part is not shown."));
    }
    html.markup(" Times are the gateway's own clock.</footer>\n");
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

#[cfg(test)]
mod tests {
    use ota::stage::{Stage, Status};

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
