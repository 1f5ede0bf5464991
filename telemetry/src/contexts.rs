//! What both ends have learned about the bits of a stream since its keyframe: for each context how often its bit was 1
//! lately. Contexts share a table by a hash; where two meet they learn from each other, at both ends alike.

use crate::ranges::{Coder, ODDS_BITS};

const SLOTS: usize = 1 << 16;
/// After so many bits a context forgets old ones as fast as it learns new ones.
const MEMORY: u8 = 30;
/// Bits of a number behind its highest one that have contexts; the others are as good as random.
const LEARNED_BITS: u32 = 2;
/// Bits that tell a length of 0 to 64.
const LEN_BITS: u32 = 7;

/// What a bit is about: the contexts of one tag differ by two numbers. The values are part of the format.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tag {
    Timed = 1,
    Present = 2,
    NewCells = 3,
    Thread = 4,
    End = 5,
    New = 6,
    Child = 7,
    FarChild = 8,
    SameKind = 9,
    Kind = 10,
    NextSymbol = 11,
    Length = 12,
    Place = 13,
    Near = 14,
    Count = 15,
    Weight = 16,
    Samples = 17,
    Time = 18,
    Row = 19,
    TimedWeight = 20,
}

/// How likely a 1 is, of 65536, with its highest bit turned over, and bits seen, up to [`MEMORY`]. So a table in which
/// nothing has been learned is all zeros, which a system has at hand: only what is learned takes memory, and a keyframe
/// costs no more than its bytes.
type Slot = (u16, u8);

const EVEN: u16 = 1 << 15;

#[derive(Debug, Clone)]
pub(crate) struct Contexts {
    slots: Vec<Slot>,
}

impl Default for Contexts {
    fn default() -> Self {
        Self { slots: vec![(0, 0); SLOTS] }
    }
}

impl Contexts {
    /// Codes a bit in a context.
    pub(crate) fn bit(&mut self, coder: &mut impl Coder, tag: Tag, x: u64, y: u64, bit: bool) -> bool {
        let hash = (tag as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(x.wrapping_mul(0xD6E8_FEB8_6659_FD93))
            .wrapping_add(y.wrapping_mul(0xA076_1D64_78BD_642F));
        let [high, low, ..] = hash.to_be_bytes();
        // There are as many slots as two bytes have values.
        let Some(slot) = self.slots.get_mut(usize::from(u16::from_be_bytes([high, low]))) else { return bit };
        let (one, seen) = (slot.0 ^ EVEN, slot.1);
        let bit = coder.code((u32::from(one) >> (16 - ODDS_BITS)).clamp(2, 4094), bit);
        let weight = 2 * u32::from(seen) + 3;
        let part = |of: u16| u16::try_from(u32::from(of) * 2 / weight).unwrap_or(u16::MAX);
        let one = if bit { one + part(u16::MAX - one) } else { one - part(one) };
        *slot = (one ^ EVEN, (seen + 1).min(MEMORY));
        bit
    }

    /// Codes any number: how many bits it has, one by one, then these from the highest.
    pub(crate) fn number(&mut self, coder: &mut impl Coder, tag: Tag, x: u64, value: u64) -> u64 {
        let own = bit_len(value);
        let mut len = 0;
        while len < u64::BITS && self.bit(coder, tag, x, u64::from(len), len < own) {
            len += 1;
        }
        let Some(below) = len.checked_sub(1) else { return 0 };
        let mut number = 1;
        for at in (0..below).rev() {
            let bit = value >> at & 1 == 1;
            let bit = if below - at <= LEARNED_BITS {
                self.bit(coder, tag, x, 128 + u64::from(len) * 4 + number, bit)
            } else {
                coder.code(1 << (ODDS_BITS - 1), bit)
            };
            number = number << 1 | u64::from(bit);
        }
        number
    }

    /// Codes a number of so many bits, each bit in the context of those above it.
    pub(crate) fn tree(&mut self, coder: &mut impl Coder, tag: Tag, x: u64, bits: u32, value: u64) -> u64 {
        let mut node = 1;
        for at in (0..bits).rev() {
            node = node << 1 | u64::from(self.bit(coder, tag, x, node, value >> at & 1 == 1));
        }
        node - (1 << bits)
    }

    /// Codes a place of a kind: the bits of places that came often become cheap, so do the upper ones of their
    /// neighbours. Where a neighbour is known, only what differs from it is told. `None` is no place: a sender has none.
    pub(crate) fn place(
        &mut self,
        coder: &mut impl Coder,
        kind: u64,
        near: Option<u64>,
        value: u64,
    ) -> Option<u64> {
        let (mut place, below) = match near {
            Some(near) => {
                let len = self.tree(coder, Tag::Near, 0, LEN_BITS, u64::from(bit_len(value ^ near)));
                let Some(top) = u32::try_from(len).ok()?.checked_sub(1) else { return Some(near) };
                // The bit at `top` is the highest that differs.
                (near.checked_shr(top)? ^ 1, top)
            }
            None => {
                let len = self.tree(coder, Tag::Length, kind, LEN_BITS, u64::from(bit_len(value)));
                let Some(top) = u32::try_from(len).ok()?.checked_sub(1) else { return Some(0) };
                if top >= u64::BITS {
                    return None;
                }
                (1, top)
            }
        };
        for at in (0..below).rev() {
            let bit = self.bit(coder, Tag::Place, kind * 64 + u64::from(at), place, value >> at & 1 == 1);
            place = place << 1 | u64::from(bit);
        }
        Some(place)
    }
}

/// Bits that a number has without zeros before it: 0 to 64.
pub(crate) fn bit_len(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ranges::{Receiver, Sender};

    proptest! {
        #[test]
        fn every_number_and_place_comes_back(
            values in prop::collection::vec((any::<u64>(), 0..64_u32, any::<Option<u64>>()), 1..100),
        ) {
            let (mut sender, mut contexts) = (Sender::new(), Contexts::default());
            for (value, shift, near) in &values {
                contexts.number(&mut sender, Tag::Weight, 0, value >> shift);
                contexts.place(&mut sender, 2, *near, value >> shift);
                contexts.tree(&mut sender, Tag::Row, 0, 9, value & 511);
            }
            let bytes = sender.finish();
            let (mut receiver, mut contexts) = (Receiver::new(&bytes), Contexts::default());
            for (value, shift, near) in &values {
                prop_assert_eq!(contexts.number(&mut receiver, Tag::Weight, 0, 0), value >> shift);
                prop_assert_eq!(contexts.place(&mut receiver, 2, *near, 0), Some(value >> shift));
                prop_assert_eq!(contexts.tree(&mut receiver, Tag::Row, 0, 9, 0), value & 511);
            }
        }
    }

    #[test]
    fn the_longest_number_is_taken_and_a_longer_place_is_none() {
        let (mut sender, mut contexts) = (Sender::new(), Contexts::default());
        for near in [None, Some(0)] {
            let tag = if near.is_some() { Tag::Near } else { Tag::Length };
            let kind = if near.is_some() { 0 } else { 2 };
            contexts.tree(&mut sender, tag, kind, LEN_BITS, 65);
        }
        contexts.number(&mut sender, Tag::Weight, 0, u64::MAX);
        let bytes = sender.finish();
        let (mut receiver, mut contexts) = (Receiver::new(&bytes), Contexts::default());
        assert_eq!(contexts.place(&mut receiver, 2, None, 0), None);
        assert_eq!(contexts.place(&mut receiver, 2, Some(0), 0), None);
        assert_eq!(contexts.number(&mut receiver, Tag::Weight, 0, 0), u64::MAX);
    }
}
