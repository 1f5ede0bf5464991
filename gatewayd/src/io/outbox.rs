//! Messages for the broker that survive a crash: written down before they are sent, deleted only on PUBACK.
//!
//! What a broker has acknowledged it may still lose, when it dies before its subscribers have it. So the last blocks of
//! telemetry are kept for a while behind their PUBACK, for receivers that miss them and ask again.

use std::collections::VecDeque;
use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use telemetry::BlockHeader;
use telemetry::request::Missing;

use crate::gateway::message::Publish;

/// Sequence number to encoded message.
const MESSAGES: TableDefinition<'_, u64, (&str, u8, &[u8])> = TableDefinition::new("messages");
/// Those of them that the broker has acknowledged.
const ACKNOWLEDGED: TableDefinition<'_, u64, ()> = TableDefinition::new("acknowledged");
const RETAIN: u8 = 1;
const DROPPABLE: u8 = 2;
/// Acknowledged blocks of telemetry kept, about half a megabyte.
const KEPT: usize = 1024;

/// A durable queue with a bound.
#[derive(Debug)]
pub struct Outbox {
    database: Database,
    /// Sequence numbers in the queue, oldest first, and whether each may be dropped.
    waiting: VecDeque<(u64, bool)>,
    /// Acknowledged and still there, oldest first.
    kept: VecDeque<u64>,
    next: u64,
    limit: usize,
    dropped: u64,
}

impl Outbox {
    /// Opens or creates the outbox, in which at most `limit` messages wait.
    ///
    /// # Errors
    /// redb's, where the file cannot be opened or is damaged.
    pub fn open(path: &Path, limit: usize) -> Result<Self, redb::Error> {
        let database = Database::create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(MESSAGES)?;
        transaction.open_table(ACKNOWLEDGED)?;
        transaction.commit()?;
        let (mut waiting, mut kept, mut next) = (VecDeque::new(), VecDeque::new(), 0);
        let transaction = database.begin_read()?;
        let acknowledged = transaction.open_table(ACKNOWLEDGED)?;
        for entry in transaction.open_table(MESSAGES)?.iter()? {
            let (seq, message) = entry?;
            let seq = seq.value();
            if acknowledged.get(seq)?.is_some() {
                kept.push_back(seq);
            } else {
                waiting.push_back((seq, message.value().1 & DROPPABLE != 0));
            }
            next = seq + 1;
        }
        drop((acknowledged, transaction));
        Ok(Self { database, waiting, kept, next, limit, dropped: 0 })
    }

