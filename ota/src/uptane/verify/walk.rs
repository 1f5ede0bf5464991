//! One repository from root to targets (Uptane 2.1, sections 5.4.4.3 to 5.4.4.6).

use std::collections::{BTreeSet, VecDeque};

use crypto_offload::job::Verifier;

use super::{
    Document, Event, FetchFailure, Limits, MetadataRequest, Persist, TrustedRepository, VerifyError,
};
use crate::uptane::canonical::Bounds;
use crate::uptane::key::KeyId;
use crate::uptane::metadata::{
    MetaFile, Repository, Role, RoleMetadata, Root, Signed, Snapshot, Targets, Timestamp,
};
use crate::uptane::time::UtcTime;

#[derive(Debug)]
pub(super) struct Walk {
    repository: Repository,
    /// Where the repository lies on the server, without a slash at the end.
    base: String,
    limits: Limits,
    root: Signed<Root>,
    rotations: u32,
    /// What the store held at the start, less what root changes made worthless.
    stored: TrustedRepository,
    /// The same, parsed, once the root is known that must have signed it.
    old: Old,
    step: Step,
}

/// A file and its bytes.
#[derive(Clone, Debug)]
struct Held<T> {
    bytes: Vec<u8>,
    metadata: Signed<T>,
}

#[derive(Debug, Default)]
struct Old {
    timestamp: Option<Held<Timestamp>>,
    snapshot: Option<Held<Snapshot>>,
    targets: Option<Held<Targets>>,
}

/// Which file comes next; holds what was verified on the way there and is still needed.
#[derive(Debug)]
enum Step {
    Root,
    Timestamp,
    Snapshot(MetaFile),
    Targets(MetaFile),
    Done(Box<Signed<Targets>>),
}

impl Walk {
    pub(super) fn new(
        repository: Repository,
        base: String,
        stored: TrustedRepository,
        limits: Limits,
        verifier: &dyn Verifier,
    ) -> Result<Self, VerifyError> {
        let document = Document { repository, role: Role::Root };
        let root: Signed<Root> = Signed::parse(&stored.root, Bounds::metadata(limits.root), verifier)
            .map_err(|source| VerifyError::Store { document, source })?;
        root.body()
            .verify(&root, verifier)
            .map_err(|source| VerifyError::StoredRoot { repository, source })?;
        Ok(Self {
            repository,
            base,
            limits,
            root,
            rotations: 0,
            stored,
            old: Old::default(),
            step: Step::Root,
        })
    }

    /// The file that comes next; `None` at the end.
    pub(super) fn request(&self) -> Option<MetadataRequest> {
        let (file, max_len) = match &self.step {
            Step::Root => (Role::Root.file_name(self.root.version() + 1), self.limits.root),
            Step::Timestamp => (Role::Timestamp.file_name(0), self.limits.timestamp),
            Step::Snapshot(listed) => {
                (Role::Snapshot.file_name(listed.version), limit(listed, self.limits.snapshot))
            }
            Step::Targets(listed) => {
                (Role::Targets.file_name(listed.version), limit(listed, self.limits.targets))
            }
            Step::Done(_) => return None,
        };
        Some(MetadataRequest { repository: self.repository, path: format!("{}/{file}", self.base), max_len })
    }

    /// The verified targets, at the end.
    pub(super) fn outcome(&self) -> Option<&Signed<Targets>> {
        match &self.step {
            Step::Done(targets) => Some(targets),
            _ => None,
        }
    }

    /// Takes the file that was asked for.
    pub(super) fn handle(
        &mut self,
        utc: UtcTime,
        response: Result<Vec<u8>, FetchFailure>,
        verifier: &dyn Verifier,
        events: &mut VecDeque<Event>,
    ) -> Result<(), VerifyError> {
        let Some(request) = self.request() else { return Err(VerifyError::NotAskedFor) };
        let document = self.document(match &self.step {
            Step::Root => Role::Root,
            Step::Timestamp => Role::Timestamp,
            Step::Snapshot(_) => Role::Snapshot,
            Step::Targets(_) | Step::Done(_) => Role::Targets,
        });
        let bytes = match response {
            Ok(bytes) if bytes.len() > request.max_len => {
                let (limit, found) = (request.max_len, bytes.len());
                return Err(VerifyError::TooLong { document, limit, found });
            }
            Ok(bytes) => bytes,
            // A root that is not there yet is how the chain of roots ends.
            Err(FetchFailure::NotFound) if matches!(self.step, Step::Root) => {
                return self.finish_roots(utc, verifier);
            }
            Err(failure) => return Err(VerifyError::Fetch { document, failure }),
        };
        match &self.step {
            Step::Root => self.handle_root(bytes, verifier, events),
            Step::Timestamp => self.handle_timestamp(utc, bytes, verifier, events),
            Step::Snapshot(listed) => {
                let listed = listed.clone();
                self.handle_snapshot(utc, &listed, bytes, verifier, events)
            }
            Step::Targets(listed) => {
                let listed = listed.clone();
                self.handle_targets(utc, &listed, bytes, verifier, events)
            }
            Step::Done(_) => Err(VerifyError::NotAskedFor),
        }
    }

