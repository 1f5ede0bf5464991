//! From the origin into the store, and the proof that what lies there is whole and opens.

use std::time::Duration;

use crypto_offload::job::{HashAlgorithm, HashState};
use crypto_offload::software::hash;
use ota::journal::{ChunkProgress, Phase};
use ota::stage::{Stage, Status};

use super::{Installation, Step};
use crate::gateway::context::Context;
use crate::gateway::message::{StoreError, StoreId, StoreName, StoreOperation};
use crate::gateway::pipeline::{Event, Source, Task};
use crate::gateway::report::{Reporter, amount, reason};

/// How many bytes may be written before the medium must confirm them and the journal may claim them.
const SYNC_BYTES: u64 = 4 << 20;
/// Progress records are no more frequent than this.
pub(super) const JOURNAL_INTERVAL: Duration = Duration::from_millis(500);

impl Installation {
    /// Asks the store for room, before a byte is fetched.
    pub(super) fn reserve(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        let Ok(shape) = self.chunks().shape() else { return };
        reporter.start(context, self.here("gatewayd"), Stage::Download);
        let (image, tree) = self.store_names();
        context.store(&image, StoreOperation::Reserve { len: self.layout().stored_size() });
        context.store(&tree, StoreOperation::Reserve { len: shape.file_len() });
        self.step = Step::Reserve(2);
    }

    pub(super) fn handle_reserved(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        due: u8,
        result: Result<Vec<u8>, StoreError>,
    ) {
        match result {
            Err(error) => self.fail(context, reporter, reason("STORE", error.to_string())),
            Ok(_) if due > 1 => self.step = Step::Reserve(due - 1),
            Ok(_) => self.download(context, reporter),
        }
    }

    fn download(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        // Tree nodes are not journaled, so a download that goes on fetches the path to its first chunk again.
        let start =
            if let Phase::Downloading(progress) = &self.record.phase { progress.next_chunk } else { 0 };
        if start >= self.layout().chunk_count() {
            self.finish_download(context, reporter);
            return;
        }
        if self.record.phase == Phase::Pending {
            self.advance(context, Phase::Downloading(ChunkProgress::default()));
        }
        self.step = Step::Download;
        self.progress =
            (self.layout().plain_range(start).map_or(0, |it| it.start), self.layout().plain_size());
        let task = Task {
            chunks: self.chunks(),
            key: None,
            running: Vec::new(),
            start,
            source: self.origin(),
            fallback: None,
            window: self.window(),
            attempts: self.around.attempts,
        };
        self.begin_pipeline(context, reporter, task);
    }

    /// A chunk or a node that is authentic goes into the store as it came.
    pub(super) fn handle_download(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        event: Event,
    ) {
        let (image, tree) = self.store_names();
        match event {
            Event::Node { offset, bytes } => {
                let operation = StoreOperation::Write { offset, data: bytes, sync: true };
                let id = context.store(&tree, operation);
                self.writes.insert(id, None);
            }
            Event::Chunk { index, data, .. } => {
                let Some(range) = self.layout().stored_range(index) else { return };
                let every = (SYNC_BYTES / u64::from(self.layout().chunk_size())).max(1);
                let last = index + 1 == self.layout().chunk_count();
                let sync = last || (index + 1).is_multiple_of(every);
                let id = context.store(&image, StoreOperation::Write { offset: range.start, data, sync });
                self.writes.insert(id, Some(index));
            }
            Event::Failed(error) => self.fail_pipeline(context, reporter, &error),
        }
    }