    /// Takes messages in, all or none. When the outbox is full the oldest droppable message makes room, and where there
    /// is none the oldest of all. They are on the medium before this returns.
    ///
    /// # Errors
    /// redb's, where the medium refuses.
    pub fn push<'a>(&mut self, messages: impl IntoIterator<Item = &'a Publish>) -> Result<(), redb::Error> {
        // Without waiting for the medium redb writes nothing at all: a killed process would lose what it had taken in.
        let transaction = self.begin(Durability::Immediate)?;
        let (mut waiting, mut next, mut dropped) = (self.waiting.clone(), self.next, self.dropped);
        {
            let mut table = transaction.open_table(MESSAGES)?;
            for message in messages {
                if waiting.len() >= self.limit {
                    let victim = waiting.iter().position(|&(_, droppable)| droppable).unwrap_or(0);
                    if let Some((seq, _)) = waiting.remove(victim) {
                        table.remove(seq)?;
                        dropped += 1;
                    }
                }
                let flags =
                    if message.retain { RETAIN } else { 0 } | if message.droppable { DROPPABLE } else { 0 };
                table.insert(next, (message.topic.as_str(), flags, message.payload.as_slice()))?;
                waiting.push_back((next, message.droppable));
                next += 1;
            }
        }
        transaction.commit()?;
        (self.waiting, self.next, self.dropped) = (waiting, next, dropped);
        Ok(())
    }

    /// The oldest waiting message after `seq` (or the oldest of all), with its sequence number.
    ///
    /// # Errors
    /// redb's, where the medium cannot be read.
    pub fn next_after(&self, seq: Option<u64>) -> Result<Option<(u64, Publish)>, redb::Error> {
        let at = self.waiting.partition_point(|&(it, _)| seq.is_some_and(|seq| it <= seq));
        let Some(&(found, _)) = self.waiting.get(at) else { return Ok(None) };
        Ok(self.get(found)?.map(|message| (found, message)))
    }

    /// A message that waits or is kept.
    ///
    /// # Errors
    /// redb's, where the medium cannot be read.
    pub fn get(&self, seq: u64) -> Result<Option<Publish>, redb::Error> {
        let table = self.database.begin_read()?.open_table(MESSAGES)?;
        let Some(entry) = table.get(seq)? else { return Ok(None) };
        let (topic, flags, payload) = entry.value();
        Ok(Some(Publish {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            retain: flags & RETAIN != 0,
            droppable: flags & DROPPABLE != 0,
        }))
    }

    /// The broker has it: it waits no more. A block of telemetry is kept until enough newer ones are.
    ///
    /// # Errors
    /// redb's, where the medium refuses.
    pub fn acknowledge(&mut self, seq: u64) -> Result<(), redb::Error> {
        let Ok(at) = self.waiting.binary_search_by_key(&seq, |&(seq, _)| seq) else { return Ok(()) };
        let keep = self.waiting.get(at).is_some_and(|&(_, droppable)| droppable);
        let surplus = if keep && self.kept.len() >= KEPT { self.kept.front().copied() } else { None };
        // What is lost of this in a crash only sends the message twice, and receivers drop duplicates.
        let transaction = self.begin(Durability::None)?;
        {
            let (mut messages, mut acknowledged) =
                (transaction.open_table(MESSAGES)?, transaction.open_table(ACKNOWLEDGED)?);
            if let Some(surplus) = surplus {
                messages.remove(surplus)?;
                acknowledged.remove(surplus)?;
            }
            if keep {
                acknowledged.insert(seq, ())?;
            } else {
                messages.remove(seq)?;
            }
        }
        transaction.commit()?;
        self.waiting.remove(at);
        if surplus.is_some() {
            self.kept.pop_front();
        }
        if keep {
            // Mostly the newest; the order of acknowledgements is the broker's.
            let at = self.kept.partition_point(|&it| it < seq);
            self.kept.insert(at, seq);
        }
        Ok(())
    }

    /// The kept blocks under `topic` that a receiver misses.
    ///
    /// # Errors
    /// redb's, where the medium cannot be read.
    pub fn kept(&self, topic: &str, missing: &Missing) -> Result<Vec<u64>, redb::Error> {
        let table = self.database.begin_read()?.open_table(MESSAGES)?;
        let mut found = Vec::new();
        for &seq in &self.kept {
            let Some(entry) = table.get(seq)? else { continue };
            let (its_topic, _, block) = entry.value();
            let wanted = its_topic == topic && BlockHeader::parse(block).is_ok_and(|it| missing.names(&it));
            if wanted {
                found.push(seq);
            }
        }
        Ok(found)
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Messages that had to make room since the start.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn begin(&self, durability: Durability) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        Ok(transaction)
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{BootId, Encoder, StreamId, WindowBuilder};

    use super::*;

    fn message(topic: &str, droppable: bool) -> Publish {
        Publish { topic: topic.to_owned(), payload: vec![1, 2, 3], retain: false, droppable }
    }

    fn blocks(count: u64) -> Vec<Publish> {
        let mut encoder = Encoder::new(BootId(7), StreamId::PROFILE).expect("memory");
        let block = |at| Publish {
            payload: encoder.encode(&WindowBuilder::new(at).finish(1)).expect("encodes"),
            ..message("telemetry", true)
        };
        (0..count).map(block).collect()
    }

    fn topics(outbox: &Outbox) -> Vec<String> {
        let mut found = Vec::new();
        let mut last = None;
        while let Some((seq, message)) = outbox.next_after(last).expect("readable") {
            found.push(message.topic);
            last = Some(seq);
        }
        found
    }

    /// The file as a process leaves it that is killed: what redb has not written is gone.
    fn killed(path: &Path) -> std::path::PathBuf {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).expect("copied");
        copy
    }

    #[test]
    fn a_message_stays_until_it_is_acknowledged_even_over_a_restart() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("outbox.redb");
        let mut outbox = Outbox::open(&path, 10).expect("opens");
        outbox.push(&[message("a", false), message("b", false)]).expect("taken");
        drop(outbox);
        let mut outbox = Outbox::open(&path, 10).expect("opens again");
        assert_eq!(topics(&outbox), ["a", "b"]);
        outbox.acknowledge(0).expect("forgotten");
        outbox.push(&[message("c", false)]).expect("taken");
        assert_eq!(topics(&outbox), ["b", "c"]);
    }

    #[test]
    fn telemetry_that_was_taken_in_survives_a_kill() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("outbox.redb");
        let mut outbox = Outbox::open(&path, 10).expect("opens");
        outbox.push(&[message("a", true)]).expect("taken");
        outbox.push(&[message("b", true)]).expect("taken");
        assert_eq!(topics(&Outbox::open(&killed(&path), 10).expect("opens")), ["a", "b"]);
    }

    #[test]
    fn telemetry_makes_room_for_events_and_the_loss_is_counted() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut outbox = Outbox::open(&directory.path().join("outbox.redb"), 3).expect("opens");
        let first = [message("event 1", false), message("telemetry 1", true), message("telemetry 2", true)];
        outbox.push(&first).expect("taken");
        outbox.push(&[message("event 2", false)]).expect("taken");
        assert_eq!(topics(&outbox), ["event 1", "telemetry 2", "event 2"]);
        outbox.push(&[message("event 3", false), message("event 4", false)]).expect("taken");
        assert_eq!(topics(&outbox), ["event 2", "event 3", "event 4"]);
        assert_eq!(outbox.dropped(), 3);
    }

    #[test]
    fn acknowledged_blocks_are_found_by_number_until_enough_newer_ones_are() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("outbox.redb");
        let count = KEPT as u64 + 1;
        let mut outbox = Outbox::open(&path, 2 * KEPT).expect("opens");
        outbox.push(&blocks(count)).expect("taken");
        let missing = |ranges: &[(u64, u64)]| Missing::new(BootId(7), ranges.to_vec()).expect("few");
        let first = missing(&[(0, 1), (count - 1, count - 1)]);
        let none = Vec::<u64>::new();
        assert_eq!(outbox.kept("telemetry", &first).expect("readable"), none, "nothing is acknowledged yet");
        for seq in (0..count - 1).rev() {
            outbox.acknowledge(seq).expect("kept");
        }
        assert_eq!(outbox.kept("telemetry", &first).expect("readable"), [0, 1]);
        outbox.acknowledge(count - 1).expect("kept");
        assert_eq!(outbox.kept("telemetry", &first).expect("readable"), [1, count - 1]);
        assert_eq!(outbox.kept("other", &first).expect("readable"), none);
        let stranger = Missing::new(BootId(8), vec![(0, 1)]).expect("few");
        assert_eq!(outbox.kept("telemetry", &stranger).expect("readable"), none);
        drop(outbox);
        let outbox = Outbox::open(&path, 2 * KEPT).expect("opens again");
        assert!(outbox.is_empty());
        assert_eq!(outbox.kept("telemetry", &first).expect("readable"), [1, count - 1]);
    }
}
