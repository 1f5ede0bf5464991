//! What a part of the brain may do: allocate ids, ask for things, and know who asked.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use crypto_offload::job::{Job, JobId, Operation, Verifier};

use super::journal::JournalWrite;
use super::message::{
    EcuIndex, Fetch, FetchId, Output, Publish, StoreId, StoreName, StoreOperation, StoreRequest, WriteId,
};
use crate::bus::EcuOrder;

/// How long an engine may take for one job before the work is given up.
const JOB_PATIENCE: Duration = Duration::from_secs(10);

/// The time, by both clocks. The brain reads neither itself.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// For expiry dates and events: milliseconds since 1970, UTC.
    pub utc_ms: u64,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The metadata check.
    Metadata,
    /// One ECU's installation.
    Ecu(EcuIndex),
    /// Nobody; the answer only matters if it is a failure.
    Nobody,
}

/// Outstanding requests and their owners. Bounded by what the owners may have outstanding.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) outputs: VecDeque<Output>,
    owners: HashMap<u64, Owner>,
    next: u64,
}

impl Desk {
    fn ticket(&mut self, owner: Owner) -> u64 {
        self.next += 1;
        self.owners.insert(self.next, owner);
        self.next
    }

    /// Who waits for that ticket, if anybody still does.
    pub(super) fn owner(&self, ticket: u64) -> Option<Owner> {
        self.owners.get(&ticket).copied()
    }

    /// The same, and the ticket is used up.
    pub(super) fn close(&mut self, ticket: u64) -> Option<Owner> {
        self.owners.remove(&ticket)
    }
}

/// What all parts of the brain share.
pub(super) struct Core {
    pub(super) verifier: Box<dyn Verifier + Send>,
    pub(super) desk: Desk,
    pub(super) traceparent: Option<String>,
}

impl Core {
    pub(super) fn context(&mut self, now: Now, owner: Owner) -> Context<'_> {
        Context {
            now,
            owner,
            verifier: &*self.verifier,
            desk: &mut self.desk,
            traceparent: self.traceparent.as_deref(),
        }
    }
}

/// What one call into a part of the brain may use.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) owner: Owner,
    pub(super) verifier: &'a dyn Verifier,
    pub(super) desk: &'a mut Desk,
    pub(super) traceparent: Option<&'a str>,
}

impl Context<'_> {
    pub(super) fn fetch(
        &mut self,
        path: String,
        range: Option<Range<u64>>,
        part_len: usize,
        max_len: u64,
    ) -> FetchId {
        let id = FetchId(self.desk.ticket(self.owner));
        let traceparent = self.traceparent.map(str::to_owned);
        self.desk.outputs.push_back(Output::Fetch(Fetch { id, path, range, part_len, max_len, traceparent }));
        id
    }

    pub(super) fn cancel_fetch(&mut self, id: FetchId) {
        self.desk.close(id.0);
        self.desk.outputs.push_back(Output::CancelFetch(id));
    }

    pub(super) fn crypto(&mut self, operation: Operation) -> JobId {
        let id = JobId(self.desk.ticket(self.owner));
        let deadline = self.now.monotonic + JOB_PATIENCE;
        self.desk.outputs.push_back(Output::Crypto(Job { id, deadline, operation }));
        id
    }

    pub(super) fn store(&mut self, name: &StoreName, operation: StoreOperation) -> StoreId {
        let id = StoreId(self.desk.ticket(self.owner));
        self.desk.outputs.push_back(Output::Store(StoreRequest { id, name: name.clone(), operation }));
        id
    }

    pub(super) fn journal(&mut self, write: JournalWrite) -> WriteId {
        let id = WriteId(self.desk.ticket(self.owner));
        self.desk.outputs.push_back(Output::Journal { id, write });
        id
    }

    /// A journal write that nobody waits for: a progress record whose loss only repeats work.
    pub(super) fn journal_progress(&mut self, write: JournalWrite) {
        let id = WriteId(self.desk.ticket(Owner::Nobody));
        self.desk.outputs.push_back(Output::Journal { id, write });
    }

    pub(super) fn order(&mut self, ecu: EcuIndex, order: EcuOrder) {
        self.desk.outputs.push_back(Output::Ecu { ecu, order });
    }

    pub(super) fn publish(&mut self, publish: Publish) {
        self.desk.outputs.push_back(Output::Publish(publish));
    }
}
