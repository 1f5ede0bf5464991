//! What can go wrong with a message, named after N_Result (ISO 15765-2:2016, clause 8.3.7).

/// Which half of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The message being sent.
    Send,
    /// The message being received.
    Receive,
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The bus did not confirm an own frame in time (N_TIMEOUT_A). Frames still queued for the bus are stale.
    #[error("the bus did not take our frame in time ({direction:?})")]
    TimeoutA {
        /// Of which half.
        direction: Direction,
    },
    /// The receiver's flow control is missing (N_TIMEOUT_Bs).
    #[error("the receiver sent no flow control in time")]
    TimeoutBs,
    /// The sender stopped in the middle of a message (N_TIMEOUT_Cr).
    #[error("the sender stopped in the middle of a message")]
    TimeoutCr,
    /// A frame was lost, repeated or reordered (N_WRONG_SN).
    #[error("expected consecutive frame {expected}, received {received}")]
    WrongSn {
        /// Sequence number due.
        expected: u8,
        /// Sequence number seen.
        received: u8,
    },
    /// The receiver's flow control has a reserved status (N_INVALID_FS).
    #[error("the receiver sent the reserved flow status {value:#x}")]
    InvalidFs {
        /// The status, 3 to 15.
        value: u8,
    },
    /// The sender began a new message before it ended the last one (N_UNEXP_PDU).
    #[error("the sender began a new message in the middle of the last one")]
    UnexpectedPdu,
    /// Too many waits in a row (N_WFT_OVRN): the receiver's when sending, our own user's when receiving.
    #[error("more than {waits} waits in a row ({direction:?})")]
    WftOverrun {
        /// Of which half.
        direction: Direction,
        /// Waits that were granted.
        waits: u8,
    },
    /// The receiver has no room for the message (N_BUFFER_OVFLW).
    #[error("the receiver has no room for {len} bytes")]
    BufferOverflow {
        /// Length of our message.
        len: usize,
    },
    /// The sender announced more than we take; it was told so.
    #[error("the sender announced {len} bytes, at most {max} are taken")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes taken at most.
        max: usize,
    },
}

impl LinkError {
    /// The half of the link that failed.
    pub const fn direction(&self) -> Direction {
        match self {
            Self::TimeoutA { direction } | Self::WftOverrun { direction, .. } => *direction,
            Self::TimeoutBs | Self::InvalidFs { .. } | Self::BufferOverflow { .. } => Direction::Send,
            Self::TimeoutCr | Self::WrongSn { .. } | Self::UnexpectedPdu | Self::TooLong { .. } => {
                Direction::Receive
            }
        }
    }
}

/// A message that was not accepted, and why; the caller has it back.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// Why.
    #[source]
    pub reason: SendRefusal,
    /// The message.
    pub sdu: Vec<u8>,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendRefusal {
    /// One message at a time: wait for `Sent` or `Failed`.
    #[error("the link is still sending a message")]
    Busy,
    /// No protocol data unit stands for an empty message.
    #[error("an empty message cannot be sent")]
    Empty,
    /// Above what a first frame can announce (32 bits).
    #[error("a message of {0} bytes does not fit in 32 bits")]
    TooLong(usize),
}
