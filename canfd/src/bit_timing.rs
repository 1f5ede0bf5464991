//! How long a frame holds the bus (ISO 11898-1): every bit counted, stuff bits included.

use std::time::Duration;

use crate::frame::{CanId, FdFrame};

/// Recessive bits between two frames.
const INTERMISSION: u32 = 3;
/// CRC delimiter, acknowledge slot, its delimiter, end of frame (7 bits), intermission.
const TAIL: u32 = 1 + 1 + 1 + 7 + INTERMISSION;

/// The two bit rates of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitTiming {
    nominal: u32,
    data: u32,
}

impl BitTiming {
    /// 500 kbit/s, 2 Mbit/s in the data phase: the usual CAN FD bus of a car.
    pub const FD_500K_2M: Self = Self { nominal: 500_000, data: 2_000_000 };
    /// 500 kbit/s, 5 Mbit/s in the data phase.
    pub const FD_500K_5M: Self = Self { nominal: 500_000, data: 5_000_000 };

    /// Rates in bit/s, or `None` where one of them is zero or the data phase is slower than arbitration.
    pub const fn new(nominal: u32, data: u32) -> Option<Self> {
        if nominal == 0 || data < nominal { None } else { Some(Self { nominal, data }) }
    }

    /// Bit rate of arbitration, in bit/s.
    pub const fn nominal(self) -> u32 {
        self.nominal
    }

    /// Bit rate of the data phase of frames with BRS, in bit/s.
    pub const fn data(self) -> u32 {
        self.data
    }

    /// How long these bits take, to the nanosecond.
    pub fn duration(self, bits: FrameBits) -> Duration {
        let nanos = |bits: u32, rate: u32| (bits as u64 * 1_000_000_000).div_ceil(rate as u64);
        Duration::from_nanos(nanos(bits.nominal, self.nominal) + nanos(bits.data, self.data))
    }

    /// How long a frame holds the bus, from start of frame to the end of the intermission after it.
    pub fn frame_duration(self, frame: &FdFrame) -> Duration {
        self.duration(FrameBits::of(frame))
    }

    /// The intermission: how long before the end of [`Self::frame_duration`] receivers have the frame.
    pub fn intermission(self) -> Duration {
        self.duration(FrameBits { nominal: INTERMISSION, data: 0 })
    }
}

/// The bits of one frame on the wire, by the rate they run at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameBits {
    /// At the nominal rate.
    pub nominal: u32,
    /// At the data rate; none without BRS.
    pub data: u32,
}

impl FrameBits {
    /// Counts the bits from start of frame to the end of the intermission, with dynamic and fixed stuff bits.
    pub fn of(frame: &FdFrame) -> Self {
        if frame.is_fd() { Self::of_fd(frame) } else { Self::of_classical(frame) }
    }

    fn of_fd(frame: &FdFrame) -> Self {
        let mut wire = Stuffer::new();
        wire.push_id(frame.id());
        // RRS came with the identifier; FDF, res, BRS. A base frame's IDE stands before FDF.
        if matches!(frame.id(), CanId::Standard(_)) {
            wire.push(0, 1);
        }
        wire.push(0b10, 2);
        wire.push(frame.brs().into(), 1);
        let arbitration = wire.total();
        wire.push(frame.esi().into(), 1);
        wire.push(frame.dlc().code().into(), 4);
        for &byte in frame.data() {
            wire.push_byte(byte);
        }
        // The CRC is not stuffed dynamically: its bits need not be known. The fixed stuff bit in front of the stuff count takes the place of a dynamic one due there.
        let dynamic_end = wire.total() - u32::from(wire.ends_in_stuff_bit());
        // Stuff count and CRC 17 or 21, with a fixed stuff bit in front and after every four bits.
        let (sequence, fixed) = if frame.dlc().len() <= 16 { (4 + 17, 6) } else { (4 + 21, 7) };
        let rest = dynamic_end - arbitration + sequence + fixed;
        if frame.brs() {
            Self { nominal: arbitration + TAIL, data: rest }
        } else {
            Self { nominal: arbitration + rest + TAIL, data: 0 }
        }
    }

