//! The last page: a table for the terminal, `summary.json` and `report.html`.

use std::path::{Path, PathBuf};

use gateway_cloud::fsio::{self, Access};
use gateway_cloud::report::{self, BusSummary, EcuSummary, Summary, Totals, Verdict};
use ota::stage::Stage;

use crate::failure::{Failure, Outcome};
use crate::field::TIMING;
use crate::monitor::Monitor;
use crate::outcome::Judged;
use crate::state::State;
use crate::units::{bytes, millis, percent, rate};
use crate::vehicle::{BUSES, OLD_VERSION, VIN};

/// Stages of one ECU, as columns.
const COLUMNS: [Stage; 8] = [
    Stage::PreCheck,
    Stage::Download,
    Stage::Verify,
    Stage::Decrypt,
    Stage::Transfer,
    Stage::Install,
    Stage::Activate,
    Stage::Rollback,
];

/// The table, line by line.
pub(crate) fn table(state: &State, monitor: &Monitor, judged: &[Judged], fetched: u64) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.push(format!(
        "{:<13} {:<8} {:>10}  {:<28} {:<14} {:<11} {}",
        "ECU", "BUS", "IMAGE", "PROTECTION", "VERSION", "VERDICT", "IMAGE IN THE ECU"
    ));
    for it in judged {
        lines.push(format!(
            "{:<13} {:<8} {:>10}  {:<28} {:<14} {:<11} {}",
            it.spec.serial,
            BUSES.get(it.spec.bus).copied().unwrap_or_default(),
            bytes(it.package.len),
            it.spec.protection(),
            format!("{OLD_VERSION} -> {}", it.version),
            word(it.verdict),
            image(it),
        ));
    }
    lines.push(String::new());
    let mut head = format!("{:<13}", "TIME");
    COLUMNS.iter().for_each(|it| head += &format!(" {:>9}", it.code()));
    lines.push(head);
    let mut cut = false;
    for it in judged {
        let stages = monitor.stages(it.spec.serial);
        let mut line = format!("{:<13}", it.spec.serial);
        for stage in COLUMNS {
            let cell = stages.get(&stage).map_or_else(
                || "-".to_owned(),
                |it| {
                    cut |= it.is_cut();
                    let marks =
                        if it.failed { "!" } else { "" }.to_owned() + if it.is_cut() { "+" } else { "" };
                    millis(it.millis) + &marks
                },
            );
            line += &format!(" {cell:>9}");
        }
        lines.push(line);
    }
    if cut {
        lines.push("              + and what passed before gatewayd died".to_owned());
    }
    lines.push(String::new());
    for it in judged.iter().filter(|it| it.throughput > 0.0) {
        let limit = if it.wire_limit > 0.0 {
            format!(
                " of {} that the wire can carry ({})",
                rate(it.wire_limit),
                percent(it.throughput / it.wire_limit)
            )
        } else {
            ", untimed bus".to_owned()
        };
        lines.push(format!("{:<13} {}{limit}", it.spec.serial, rate(it.throughput)));
    }
    for (name, bus) in BUSES.iter().zip(&monitor.buses) {
        let load = if state.untimed {
            "untimed".to_owned()
        } else {
            format!("busy {} of the time, {} at its peak", percent(bus.now.load()), percent(bus.peak))
        };
        lines.push(format!(
            "bus {name:<9} {} frames, {load}, {} overruns",
            bus.now.bus.frames, bus.now.overruns
        ));
    }
    lines.push(telemetry(monitor));
    lines.push(format!(
        "gatewayd      peak resident memory {}, died {} times; fetched {}",
        bytes(monitor.heard.peak_memory),
        monitor.deaths,
        bytes(fetched)
    ));
    for it in judged {
        let Some(spoiled) = &it.spoiled else { continue };
        lines.push(format!(
            "tampered      {}: bit {} of byte {} of chunk {} (of {}) was flipped on the server: {}",
            it.spec.serial,
            spoiled.bit,
            spoiled.offset,
            spoiled.chunk,
            spoiled.chunks,
            it.reason.as_deref().unwrap_or("nobody noticed")
        ));
    }
    lines
}

