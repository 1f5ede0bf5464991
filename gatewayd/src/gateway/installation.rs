//! One target on its way into one ECU.
//!
//! Two roads lead to the same end. An ECU with one bank is not touched before its whole image lies in the store,
//! authenticated, opened once and found whole. An ECU with two banks takes the image while it arrives; it is not
//! activated before the whole file's hashes have matched.

mod download;
mod finish;
mod program;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::job::{HashState, JobError, JobId, Outcome, SecretKey};
use ota::image::ChunkLayout;
use ota::journal::{self, Banks, EcuRecord, InstalledRecord, Phase};
use ota::stage::{Detail, Stage, Status};
use ota::uptane::EcuSerial;
use ota::uptane::verify::{Assignment, EcuIdentity};
use ota::uptane::{Chunks, Hashes, TargetCustom};

use super::context::Context;
use super::journal::{JournalKey, JournalWrite};
use super::message::{EcuIndex, FetchError, FetchId, StoreError, StoreId, StoreName, WriteId};
use super::pipeline::{Pipeline, PipelineError, Source, Task};
use super::report::{Reporter, Subject, reason};
use crate::bus::{EcuError, EcuOrder, EcuReport};

/// What an installation must know of its ECU and of this gateway.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) ecu: EcuIndex,
    pub(super) bus: usize,
    /// Name of the bus's thread, for events.
    pub(super) bus_thread: String,
    /// Bytes that may be on their way from the origin.
    pub(super) read_ahead: u64,
    /// Fetch attempts in a row without a new byte.
    pub(super) attempts: u32,
}

/// Where an installation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing asked for yet.
    Start,
    /// The ECU is asked what it is.
    Identify,
    /// The store makes room; two files, this many answers are still due.
    Reserve(u8),
    /// Chunks go into the store.
    Download,
    /// The stored image is read back whole, before the ECU is touched.
    Prove,
    /// Everything is ready, the bus is not.
    AwaitBus,
    /// The intent to write to the ECU is on its way into the journal.
    Intend(WriteId),
    /// The ECU is being prepared and filled.
    Program,
    /// The intent to activate is on its way into the journal.
    IntendActivation(WriteId),
    /// The ECU restarts.
    Activate,
    /// Another attempt follows at this instant.
    Pause(Instant),
    /// Over, the record says how.
    Over,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) around: Surroundings,
    pub(super) assignment: Assignment,
    pub(super) record: EcuRecord,
    pub(super) step: Step,
    custom: TargetCustom,
    hashes: Hashes,
    key: Option<Arc<SecretKey>>,
    problem: Option<String>,
    pipeline: Option<Pipeline>,
    /// Store writes that are not done yet, and the chunk each completes.
    writes: BTreeMap<StoreId, Option<u64>>,
    /// Whole-file hashes up to a plain offset that the ECU has not acknowledged yet.
    marks: BTreeMap<u64, Vec<HashState>>,
    /// Bytes done and to do in the present stage.
    pub(super) progress: (u64, u64),
    pub(super) version: Option<String>,
    tries: u32,
    bus_tries: u32,
    silences: u32,
    /// The ECU has checked the image, whose whole-file hashes are still being computed.
    awaits_hash: bool,
    journaled_at: Option<Instant>,
}

impl Installation {
    /// An installation that stands where its record says. `key` opens its chunks, where they are sealed; a `problem`
    /// with the key ends the installation as soon as it starts.
    pub(super) fn new(
        around: Surroundings,
        assignment: Assignment,
        record: EcuRecord,
        key: Option<SecretKey>,
        problem: Option<String>,
    ) -> Self {
        let over = record.is_final() || matches!(record.phase, Phase::Failed(_));
        Self {
            hashes: assignment.hashes,
            custom: assignment.custom.clone(),
            key: key.map(Arc::new),
            problem,
            pipeline: None,
            writes: BTreeMap::new(),
            marks: BTreeMap::new(),
            progress: (0, 0),
            version: None,
            tries: 0,
            bus_tries: 0,
            silences: 0,
            awaits_hash: false,
            journaled_at: None,
            step: if over { Step::Over } else { Step::Start },
            around,
            assignment,
            record,
        }
    }

