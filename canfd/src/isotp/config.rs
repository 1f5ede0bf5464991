//! What a link is told at its birth.

use crate::frame::{CanId, CanIds, Dlc, FrameFormat};

use super::addressing::Addressing;
use super::timing::{StMin, Timing};

/// Length of the data field of a sender's full frames: 8, 12, 16, 20, 24, 32, 48 or 64 bytes (TX_DL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TxDl(Dlc);

impl TxDl {
    /// Eight bytes.
    pub const EIGHT: Self = Self(Dlc::EIGHT);
    /// 64 bytes.
    pub const MAX: Self = Self(Dlc::MAX);

    /// The length, or `None` where the standard has no such TX_DL.
    pub const fn new(len: usize) -> Option<Self> {
        match Dlc::exact(len) {
            Some(dlc) if len >= 8 => Some(Self(dlc)),
            _ => None,
        }
    }

    /// In bytes, 8 to 64.
    #[allow(clippy::len_without_is_empty, reason = "a frame length is not a container")]
    pub const fn len(self) -> usize {
        self.0.len()
    }
}

/// The kind of frames a link sends. It receives either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// Classical frames of 8 bytes.
    Classical,
    /// FD frames.
    Fd {
        /// Length of full frames.
        tx_dl: TxDl,
        /// Bit rate switch.
        brs: bool,
    },
}

impl LinkLayer {
    /// FD frames of 64 bytes at the data bit rate.
    pub const FD: Self = Self::Fd { tx_dl: TxDl::MAX, brs: true };

    /// Length of full frames in bytes.
    pub const fn tx_dl(self) -> usize {
        self.dlc().len()
    }

    /// Length code of full frames.
    pub const fn dlc(self) -> Dlc {
        match self {
            Self::Classical => Dlc::EIGHT,
            Self::Fd { tx_dl, .. } => tx_dl.0,
        }
    }

    /// The format of all frames.
    pub const fn format(self) -> FrameFormat {
        match self {
            Self::Classical => FrameFormat::Classical,
            Self::Fd { brs, .. } => FrameFormat::Fd { brs },
        }
    }
}

/// Configuration of one link.
#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// Identifier of the frames sent.
    pub tx_id: CanId,
    /// Identifier of the frames listened to.
    pub rx_id: CanId,
    /// The byte in front of the control information, if there is one.
    pub addressing: Addressing,
    /// Kind of the frames sent.
    pub link_layer: LinkLayer,
    /// Fills short frames up to 8 bytes and to the next length there is. 0xCC costs the fewest stuff bits.
    pub padding: u8,
    /// Block size we ask senders for; 0 is the whole message in one block.
    pub block_size: u8,
    /// Separation we ask senders for.
    pub st_min: StMin,
    /// Timeouts.
    pub timing: Timing,
    /// Waits in a row that we accept as a sender and send as a receiver (N_WFTmax).
    pub wft_max: u8,
    /// Longest message received, in bytes; longer ones are answered with overflow.
    pub max_len: usize,
    /// Consecutive frames handed to the bus and not yet confirmed, at least 1; used only where the receiver asks for
    /// no separation. With few, the bus idles whenever this process is late by as many frame times; with many, frames
    /// of other links on the same interface queue behind them. 8 suit a SocketCAN queue, 32 and more a simulated bus.
    pub max_in_flight: u8,
}

impl LinkConfig {
    /// The tester's end: sends requests, receives responses.
    pub fn tester(ids: CanIds) -> Self {
        Self {
            tx_id: ids.request,
            rx_id: ids.response,
            addressing: Addressing::Normal,
            link_layer: LinkLayer::FD,
            padding: 0xCC,
            block_size: 0,
            st_min: StMin::ZERO,
            timing: Timing::default(),
            wft_max: 10,
            max_len: 65_535,
            max_in_flight: 8,
        }
    }

    /// What a full frame holds behind the address, in bytes.
    pub(super) const fn room(&self) -> usize {
        self.link_layer.tx_dl() - self.addressing.len()
    }

    /// The ECU's end: receives requests, sends responses.
    pub fn ecu(ids: CanIds) -> Self {
        Self::tester(CanIds { request: ids.response, response: ids.request })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_eight_lengths_of_the_standard_are_a_tx_dl() {
        let legal: Vec<usize> = (0..=70).filter(|&len| TxDl::new(len).is_some()).collect();
        assert_eq!(legal, [8, 12, 16, 20, 24, 32, 48, 64]);
    }
}
