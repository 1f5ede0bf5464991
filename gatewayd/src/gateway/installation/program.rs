//! From the store, or straight from the origin, into the ECU.

use std::time::Duration;

use canfd::uds::profile;
use canfd::uds::programming::EcuState;
use crypto_offload::job::HashState;
use ota::journal::{ChunkProgress, Phase, RunningHash};
use ota::stage::{Stage, Status};

use super::download::JOURNAL_INTERVAL;
use super::{Installation, Step};
use crate::bus::{EcuError, EcuOrder, EcuReport, Program};
use crate::gateway::context::Context;
use crate::gateway::pipeline::{Event, Task};
use crate::gateway::report::{Reporter, amount, reason};

/// Attempts at one ECU, the first one included.
const TRIES: u32 = 3;
/// Pause before another attempt: longer than S3, so that the ECU has left its programming session.
const TRY_PAUSE: Duration = Duration::from_secs(6);
/// Plain bytes on their way to the ECU and not yet acknowledged.
const ECU_WINDOW: u64 = 256 << 10;

impl Installation {
    /// The bus is free: the intent to write goes into the journal first.
    pub(in crate::gateway) fn take_bus(&mut self, context: &mut Context<'_>) {
        self.progress = (0, self.layout().plain_size());
        let intent = match &self.record.phase {
            // The image is in the ECU already, or part of it is: nothing will be erased that is not void anyway.
            Phase::Transferring { .. } | Phase::Installed | Phase::Activated => None,
            _ => Some(Phase::Erasing),
        };
        let id = match intent {
            Some(phase) => self.advance(context, phase),
            None => self.rewrite(context),
        };
        if let Some(id) = id {
            self.step = Step::Intend(id);
        }
    }

    /// The intent is durable: the ECU may be changed from now on.
    pub(super) fn program(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        self.step = Step::Program;
        self.tries += 1;
        reporter.start(context, self.on_bus(), Stage::Transfer);
        let resume_from = match self.record.phase {
            // Erased for this very image, so whatever the ECU says it holds is of it, even if the journal lags behind.
            Phase::Transferring { acknowledged, .. } => Some(acknowledged),
            Phase::Installed | Phase::Activated => Some(self.layout().plain_size()),
            _ => None,
        };
        let order = Program {
            image_len: self.layout().plain_size(),
            version: self.custom.version.to_string(),
            sha256: self.custom.chunks.plain.sha256.as_bytes().to_vec(),
            crc32: self.custom.chunks.plain.crc32,
            resume_from,
        };
        context.order(self.around.ecu, EcuOrder::Program(order));
    }

    pub(super) fn handle_programming(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        report: EcuReport,
    ) {
        match report {
            EcuReport::Identified { .. } => {}
            EcuReport::Entered(phase) => self.handle_phase(context, reporter, phase),
            EcuReport::Erased => self.handle_erased(context),
            EcuReport::TransferBegins { offset } => self.stream(context, reporter, offset),
            EcuReport::Acknowledged { offset } => self.handle_acknowledged(context, offset),
            EcuReport::ReadyToActivate => self.handle_ready(context, reporter),
            EcuReport::Finished { version } => self.finish(context, reporter, version),
            EcuReport::Failed(error) => self.handle_refusal(context, reporter, error),
        }
    }

    fn handle_phase(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, phase: profile::Phase) {
        if phase == profile::Phase::TransferExit {
            let detail = amount("TRANSFERRED", "the ECU has taken every block", self.layout().plain_size());
            reporter.end(context, self.on_bus(), Stage::Transfer, Status::Ok, Some(detail));
            reporter.start(context, self.on_bus(), Stage::Install);
        }
    }

    /// The bank is empty: what the journal said of acknowledged bytes is void.
    fn handle_erased(&mut self, context: &mut Context<'_>) {
        match self.record.phase {
            Phase::Transferring { .. } => {
                self.advance(context, Phase::Erasing);
            }
            // An ECU that cannot resume was erased although it held the whole image. Its word goes before the
            // journal's.
            Phase::Installed | Phase::Activated => self.record.phase = Phase::Erasing,
            _ => {}
        }
        if !self.streams() {
            self.version = None;
        }
        let streamed = self.streams().then(ChunkProgress::default);
        self.advance(context, Phase::Transferring { acknowledged: 0, streamed });
    }

