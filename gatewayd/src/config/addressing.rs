//! How ECUs that share CAN ids are told apart.

use canfd::isotp::Addressing;
use serde::{Deserialize, Serialize};

/// What stands in the first byte of an ECU's frames (ISO 15765-2:2016, clause 10.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AddressingPart {
    /// No address: normal and normal fixed addressing, where the CAN ids say it all.
    #[default]
    Normal,
    /// Extended addressing: the address of the receiver.
    Extended {
        /// In requests.
        ecu: u8,
        /// In responses.
        tester: u8,
        /// In requests to all ECUs.
        functional: u8,
    },
    /// Mixed addressing: an address extension, the same in every frame.
    Mixed {
        /// The extension.
        extension: u8,
    },
}

impl AddressingPart {
    /// Between the ECU and us.
    pub const fn physical(self) -> Addressing {
        match self {
            Self::Normal => Addressing::Normal,
            Self::Extended { ecu, tester, .. } => Addressing::extended(ecu, tester),
            Self::Mixed { extension } => Addressing::mixed(extension),
        }
    }

    /// The first byte of requests to all ECUs.
    pub const fn functional(self) -> Option<u8> {
        match self {
            Self::Normal => None,
            Self::Extended { functional, .. } => Some(functional),
            Self::Mixed { extension } => Some(extension),
        }
    }
}

/// Whether frames of one CAN id with these first bytes could be taken for each other.
pub const fn clash(one: Option<u8>, other: Option<u8>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        // Without an address every frame of the id is meant.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AddressingPart, toml::de::Error> {
        #[derive(Deserialize)]
        struct Part {
            addressing: AddressingPart,
        }
        toml::from_str::<Part>(text).map(|part| part.addressing)
    }

    #[test]
    fn the_three_kinds_are_written_as_the_reference_says() {
        assert_eq!(parse("addressing = 'normal'").unwrap(), AddressingPart::Normal);
        let extended =
            parse("addressing = { extended = { ecu = 0x10, tester = 0xF1, functional = 0xFE } }").unwrap();
        assert_eq!(extended.physical(), Addressing::Prefixed { tx: 0x10, rx: 0xF1 });
        assert_eq!(extended.functional(), Some(0xFE));
        let mixed = parse("addressing = { mixed = { extension = 0x99 } }").unwrap();
        assert_eq!((mixed.physical(), mixed.functional()), (Addressing::mixed(0x99), Some(0x99)));
        assert!(parse("addressing = { mixed = { extension = 0x100 } }").is_err());
        assert!(parse("addressing = { extended = { ecu = 0x10, tester = 0xF1 } }").is_err());
    }

    #[test]
    fn addresses_clash_with_themselves_and_with_none() {
        assert!(clash(None, None) && clash(None, Some(1)) && clash(Some(1), Some(1)));
        assert!(!clash(Some(1), Some(2)));
    }
}