    fn handle_root(
        &mut self,
        bytes: Vec<u8>,
        verifier: &dyn Verifier,
        events: &mut VecDeque<Event>,
    ) -> Result<(), VerifyError> {
        if self.rotations >= self.limits.root_rotations {
            let (repository, limit) = (self.repository, self.limits.root_rotations);
            return Err(VerifyError::TooManyRoots { repository, limit });
        }
        let next: Signed<Root> = self.parse(&bytes, verifier)?;
        // The old keys must vouch for the new ones, and the new ones must be in the hands of those who sign.
        for judge in [&self.root, &next] {
            judge.body().verify(&next, verifier).map_err(|source| VerifyError::Signatures {
                document: self.document(Role::Root),
                root: judge.version(),
                source,
            })?;
        }
        let expected = self.root.version() + 1;
        if next.version() != expected {
            let (repository, found) = (self.repository, next.version());
            return Err(VerifyError::RootVersion { repository, expected, found });
        }
        let keys = |root: &Signed<Root>, role| -> BTreeSet<KeyId> {
            root.body().role(role).keyids.iter().copied().collect()
        };
        let rotated = [Role::Timestamp, Role::Snapshot]
            .into_iter()
            .any(|role| keys(&self.root, role) != keys(&next, role));
        if rotated {
            self.stored.timestamp = None;
            self.stored.snapshot = None;
        }
        self.rotations += 1;
        self.root = next;
        self.persist(Role::Root, bytes, rotated, events);
        Ok(())
    }

    /// The newest root is there: only now its expiry counts, and only now it is known who must have signed the rest.
    fn finish_roots(&mut self, utc: UtcTime, verifier: &dyn Verifier) -> Result<(), VerifyError> {
        self.check_expiry(&self.root, utc)?;
        let stored = std::mem::take(&mut self.stored);
        self.old = Old {
            timestamp: self.reload(stored.timestamp, verifier)?,
            snapshot: self.reload(stored.snapshot, verifier)?,
            targets: self.reload(stored.targets, verifier)?,
        };
        self.step = Step::Timestamp;
        Ok(())
    }

    fn handle_timestamp(
        &mut self,
        utc: UtcTime,
        bytes: Vec<u8>,
        verifier: &dyn Verifier,
        events: &mut VecDeque<Event>,
    ) -> Result<(), VerifyError> {
        let new: Signed<Timestamp> = self.parse_signed(&bytes, verifier)?;
        if let Some(old) = &self.old.timestamp {
            self.check_version(Role::Timestamp, Role::Timestamp, old.metadata.version(), new.version())?;
            let (trusted, offered) = (&old.metadata.body().snapshot, &new.body().snapshot);
            self.check_version(Role::Timestamp, Role::Snapshot, trusted.version, offered.version)?;
        }
        self.check_expiry(&new, utc)?;
        if self.old.timestamp.as_ref().is_none_or(|old| old.bytes != bytes) {
            self.persist(Role::Timestamp, bytes, false, events);
        }
        let listed = new.body().snapshot.clone();
        // What is held need not be fetched again, if it is the very file that is listed.
        if let Some(held) = self.old.snapshot.take_if(|held| is_listed(held, &listed, verifier)) {
            self.check_expiry(&held.metadata, utc)?;
            return self.finish_snapshot(utc, &held.metadata, verifier);
        }
        self.step = Step::Snapshot(listed);
        Ok(())
    }

    fn handle_snapshot(
        &mut self,
        utc: UtcTime,
        listed: &MetaFile,
        bytes: Vec<u8>,
        verifier: &dyn Verifier,
        events: &mut VecDeque<Event>,
    ) -> Result<(), VerifyError> {
        let new: Signed<Snapshot> = self.parse_listed(listed, &bytes, verifier)?;
        if let Some(Held { metadata: old, .. }) = &self.old.snapshot {
            let (old, new) = (old.body(), new.body());
            self.check_version(Role::Snapshot, Role::Targets, old.targets.version, new.targets.version)?;
            for (file, trusted) in &old.others {
                let (document, file) = (self.document(Role::Snapshot), file.clone());
                let Some(offered) = new.others.get(&file) else {
                    return Err(VerifyError::Vanished { document, file });
                };
                let (trusted, offered) = (trusted.version, offered.version);
                if offered < trusted {
                    return Err(VerifyError::ListedRollback { document, file, trusted, offered });
                }
            }
        }
        self.check_expiry(&new, utc)?;
        self.persist(Role::Snapshot, bytes, false, events);
        self.finish_snapshot(utc, &new, verifier)
    }

