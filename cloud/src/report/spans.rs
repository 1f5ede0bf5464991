//! The waterfall's rows: from events where there are any, else from the summary.

use std::collections::BTreeMap;

use ota::stage::{Stage, StageEvent, Status};

use super::summary::Summary;

/// The row of what concerns the whole vehicle.
pub(crate) const VEHICLE: &str = "";

/// One bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) stage: Stage,
    /// Milliseconds after the waterfall's zero.
    pub(crate) start_ms: u64,
    pub(crate) duration_ms: u64,
    pub(crate) status: Status,
    pub(crate) detail: Option<String>,
}

/// The bars of each ECU in the order of the summary, those of the vehicle first; and where the time axis ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waterfall {
    pub(crate) rows: Vec<(String, Vec<Span>)>,
    pub(crate) end_ms: u64,
}

/// Makes the waterfall.
pub(crate) fn waterfall(summary: &Summary, events: &[StageEvent]) -> Waterfall {
    let mut by_ecu = from_events(events);
    for ecu in &summary.ecus {
        let spans = by_ecu.entry(ecu.serial.clone()).or_default();
        if spans.is_empty() {
            spans.extend(ecu.stages.iter().map(|it| Span {
                stage: it.stage,
                start_ms: it.start_ms,
                duration_ms: it.duration_ms,
                status: it.status,
                detail: None,
            }));
        }
    }
    let order = |serial: &str| summary.ecus.iter().position(|it| it.serial == serial);
    let mut rows: Vec<_> = by_ecu.into_iter().filter(|it| !it.1.is_empty()).collect();
    rows.sort_by_key(|(serial, _)| (!serial.is_empty(), order(serial).unwrap_or(usize::MAX)));
    for (_, spans) in &mut rows {
        spans.sort_by_key(|it| (it.start_ms, it.stage));
    }
    let ends = rows.iter().flat_map(|it| &it.1).map(|it| it.start_ms.saturating_add(it.duration_ms));
    let end_ms = ends.max().unwrap_or(0).max(1);
    Waterfall { rows, end_ms }
}

/// Events that end a stage, and those that began one which none ended. What a daemon had begun when it died ends where
/// its next run begins.
fn from_events(events: &[StageEvent]) -> BTreeMap<String, Vec<Span>> {
    let start = |it: &StageEvent| it.at.saturating_sub(it.span_duration_ms);
    let zero = events.iter().map(start).min().unwrap_or(0);
    let last = events.iter().map(|it| it.at).max().unwrap_or(0);
    let mut open: BTreeMap<(String, Stage, &str), &StageEvent> = BTreeMap::new();
    let mut spans: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for event in events {
        let serial = event.ecu_serial.as_ref().map_or(VEHICLE, |it| it.as_str()).to_owned();
        let key = (serial.clone(), event.stage_code, event.boot.as_str());
        if matches!(event.status, Status::Started | Status::Progress) {
            open.entry(key).or_insert(event);
            continue;
        }
        open.remove(&key);
        spans.entry(serial).or_default().push(Span {
            stage: event.stage_code,
            start_ms: start(event) - zero,
            duration_ms: event.span_duration_ms,
            status: event.status,
            detail: event.detail.as_ref().map(|it| it.message.clone()),
        });
    }
    for ((serial, stage, boot), event) in open {
        let next_run = events.iter().filter(|it| it.boot != boot && it.at > event.at).map(|it| it.at).min();
        spans.entry(serial).or_default().push(Span {
            stage,
            start_ms: start(event) - zero,
            duration_ms: next_run.unwrap_or(last).saturating_sub(start(event)),
            status: event.status,
            detail: None,
        });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::{EcuSummary, StageSpan};

    fn event(ecu: Option<&str>, stage: Stage, status: Status, at: u64, duration: u64) -> StageEvent {
        StageEvent {
            vin: "WVWZZZ1JZXW000001".parse().unwrap(),
            campaign: None,
            ota_trace_id: None,
            stage_code: stage,
            status,
            span_duration_ms: duration,
            ecu_serial: ecu.map(|it| it.parse().unwrap()),
            thread_name: "t".into(),
            boot: "b".into(),
            seq: 0,
            at,
            detail: None,
        }
    }

    #[test]
    fn events_become_bars_and_what_never_ended_reaches_to_the_end() {
        let events = [
            event(None, Stage::Metadata, Status::Ok, 1100, 100),
            event(Some("E"), Stage::Transfer, Status::Started, 1200, 0),
            event(Some("E"), Stage::Transfer, Status::Progress, 1300, 100),
            event(Some("E"), Stage::Download, Status::Started, 1150, 0),
            event(Some("E"), Stage::Download, Status::Ok, 1400, 250),
        ];
        let waterfall = waterfall(&Summary::default(), &events);
        let bars: Vec<_> = waterfall
            .rows
            .iter()
            .flat_map(|(row, spans)| {
                spans.iter().map(|it| (row.as_str(), it.stage, it.start_ms, it.duration_ms))
            })
            .collect();
        assert_eq!(
            bars,
            [
                (VEHICLE, Stage::Metadata, 0, 100),
                ("E", Stage::Download, 150, 250),
                ("E", Stage::Transfer, 200, 200)
            ]
        );
        assert_eq!(waterfall.end_ms, 400);
    }

    #[test]
    fn what_a_daemon_had_begun_when_it_died_ends_where_its_next_run_begins() {
        let next = |event: StageEvent| StageEvent { boot: "c".into(), ..event };
        let events = [
            event(Some("E"), Stage::Transfer, Status::Started, 1000, 0),
            next(event(Some("E"), Stage::Transfer, Status::Started, 1500, 0)),
            next(event(Some("E"), Stage::Transfer, Status::Ok, 1900, 400)),
        ];
        let waterfall = waterfall(&Summary::default(), &events);
        let bars: Vec<_> =
            waterfall.rows[0].1.iter().map(|it| (it.start_ms, it.duration_ms, it.status)).collect();
        assert_eq!(bars, [(0, 500, Status::Started), (500, 400, Status::Ok)]);
    }

    #[test]
    fn the_summary_fills_in_where_no_event_came() {
        let stage = StageSpan { stage: Stage::Verify, start_ms: 5, duration_ms: 7, status: Status::Ok };
        let ecu = EcuSummary { serial: "E".into(), stages: vec![stage], ..EcuSummary::default() };
        let summary = Summary { ecus: vec![ecu], ..Summary::default() };
        assert_eq!(waterfall(&summary, &[]).end_ms, 12);
        assert_eq!(waterfall(&Summary::default(), &[]), Waterfall { rows: vec![], end_ms: 1 });
    }
}