    fn of_classical(frame: &FdFrame) -> Self {
        let mut wire = Stuffer::new();
        wire.push_id(frame.id());
        // Base: IDE, r0. Extended: r1, r0.
        wire.push(0b00, 2);
        wire.push(frame.dlc().code().into(), 4);
        for &byte in frame.data() {
            wire.push_byte(byte);
            wire.crc15 = (0..8).rev().fold(wire.crc15, |crc, shift| crc15_bit(crc, byte >> shift & 1));
        }
        let crc = wire.crc15;
        wire.push(crc.into(), 15);
        Self { nominal: wire.total() + TAIL, data: 0 }
    }
}

/// Counts bits and the stuff bits that five equal ones in a row bring (ISO 11898-1, bit stuffing).
struct Stuffer {
    bits: u32,
    stuff: u32,
    /// Level of the last bit on the wire (stuff bits included) in bit 2, length of its run minus one below.
    state: u8,
    /// Level of the last bit that is not a stuff bit.
    last: u8,
    /// Of classical frames, over the bits pushed one by one; who pushes bytes counts them in.
    crc15: u16,
}

impl Stuffer {
    /// Starts with the start of frame bit.
    const fn new() -> Self {
        Self { bits: 1, stuff: 0, state: 0, last: 0, crc15: 0 }
    }

    /// The bits that decide arbitration, up to RTR or RRS.
    fn push_id(&mut self, id: CanId) {
        match id {
            CanId::Standard(id) => {
                self.push(id.as_raw().into(), 11);
                self.push(0, 1);
            }
            CanId::Extended(id) => {
                self.push(id.as_raw() >> 18, 11);
                self.push(0b11, 2);
                self.push(id.as_raw() & 0x3_FFFF, 18);
                self.push(0, 1);
            }
        }
    }

    /// The lowest `count` bits of `value`, highest first.
    fn push(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            let bit = u8::from(value >> shift & 1 == 1);
            let (stuff, state) = step(self.state, bit);
            self.take(1, stuff, state, bit);
            self.crc15 = crc15_bit(self.crc15, bit);
        }
    }

    fn push_byte(&mut self, byte: u8) {
        let entry = STUFF_OF_BYTE[usize::from(self.state & 7)][usize::from(byte)];
        self.take(8, entry >> 3, entry & 7, byte & 1);
    }

    fn take(&mut self, bits: u32, stuff: u8, state: u8, last: u8) {
        self.bits += bits;
        self.stuff += u32::from(stuff);
        self.state = state;
        self.last = last;
    }

    const fn total(&self) -> u32 {
        self.bits + self.stuff
    }

    /// A stuff bit is the only way for the wire to end in another level than the last bit pushed.
    const fn ends_in_stuff_bit(&self) -> bool {
        self.state >> 2 != self.last
    }
}

/// Stuff bits and next state after one more bit.
const fn step(state: u8, bit: u8) -> (u8, u8) {
    let (level, run) = (state >> 2, state & 3);
    if bit != level {
        (0, bit << 2)
    } else if run == 3 {
        // The fifth in a row: a stuff bit of the other level follows.
        (1, (1 - bit) << 2)
    } else {
        (0, state + 1)
    }
}

const fn crc15_bit(crc: u16, bit: u8) -> u16 {
    let next = (crc << 1) & 0x7FFF;
    if (crc >> 14) as u8 ^ bit == 0 { next } else { next ^ 0x4599 }
}

