//! Stage events: one for every change of stage, with the time the stage took.

use std::collections::BTreeMap;
use std::time::Instant;

use ota::stage::{Detail, Stage, StageEvent, Status, TraceId};
use ota::uptane::{CampaignId, EcuSerial, Vin};

use super::context::Context;
use super::message::{EcuIndex, Publish};

/// Names the campaign that events belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CampaignName {
    pub(super) campaign: Option<CampaignId>,
    pub(super) trace: Option<TraceId>,
}

/// Turns changes of stage into events, and remembers when each stage began.
#[derive(Debug)]
pub(super) struct Reporter {
    vin: Vin,
    boot: String,
    topic: String,
    seq: u64,
    pub(super) name: CampaignName,
    began: BTreeMap<(Option<EcuIndex>, Stage), Instant>,
}

/// Who an event is about: an ECU and the thread that does its work, or the campaign as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) ecu: Option<(EcuIndex, &'a EcuSerial)>,
    pub(super) thread: &'a str,
}

impl Subject<'_> {
    /// The campaign as a whole, on the control loop.
    pub(super) const CAMPAIGN: Self = Self { ecu: None, thread: "gatewayd" };

    fn key(&self, stage: Stage) -> (Option<EcuIndex>, Stage) {
        (self.ecu.map(|(index, _)| index), stage)
    }
}

impl Reporter {
    pub(super) fn new(vin: Vin, boot: String) -> Self {
        let topic = format!("v1/{vin}/ota/event");
        Self { vin, boot, topic, seq: 0, name: CampaignName::default(), began: BTreeMap::new() }
    }

    /// A stage begins. Saying so again changes nothing.
    pub(super) fn start(&mut self, context: &mut Context<'_>, subject: Subject<'_>, stage: Stage) {
        if self.began.contains_key(&subject.key(stage)) {
            return;
        }
        self.began.insert(subject.key(stage), context.now.monotonic);
        self.emit(context, subject, stage, Status::Started, 0, None);
    }

    /// A stage ends.
    pub(super) fn end(
        &mut self,
        context: &mut Context<'_>,
        subject: Subject<'_>,
        stage: Stage,
        status: Status,
        detail: Option<Detail>,
    ) {
        let began = self.began.remove(&subject.key(stage)).unwrap_or(context.now.monotonic);
        let span = context.now.monotonic.saturating_duration_since(began);
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.emit(context, subject, stage, status, millis, detail);
    }

    /// Stages of this subject that have begun and not ended.
    pub(super) fn open_stages(&self, ecu: EcuIndex) -> Vec<Stage> {
        self.began.keys().filter(|(who, _)| *who == Some(ecu)).map(|(_, stage)| *stage).collect()
    }

    fn emit(
        &mut self,
        context: &mut Context<'_>,
        subject: Subject<'_>,
        stage: Stage,
        status: Status,
        span_duration_ms: u64,
        detail: Option<Detail>,
    ) {
        let ecu_serial = subject.ecu.map(|(_, serial)| serial.clone());
        log(
            &self.name,
            stage,
            status,
            span_duration_ms,
            ecu_serial.as_ref(),
            subject.thread,
            detail.as_ref(),
        );
        let event = StageEvent {
            vin: self.vin.clone(),
            campaign: self.name.campaign.clone(),
            ota_trace_id: self.name.trace,
            stage_code: stage,
            status,
            span_duration_ms,
            ecu_serial,
            thread_name: subject.thread.to_owned(),
            boot: self.boot.clone(),
            seq: self.seq,
            at: context.now.utc_ms,
            detail,
        };
        self.seq += 1;
        match serde_json::to_vec(&event) {
            Ok(payload) => {
                context.publish(Publish {
                    topic: self.topic.clone(),
                    payload,
                    retain: false,
                    droppable: false,
                });
            }
            Err(error) => tracing::error!(%error, "an event cannot be written as JSON"),
        }
    }
}

fn log(
    name: &CampaignName,
    stage: Stage,
    status: Status,
    millis: u64,
    ecu: Option<&EcuSerial>,
    thread: &str,
    detail: Option<&Detail>,
) {
    let trace = name.trace.map(|it| it.to_string()).unwrap_or_default();
    let ecu = ecu.map_or("", EcuSerial::as_str);
    let message = detail.map_or("", |it| it.message.as_str());
    tracing::info!(
        ota_trace_id = trace,
        stage_code = stage.code(),
        ?status,
        span_duration_ms = millis,
        ecu_serial = ecu,
        thread_name = thread,
        detail = message,
        "stage"
    );
}

/// A detail with nothing but a reason.
pub(super) fn reason(code: &str, message: impl Into<String>) -> Detail {
    Detail { code: code.to_owned(), message: message.into(), ..Detail::default() }
}

/// A detail with nothing but an amount.
pub(super) fn amount(code: &str, message: impl Into<String>, bytes: u64) -> Detail {
    Detail { bytes: Some(bytes), bytes_total: Some(bytes), ..reason(code, message) }
}
