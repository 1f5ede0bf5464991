//! Who is who on a DoIP network.

use std::fmt;

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
        assert_eq!(Vin(*b"LSVAG2180E2100001").to_string(), "LSVAG2180E2100001");
        assert_eq!(Vin([0xFF; 17]).to_string(), "\\xff".repeat(17));
    }
}