/// Writes `summary.json` and `report.html`; returns the page's path.
pub(crate) fn write(
    dir: &Path,
    state: &State,
    monitor: &Monitor,
    judged: &[Judged],
    fetched: u64,
) -> Outcome<PathBuf> {
    let text = serde_json::to_vec_pretty(&summary(state, monitor, judged, fetched))
        .map_err(Failure::of("summary.json"))?;
    fsio::write_atomically(&dir.join("summary.json"), &text, Access::Public)
        .map_err(Failure::of("summary.json"))?;
    report::write(dir, None).map_err(Failure::of("the report"))
}

fn summary(state: &State, monitor: &Monitor, judged: &[Judged], fetched: u64) -> Summary {
    let ecus = judged.iter().map(|it| EcuSummary {
        serial: it.spec.serial.to_owned(),
        bus: BUSES.get(it.spec.bus).copied().unwrap_or_default().to_owned(),
        target: it.spec.target.to_owned(),
        version_before: OLD_VERSION.to_owned(),
        version_after: it.version.clone(),
        bytes: it.package.len,
        cipher: it.spec.cipher.map_or("none", |it| it.name()).to_owned(),
        tree_hash: it.spec.hash.name().to_owned(),
        stages: Vec::new(),
        throughput: it.throughput,
        wire_limit: it.wire_limit,
        verdict: it.verdict,
        // Of an ECU that keeps its old image there is no package to compare with.
        identical: it.equal.filter(|_| it.spoiled.is_none()),
        error: reason(it),
    });
    let buses = BUSES.iter().zip(&monitor.buses).map(|(name, it)| BusSummary {
        name: (*name).to_owned(),
        nominal_bitrate: TIMING.nominal().into(),
        data_bitrate: TIMING.data().into(),
        frames: it.now.bus.frames,
        load: it.now.load(),
        peak_load: it.peak,
    });
    let ended = monitor.end().map_or(0, |it| it.at);
    let began = monitor.events.iter().map(|it| it.at).min().unwrap_or(ended);
    let updated = judged.iter().filter(|it| it.verdict == Verdict::Updated);
    Summary {
        vehicle: VIN.to_owned(),
        campaign: state.campaign.clone(),
        ota_trace_id: state.trace.to_string(),
        started_at_ms: state.started_at_ms,
        ecus: ecus.collect(),
        buses: buses.collect(),
        totals: Totals {
            duration_ms: ended.saturating_sub(began),
            bytes: updated.map(|it| it.package.len).sum(),
            downloaded_bytes: fetched,
            peak_memory_bytes: monitor.heard.peak_memory,
            telemetry_windows: monitor.telemetry.windows,
        },
    }
}

/// Why an ECU was not updated, and what else is wrong with it.
fn reason(it: &Judged) -> Option<String> {
    let mut all: Vec<_> = it.reason.iter().cloned().collect();
    all.extend(it.problems.iter().cloned());
    (!all.is_empty()).then(|| all.join("; "))
}

fn image(it: &Judged) -> String {
    let erased = it.erasures.iter().map(u64::to_string).collect::<Vec<_>>().join("+");
    let compared = match (it.equal, &it.spoiled) {
        (Some(true), None) => "equal to its source, byte for byte",
        (Some(true), Some(_)) => "old image, equal byte for byte",
        (Some(false), _) => "DIFFERS",
        (None, _) => "not compared",
    };
    format!("{compared}; erased {erased}x")
}

fn telemetry(monitor: &Monitor) -> String {
    let it = &monitor.telemetry;
    format!(
        "telemetry     {} windows, {} samples, {} on the air, {} before zstd; {} blocks missed",
        it.windows,
        it.samples,
        bytes(it.bytes),
        bytes(it.plain_bytes),
        it.missed
    )
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Updated => "updated",
        Verdict::Unchanged => "unchanged",
        Verdict::RolledBack => "rolled back",
        Verdict::Failed => "FAILED",
        Verdict::Unknown => "unknown",
    }
}
