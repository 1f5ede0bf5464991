//! The journal of a simulated gateway: a write is durable when it is confirmed, and may be before.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use gatewayd::gateway::journal::{JournalKey, JournalWrite};
use gatewayd::gateway::message::{Input, WriteId};
use ota::journal::{CampaignRecord, EcuRecord, InstalledRecord};

use crate::random::Random;

/// Time that the medium takes for a write.
const LATENCY: Duration = Duration::from_millis(2);

/// What becomes of writes that are not confirmed when the gateway goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// They are lost.
    Lost,
    /// They are kept.
    Kept,
    /// The first few are kept, in order, as the seed says.
    Seeded,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SimJournal {
    durable: BTreeMap<JournalKey, Vec<u8>>,
    in_flight: VecDeque<(Instant, WriteId, JournalWrite)>,
    /// What becomes of writes that are not confirmed when the gateway goes down.
    pub policy: InFlight,
    /// Writes that go well before the medium fails for good.
    pub fails_after: Option<u64>,
    writes: u64,
}

impl SimJournal {
    pub(super) const fn new() -> Self {
        Self {
            durable: BTreeMap::new(),
            in_flight: VecDeque::new(),
            policy: InFlight::Seeded,
            fails_after: None,
            writes: 0,
        }
    }

    /// The record of one ECU, as it would be found now.
    ///
    /// # Panics
    /// Where it is damaged.
    pub fn ecu(&self, serial: &str) -> Option<EcuRecord> {
        let bytes = self.durable.get(&JournalKey::Ecu(serial.to_owned()))?;
        Some(ota::journal::decode(bytes).expect("a readable record"))
    }

    /// Reads every record.
    ///
    /// # Errors
    /// The first one that is damaged.
    pub fn check(&self) -> Result<(), String> {
        for (key, bytes) in &self.durable {
            let result = match key {
                JournalKey::Campaign => ota::journal::decode::<CampaignRecord>(bytes).map(drop),
                JournalKey::Ecu(_) => ota::journal::decode::<EcuRecord>(bytes).map(drop),
                JournalKey::Installed(_) => ota::journal::decode::<InstalledRecord>(bytes).map(drop),
                JournalKey::Boot | JournalKey::Looked | JournalKey::Metadata(_) => Ok(()),
            };
            result.map_err(|error| format!("{key}: {error}"))?;
        }
        Ok(())
    }

    pub(super) fn records(&self) -> Vec<(JournalKey, Vec<u8>)> {
        self.durable.iter().map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
    }

    pub(super) fn write(&mut self, now: Instant, id: WriteId, write: JournalWrite) {
        let due = self.in_flight.back().map_or(now, |(at, ..)| *at).max(now) + LATENCY;
        self.in_flight.push_back((due, id, write));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.in_flight.front().map(|(at, ..)| *at)
    }

    pub(super) fn poll_input(&mut self, now: Instant) -> Option<Input> {
        self.poll_timeout().filter(|at| *at <= now)?;
        let (_, id, write) = self.in_flight.pop_front()?;
        self.writes += 1;
        if self.fails_after.is_some_and(|limit| self.writes > limit) {
            return Some(Input::Journaled { id, result: Err("no space left on device".to_owned()) });
        }
        self.apply(write);
        Some(Input::Journaled { id, result: Ok(()) })
    }

    /// The gateway goes down.
    pub(super) fn cut(&mut self, random: &mut Random) {
        let count = self.in_flight.len();
        let kept = match self.policy {
            InFlight::Lost => 0,
            InFlight::Kept => count,
            InFlight::Seeded => usize::try_from(random.below(count as u64 + 1)).unwrap_or(0),
        };
        for (_, _, write) in std::mem::take(&mut self.in_flight).into_iter().take(kept) {
            self.apply(write);
        }
    }

    fn apply(&mut self, write: JournalWrite) {
        for (key, record) in write.records {
            match record {
                Some(record) => drop(self.durable.insert(key, record)),
                None => drop(self.durable.remove(&key)),
            }
        }
    }
}