    /// The ECU is ready for bytes from `offset` on; earlier ones it has.
    fn stream(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, offset: u64) {
        if let Some(mut old) = self.pipeline.take() {
            old.cancel(context);
        }
        self.marks.clear();
        self.awaits_hash = false;
        self.progress = (offset, self.layout().plain_size());
        let two_banks = self.streams();
        let judged = !two_banks || !self.is_transferring() || self.journaled_whole().is_some();
        if offset >= self.layout().plain_size() && judged {
            return;
        }
        let chunk_size = u64::from(self.layout().chunk_size());
        let (start, running) = self.resume_hashes(offset / chunk_size);
        if two_banks {
            reporter.start(context, self.here("gatewayd"), Stage::Download);
            reporter.start(context, self.here("crypto"), Stage::Verify);
            if self.layout().cipher().is_some() {
                reporter.start(context, self.here("crypto"), Stage::Decrypt);
            }
        }
        let window = (ECU_WINDOW / chunk_size).max(2) + (offset / chunk_size).saturating_sub(start);
        let task = Task {
            chunks: self.chunks(),
            key: self.key.clone(),
            running,
            start,
            source: if two_banks { self.origin() } else { self.stored() },
            fallback: (!two_banks).then(|| self.origin()),
            window,
            attempts: self.around.attempts,
        };
        self.begin_pipeline(context, reporter, task);
    }

    /// The chunk to begin with and the whole-file hashes before it. Chunks that the ECU has but whose hash is not
    /// known are fetched and hashed again.
    fn resume_hashes(&self, chunk: u64) -> (u64, Vec<HashState>) {
        if !self.streams() {
            return (chunk, Vec::new());
        }
        if let Phase::Transferring { streamed: Some(progress), .. } = &self.record.phase
            && progress.next_chunk <= chunk
            && !progress.running.is_empty()
        {
            return (progress.next_chunk, states(progress));
        }
        (0, self.fresh_hashes())
    }

    /// Genuine plain bytes on their way to the ECU.
    pub(super) fn handle_stream(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, event: Event) {
        match event {
            Event::Node { .. } => {}
            Event::Failed(error) => self.fail_pipeline(context, reporter, &error),
            Event::Chunk { index, data, running } => {
                let Some(range) = self.layout().plain_range(index) else { return };
                if range.end <= self.progress.0 {
                    // The ECU has it already; only its hash was wanted, and none but the last one.
                    self.marks.clear();
                    self.marks.insert(range.end, running);
                    if let Some(pipeline) = &mut self.pipeline {
                        pipeline.handle_consumed(context, index + 1);
                    }
                    if self.awaits_hash && range.end == self.layout().plain_size() {
                        self.handle_ready(context, reporter);
                    }
                } else {
                    self.marks.insert(range.end, running);
                    context.order(self.around.ecu, EcuOrder::Data { offset: range.start, bytes: data });
                }
            }
        }
    }

