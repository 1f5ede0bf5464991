//! One look at the Director: full verification, one file after the other.

use std::time::{Duration, Instant};

use ota::journal::InstalledRecord;
use ota::uptane::UtcTime;
use ota::uptane::verify::{
    Event, FetchFailure, Limits, Persist, TrustedMetadata, VehicleIdentity, Verification, Verified,
    VerifyError,
};
use ota::uptane::{Repository, Role};

use super::context::Context;
use super::journal::{JournalKey, JournalWrite};
use super::message::{FetchError, FetchId};

const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_LAST: Duration = Duration::from_secs(30);

/// What came of a look.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A campaign, signed by everybody who has to.
    Verified(Box<Verified>),
    /// Nothing to do.
    NothingNew {
        /// Version of the Director's targets.
        director_version: u64,
    },
    /// No verdict.
    Failed {
        /// A stable word: the attack it looks like, or `metadata`.
        code: String,
        /// Everything that led to it.
        message: String,
    },
}

/// A look under way.
#[derive(Debug)]
pub(super) struct MetadataCheck {
    verification: Verification,
    path: String,
    max_len: usize,
    fetch: Option<FetchId>,
    body: Option<Vec<u8>>,
    tries: u32,
    attempts: u32,
    retry_at: Option<Instant>,
}

impl MetadataCheck {
    /// Starts from what is trusted.
    ///
    /// # Errors
    /// Where the trusted files themselves are damaged.
    pub(super) fn new(
        context: &mut Context<'_>,
        vehicle: VehicleIdentity,
        trusted: TrustedMetadata,
        attempts: u32,
    ) -> Result<Self, VerifyError> {
        let verification = Verification::new(vehicle, trusted, Limits::default(), context.verifier)?;
        let mut check = Self {
            verification,
            path: String::new(),
            max_len: 0,
            fetch: None,
            body: None,
            tries: 0,
            attempts,
            retry_at: None,
        };
        check.request(context);
        Ok(check)
    }

    pub(super) fn handle_part(&mut self, id: FetchId, data: Vec<u8>) {
        if self.fetch == Some(id) {
            self.body = Some(data);
        }
    }

    /// The end of a fetch. `trusted` follows what is persisted.
    pub(super) fn handle_fetch_end(
        &mut self,
        context: &mut Context<'_>,
        trusted: &mut TrustedMetadata,
        id: FetchId,
        result: Result<(), FetchError>,
    ) -> Option<Outcome> {
        self.fetch.take_if(|it| *it == id)?;
        let response = match result {
            Ok(()) => Ok(self.body.take().unwrap_or_default()),
            Err(error) if error.is_transient() && self.tries + 1 < self.attempts => {
                self.tries += 1;
                let pause = (BACKOFF_FIRST * (1 << self.tries.min(10)) / 2).min(BACKOFF_LAST);
                tracing::debug!(%error, ?pause, "metadata fetch will be tried again");
                self.retry_at = Some(context.now.monotonic + pause);
                return None;
            }
            Err(error) => Err(failure(error)),
        };
        self.tries = 0;
        let utc = UtcTime::from_unix(context.now.utc_ms / 1000);
        if let Err(error) = self.verification.handle_response(utc, response, context.verifier) {
            // What was trusted before the error stays trusted.
            self.drain(context, trusted);
            return Some(failed(&error));
        }
        let outcome = self.drain(context, trusted);
        self.request(context);
        outcome
    }

    pub(super) fn handle_timeout(&mut self, context: &mut Context<'_>) {
        if self.retry_at.is_some_and(|at| at <= context.now.monotonic) {
            self.retry_at = None;
            self.fetch(context);
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    fn request(&mut self, context: &mut Context<'_>) {
        if let Some(request) = self.verification.poll_request() {
            self.path = request.path;
            self.max_len = request.max_len;
            self.fetch(context);
        }
    }

    fn fetch(&mut self, context: &mut Context<'_>) {
        let id = context.fetch(self.path.clone(), None, usize::MAX, self.max_len as u64);
        self.fetch = Some(id);
    }

    fn drain(&mut self, context: &mut Context<'_>, trusted: &mut TrustedMetadata) -> Option<Outcome> {
        let mut outcome = None;
        while let Some(event) = self.verification.poll_event() {
            match event {
                Event::Persist(persist) => {
                    trusted.persist(&persist);
                    context.journal_progress(journal_write(persist));
                }
                Event::Verified(verified) => outcome = Some(Outcome::Verified(Box::new(verified))),
                Event::NothingNew(nothing) => {
                    outcome = Some(Outcome::NothingNew { director_version: nothing.director_version });
                }
            }
        }
        outcome
    }
}

/// The journal writes in order, one after the other, so each file is durable before its successor.
fn journal_write(persist: Persist) -> JournalWrite {
    let mut write = JournalWrite::put(metadata_key(persist.repository, persist.role), persist.bytes);
    if persist.forget_timestamp_and_snapshot {
        for role in [Role::Timestamp, Role::Snapshot] {
            write = write.and_delete(metadata_key(persist.repository, role));
        }
    }
    write
}

fn metadata_key(repository: Repository, role: Role) -> JournalKey {
    JournalKey::Metadata(format!("{repository}/{role}"))
}

/// Puts a record of the journal back in its place.
pub(super) fn restore(trusted: &mut TrustedMetadata, name: &str, bytes: Vec<u8>) {
    for repository in [Repository::Director, Repository::Image] {
        for role in [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets] {
            if metadata_key(repository, role) == JournalKey::Metadata(name.to_owned()) {
                trusted.persist(&Persist { repository, role, bytes, forget_timestamp_and_snapshot: false });
                return;
            }
        }
    }
    tracing::warn!(name, "the journal holds metadata of an unknown role; left alone");
}

/// Reads the record of what an ECU runs.
pub(super) fn installed(bytes: &[u8]) -> Option<InstalledRecord> {
    ota::journal::decode(bytes)
        .map_err(|error| tracing::error!(%error, "a record of the journal is damaged"))
        .ok()
}

fn failure(error: FetchError) -> FetchFailure {
    match error {
        FetchError::NotFound { .. } => FetchFailure::NotFound,
        FetchError::TooLong { .. } => FetchFailure::TooLong,
        FetchError::Stalled { .. } => FetchFailure::TooSlow,
        other => FetchFailure::Unreachable(other.to_string()),
    }
}

fn failed(error: &VerifyError) -> Outcome {
    let code = error.attack().map_or("metadata", |it| it.code()).to_owned();
    Outcome::Failed { code, message: crate::bus::chain(error) }
}