    pub(super) fn handle_written(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        id: StoreId,
        result: Result<Vec<u8>, StoreError>,
    ) {
        let Some(chunk) = self.writes.remove(&id) else { return };
        if let Err(error) = result {
            self.fail(context, reporter, reason("STORE", error.to_string()));
            return;
        }
        let Some(chunk) = chunk else { return };
        let next = chunk + 1;
        self.progress.0 = self.layout().plain_range(chunk).map_or(0, |it| it.end);
        if next == self.layout().chunk_count() {
            self.advance(
                context,
                Phase::Downloading(ChunkProgress { next_chunk: next, running: Vec::new() }),
            );
            self.finish_download(context, reporter);
            return;
        }
        let every = (SYNC_BYTES / u64::from(self.layout().chunk_size())).max(1);
        let synced = next - next % every;
        let due = self.journaled_at.is_none_or(|at| context.now.monotonic >= at + JOURNAL_INTERVAL);
        if due && synced == next {
            self.advance(
                context,
                Phase::Downloading(ChunkProgress { next_chunk: synced, running: Vec::new() }),
            );
        }
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.handle_consumed(context, next);
        }
    }

    fn finish_download(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        let detail = amount("STORED", "authentic and in the store", self.layout().stored_size());
        reporter.end(context, self.here("gatewayd"), Stage::Download, Status::Ok, Some(detail));
        self.prove(context, reporter);
    }

    /// Reads the image back from the store, hashes it as a whole and opens every chunk once.
    fn prove(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        self.writes.clear();
        self.step = Step::Prove;
        self.progress = (0, self.layout().plain_size());
        reporter.start(context, self.here("crypto"), Stage::Verify);
        if self.layout().cipher().is_some() {
            reporter.start(context, self.here("crypto"), Stage::Decrypt);
        }
        let task = Task {
            chunks: self.chunks(),
            key: self.key.clone(),
            running: self.fresh_hashes(),
            start: 0,
            source: self.stored(),
            fallback: None,
            window: self.window(),
            attempts: self.around.attempts,
        };
        self.begin_pipeline(context, reporter, task);
    }

    pub(super) fn handle_proof(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, event: Event) {
        match event {
            Event::Node { .. } => {}
            // The plain bytes are dropped: this pass only proves that they will be there.
            Event::Chunk { index, running, .. } => {
                let next = index + 1;
                self.progress.0 = self.layout().plain_range(index).map_or(0, |it| it.end);
                if next < self.layout().chunk_count() {
                    if let Some(pipeline) = &mut self.pipeline {
                        pipeline.handle_consumed(context, next);
                    }
                } else if self.check_whole_file(context, reporter, &running) {
                    self.pipeline = None;
                    self.advance(context, Phase::Stored);
                    self.step = Step::AwaitBus;
                }
            }
            Event::Failed(error) => self.fail_pipeline(context, reporter, &error),
        }
    }

    /// Compares the whole-file hashes with those that were signed, and closes VERIFY and DECRYPT.
    pub(super) fn check_whole_file(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        running: &[HashState],
    ) -> bool {
        for state in running {
            let signed = self.hashes.by(state.algorithm);
            if signed.is_none() || hash::finish(state).ok() != signed {
                let name = state.algorithm.name();
                self.fail(
                    context,
                    reporter,
                    reason("HASH_MISMATCH", format!("the file's {name} is not what was signed")),
                );
                return false;
            }
        }
        let names: Vec<_> = running.iter().map(|it| it.algorithm.name()).collect();
        let stored = self.layout().stored_size();
        let detail =
            amount("VERIFIED", format!("tree and {} match what was signed", names.join(", ")), stored);
        reporter.end(context, self.here("crypto"), Stage::Verify, Status::Ok, Some(detail));
        if let Some(cipher) = self.layout().cipher() {
            let detail = amount(
                "DECRYPTED",
                format!("every {} tag is right", cipher.name()),
                self.layout().plain_size(),
            );
            reporter.end(context, self.here("crypto"), Stage::Decrypt, Status::Ok, Some(detail));
        }
        true
    }

    /// Hash states before the first byte, one for every signed hash of the file.
    pub(super) fn fresh_hashes(&self) -> Vec<HashState> {
        self.hashes.iter().map(|(algorithm, _): (HashAlgorithm, _)| HashState::new(algorithm)).collect()
    }

    pub(super) fn store_names(&self) -> (StoreName, StoreName) {
        match self.stored() {
            Source::Store { image, tree } => (image, tree),
            Source::Origin { image, tree } => (StoreName(image), StoreName(tree)),
        }
    }
}
