//! The times of the network layer (ISO 15765-2:2016, clauses 9.6.5.4 and 9.8).

use std::time::Duration;

/// Timeouts of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Sender: longest time until an own frame is confirmed on the wire.
    pub n_as: Duration,
    /// Receiver: longest time until an own flow control frame is confirmed on the wire.
    pub n_ar: Duration,
    /// Sender: longest wait for a flow control frame.
    pub n_bs: Duration,
    /// Receiver: time between two flow control frames that say wait. Must stay well below the peer's `n_bs`.
    pub n_br: Duration,
    /// Receiver: longest wait for a consecutive frame.
    pub n_cr: Duration,
}

impl Default for Timing {
    /// The standard's timeouts of 1000 ms, and 200 ms between waits.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { n_as: second, n_ar: second, n_bs: second, n_br: Duration::from_millis(200), n_cr: second }
    }
}

/// Minimum separation time between consecutive frames, as the byte that flow control carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StMin(u8);

impl StMin {
    /// No separation: as fast as the bus allows.
    pub const ZERO: Self = Self(0);
    /// The longest separation there is, 127 ms; also what reserved codes stand for.
    pub const MAX: Self = Self(0x7F);

    /// The separation of that byte, reserved codes included.
    pub const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The separation time: 0 to 127 ms, or 100 to 900 us for 0xF1 to 0xF9. Reserved codes mean 127 ms.
    pub const fn duration(self) -> Duration {
        match self.0 {
            millis @ 0..=0x7F => Duration::from_millis(millis as u64),
            code @ 0xF1..=0xF9 => Duration::from_micros((code - 0xF0) as u64 * 100),
            _ => Self::MAX.duration(),
        }
    }

    /// The shortest separation that is not below `duration`, or `None` above 127 ms.
    pub fn at_least(duration: Duration) -> Option<Self> {
        let hundreds = duration.as_nanos().div_ceil(100_000);
        let millis = duration.as_nanos().div_ceil(1_000_000);
        match (u8::try_from(hundreds), u8::try_from(millis)) {
            (Ok(0), _) => Some(Self::ZERO),
            (Ok(hundreds @ 1..=9), _) => Some(Self(0xF0 + hundreds)),
            (_, Ok(millis @ 0..=0x7F)) => Some(Self(millis)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_means_its_time_and_reserved_codes_mean_127_ms() {
        let us = |code| StMin::from_code(code).duration().as_micros();
        assert_eq!([us(0), us(1), us(0x7F)], [0, 1_000, 127_000]);
        assert_eq!([us(0xF1), us(0xF9)], [100, 900]);
        for reserved in [0x80, 0xF0, 0xFA, 0xFF] {
            assert_eq!(us(reserved), 127_000);
        }
    }

    #[test]
    fn a_time_is_rounded_up_never_down() {
        let code = |us| StMin::at_least(Duration::from_micros(us)).map(StMin::code);
        assert_eq!(code(0), Some(0));
        assert_eq!([code(1), code(100), code(101)], [Some(0xF1), Some(0xF1), Some(0xF2)]);
        assert_eq!([code(900), code(901), code(1_001)], [Some(0xF9), Some(1), Some(2)]);
        assert_eq!([code(127_000), code(127_001)], [Some(0x7F), None]);
    }
}
