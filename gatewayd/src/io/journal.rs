//! The journal on disk: a redb table, one durable transaction per write, on a thread of its own.

use std::path::Path;
use std::sync::mpsc as blocking;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::mpsc;

use super::worker::Worker;
use crate::gateway::journal::{JournalKey, JournalWrite};
use crate::gateway::message::{Input, WriteId};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Writes that may wait for the disk.
const QUEUE: usize = 256;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database file cannot be opened, or is damaged.
    #[error("cannot open the journal {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// What redb says.
        source: redb::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the journal thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Everything a journal holds.
pub type Records = Vec<(JournalKey, Vec<u8>)>;

/// A handle on the journal's thread. Dropping it finishes what is queued.
#[derive(Debug)]
pub struct Journal {
    worker: Worker<(WriteId, JournalWrite)>,
}

impl Journal {
    /// Opens or creates the journal and reads all of it.
    ///
    /// # Errors
    /// [`JournalError`] where the file cannot be opened. The daemon must not start without its journal.
    pub fn open(path: &Path, inputs: mpsc::Sender<Input>) -> Result<(Self, Records), JournalError> {
        let wrong = |source| JournalError::Open { path: path.display().to_string(), source };
        let database = Database::create(path).map_err(|error| wrong(error.into()))?;
        let records = load(&database).map_err(wrong)?;
        let worker = Worker::start("journal", QUEUE, move |queue| work(&database, &queue, &inputs))?;
        Ok((Self { worker }, records))
    }

    /// Queues a write; its end arrives as [`Input::Journaled`]. Gives the id back where the queue is full or the
    /// thread is gone, which the caller must treat as a failed write.
    ///
    /// # Errors
    /// The id, where the write was not taken.
    pub fn write(&self, id: WriteId, write: JournalWrite) -> Result<(), WriteId> {
        self.worker.order((id, write)).map_err(|(id, _)| id)
    }
}

fn load(database: &Database) -> Result<Records, redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.commit()?;
    let table = database.begin_read()?.open_table(RECORDS)?;
    let mut records = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        match JournalKey::parse(key.value()) {
            Some(key) => records.push((key, value.value().to_vec())),
            None => {
                tracing::warn!(key = key.value(), "the journal holds a record of another version; left alone")
            }
        }
    }
    Ok(records)
}

fn work(
    database: &Database,
    queue: &blocking::Receiver<(WriteId, JournalWrite)>,
    inputs: &mpsc::Sender<Input>,
) {
    while let Ok((id, write)) = queue.recv() {
        let result = commit(database, &write).map_err(|error| error.to_string());
        if let Err(reason) = &result {
            tracing::error!(reason, "the journal refuses a write; check the disk under state.directory");
        }
        if inputs.blocking_send(Input::Journaled { id, result }).is_err() {
            return;
        }
    }
}

fn commit(database: &Database, write: &JournalWrite) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for (key, record) in &write.records {
            let key = key.to_string();
            match record {
                Some(record) => drop(table.insert(key.as_str(), record.as_slice())?),
                None => drop(table.remove(key.as_str())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_was_confirmed_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("journal.redb");
        let (sender, mut inputs) = mpsc::channel(4);
        let (journal, records) = Journal::open(&path, sender.clone()).expect("opens");
        assert!(records.is_empty());
        let write = JournalWrite::put(JournalKey::Campaign, b"one".to_vec())
            .and_put(JournalKey::Ecu("BRAKE/1".to_owned()), b"two".to_vec());
        journal.write(WriteId(7), write).expect("queued");
        let confirmed = inputs.recv().await;
        assert!(
            matches!(confirmed, Some(Input::Journaled { id: WriteId(7), result: Ok(()) })),
            "{confirmed:?}"
        );
        drop(journal);

        let (journal, records) = Journal::open(&path, sender.clone()).expect("opens again");
        assert_eq!(
            records,
            [
                (JournalKey::Campaign, b"one".to_vec()),
                (JournalKey::Ecu("BRAKE/1".to_owned()), b"two".to_vec()),
            ]
        );
        journal.write(WriteId(8), JournalWrite::default().and_delete(JournalKey::Campaign)).expect("queued");
        inputs.recv().await.expect("confirmed");
        drop(journal);
        let (_journal, records) = Journal::open(&path, sender).expect("opens a third time");
        assert_eq!(records.len(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_no_journal_stops_the_start() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("journal.redb");
        std::fs::write(&path, vec![0x5A; 8192]).expect("written");
        let (sender, _inputs) = mpsc::channel(4);
        let error = Journal::open(&path, sender).expect_err("must be refused");
        assert!(error.to_string().contains("cannot open the journal"), "{error}");
    }
}
