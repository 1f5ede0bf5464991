//! What goes into the brain and what comes out of it.

use std::ops::Range;
use std::time::Duration;

use crypto_offload::job::{Completion, Job};

use crate::bus::{EcuOrder, EcuReport};
use crate::gateway::journal::JournalWrite;

/// An ECU's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EcuIndex(pub usize);

/// Names a fetch from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Names a store operation until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

/// Names a journal write until it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Something that happened outside the brain.
#[derive(Debug)]
pub enum Input {
    /// A message arrived on the command topic.
    Command(Vec<u8>),
    /// A fetch has filled one part.
    FetchPart {
        /// Which fetch.
        id: FetchId,
        /// The part's bytes, `part_len` of them, except for the last one.
        data: Vec<u8>,
    },
    /// A fetch is over.
    FetchEnd {
        /// Which fetch.
        id: FetchId,
        /// Whether every byte asked for has arrived.
        result: Result<(), FetchError>,
    },
    /// An engine has finished a job.
    Crypto(Completion),
    /// A store operation is done.
    Stored {
        /// Which operation.
        id: StoreId,
        /// The bytes read (empty for other operations).
        result: Result<Vec<u8>, StoreError>,
    },
    /// A journal write is durable, or failed.
    Journaled {
        /// Which write.
        id: WriteId,
        /// Why it failed.
        result: Result<(), String>,
    },
    /// An ECU's programming session has something to say.
    Ecu {
        /// Which ECU.
        ecu: EcuIndex,
        /// What it says.
        report: EcuReport,
    },
}

/// Something the brain wants done.
#[derive(Debug)]
pub enum Output {
    /// Fetch from the origin.
    Fetch(Fetch),
    /// Stop a fetch; no more inputs for it are wanted.
    CancelFetch(FetchId),
    /// Give a job to the crypto queue.
    Crypto(Job),
    /// Work on the image store.
    Store(StoreRequest),
    /// Make records durable, all of them or none.
    Journal {
        /// Comes back in [`Input::Journaled`].
        id: WriteId,
        /// The records.
        write: JournalWrite,
    },
    /// Tell an ECU's programming session something.
    Ecu {
        /// Which ECU.
        ecu: EcuIndex,
        /// What to do.
        order: EcuOrder,
    },
    /// Publish a message.
    Publish(Publish),
}

/// One request to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Comes back with every part and with the end.
    pub id: FetchId,
    /// Path below the configured URL, without a leading slash.
    pub path: String,
    /// The bytes wanted; `None` for the whole file.
    pub range: Option<Range<u64>>,
    /// Parts are cut at multiples of this many bytes.
    pub part_len: usize,
    /// More bytes than this are an attack (endless data): the fetch ends with [`FetchError::TooLong`].
    pub max_len: u64,
    /// Headers that name the campaign (`traceparent`, W3C Trace Context).
    pub traceparent: Option<String>,
}

/// Why a fetch ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The origin has no such file.
    #[error("the origin has no {path}")]
    NotFound {
        /// The path asked for.
        path: String,
    },
    /// The origin answers, but not with the file.
    #[error("the origin answers {status} for {path}")]
    Refused {
        /// HTTP status code.
        status: u16,
        /// The path asked for.
        path: String,
    },
    /// The origin sent fewer bytes than the file must have.
    #[error("{path} is truncated: {found} bytes of {expected}")]
    Truncated {
        /// The path asked for.
        path: String,
        /// Bytes that arrived.
        found: u64,
        /// Bytes asked for.
        expected: u64,
    },
    /// The origin sends more than it may.
    #[error("{path} is longer than the {limit} bytes it may have (endless data)")]
    TooLong {
        /// The path asked for.
        path: String,
        /// The most it may have.
        limit: u64,
    },
    /// The origin went silent.
    #[error("the origin stalled for {silence:?} in the middle of {path}")]
    Stalled {
        /// The path asked for.
        path: String,
        /// How long nothing came.
        silence: Duration,
    },
    /// No connection, or it broke.
    #[error("no connection to the origin: {reason}")]
    Unreachable {
        /// What the transport says.
        reason: String,
    },
}

impl FetchError {
    /// Whether trying again can help.
    pub const fn is_transient(&self) -> bool {
        !matches!(self, Self::NotFound { .. } | Self::TooLong { .. })
    }
}

/// One operation on the image store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRequest {
    /// Comes back with the result.
    pub id: StoreId,
    /// Which stored file.
    pub name: StoreName,
    /// What to do with it.
    pub operation: StoreOperation,
}

/// The name of a file in the store: an image's tree root in hex, and which of its two files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(pub String);

/// What can be done with a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// Make room for all of it before a byte is fetched.
    Reserve {
        /// Length in bytes.
        len: u64,
    },
    /// Write bytes.
    Write {
        /// Where.
        offset: u64,
        /// What.
        data: Vec<u8>,
        /// Whether everything written so far must be on the medium before the answer.
        sync: bool,
    },
    /// Read bytes.
    Read {
        /// Where.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// Forget the file.
    Remove,
}

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The quota does not allow it.
    #[error(
        "the image store may hold {quota} bytes, {used} are used and {wanted} more are needed; raise state.quota"
    )]
    Quota {
        /// Configured quota in bytes.
        quota: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes needed.
        wanted: u64,
    },
    /// The medium does not allow it.
    #[error("the image store failed: {reason}")]
    Medium {
        /// What the system says.
        reason: String,
    },
}

/// One MQTT message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Full topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Whether it may be dropped when the outbox is full.
    pub droppable: bool,
}
