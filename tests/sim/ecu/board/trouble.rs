//! The trouble codes of a simulated ECU: services 0x14 and 0x19 on what its configuration says it has found.

use canfd::uds::message::Nrc;

/// testFailed and confirmedDTC: a fault that is there now (clause D.2).
const FOUND: u8 = 0x09;
/// DTCStatusAvailabilityMask: the bits that this ECU keeps.
const KEPT: u8 = FOUND;
/// DTCFormatIdentifier of ISO 14229-1.
const FORMAT: u8 = 0x01;
/// groupOfDTC: all of them.
const ALL: u32 = 0x00FF_FFFF;

/// Of 0x19.
const NUMBER_BY_STATUS_MASK: u8 = 0x01;
const BY_STATUS_MASK: u8 = 0x02;
const SUPPORTED: u8 = 0x0A;

/// Codes and their status bytes. A cleared code stays supported.
#[derive(Debug, Default)]
pub(super) struct TroubleCodes(Vec<(u32, u8)>);

impl TroubleCodes {
    /// All of these have just been found.
    pub(super) fn new(codes: &[u32]) -> Self {
        Self(codes.iter().map(|code| (*code, FOUND)).collect())
    }

    /// Service 0x14.
    pub(super) fn clear(&mut self, group: u32) -> Result<(), Nrc> {
        let mut known = group == ALL;
        for (_, status) in self.0.iter_mut().filter(|(code, _)| group == ALL || group == *code) {
            *status = 0;
            known = true;
        }
        if known { Ok(()) } else { Err(Nrc::RequestOutOfRange) }
    }

    /// Service 0x19: what follows the report type.
    pub(super) fn report(&self, report_type: u8, parameters: &[u8]) -> Result<Vec<u8>, Nrc> {
        match (report_type, parameters) {
            (NUMBER_BY_STATUS_MASK, [mask]) => {
                let count = self.matching(*mask).count();
                let [high, low] = u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes();
                Ok(vec![KEPT, FORMAT, high, low])
            }
            (BY_STATUS_MASK, [mask]) => Ok(list(self.matching(*mask))),
            (SUPPORTED, []) => Ok(list(self.0.iter())),
            (NUMBER_BY_STATUS_MASK | BY_STATUS_MASK | SUPPORTED, _) => {
                Err(Nrc::IncorrectMessageLengthOrInvalidFormat)
            }
            _ => Err(Nrc::SubFunctionNotSupported),
        }
    }

    fn matching(&self, mask: u8) -> impl Iterator<Item = &(u32, u8)> {
        self.0.iter().filter(move |(_, status)| status & mask != 0)
    }
}

fn list<'a>(codes: impl Iterator<Item = &'a (u32, u8)>) -> Vec<u8> {
    let record = |(code, status): &(u32, u8)| {
        let [_, high, middle, low] = code.to_be_bytes();
        [high, middle, low, *status]
    };
    std::iter::once(KEPT).chain(codes.flat_map(record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_by_status_and_cleared_one_by_one_or_all_at_once() {
        let mut codes = TroubleCodes::new(&[0x00D0_0087, 0x000A_9B17]);
        let first = [0xD0, 0x00, 0x87, FOUND];
        let second = [0x0A, 0x9B, 0x17, FOUND];
        assert_eq!(codes.report(0x02, &[0x08]), Ok([&[KEPT][..], &first, &second].concat()));
        assert_eq!(codes.report(0x01, &[0xFF]), Ok(vec![KEPT, FORMAT, 0, 2]));
        assert_eq!(codes.report(0x01, &[0x04]), Ok(vec![KEPT, FORMAT, 0, 0]));
        codes.clear(0x00D0_0087).unwrap();
        assert_eq!(codes.report(0x02, &[0xFF]), Ok([&[KEPT][..], &second].concat()));
        codes.clear(ALL).unwrap();
        assert_eq!(codes.report(0x02, &[0xFF]), Ok(vec![KEPT]));
        let cleared = [KEPT, 0xD0, 0x00, 0x87, 0, 0x0A, 0x9B, 0x17, 0];
        assert_eq!(codes.report(0x0A, &[]), Ok(cleared.to_vec()));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        let mut codes = TroubleCodes::new(&[1]);
        assert_eq!(codes.clear(2), Err(Nrc::RequestOutOfRange));
        assert_eq!(codes.report(0x14, &[]), Err(Nrc::SubFunctionNotSupported));
        assert_eq!(codes.report(0x02, &[]), Err(Nrc::IncorrectMessageLengthOrInvalidFormat));
        assert_eq!(codes.report(0x0A, &[0]), Err(Nrc::IncorrectMessageLengthOrInvalidFormat));
    }
}