    fn finish_snapshot(
        &mut self,
        utc: UtcTime,
        snapshot: &Signed<Snapshot>,
        verifier: &dyn Verifier,
    ) -> Result<(), VerifyError> {
        let listed = snapshot.body().targets.clone();
        if let Some(old) = &self.old.targets {
            self.check_version(Role::Snapshot, Role::Targets, old.metadata.version(), listed.version)?;
        }
        if let Some(held) = self.old.targets.take_if(|held| is_listed(held, &listed, verifier)) {
            self.check_expiry(&held.metadata, utc)?;
            self.step = Step::Done(Box::new(held.metadata));
        } else {
            self.step = Step::Targets(listed);
        }
        Ok(())
    }

    fn handle_targets(
        &mut self,
        utc: UtcTime,
        listed: &MetaFile,
        bytes: Vec<u8>,
        verifier: &dyn Verifier,
        events: &mut VecDeque<Event>,
    ) -> Result<(), VerifyError> {
        let new: Signed<Targets> = self.parse_listed(listed, &bytes, verifier)?;
        self.check_expiry(&new, utc)?;
        self.persist(Role::Targets, bytes, false, events);
        self.step = Step::Done(Box::new(new));
        Ok(())
    }

    /// Parses a file whose version, and perhaps length and hashes, other metadata listed.
    fn parse_listed<T: RoleMetadata>(
        &self,
        listed: &MetaFile,
        bytes: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<Signed<T>, VerifyError> {
        let document = self.document(T::ROLE);
        if let Some(listed) = listed.length
            && listed != bytes.len() as u64
        {
            return Err(VerifyError::WrongLength { document, listed, found: bytes.len() as u64 });
        }
        let found = listed.hashes.same_functions(bytes, verifier);
        if let Some((algorithm, _)) =
            listed.hashes.iter().find(|(algorithm, digest)| found.by(*algorithm) != Some(*digest))
        {
            return Err(VerifyError::WrongHash { document, algorithm });
        }
        let new = self.parse_signed::<T>(bytes, verifier)?;
        if new.version() != listed.version {
            return Err(VerifyError::WrongVersion { document, listed: listed.version, found: new.version() });
        }
        Ok(new)
    }

    fn parse_signed<T: RoleMetadata>(
        &self,
        bytes: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<Signed<T>, VerifyError> {
        let new: Signed<T> = self.parse(bytes, verifier)?;
        self.root.body().verify(&new, verifier).map_err(|source| VerifyError::Signatures {
            document: self.document(T::ROLE),
            root: self.root.version(),
            source,
        })?;
        Ok(new)
    }

    fn parse<T: RoleMetadata>(
        &self,
        bytes: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<Signed<T>, VerifyError> {
        let document = self.document(T::ROLE);
        // The length was held against its limit when the bytes came in.
        Signed::parse(bytes, Bounds::metadata(bytes.len()), verifier)
            .map_err(|source| VerifyError::Malformed { document, source })
    }

    /// A stored file, or `None` where there is none or the newest root no longer stands behind it.
    fn reload<T: RoleMetadata>(
        &self,
        stored: Option<Vec<u8>>,
        verifier: &dyn Verifier,
    ) -> Result<Option<Held<T>>, VerifyError> {
        let Some(bytes) = stored else { return Ok(None) };
        let document = self.document(T::ROLE);
        let metadata: Signed<T> = Signed::parse(&bytes, Bounds::metadata(bytes.len()), verifier)
            .map_err(|source| VerifyError::Store { document, source })?;
        let genuine = self.root.body().verify(&metadata, verifier).is_ok();
        Ok(genuine.then_some(Held { bytes, metadata }))
    }

    fn check_version(&self, by: Role, of: Role, trusted: u64, offered: u64) -> Result<(), VerifyError> {
        if offered < trusted {
            let (by, document) = (self.document(by), self.document(of));
            return Err(VerifyError::Rollback { by, document, trusted, offered });
        }
        Ok(())
    }

    fn check_expiry<T: RoleMetadata>(&self, file: &Signed<T>, now: UtcTime) -> Result<(), VerifyError> {
        let expires = file.expires();
        if now >= expires {
            return Err(VerifyError::Expired { document: self.document(T::ROLE), expires, now });
        }
        Ok(())
    }

    fn persist(&self, role: Role, bytes: Vec<u8>, rotated: bool, events: &mut VecDeque<Event>) {
        events.push_back(Event::Persist(Persist {
            repository: self.repository,
            role,
            bytes,
            forget_timestamp_and_snapshot: rotated,
        }));
    }

    const fn document(&self, role: Role) -> Document {
        Document { repository: self.repository, role }
    }
}

/// Bytes to accept of a file that metadata lists.
fn limit(listed: &MetaFile, limit: usize) -> usize {
    listed.length.and_then(|length| usize::try_from(length).ok()).map_or(limit, |length| length.min(limit))
}

/// Whether a stored file is the one that metadata lists now.
fn is_listed<T>(held: &Held<T>, listed: &MetaFile, verifier: &dyn Verifier) -> bool {
    held.metadata.version() == listed.version
        && listed.length.is_none_or(|length| length == held.bytes.len() as u64)
        && listed.hashes == listed.hashes.same_functions(&held.bytes, verifier)
}
