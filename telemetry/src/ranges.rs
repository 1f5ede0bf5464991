//! A binary range coder: one bit costs as much as its odds say. Sender and receiver share one trait, so that what is coded
//! is written down once for both.

/// Odds are of 4096.
pub(crate) const ODDS_BITS: u32 = 12;
/// Below this the range is widened by a byte.
const NARROW: u32 = 1 << 24;

/// One end of a coded series of bits.
pub(crate) trait Coder {
    /// Codes a bit that is 1 with `odds` of 4096, 1 to 4095. A sender gives the bit back, a receiver the one that was
    /// sent, whatever it is given.
    fn code(&mut self, odds: u32, bit: bool) -> bool;
}

/// Bits in, bytes out.
#[derive(Debug)]
pub(crate) struct Sender {
    low: u32,
    range: u32,
    out: Vec<u8>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self { low: 0, range: u32::MAX, out: Vec::new() }
    }

    /// The bytes, without the zeros at their end, which a receiver adds by itself; at least one.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        // The number in the range that has most zeros at its end. The range is wider than a byte, so there is one.
        self.add(NARROW - 1);
        self.out.push(self.low.to_be_bytes()[0]);
        while self.out.len() > 1 && self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }

    fn add(&mut self, amount: u32) {
        let (low, carry) = self.low.overflowing_add(amount);
        self.low = low;
        // A carry always ends within what is out: the whole is a fraction below one.
        for byte in self.out.iter_mut().rev().take_while(|_| carry) {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
}

impl Coder for Sender {
    fn code(&mut self, odds: u32, bit: bool) -> bool {
        let bound = (self.range >> ODDS_BITS) * odds;
        if bit {
            self.range = bound;
        } else {
            self.add(bound);
            self.range -= bound;
        }
        while self.range < NARROW {
            self.range <<= 8;
            self.out.push(self.low.to_be_bytes()[0]);
            self.low <<= 8;
        }
        bit
    }
}

/// Bytes in, bits out. Behind the last byte there are zeros without end.
#[derive(Debug)]
pub(crate) struct Receiver<'a> {
    code: u32,
    range: u32,
    rest: &'a [u8],
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut receiver = Self { code: 0, range: u32::MAX, rest: bytes };
        for _ in 0..size_of::<u32>() {
            receiver.shift();
        }
        receiver
    }

    /// Bytes that no bit needed.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn shift(&mut self) {
        let next = self.rest.split_off_first().copied().unwrap_or_default();
        self.code = self.code << 8 | u32::from(next);
    }
}

impl Coder for Receiver<'_> {
    fn code(&mut self, odds: u32, _bit: bool) -> bool {
        let bound = (self.range >> ODDS_BITS) * odds;
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        while self.range < NARROW {
            self.range <<= 8;
            self.shift();
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coded(bits: &[(u32, bool)]) -> Vec<u8> {
        let mut sender = Sender::new();
        for (odds, bit) in bits {
            sender.code(*odds, *bit);
        }
        sender.finish()
    }

    proptest! {
        #[test]
        fn every_series_of_bits_comes_back_and_needs_all_bytes(
            bits in prop::collection::vec((1..4096_u32, any::<bool>()), 0..2_000),
        ) {
            let bytes = coded(&bits);
            let mut receiver = Receiver::new(&bytes);
            for (odds, bit) in &bits {
                prop_assert_eq!(receiver.code(*odds, !bit), *bit);
            }
            prop_assert!(receiver.rest().is_empty());
        }
    }

    #[test]
    fn carries_run_through_bytes_that_are_out() {
        // Nearly always the larger part above: the lower end creeps up to a row of 0xFF and past it.
        let bits: Vec<_> = (0..4_000).map(|at| (1 + at % 3, at % 1_000 == 999)).collect();
        let bytes = coded(&bits);
        let mut receiver = Receiver::new(&bytes);
        assert!(bits.iter().all(|(odds, bit)| receiver.code(*odds, false) == *bit));
    }

    #[test]
    fn likely_bits_cost_little_and_even_ones_a_bit() {
        let likely = coded(&vec![(1, false); 8_192]);
        assert!(likely.len() <= 2, "{likely:?}");
        // Without a pattern: zeros at the end would not be sent.
        let even: Vec<_> =
            (0..8_192_u32).map(|at| (2_048, at.wrapping_mul(0x9E37_79B9) >> 31 == 1)).collect();
        let len = coded(&even).len();
        assert!((1_020..=1_026).contains(&len), "{len}");
    }
}
