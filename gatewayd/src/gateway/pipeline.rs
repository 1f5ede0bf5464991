//! One image's way through the gateway: fetched or read, authenticated against the signed tree, opened, handed on.
//!
//! Chunks leave in order and only as the outcome of an engine's chunk operation, so nothing unverified can. What may
//! be in memory at once is bounded by the window, whatever the size of the image.

mod error;
mod source;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::job::{ChunkOperation, HashState, JobError, JobId, Operation, Outcome, Seal, SecretKey};
use ota::image::ChunkLayout;
use ota::tree::{NodeRequest, TreeCursor, TreeError};
use ota::uptane::Chunks;

pub(super) use self::error::PipelineError;
pub(super) use self::source::Source;
use super::context::Context;
use super::message::{FetchError, FetchId, StoreError, StoreId, StoreName, StoreOperation};

const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_LAST: Duration = Duration::from_secs(30);
/// Fetches in flight: one arriving, one being asked for.
const FETCHES: usize = 2;
/// Store reads in flight.
const READS: usize = 4;

/// What a pipeline is to do with every chunk.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Layout and signed tree root.
    pub(super) chunks: Chunks,
    /// Opens the chunks; `None` keeps them as they are stored.
    pub(super) key: Option<Arc<SecretKey>>,
    /// Whole-file hashes to advance.
    pub(super) running: Vec<HashState>,
    /// The first chunk.
    pub(super) start: u64,
    /// Where the chunks come from.
    pub(super) source: Source,
    /// Where they come from instead when a stored one turns out damaged.
    pub(super) fallback: Option<Source>,
    /// Chunks that may be on their way or handed on and not yet consumed.
    pub(super) window: u64,
    /// Attempts without a new byte before it is given up.
    pub(super) attempts: u32,
}

