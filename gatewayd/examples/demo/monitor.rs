//! What is known of the campaign while it runs: from the control socket, from events, from the buses.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::time::{Instant, SystemTime};

use gateway_cloud::subscribe::Message;
use gateway_sim::bus::HubStatistics;
use ota::stage::{Stage, StageEvent, Status as StageStatus};

use crate::children::Notice;
use crate::link::Heard;
use crate::state::unix_ms;
use crate::track::{BusTrack, EcuTrack, StageTime, Telemetry};
use crate::vehicle::{BUSES, ECUS, VIN};

/// Lines that the view can look back on.
const LINES: usize = 64;
/// Events kept for the summary.
const MAX_EVENTS: usize = 100_000;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) heard: Heard,
    pub(crate) events: Vec<StageEvent>,
    /// Boot and sequence number of every event taken.
    seen: HashSet<(String, u64)>,
    pub(crate) ecus: Vec<EcuTrack>,
    pub(crate) buses: Vec<BusTrack>,
    pub(crate) telemetry: Telemetry,
    /// What happened, for the view: milliseconds since 1970 and a line.
    pub(crate) lines: VecDeque<(u64, String)>,
    /// Lines since the beginning.
    pub(crate) line_count: usize,
    /// When something last moved.
    pub(crate) moved: Instant,
    pub(crate) online: bool,
    /// Deaths of gatewayd.
    pub(crate) deaths: u32,
    /// A child that cannot be kept alive.
    pub(crate) given_up: Option<String>,
    /// Refused messages, gaps, broken connections.
    pub(crate) remarks: u32,
}

impl Monitor {
    /// Knows what an earlier start of the demo wrote down.
    pub(crate) fn new(now: Instant, dir: &Path) -> Self {
        let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
        let mut monitor = Self {
            heard: Heard::default(),
            events: Vec::new(),
            seen: HashSet::new(),
            ecus: ECUS.iter().map(|_| EcuTrack::default()).collect(),
            buses: BUSES.iter().map(|_| BusTrack::default()).collect(),
            telemetry: Telemetry::default(),
            lines: VecDeque::new(),
            line_count: 0,
            moved: now,
            online: false,
            deaths: 0,
            given_up: None,
            remarks: 0,
        };
        // A line that was cut off by the end of the last start is no event.
        for event in text.lines().filter_map(|it| serde_json::from_str(it).ok()) {
            monitor.keep(event);
        }
        monitor
    }