    fn handle_acknowledged(&mut self, context: &mut Context<'_>, offset: u64) {
        self.progress.0 = offset;
        let chunk_size = u64::from(self.layout().chunk_size());
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.handle_consumed(context, offset / chunk_size);
        }
        let due = self.journaled_at.is_none_or(|at| context.now.monotonic >= at + JOURNAL_INTERVAL);
        if !due {
            return;
        }
        // The journal only ever claims whole chunks, whose hashes it knows.
        if let Some((&acknowledged, running)) = self.marks.range(..=offset).next_back() {
            let streamed = self.streams().then(|| ChunkProgress {
                next_chunk: acknowledged.div_ceil(chunk_size),
                running: running.iter().cloned().map(RunningHash).collect(),
            });
            self.advance(context, Phase::Transferring { acknowledged, streamed });
            self.marks = self.marks.split_off(&acknowledged);
        }
    }

    /// The ECU has checked the whole image. An image that was streamed is judged as a whole here.
    fn handle_ready(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        if self.streams() && self.is_transferring() {
            let whole =
                self.marks.get(&self.layout().plain_size()).cloned().or_else(|| self.journaled_whole());
            if whole.is_none() && self.pipeline.is_some() && !self.awaits_hash {
                // The ECU held more than the journal knew of; the rest is being hashed.
                self.awaits_hash = true;
                return;
            }
            let stored = self.layout().stored_size();
            let detail = amount("STREAMED", "authentic and handed to the ECU", stored);
            reporter.end(context, self.here("gatewayd"), Stage::Download, Status::Ok, Some(detail));
            let Some(running) = whole else {
                self.fail(context, reporter, reason("HASH_UNKNOWN", "the whole file's hash is not known"));
                return;
            };
            if !self.check_whole_file(context, reporter, &running) {
                return;
            }
        }
        self.pipeline = None;
        let detail = amount("INSTALLED", "the ECU's own checks passed", self.layout().plain_size());
        reporter.end(context, self.on_bus(), Stage::Install, Status::Ok, Some(detail));
        let mut id = None;
        if matches!(self.record.phase, Phase::Transferring { .. }) {
            id = self.advance(context, Phase::Installed);
        }
        if self.record.phase == Phase::Installed {
            id = self.advance(context, Phase::Activated);
        }
        if let Some(id) = id.or_else(|| self.rewrite(context)) {
            self.step = Step::IntendActivation(id);
        }
    }

    /// The hashes of an image that had been streamed to its end before a restart.
    fn journaled_whole(&self) -> Option<Vec<HashState>> {
        match &self.record.phase {
            Phase::Transferring { acknowledged, streamed: Some(progress) }
                if *acknowledged == self.layout().plain_size() && !progress.running.is_empty() =>
            {
                Some(states(progress))
            }
            _ => None,
        }
    }

    const fn is_transferring(&self) -> bool {
        matches!(self.record.phase, Phase::Transferring { .. })
    }

    /// The intent is durable: the new software may run from now on.
    pub(super) fn activate(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        self.step = Step::Activate;
        reporter.start(context, self.on_bus(), Stage::Activate);
        context.order(self.around.ecu, EcuOrder::Activate);
    }

    /// The session failed. An ECU that was left without its software gets another chance at once.
    fn handle_refusal(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, error: EcuError) {
        if let Some(mut pipeline) = self.pipeline.take() {
            pipeline.cancel(context);
        }
        let again = match &error {
            EcuError::BusDown { .. } => true,
            EcuError::Session { state, .. } => *state != EcuState::OldSoftware,
            EcuError::Refused { .. } => false,
        };
        if again && self.tries < TRIES {
            tracing::warn!(ecu = %self.serial(), %error, "programming failed; trying again in {TRY_PAUSE:?}");
            self.step = Step::Pause(context.now.monotonic + TRY_PAUSE);
            return;
        }
        let tries = self.tries;
        let text = match &error {
            EcuError::Session { phase, state, message } => {
                format!("{message} (step {phase:?}, attempt {tries} of {TRIES}); {}", state_text(*state))
            }
            other => other.to_string(),
        };
        let lost = match error {
            EcuError::Session { state: EcuState::NoApplication, .. } => true,
            EcuError::Session { state: EcuState::OldSoftware | EcuState::NewSoftware, .. } => false,
            _ => self.is_lost(),
        };
        self.end_failed_on_ecu(context, reporter, reason("ECU_FAILED", text), lost);
    }
}

fn states(progress: &ChunkProgress) -> Vec<HashState> {
    progress.running.iter().map(|RunningHash(state)| state.clone()).collect()
}

/// What an ECU's state means for the vehicle.
const fn state_text(state: EcuState) -> &'static str {
    match state {
        EcuState::OldSoftware => "it goes on running its old software",
        EcuState::NoApplication => "it waits in its boot loader for another attempt",
        EcuState::NewSoftware => "it runs the new software",
        EcuState::Unknown => "what it runs now is not known; read its version",
    }
}
