//! What of an address stands in the data field (ISO 15765-2:2016, clause 10.3).

use crate::frame::{CanId, CanIds, ExtendedId};

/// The byte in front of the control information, in either direction.
///
/// Extended addressing has the receiver's address (N_TA) there, mixed addressing the address extension (N_AE); on the
/// wire they are the same. Several links may share identifiers and differ in this byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// Normal and normal fixed addressing: the identifiers say it all.
    #[default]
    Normal,
    /// One byte of every frame is the address. It costs a byte of payload per frame.
    Prefixed {
        /// In the frames sent.
        tx: u8,
        /// In the frames listened to; frames with another byte are somebody else's.
        rx: u8,
    },
}

impl Addressing {
    /// Extended addressing: frames go to `target` and those for `source` are ours.
    pub const fn extended(target: u8, source: u8) -> Self {
        Self::Prefixed { tx: target, rx: source }
    }

    /// Mixed addressing: both directions carry the same extension.
    pub const fn mixed(extension: u8) -> Self {
        Self::Prefixed { tx: extension, rx: extension }
    }

    /// In the frames sent.
    pub const fn tx(self) -> Option<u8> {
        match self {
            Self::Normal => None,
            Self::Prefixed { tx, .. } => Some(tx),
        }
    }

    /// In the frames listened to.
    pub const fn rx(self) -> Option<u8> {
        match self {
            Self::Normal => None,
            Self::Prefixed { rx, .. } => Some(rx),
        }
    }

    /// Bytes in front of the control information, 0 or 1.
    pub const fn len(self) -> usize {
        match self {
            Self::Normal => 0,
            Self::Prefixed { .. } => 1,
        }
    }

    /// Whether nothing stands in front of the control information.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// PDU formats of clause 10.3.5 and 10.3.6 with priority 6, the parameter group's upper half.
const NORMAL_FIXED_PHYSICAL: u32 = 0x18DA_0000;
const NORMAL_FIXED_FUNCTIONAL: u32 = 0x18DB_0000;
const MIXED_PHYSICAL: u32 = 0x18CE_0000;
const MIXED_FUNCTIONAL: u32 = 0x18CD_0000;

/// Identifiers of normal fixed addressing between `tester` and `ecu`: 0x18DA, target address, source address.
pub const fn normal_fixed(tester: u8, ecu: u8) -> CanIds {
    pair(NORMAL_FIXED_PHYSICAL, tester, ecu)
}

/// The identifier of normal fixed addressing for requests to the group `target`: 0x18DB, target, source address.
pub const fn normal_fixed_functional(tester: u8, target: u8) -> CanId {
    fixed(NORMAL_FIXED_FUNCTIONAL, target, tester)
}

/// Identifiers of mixed addressing with 29 bits between `tester` and `ecu`; goes with [`Addressing::mixed`].
pub const fn mixed_29(tester: u8, ecu: u8) -> CanIds {
    pair(MIXED_PHYSICAL, tester, ecu)
}

/// The identifier of mixed addressing with 29 bits for requests to the group `target`.
pub const fn mixed_29_functional(tester: u8, target: u8) -> CanId {
    fixed(MIXED_FUNCTIONAL, target, tester)
}

const fn pair(base: u32, tester: u8, ecu: u8) -> CanIds {
    CanIds { request: fixed(base, ecu, tester), response: fixed(base, tester, ecu) }
}

const fn fixed(base: u32, target: u8, source: u8) -> CanId {
    CanId::Extended(ExtendedId::from_fields(base, target, source))
}
