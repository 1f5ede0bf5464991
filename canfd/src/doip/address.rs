//! Who is who on a DoIP network.

use std::fmt;
use std::str::FromStr;

/// A logical address (ISO 13400-2:2019, table 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalAddress(pub u16);

/// What a range of logical addresses is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// 0x0001 to 0x0DFF and 0x1000 to 0x7FFF: an ECU, as the vehicle's maker sees fit
    Ecu,
    /// 0x0E00 to 0x0FFF: a tester, or a computer of the vehicle in a tester's part
    Tester,
    /// 0xD000 to 0xDFFF: for trucks and buses (SAE)
    TruckAndBus,
    /// 0xE000 to 0xEFFF: a functional group, several ECUs at once
    FunctionalGroup,
    /// Everything else
    Reserved,
}

impl LogicalAddress {
    /// What its range is for.
    pub const fn kind(self) -> AddressKind {
        match self.0 {
            0x0001..=0x0DFF | 0x1000..=0x7FFF => AddressKind::Ecu,
            0x0E00..=0x0FFF => AddressKind::Tester,
            0xD000..=0xDFFF => AddressKind::TruckAndBus,
            0xE000..=0xEFFF => AddressKind::FunctionalGroup,
            0x0000 | 0x8000..=0xCFFF | 0xF000..=0xFFFF => AddressKind::Reserved,
        }
    }
}

impl fmt::Display for LogicalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

/// A vehicle identification number as it stands on the wire; all 0x00 or all 0xFF where it is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vin(pub [u8; 17]);

/// The identity of one DoIP entity, usually a MAC address; also that of a group of entities (GID).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Eid(pub [u8; 6]);

impl fmt::Display for Vin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Display for Eid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02X}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02X}"))
    }
}

impl FromStr for Eid {
    type Err = EidError;

    /// Twelve hexadecimal digits, with colons between the bytes or without.
    fn from_str(text: &str) -> Result<Self, EidError> {
        let wrong = || EidError(text.to_owned());
        let step = if text.contains(':') { 3 } else { 2 };
        if text.len() != 5 * step + 2 {
            return Err(wrong());
        }
        let mut eid = Self([0; 6]);
        for (byte, chunk) in eid.0.iter_mut().zip(text.as_bytes().chunks(step)) {
            let (digits, colon) = chunk.split_at_checked(2).ok_or_else(wrong)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) || !matches!(colon, [] | [b':']) {
                return Err(wrong());
            }
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(eid)
    }
}

/// A text that is no EID; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no EID: twelve hexadecimal digits, as of a MAC address")]
pub struct EidError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_the_table_says() {
        use AddressKind::{Ecu, FunctionalGroup, Reserved, Tester, TruckAndBus};
        for (first, last, kind) in [
            (0x0000, 0x0000, Reserved),
            (0x0001, 0x0DFF, Ecu),
            (0x0E00, 0x0FFF, Tester),
            (0x1000, 0x7FFF, Ecu),
            (0x8000, 0xCFFF, Reserved),
            (0xD000, 0xDFFF, TruckAndBus),
            (0xE000, 0xEFFF, FunctionalGroup),
            (0xF000, 0xFFFF, Reserved),
        ] {
            assert_eq!(
                (LogicalAddress(first).kind(), LogicalAddress(last).kind()),
                (kind, kind),
                "{first:x}"
            );
        }
    }

    #[test]
    fn names_are_written_as_people_write_them() {
        assert_eq!(LogicalAddress(0xE80).to_string(), "0x0E80");
        assert_eq!(Eid([0, 1, 2, 0xAA, 0xBB, 0xCC]).to_string(), "00:01:02:AA:BB:CC");
        assert_eq!("00:01:02:AA:BB:CC".parse(), Ok(Eid([0, 1, 2, 0xAA, 0xBB, 0xCC])));
        for text in ["", "00:01:02:AA:BB:C", "00:01:02:AA:BBCC:", "00-01-02-AA-BB-CC", "000102AABBC\u{e9}"] {
            assert_eq!(text.parse::<Eid>(), Err(EidError(text.to_owned())));
        }
        assert_eq!(Vin(*b"LSVAG2180E2100001").to_string(), "LSVAG2180E2100001");
        assert_eq!(Vin([0xFF; 17]).to_string(), "\\xff".repeat(17));
    }
}