    /// A line for people.
    pub(crate) fn say(&mut self, line: impl Into<String>) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back((unix_ms(SystemTime::now()), line.into()));
        self.line_count += 1;
    }

    /// A message from the broker; says whether it is to be written down.
    pub(crate) fn handle_message(&mut self, now: Instant, message: &Message) -> bool {
        match message {
            Message::Event(event) if event.vin.as_str() == VIN => {
                if !self.keep((**event).clone()) {
                    return false;
                }
                self.moved = now;
                if event.status != StageStatus::Progress {
                    self.say(line(event));
                }
            }
            Message::Window(window) if window.vin == VIN => self.telemetry.take(window),
            Message::Presence { vin, payload } if vin == VIN => {
                self.online = payload == "online";
                self.say(format!("vehicle is {payload}"));
            }
            Message::Refused { topic, reason } => {
                self.remarks += 1;
                self.say(format!("message on {topic} refused: {reason}"));
            }
            Message::Gap { stream, .. } => {
                self.remarks += 1;
                self.say(format!("blocks of telemetry/{stream} are missing; asked for a keyframe"));
            }
            Message::Disconnected { reason } => {
                self.remarks += 1;
                self.say(format!("the broker's connection broke: {reason}"));
            }
            _ => return false,
        }
        true
    }

    /// What became of a child.
    pub(crate) fn handle_notice(&mut self, now: Instant, notice: Notice) {
        self.moved = now;
        match notice {
            Notice::Started { name, pid } => self.say(format!("{name} started, pid {pid}")),
            Notice::Died { name, pid, how } => {
                if name == "gatewayd" {
                    self.deaths += 1;
                }
                self.say(format!("{name} (pid {pid}) {how}; starting it again in 1 s"));
            }
            Notice::GivenUp { name, how } => {
                let text = format!("{name} {how}, again and again; the end of its log says why");
                self.say(text.clone());
                if name == "gatewayd" {
                    self.given_up = Some(text);
                }
            }
        }
    }

    /// What the daemon says of itself.
    pub(crate) fn handle_heard(&mut self, now: Instant, heard: Heard) {
        if let Some(status) = &heard.status {
            for (track, spec) in self.ecus.iter_mut().zip(ECUS) {
                if let Some(ecu) = status.ecus.iter().find(|it| it.serial == spec.serial)
                    && track.update(now, &ecu.stage, ecu.done, ecu.total)
                {
                    self.moved = now;
                }
            }
        } else {
            self.ecus.iter_mut().for_each(|it| it.recent.clear());
        }
        self.heard = heard;
    }

    /// What the buses have done so far.
    pub(crate) fn handle_buses(&mut self, statistics: &[HubStatistics]) {
        for (track, now) in self.buses.iter_mut().zip(statistics) {
            track.update(*now);
        }
    }

    /// The event with which the campaign ended.
    pub(crate) fn end(&self) -> Option<&StageEvent> {
        let is_end = |it: &&StageEvent| {
            it.stage_code == Stage::Report
                && !matches!(it.status, StageStatus::Started | StageStatus::Progress)
        };
        self.events.iter().rev().find(is_end)
    }

    /// Time per stage of one ECU, in the order of stages.
    pub(crate) fn stages(&self, serial: &str) -> BTreeMap<Stage, StageTime> {
        let mut stages: BTreeMap<Stage, StageTime> = BTreeMap::new();
        let of_ecu = |it: &&StageEvent| it.ecu_serial.as_ref().is_some_and(|ecu| ecu.as_str() == serial);
        for event in self.events.iter().filter(of_ecu) {
            let time = stages.entry(event.stage_code).or_default();
            match event.status {
                StageStatus::Started => time.begun += 1,
                StageStatus::Progress => {}
                StageStatus::Ok | StageStatus::Skipped | StageStatus::Failed => {
                    time.ended += 1;
                    time.millis += event.span_duration_ms;
                    time.failed |= event.status == StageStatus::Failed;
                }
            }
        }
        stages
    }

    /// The failure of one ECU, the first of them.
    pub(crate) fn failure(&self, serial: &str) -> Option<&StageEvent> {
        self.events.iter().find(|it| {
            it.status == StageStatus::Failed
                && it.ecu_serial.as_ref().is_some_and(|ecu| ecu.as_str() == serial)
        })
    }

    fn keep(&mut self, event: StageEvent) -> bool {
        let is_new = self.events.len() < MAX_EVENTS && self.seen.insert((event.boot.clone(), event.seq));
        if is_new {
            self.events.push(event);
        }
        is_new
    }
}

/// One event as one line.
fn line(event: &StageEvent) -> String {
    let ecu = event.ecu_serial.as_ref().map_or("vehicle", |it| it.as_str());
    let outcome = match event.status {
        StageStatus::Started => "begins".to_owned(),
        StageStatus::Progress => "goes on".to_owned(),
        StageStatus::Ok => format!("ok, {} ms", event.span_duration_ms),
        StageStatus::Skipped => "not needed".to_owned(),
        StageStatus::Failed => format!("FAILED after {} ms", event.span_duration_ms),
    };
    let detail = event.detail.as_ref().map_or_else(String::new, |it| format!(": {}", it.message));
    format!("{ecu:<12} {:<9} {outcome}{detail}", event.stage_code.code())
}