/// [`step`] over a byte: stuff bits in bits 3 and up, next state below.
static STUFF_OF_BYTE: [[u8; 256]; 8] = {
    let mut table = [[0; 256]; 8];
    let mut start = 0u8;
    while start < 8 {
        let mut byte = 0u8;
        loop {
            let (mut stuff, mut state, mut shift) = (0, start, 8);
            while shift > 0 {
                shift -= 1;
                let (more, next) = step(state, byte >> shift & 1);
                stuff += more;
                state = next;
            }
            table[start as usize][byte as usize] = stuff << 3 | state;
            if byte == 255 {
                break;
            }
            byte += 1;
        }
        start += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameFormat;

    const FD: FrameFormat = FrameFormat::Fd { brs: true };

    fn bits(format: FrameFormat, raw_id: u16, data: &[u8]) -> FrameBits {
        FrameBits::of(&FdFrame::new(CanId::standard(raw_id).unwrap(), format, data).unwrap())
    }

    /// The same count, written as plainly as can be: a list of bits, walked once.
    fn reference(head: &[u8], nominal_head: usize, tail_stuffs: bool) -> (u32, u32) {
        let (mut run, mut last, mut nominal, mut data) = (0, 2, 0, 0);
        for (index, &bit) in head.iter().enumerate() {
            let count = if index < nominal_head { &mut nominal } else { &mut data };
            *count += 1;
            run = if bit == last { run + 1 } else { 1 };
            last = bit;
            if run == 5 && (tail_stuffs || index + 1 < head.len()) {
                *count += 1;
                last = 1 - bit;
                run = 1;
            }
        }
        (nominal, data)
    }

    fn unpack(value: u64, count: u32) -> Vec<u8> {
        (0..count).rev().map(|shift| u8::from(value >> shift & 1 == 1)).collect()
    }

    #[test]
    fn an_fd_frame_that_alternates_has_550_data_bits() {
        // isotp_calc's figure for 0x7E0: two stuff bits in arbitration, one in the data phase.
        let data: Vec<u8> = [0xAA, 0x55].repeat(32);
        assert_eq!(bits(FD, 0x7E0, &data), FrameBits { nominal: 32, data: 550 });
    }

    #[test]
    fn the_table_agrees_with_a_plain_walk_over_the_bits() {
        let mut random = crate::random::Random::new(7);
        for round in 0..2_000u32 {
            let raw = u16::try_from(random.below(0x800)).unwrap();
            let len = [0, 1, 7, 8, 12, 16, 20, 64][round as usize % 8];
            // Few distinct bytes make long runs likely.
            let data: Vec<u8> = (0..len)
                .map(|_| 0xA5FF_F81F_0F00_u64.to_le_bytes()[usize::from(random.below(6).to_le_bytes()[0])])
                .collect();
            let dlc = crate::frame::Dlc::exact(len).unwrap();
            let mut head = vec![0];
            head.extend(unpack(raw.into(), 11));
            head.extend([0, 0, 1, 0, 1, 0]);
            head.extend(unpack(dlc.code().into(), 4));
            data.iter().for_each(|&byte| head.extend(unpack(byte.into(), 8)));
            let (nominal, dynamic) = reference(&head, 17, false);
            let crc = if len <= 16 { 21 + 6 } else { 25 + 7 };
            assert_eq!(bits(FD, raw, &data), FrameBits { nominal: nominal + 13, data: dynamic + crc });
        }
    }

    #[test]
    fn a_classical_frame_stuffs_its_crc_too() {
        // A remote-free frame of zeros: SOF to the end of CRC is 34 zeros, CRC of zeros is zero.
        let frame = bits(FrameFormat::Classical, 0, &[]);
        let (head, _) = reference(&[0; 1 + 11 + 3 + 4 + 15], 34, true);
        assert_eq!(frame, FrameBits { nominal: head + 13, data: 0 });
    }

    #[test]
    fn without_bit_rate_switch_all_bits_are_nominal() {
        let plain = bits(FrameFormat::Fd { brs: false }, 0x123, &[1; 64]);
        let switched = bits(FD, 0x123, &[1; 64]);
        assert_eq!(plain.data, 0);
        assert!(plain.nominal >= switched.nominal + switched.data);
    }

    #[test]
    fn rates_turn_bits_into_time() {
        let bits = FrameBits { nominal: 32, data: 550 };
        assert_eq!(BitTiming::FD_500K_2M.duration(bits), Duration::from_micros(64 + 275));
        assert_eq!(BitTiming::FD_500K_5M.duration(bits), Duration::from_micros(64 + 110));
        assert_eq!(BitTiming::FD_500K_2M.intermission(), Duration::from_micros(6));
        assert_eq!(BitTiming::new(500_000, 499_999), None);
        assert_eq!(BitTiming::new(0, 1), None);
    }
}