    /// The ECU's serial.
    pub(super) const fn serial(&self) -> &EcuSerial {
        &self.assignment.serial
    }

    /// Lower orders are programmed first.
    pub(super) fn order(&self) -> u32 {
        self.custom.install.as_ref().map_or(0, |it| it.order)
    }

    /// Whether nothing more will happen.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    /// Whether the ECU may be without its software and is about to be programmed again: nobody goes before it.
    pub(super) const fn comes_first(&self) -> bool {
        let about_to = matches!(self.step, Step::Start | Step::Identify | Step::AwaitBus);
        about_to && self.record.touched && !self.streams()
    }

    /// Whether the ECU's bus is this installation's now.
    pub(super) const fn holds_bus(&self) -> bool {
        matches!(self.step, Step::Intend(_) | Step::Program | Step::IntendActivation(_) | Step::Activate)
    }

    /// Whether it ended without success, in this run or an earlier one.
    pub(super) const fn has_failed(&self) -> bool {
        matches!(self.record.phase, Phase::Failed(_))
    }

    /// Why it failed, for people.
    pub(super) fn failure(&self) -> Option<String> {
        if let Phase::Failed(failure) = &self.record.phase { Some(failure.message.clone()) } else { None }
    }

    /// The version the ECU is being brought to.
    pub(super) fn target_version(&self) -> String {
        self.custom.version.to_string()
    }

    /// What the ECU runs, once it runs the new image.
    pub(super) fn identity(&self) -> Option<EcuIdentity> {
        let Phase::Done { .. } = self.record.phase else { return None };
        let hardware_id = self.custom.hardware_ids.first()?.clone();
        Some(EcuIdentity {
            serial: self.serial().clone(),
            hardware_id,
            release_counter: self.custom.release_counter,
            installed: Some(self.hashes),
        })
    }

    /// Gets going, from wherever the record says.
    pub(super) fn start(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        if self.step == Step::Start {
            reporter.start(context, self.on_bus(), Stage::PreCheck);
            match self.problem.take() {
                Some(problem) => self.fail(context, reporter, reason("CONTENT_KEY", problem)),
                None => self.identify(context),
            }
        } else if self.is_over() {
            // The last run may have ended before the store had given the room back.
            self.give_room_back(context);
        }
    }

