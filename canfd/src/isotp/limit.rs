//! What the wire allows at best.

use crate::bit_timing::BitTiming;
use crate::frame::{CanId, FdFrame};
use crate::random::Random;

use super::LinkLayer;
use super::pci::Pci;

/// Frames averaged over; their stuff bits leave an error well below 0.1 %.
const SAMPLES: u32 = 512;

/// How many bytes of a message per second full consecutive frames carry back to back with random payload: the wire's
/// limit for encrypted or compressed images. The same arguments always give the same answer.
pub fn consecutive_frame_limit(timing: BitTiming, id: CanId, link_layer: LinkLayer) -> f64 {
    let mut random = Random::new(1);
    let mut seconds = 0.0;
    let mut bytes = 0.0;
    for sn in 0..SAMPLES {
        let mut field = [0; 64];
        for chunk in field.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.next().to_ne_bytes());
        }
        let pci = Pci::ConsecutiveFrame { sn: sn.to_le_bytes()[0] };
        let overhead = pci.write(&mut field);
        if let Ok(frame) = FdFrame::from_field(id, link_layer.format(), link_layer.dlc(), field) {
            seconds += timing.frame_duration(&frame).as_secs_f64();
            bytes += f64::from(frame.dlc().len_byte()) - overhead as f64;
        }
    }
    bytes / seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(timing: BitTiming, id: CanId, link_layer: LinkLayer) -> f64 {
        consecutive_frame_limit(timing, id, link_layer) / 1000.0
    }

    fn assert_close(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.002, "{value} kB/s is not {expected} kB/s");
    }

    #[test]
    fn limits_are_those_of_the_frame_model() {
        let base = CanId::standard(0x7E0).unwrap();
        assert_close(limit(BitTiming::FD_500K_2M, base, LinkLayer::FD), 181.6);
        assert_close(limit(BitTiming::FD_500K_5M, base, LinkLayer::FD), 355.5);
        assert_close(limit(BitTiming::new(1_000_000, 5_000_000).unwrap(), base, LinkLayer::FD), 433.9);
        assert_close(limit(BitTiming::FD_500K_2M, base, LinkLayer::Classical), 30.1);
        let extended = CanId::extended(0x18DA_10F1).unwrap();
        assert_close(limit(BitTiming::FD_500K_2M, extended, LinkLayer::FD), 165.4);
    }
}
