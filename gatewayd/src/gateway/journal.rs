//! What the brain writes down before it acts: keys, records, and writes of several records at once.

use std::fmt;

/// Where a record lives in the journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JournalKey {
    /// How often the daemon has been started on this journal.
    Boot,
    /// When the Director was last asked with an answer: milliseconds since 1970, UTC.
    Looked,
    /// The campaign under way (at most one).
    Campaign,
    /// How far one ECU has come, by serial.
    Ecu(String),
    /// Trusted metadata, by repository and role (`director/root`).
    Metadata(String),
    /// What is installed on one ECU, by serial.
    Installed(String),
}

impl fmt::Display for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("boot"),
            Self::Looked => f.write_str("looked"),
            Self::Campaign => f.write_str("campaign"),
            Self::Ecu(serial) => write!(f, "ecu/{serial}"),
            Self::Metadata(name) => write!(f, "metadata/{name}"),
            Self::Installed(serial) => write!(f, "installed/{serial}"),
        }
    }
}

impl JournalKey {
    /// The key that prints as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            None if text == "boot" => Some(Self::Boot),
            None if text == "looked" => Some(Self::Looked),
            None if text == "campaign" => Some(Self::Campaign),
            Some(("ecu", serial)) => Some(Self::Ecu(serial.to_owned())),
            Some(("metadata", name)) => Some(Self::Metadata(name.to_owned())),
            Some(("installed", serial)) => Some(Self::Installed(serial.to_owned())),
            _ => None,
        }
    }
}

/// Records that become durable together or not at all. `None` deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalWrite {
    /// Keys and their new records.
    pub records: Vec<(JournalKey, Option<Vec<u8>>)>,
}

impl JournalWrite {
    /// A write of one record.
    pub fn put(key: JournalKey, record: Vec<u8>) -> Self {
        Self { records: vec![(key, Some(record))] }
    }

    /// Adds a record to the write.
    #[must_use]
    pub fn and_put(mut self, key: JournalKey, record: Vec<u8>) -> Self {
        self.records.push((key, Some(record)));
        self
    }

    /// Adds a deletion to the write.
    #[must_use]
    pub fn and_delete(mut self, key: JournalKey) -> Self {
        self.records.push((key, None));
        self
    }
}