    /// A part of one of our fetches.
    pub(super) fn handle_part(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        id: FetchId,
        data: Vec<u8>,
    ) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.handle_part(context, id, data);
        }
        self.drain(context, reporter);
    }

    /// The end of one of our fetches.
    pub(super) fn handle_fetch_end(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        id: FetchId,
        result: Result<(), FetchError>,
    ) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.handle_fetch_end(context, id, result);
        }
        self.drain(context, reporter);
    }

    /// The end of one of our jobs.
    pub(super) fn handle_completion(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        id: JobId,
        result: Result<Outcome, JobError>,
    ) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.handle_completion(context, id, result);
        }
        self.drain(context, reporter);
    }

    /// The end of one of our store operations.
    pub(super) fn handle_stored(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        id: StoreId,
        result: Result<Vec<u8>, StoreError>,
    ) {
        match self.step {
            Step::Reserve(due) => self.handle_reserved(context, reporter, due, result),
            Step::Download => self.handle_written(context, reporter, id, result),
            _ => {
                if let Some(pipeline) = &mut self.pipeline {
                    pipeline.handle_stored(context, id, result);
                }
            }
        }
        self.drain(context, reporter);
    }

    /// The end of one of our journal writes.
    pub(super) fn handle_journaled(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        id: WriteId,
        result: Result<(), String>,
    ) {
        let awaited = matches!(self.step, Step::Intend(it) | Step::IntendActivation(it) if it == id);
        if !awaited {
            return;
        }
        // An ECU with one bank has nothing to go back to: its complete image is started even if nobody can write that
        // down. The next start of the daemon reads the version.
        let must_go_on = !self.streams() && matches!(self.step, Step::IntendActivation(_));
        if let (Err(message), false) = (&result, must_go_on) {
            let message =
                format!("the journal refuses a write ({message}); check the disk under state.directory");
            self.fail(context, reporter, reason("JOURNAL", message));
            return;
        }
        match self.step {
            Step::Intend(_) => self.program(context, reporter),
            _ => self.activate(context, reporter),
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        if let Some(pipeline) = &mut self.pipeline
            && pipeline.poll_timeout().is_some_and(|at| at <= context.now.monotonic)
        {
            pipeline.handle_timeout(context);
        }
        if let Step::Pause(until) = self.step
            && until <= context.now.monotonic
        {
            self.identify(context);
        }
        self.drain(context, reporter);
    }

    /// When to call [`Installation::handle_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pause = if let Step::Pause(until) = self.step { Some(until) } else { None };
        self.pipeline.as_ref().and_then(Pipeline::poll_timeout).into_iter().chain(pause).min()
    }

    /// The stage it is in, for people.
    pub(super) fn stage_code(&self) -> &'static str {
        match self.step {
            Step::Start | Step::Identify | Step::Pause(_) => Stage::PreCheck.code(),
            Step::Reserve(_) | Step::Download => Stage::Download.code(),
            Step::Prove => Stage::Verify.code(),
            Step::AwaitBus => "AWAIT_BUS",
            Step::Intend(_) | Step::Program => Stage::Transfer.code(),
            Step::IntendActivation(_) | Step::Activate => Stage::Activate.code(),
            Step::Over => match self.record.phase {
                Phase::Failed(_) => "FAILED",
                _ => "DONE",
            },
        }
    }

    fn identify(&mut self, context: &mut Context<'_>) {
        self.step = Step::Identify;
        context.order(self.around.ecu, EcuOrder::Identify);
    }

    /// A report from the ECU's session.
    pub(super) fn handle_report(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        report: EcuReport,
    ) {
        match (self.step, report) {
            (Step::Identify, EcuReport::Identified { version, hardware }) => {
                self.handle_identified(context, reporter, version, hardware);
            }
            (Step::Identify, EcuReport::Failed(error)) => self.handle_unidentified(context, reporter, error),
            (Step::Program | Step::Activate, report)
            | (Step::IntendActivation(_), report @ EcuReport::Failed(_)) => {
                self.handle_programming(context, reporter, report);
            }
            (step, report) => tracing::debug!(?step, ?report, "report of a session that is over"),
        }
        self.drain(context, reporter);
    }

    fn handle_identified(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        version: Option<String>,
        hardware: Option<String>,
    ) {
        self.bus_tries = 0;
        self.silences = 0;
        self.version = version;
        let wanted = self.custom.version.as_str();
        let found = self.version.as_deref().unwrap_or("none");
        let hardware = hardware.as_deref().unwrap_or("not told");
        let detail = reason("IDENTIFIED", format!("runs version {found}, hardware {hardware}"));
        reporter.end(context, self.on_bus(), Stage::PreCheck, Status::Ok, Some(detail));
        if found == wanted {
            self.finish_current(context, reporter);
        } else if self.streams() || !matches!(self.record.phase, Phase::Pending | Phase::Downloading(_)) {
            self.step = Step::AwaitBus;
        } else {
            self.reserve(context, reporter);
        }
    }

    fn handle_unidentified(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, error: EcuError) {
        const BUS_PATIENCE: u32 = 60;
        const BUS_PAUSE: Duration = Duration::from_secs(1);
        /// An ECU may be starting, or in the middle of an erase that nobody waits for any more.
        const SILENCE_PATIENCE: u32 = 3;
        /// One that was touched has more to lose.
        const TOUCHED_PATIENCE: u32 = 30;
        const SILENCE_PAUSE: Duration = Duration::from_secs(2);
        let (tries, patience, pause) = match error {
            EcuError::BusDown { .. } => (&mut self.bus_tries, BUS_PATIENCE, BUS_PAUSE),
            _ if self.record.touched => (&mut self.silences, TOUCHED_PATIENCE, SILENCE_PAUSE),
            _ => (&mut self.silences, SILENCE_PATIENCE, SILENCE_PAUSE),
        };
        *tries += 1;
        if *tries < patience {
            self.step = Step::Pause(context.now.monotonic + pause);
            return;
        }
        self.fail(context, reporter, reason("ECU_SILENT", error.to_string()));
    }

    /// Everything a pipeline has to say takes effect.
    fn drain(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        while let Some(event) = self.pipeline.as_mut().and_then(Pipeline::poll_event) {
            match self.step {
                Step::Download => self.handle_download(context, reporter, event),
                Step::Prove => self.handle_proof(context, reporter, event),
                _ => self.handle_stream(context, reporter, event),
            }
        }
    }

    /// The record changes. What must be on the medium before the next step waits for the id that comes back.
    fn advance(&mut self, context: &mut Context<'_>, phase: Phase) -> Option<WriteId> {
        match self.record.advance(phase) {
            Ok(record) => self.record = record,
            Err(error) => {
                tracing::error!(ecu = %self.serial(), %error, "the journal forbids this step");
                return None;
            }
        }
        self.journaled_at = Some(context.now.monotonic);
        let mut write = match journal::encode(&self.record) {
            Ok(record) => JournalWrite::put(self.journal_key(), record),
            Err(error) => {
                tracing::error!(ecu = %self.serial(), %error, "a record cannot be written");
                return None;
            }
        };
        if let Some(installed) = self.installed() {
            write = write.and_put(JournalKey::Installed(self.serial().to_string()), installed);
        }
        Some(context.journal(write))
    }

    /// The record as it is, once more: its confirmation shows that the medium still takes records.
    fn rewrite(&mut self, context: &mut Context<'_>) -> Option<WriteId> {
        let record = journal::encode(&self.record).ok()?;
        Some(context.journal(JournalWrite::put(self.journal_key(), record)))
    }

    /// The record of what the ECU runs, once it runs the new image.
    fn installed(&self) -> Option<Vec<u8>> {
        let Phase::Done { version } = &self.record.phase else { return None };
        let record = InstalledRecord {
            serial: self.serial().clone(),
            release_counter: self.custom.release_counter,
            hashes: self.hashes,
            version: version.clone(),
        };
        journal::encode(&record).ok()
    }

    /// Whether the image goes into the ECU while it arrives.
    const fn streams(&self) -> bool {
        matches!(self.record.banks, Banks::Two)
    }

    fn journal_key(&self) -> JournalKey {
        JournalKey::Ecu(self.serial().to_string())
    }

    fn layout(&self) -> ChunkLayout {
        self.custom.chunks.layout
    }

    fn chunks(&self) -> Chunks {
        self.custom.chunks
    }

    /// Chunks that may be on their way from the origin.
    fn window(&self) -> u64 {
        (self.around.read_ahead / u64::from(self.layout().chunk_size())).max(2)
    }

    fn begin_pipeline(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, task: Task) {
        let start = task.start;
        match Pipeline::new(task) {
            Ok(mut pipeline) => {
                pipeline.handle_consumed(context, start);
                self.pipeline = Some(pipeline);
            }
            Err(error) => {
                let error = PipelineError::Tree(error);
                self.fail(context, reporter, reason(error.code(), error.to_string()));
            }
        }
    }

    fn origin(&self) -> Source {
        // A verified assignment has a hash, and with it both paths.
        let image = self.assignment.path().unwrap_or_default();
        Source::Origin { image, tree: self.assignment.tree_path().unwrap_or_default() }
    }

    fn stored(&self) -> Source {
        let (serial, root) = (self.serial(), self.custom.chunks.tree.root);
        Source::Store {
            image: StoreName(format!("{serial}.{root}.img")),
            tree: StoreName(format!("{serial}.{root}.tree")),
        }
    }

    /// The subject of events about what this gateway does.
    fn here(&self, thread: &'static str) -> Subject<'_> {
        Subject { ecu: Some((self.around.ecu, &self.assignment.serial)), thread }
    }

    /// The subject of events about what happens on the bus.
    fn on_bus(&self) -> Subject<'_> {
        Subject { ecu: Some((self.around.ecu, &self.assignment.serial)), thread: &self.around.bus_thread }
    }

    fn fail(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, detail: Detail) {
        self.end_failed(context, reporter, detail);
    }
}