/// What a pipeline has to say.
#[derive(Debug)]
pub(super) enum Event {
    /// A tree node that matches the signed root.
    Node {
        /// Its place in the tree file.
        offset: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The next chunk, genuine.
    Chunk {
        /// Its index.
        index: u64,
        /// Opened, or as stored where the task says so.
        data: Vec<u8>,
        /// The whole-file hashes up to and including it.
        running: Vec<HashState>,
    },
    /// It is given up. Nothing follows.
    Failed(PipelineError),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Pipeline {
    task: Task,
    layout: ChunkLayout,
    cursor: TreeCursor,
    fetches: VecDeque<RunningFetch>,
    reads: BTreeMap<StoreId, u64>,
    node: Option<RunningNode>,
    /// Chunks that arrived and are not yet in the engine.
    arrived: BTreeMap<u64, Vec<u8>>,
    job: Option<(JobId, u64)>,
    /// The next chunk to ask for.
    next_request: u64,
    /// The next chunk for the engine.
    next_job: u64,
    /// Chunks below this are done with.
    consumed: u64,
    /// Chunks below this have arrived without a gap, once at least.
    front: u64,
    attempts: u32,
    /// The chunk that was rejected once and is being fetched again.
    rejected: Option<u64>,
    retry_at: Option<Instant>,
    events: VecDeque<Event>,
    failed: bool,
}

#[derive(Debug)]
struct RunningFetch {
    id: FetchId,
    next: u64,
}

#[derive(Debug)]
struct RunningNode {
    request: NodeRequest,
    way: NodeWay,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeWay {
    Fetch(FetchId),
    Read(StoreId),
}

impl Pipeline {
    /// A pipeline that has asked for nothing yet.
    ///
    /// # Errors
    /// [`TreeError`] for a tree that cannot be; checked metadata has none.
    pub(super) fn new(task: Task) -> Result<Self, TreeError> {
        let shape = task.chunks.shape()?;
        let cursor = TreeCursor::new(shape, task.chunks.tree.root);
        let start = task.start;
        Ok(Self {
            layout: task.chunks.layout,
            task,
            cursor,
            fetches: VecDeque::new(),
            reads: BTreeMap::new(),
            node: None,
            arrived: BTreeMap::new(),
            job: None,
            next_request: start,
            next_job: start,
            consumed: start,
            front: start,
            attempts: 0,
            rejected: None,
            retry_at: None,
            events: VecDeque::new(),
            failed: false,
        })
    }

    /// Chunks below `chunk` are done with: their room is free again. Also gets an idle pipeline going.
    pub(super) fn handle_consumed(&mut self, context: &mut Context<'_>, chunk: u64) {
        self.consumed = self.consumed.max(chunk);
        self.advance(context);
    }

    /// A part of a fetch of ours.
    pub(super) fn handle_part(&mut self, context: &mut Context<'_>, id: FetchId, data: Vec<u8>) {
        if let Some(node) = self.node.as_mut().filter(|it| it.way == NodeWay::Fetch(id)) {
            node.bytes = data;
        } else if let Some(fetch) = self.fetches.iter_mut().find(|it| it.id == id) {
            let index = fetch.next;
            fetch.next += 1;
            self.arrived.insert(index, data);
            self.note_arrival(index);
        }
        self.advance(context);
    }

    /// The end of a fetch of ours.
    pub(super) fn handle_fetch_end(
        &mut self,
        context: &mut Context<'_>,
        id: FetchId,
        result: Result<(), FetchError>,
    ) {
        if let Err(error) = result {
            self.retry(context, error);
        } else if self.node.as_ref().is_some_and(|it| it.way == NodeWay::Fetch(id)) {
            self.finish_node(context);
        } else {
            self.fetches.retain(|it| it.id != id);
        }
        self.advance(context);
    }

    /// The end of a store read of ours.
    pub(super) fn handle_stored(
        &mut self,
        context: &mut Context<'_>,
        id: StoreId,
        result: Result<Vec<u8>, StoreError>,
    ) {
        let of_node = self.node.as_ref().is_some_and(|it| it.way == NodeWay::Read(id));
        let chunk = self.reads.remove(&id);
        match (result, chunk) {
            // Asked for before everything was taken back.
            (_, None) if !of_node => return,
            (Err(error), _) => self.damaged(context, PipelineError::Store(error)),
            (Ok(bytes), Some(chunk)) => drop(self.arrived.insert(chunk, bytes)),
            (Ok(bytes), None) => {
                if let Some(node) = &mut self.node {
                    node.bytes = bytes;
                }
                self.finish_node(context);
            }
        }
        self.advance(context);
    }

    /// The end of a job of ours.
    pub(super) fn handle_completion(
        &mut self,
        context: &mut Context<'_>,
        id: JobId,
        result: Result<Outcome, JobError>,
    ) {
        let Some((_, index)) = self.job.take_if(|(job, _)| *job == id) else { return };
        match result {
            Ok(Outcome::Chunk { data, running }) => {
                self.rejected = None;
                self.next_job = index + 1;
                self.task.running.clone_from(&running);
                self.events.push_back(Event::Chunk { index, data, running });
            }
            Ok(_) => self.fail(context, PipelineError::Engine(JobError::Engine("answered another question"))),
            Err(error @ (JobError::LeafMismatch { .. } | JobError::TagMismatch(_))) => {
                self.reject(context, index, error);
            }
            Err(error) => self.fail(context, PipelineError::Engine(error)),
        }
        self.advance(context);
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, context: &mut Context<'_>) {
        if self.retry_at.is_some_and(|at| at <= context.now.monotonic) {
            self.retry_at = None;
        }
        self.advance(context);
    }

    /// When to call [`Pipeline::handle_timeout`].
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The next thing it has to say.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes back everything it has asked for.
    pub(super) fn cancel(&mut self, context: &mut Context<'_>) {
        for fetch in self.fetches.drain(..) {
            context.cancel_fetch(fetch.id);
        }
        if let Some(RunningNode { way: NodeWay::Fetch(id), .. }) = self.node.take() {
            context.cancel_fetch(id);
        }
        self.reads.clear();
        self.arrived.clear();
    }

    /// Does whatever can be done now.
    fn advance(&mut self, context: &mut Context<'_>) {
        if self.failed || self.retry_at.is_some() {
            return;
        }
        self.request_chunks(context);
        self.submit(context);
    }

    fn request_chunks(&mut self, context: &mut Context<'_>) {
        let limit = self.layout.chunk_count().min(self.consumed + self.task.window);
        while self.next_request < limit {
            let asked = match self.task.source.clone() {
                Source::Store { image, .. } => self.read_chunk(context, &image),
                Source::Origin { image, .. } => self.fetch_chunks(context, image, limit),
            };
            if asked.is_none() {
                return;
            }
        }
    }

    /// Asks the store for the next chunk. `None` while enough is on its way.
    fn read_chunk(&mut self, context: &mut Context<'_>, image: &StoreName) -> Option<()> {
        if self.reads.len() >= READS {
            return None;
        }
        let range = self.layout.stored_range(self.next_request)?;
        let len = usize::try_from(range.end - range.start).ok()?;
        let id = context.store(image, StoreOperation::Read { offset: range.start, len });
        self.reads.insert(id, self.next_request);
        self.next_request += 1;
        Some(())
    }

    /// Asks the origin for the next run of chunks. `None` while enough is on its way.
    fn fetch_chunks(&mut self, context: &mut Context<'_>, image: String, limit: u64) -> Option<()> {
        if self.fetches.len() >= FETCHES {
            return None;
        }
        let first = self.next_request;
        let end = limit.min(first + (self.task.window / FETCHES as u64).max(1));
        let range = self.layout.stored_range(first)?.start..self.layout.stored_range(end - 1)?.end;
        let max_len = range.end - range.start;
        let id = context.fetch(image, Some(range), self.stored_chunk_len(), max_len);
        self.fetches.push_back(RunningFetch { id, next: first });
        self.next_request = end;
        Some(())
    }

    /// Gives the next chunk to the engine, once it and the tree nodes above it are there.
    fn submit(&mut self, context: &mut Context<'_>) {
        let index = self.next_job;
        if self.job.is_some()
            || self.node.is_some()
            || index >= self.layout.chunk_count().min(self.next_request)
        {
            return;
        }
        if let Some(request) = self.cursor.poll_node(index) {
            let way = self.task.source.node(context, request);
            self.node = Some(RunningNode { request, way, bytes: Vec::new() });
            return;
        }
        let Some(expected_leaf) = self.cursor.leaf(index) else { return };
        let Some(data) = self.arrived.remove(&index) else { return };
        let seal = self.task.key.as_ref().zip(self.layout.cipher()).map(|(key, cipher)| Seal {
            cipher,
            key: Arc::clone(key),
            nonce: self.layout.nonce(index),
            aad: self.layout.aad(index),
        });
        let operation = ChunkOperation {
            tree_algorithm: self.task.chunks.tree.algorithm,
            leaf_prefix: self.layout.leaf_prefix(index),
            expected_leaf,
            running: self.task.running.clone(),
            seal,
            data,
        };
        self.job = Some((context.crypto(Operation::Chunk(operation)), index));
    }

    fn finish_node(&mut self, context: &mut Context<'_>) {
        let Some(node) = self.node.take() else { return };
        match self.cursor.handle_node(&node.bytes, context.verifier) {
            Ok(()) => {
                self.attempts = 0;
                self.events.push_back(Event::Node { offset: node.request.offset, bytes: node.bytes });
            }
            Err(error) if self.task.source.is_store() => self.damaged(context, PipelineError::Tree(error)),
            Err(error) => self.fail(context, PipelineError::Tree(error)),
        }
    }

    /// Only a chunk that closes a gap is progress: those behind a gap are asked for again with every attempt.
    fn note_arrival(&mut self, index: u64) {
        if index != self.front {
            return;
        }
        self.attempts = 0;
        while self.arrived.contains_key(&self.front) {
            self.front += 1;
        }
    }

    /// A fetch failed: whatever arrived stays, the rest is asked for again after a pause.
    fn retry(&mut self, context: &mut Context<'_>, error: FetchError) {
        self.attempts += 1;
        if !error.is_transient() || self.attempts >= self.task.attempts {
            self.fail(context, PipelineError::Fetch { attempts: self.attempts, error });
            return;
        }
        tracing::debug!(attempts = self.attempts, %error, "fetch will be tried again");
        let arrived = std::mem::take(&mut self.arrived);
        self.cancel(context);
        self.next_request = self.next_job + u64::from(self.job.is_some());
        for (index, data) in arrived {
            if index == self.next_request {
                self.arrived.insert(index, data);
                self.next_request += 1;
            }
        }
        let factor = 1 << self.attempts.min(10);
        self.retry_at = Some(context.now.monotonic + (BACKOFF_FIRST * factor / 2).min(BACKOFF_LAST));
    }

    /// A chunk is not what was signed. Once may be a slip on the way; twice is what the source has.
    fn reject(&mut self, context: &mut Context<'_>, index: u64, error: JobError) {
        let found = PipelineError::ChunkRejected { chunk: index, count: self.layout.chunk_count(), error };
        if self.task.source.is_store() {
            self.damaged(context, found);
        } else if self.rejected == Some(index) {
            self.fail(context, found);
        } else {
            tracing::warn!(chunk = index, error = %found, "fetching the chunk once more");
            self.rejected = Some(index);
            self.restart_at_next_job(context);
        }
    }

    /// What the store holds is no longer what was verified: the origin has it still.
    fn damaged(&mut self, context: &mut Context<'_>, error: PipelineError) {
        match self.task.fallback.take() {
            Some(source) => {
                tracing::warn!(%error, "the stored image is damaged; going on from the origin");
                self.task.source = source;
                self.restart_at_next_job(context);
            }
            None => self.fail(context, error),
        }
    }

    fn restart_at_next_job(&mut self, context: &mut Context<'_>) {
        self.cancel(context);
        self.next_request = self.next_job + u64::from(self.job.is_some());
    }

    fn fail(&mut self, context: &mut Context<'_>, error: PipelineError) {
        self.cancel(context);
        self.failed = true;
        self.events.push_back(Event::Failed(error));
    }

    fn stored_chunk_len(&self) -> usize {
        let range = self.layout.stored_range(0).unwrap_or(0..0);
        usize::try_from(range.end - range.start).unwrap_or(usize::MAX).max(1)
    }
}
