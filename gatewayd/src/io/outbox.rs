//! Messages for the broker that survive a crash: written down before they are sent, deleted only on PUBACK.

use std::collections::VecDeque;
use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::gateway::message::Publish;

/// Sequence number to encoded message.
const MESSAGES: TableDefinition<'_, u64, (&str, u8, &[u8])> = TableDefinition::new("messages");
const RETAIN: u8 = 1;
const DROPPABLE: u8 = 2;

/// A durable queue with a bound.
#[derive(Debug)]
pub struct Outbox {
    database: Database,
    /// Sequence numbers in the queue, oldest first, and whether each may be dropped.
    index: VecDeque<(u64, bool)>,
    next: u64,
    limit: usize,
    dropped: u64,
}

impl Outbox {
    /// Opens or creates the outbox, which keeps at most `limit` messages.
    ///
    /// # Errors
    /// redb's, where the file cannot be opened or is damaged.
    pub fn open(path: &Path, limit: usize) -> Result<Self, redb::Error> {
        let database = Database::create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(MESSAGES)?;
        transaction.commit()?;
        let mut index = VecDeque::new();
        for entry in database.begin_read()?.open_table(MESSAGES)?.iter()? {
            let (seq, message) = entry?;
            index.push_back((seq.value(), message.value().1 & DROPPABLE != 0));
        }
        let next = index.back().map_or(0, |&(seq, _)| seq + 1);
        Ok(Self { database, index, next, limit, dropped: 0 })
    }

    /// Takes a message in. When the outbox is full the oldest droppable message makes room, and where there is none
    /// the oldest of all.
    ///
    /// Telemetry is written without waiting for the medium; events wait.
    ///
    /// # Errors
    /// redb's, where the medium refuses.
    pub fn push(&mut self, message: &Publish) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(if message.droppable {
            Durability::None
        } else {
            Durability::Immediate
        })?;
        {
            let mut table = transaction.open_table(MESSAGES)?;
            if self.index.len() >= self.limit {
                let victim = self.index.iter().position(|&(_, droppable)| droppable).unwrap_or(0);
                if let Some((seq, _)) = self.index.remove(victim) {
                    table.remove(seq)?;
                    self.dropped += 1;
                }
            }
            let flags =
                if message.retain { RETAIN } else { 0 } | if message.droppable { DROPPABLE } else { 0 };
            table.insert(self.next, (message.topic.as_str(), flags, message.payload.as_slice()))?;
        }
        transaction.commit()?;
        self.index.push_back((self.next, message.droppable));
        self.next += 1;
        Ok(())
    }

    /// The oldest message after `seq` (or the oldest of all), with its sequence number.
    ///
    /// # Errors
    /// redb's, where the medium cannot be read.
    pub fn next_after(&self, seq: Option<u64>) -> Result<Option<(u64, Publish)>, redb::Error> {
        let Some(&(found, _)) = self.index.iter().find(|&&(it, _)| seq.is_none_or(|seq| it > seq)) else {
            return Ok(None);
        };
        let table = self.database.begin_read()?.open_table(MESSAGES)?;
        let Some(entry) = table.get(found)? else { return Ok(None) };
        let (topic, flags, payload) = entry.value();
        let message = Publish {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            retain: flags & RETAIN != 0,
            droppable: flags & DROPPABLE != 0,
        };
        Ok(Some((found, message)))
    }

    /// The broker has it: forget it.
    ///
    /// # Errors
    /// redb's, where the medium refuses.
    pub fn acknowledge(&mut self, seq: u64) -> Result<(), redb::Error> {
        let Ok(at) = self.index.binary_search_by_key(&seq, |&(seq, _)| seq) else { return Ok(()) };
        let mut transaction = self.database.begin_write()?;
        // A deletion that is lost with the power only sends the message twice, and receivers drop duplicates.
        transaction.set_durability(Durability::None)?;
        transaction.open_table(MESSAGES)?.remove(seq)?;
        transaction.commit()?;
        self.index.remove(at);
        Ok(())
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Messages that had to make room since the start.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, droppable: bool) -> Publish {
        Publish { topic: topic.to_owned(), payload: vec![1, 2, 3], retain: false, droppable }
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

    #[test]
    fn a_message_stays_until_it_is_acknowledged_even_over_a_restart() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("outbox.redb");
        let mut outbox = Outbox::open(&path, 10).expect("opens");
        outbox.push(&message("a", false)).expect("taken");
        outbox.push(&message("b", false)).expect("taken");
        drop(outbox);
        let mut outbox = Outbox::open(&path, 10).expect("opens again");
        assert_eq!(topics(&outbox), ["a", "b"]);
        outbox.acknowledge(0).expect("forgotten");
        outbox.push(&message("c", false)).expect("taken");
        assert_eq!(topics(&outbox), ["b", "c"]);
    }

    #[test]
    fn telemetry_makes_room_for_events_and_the_loss_is_counted() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut outbox = Outbox::open(&directory.path().join("outbox.redb"), 3).expect("opens");
        for (topic, droppable) in [("event 1", false), ("telemetry 1", true), ("telemetry 2", true)] {
            outbox.push(&message(topic, droppable)).expect("taken");
        }
        outbox.push(&message("event 2", false)).expect("taken");
        assert_eq!(topics(&outbox), ["event 1", "telemetry 2", "event 2"]);
        outbox.push(&message("event 3", false)).expect("taken");
        outbox.push(&message("event 4", false)).expect("taken");
        assert_eq!(topics(&outbox), ["event 2", "event 3", "event 4"]);
        assert_eq!(outbox.dropped(), 3);
    }
}
