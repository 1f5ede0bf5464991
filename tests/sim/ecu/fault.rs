//! What can go wrong with a simulated ECU.

use canfd::uds::message::{Nrc, ServiceId};
use std::time::{Duration, Instant};

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It hears and says nothing
    Silent,
    /// It answers one service with NRC 0x78 for ever
    EndlessPending {
        /// Which
        service: ServiceId,
    },
    /// It refuses one service some times, and does nothing
    Refuse {
        /// Which
        service: ServiceId,
        /// With what
        nrc: Nrc,
        /// How often
        times: u32,
    },
    /// Once, it resets in the middle of a block, half of which is programmed by then
    ResetDuringTransfer {
        /// 0x36 requests that go well before
        after_blocks: u32,
    },
    /// Once, a block is programmed but its answer is lost
    LoseBlockAnswer {
        /// 0x36 requests that go well before
        after_blocks: u32,
    },
    /// Flash cells that cannot be programmed
    FlashFailure {
        /// First of them, from the start of the bank
        offset: u64,
    },
    /// Erasing takes long, with NRC 0x78 meanwhile
    SlowErase {
        /// How long
        time: Duration,
    },
    /// The checksum routine finds the image wrong
    WrongChecksum,
    /// The dependency routine finds the image unfit
    WrongDependencies,
    /// Security access is refused (NRC 0x37)
    SeedLockout {
        /// Until when
        until: Instant,
    },
    /// It reports this version after the next boot
    WrongVersion {
        /// What it reports
        version: Vec<u8>,
    },
    /// The bank switch is acknowledged and not carried out
    IgnoreSwitch,
    /// After the next reset it never answers again
    DeadAfterReset,
}
