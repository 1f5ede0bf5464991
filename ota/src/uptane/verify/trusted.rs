//! What the vehicle trusts between cycles, and how a cycle adds to it.

use crate::uptane::metadata::{Repository, Role};

/// The files of one repository that were verified last, byte for byte as the store kept them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedRepository {
    /// The newest trusted root. The first one comes with the vehicle.
    pub root: Vec<u8>,
    /// The newest trusted timestamp.
    pub timestamp: Option<Vec<u8>>,
    /// The newest trusted snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The newest trusted targets.
    pub targets: Option<Vec<u8>>,
}

impl TrustedRepository {
    /// A repository of which nothing but the root is known.
    pub const fn new(root: Vec<u8>) -> Self {
        Self { root, timestamp: None, snapshot: None, targets: None }
    }

    /// Does to these files what a store must do on [`Event::Persist`](super::Event::Persist).
    pub fn persist(&mut self, persist: &Persist) {
        if persist.forget_timestamp_and_snapshot {
            self.timestamp = None;
            self.snapshot = None;
        }
        let bytes = persist.bytes.clone();
        match persist.role {
            Role::Root => self.root = bytes,
            Role::Timestamp => self.timestamp = Some(bytes),
            Role::Snapshot => self.snapshot = Some(bytes),
            Role::Targets => self.targets = Some(bytes),
        }
    }
}

/// The trusted files of both repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedMetadata {
    /// The Director repository.
    pub director: TrustedRepository,
    /// The Image repository.
    pub image: TrustedRepository,
}

impl TrustedMetadata {
    /// Does to these files what a store must do on [`Event::Persist`](super::Event::Persist).
    pub fn persist(&mut self, persist: &Persist) {
        match persist.repository {
            Repository::Director => self.director.persist(persist),
            Repository::Image => self.image.persist(persist),
        }
    }
}

/// A file is trusted from now on, and replaces its predecessor.
///
/// Files come in the order in which they were verified, and each is to be on disk before the next: a power cut in
/// between leaves a store from which the next cycle goes on, and never one that would accept an older file than
/// before. One `Persist` is one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Whose file.
    pub repository: Repository,
    /// Which file.
    pub role: Role,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// In the same transaction, remove the repository's timestamp and snapshot: this root changed their keys, which
    /// is how a repository recovers from a thief who gave them versions no honest one could reach.
    pub forget_timestamp_and_snapshot: bool,
}
