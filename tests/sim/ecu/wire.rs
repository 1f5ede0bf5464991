//! What may go wrong with the frames of one ECU, between its links and its controller.

use crate::random::Random;
use canfd::frame::FdFrame;
use canfd::isotp::pci::Pci;
use std::time::{Duration, Instant};

/// A frame that is to be overtaken and that nothing overtakes goes on after this time.
const HELD_AT_MOST: Duration = Duration::from_millis(5);

/// Which frames, as the ECU sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireDirection {
    /// Those it receives
    In,
    /// Those it sends
    Out,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFaultKind {
    /// It is lost; its sender has its confirmation
    Drop,
    /// It comes twice
    Duplicate,
    /// The next one overtakes it
    Reorder,
    /// Its sequence number is wrong; only consecutive frames have one
    WrongSn,
}

impl WireFaultKind {
    const ALL: [Self; 4] = [Self::Drop, Self::Duplicate, Self::Reorder, Self::WrongSn];
}

/// Something that goes wrong with one frame, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFault {
    /// Which frames
    pub direction: WireDirection,
    /// What becomes of it
    pub kind: WireFaultKind,
    /// Frames of that direction that pass unharmed before
    pub after: u64,
}

/// Up to two frames in place of one; without a first there is no second.
pub(super) type Frames = [Option<FdFrame>; 2];

/// The faults of one ECU's frames.
#[derive(Debug, Default)]
pub(super) struct Wire {
    faults: Vec<WireFault>,
    noise: Option<(Random, u32)>,
    received: Lane,
    sent: Lane,
}

#[derive(Debug, Default)]
struct Lane {
    held: Option<(FdFrame, Instant)>,
}

impl Wire {
    pub(super) fn inject(&mut self, fault: WireFault) {
        self.faults.push(fault);
    }

    /// From now on any fault of any kind hits so many frames in a million.
    pub(super) fn set_noise(&mut self, per_million: u32, seed: u64) {
        self.noise = (per_million > 0).then(|| (Random::new(seed), per_million));
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
        self.noise = None;
    }

    /// What the link sees of a frame from the bus.
    pub(super) fn handle_received(&mut self, now: Instant, frame: FdFrame) -> Frames {
        let kind = self.strike(WireDirection::In, &frame);
        self.received.pass(now, frame, kind)
    }

    /// What the bus sees of a frame from the link. The first one's confirmation is the link's; where there is none,
    /// it is told at once.
    pub(super) fn handle_transmit(&mut self, now: Instant, frame: FdFrame) -> Frames {
        let kind = self.strike(WireDirection::Out, &frame);
        self.sent.pass(now, frame, kind)
    }

    /// A frame from the bus that nothing has overtaken.
    pub(super) fn release_received(&mut self, now: Instant) -> Option<FdFrame> {
        self.received.release(now)
    }

    /// A frame for the bus that nothing has overtaken; the link believes it sent.
    pub(super) fn release_sent(&mut self, now: Instant) -> Option<FdFrame> {
        self.sent.release(now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [&self.received, &self.sent].into_iter().filter_map(|lane| lane.held.map(|(_, until)| until)).min()
    }

    fn strike(&mut self, direction: WireDirection, frame: &FdFrame) -> Option<WireFaultKind> {
        let consecutive = matches!(Pci::parse(frame.data()), Ok((Pci::ConsecutiveFrame { .. }, _)));
        let due = |fault: &WireFault| {
            fault.direction == direction
                && fault.after == 0
                && (consecutive || fault.kind != WireFaultKind::WrongSn)
        };
        let struck = self.faults.iter().position(due).map(|at| self.faults.remove(at).kind);
        for fault in self.faults.iter_mut().filter(|fault| fault.direction == direction) {
            fault.after = fault.after.saturating_sub(1);
        }
        struck.or_else(|| self.draw(consecutive))
    }

    fn draw(&mut self, consecutive: bool) -> Option<WireFaultKind> {
        let (random, per_million) = self.noise.as_mut()?;
        if random.below(1_000_000) >= u64::from(*per_million) {
            return None;
        }
        // The last kind needs a sequence number.
        let kinds = if consecutive { WireFaultKind::ALL.len() } else { WireFaultKind::ALL.len() - 1 };
        let drawn = usize::try_from(random.below(kinds as u64)).unwrap_or(0);
        WireFaultKind::ALL.get(drawn).copied()
    }
}

impl Lane {
    fn pass(&mut self, now: Instant, frame: FdFrame, kind: Option<WireFaultKind>) -> Frames {
        let held = self.held.take().map(|(frame, _)| frame);
        match kind {
            None => [Some(frame), held],
            Some(WireFaultKind::Drop) => [held, None],
            // A frame held back from before is overtaken by the first of the twins and ends there.
            Some(WireFaultKind::Duplicate) => [Some(frame), Some(frame)],
            Some(WireFaultKind::Reorder) => {
                self.held = Some((frame, now + HELD_AT_MOST));
                [held, None]
            }
            Some(WireFaultKind::WrongSn) => [Some(with_wrong_sn(&frame)), held],
        }
    }

    fn release(&mut self, now: Instant) -> Option<FdFrame> {
        self.held.take_if(|(_, until)| now >= *until).map(|(frame, _)| frame)
    }
}

/// The sequence number is the low nibble of the first byte.
fn with_wrong_sn(frame: &FdFrame) -> FdFrame {
    let mut data = [0; 64];
    let len = frame.data().len();
    data[..len].copy_from_slice(frame.data());
    data[0] = data[0] & 0xF0 | data[0].wrapping_add(1) & 0x0F;
    // The length is that of a frame already.
    FdFrame::from_field(frame.id(), frame.format(), frame.dlc(), data).unwrap_or(*frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canfd::frame::{CanId, FrameFormat};

    fn consecutive(sn: u8) -> FdFrame {
        let mut data = [7; 64];
        data[0] = 0x20 | sn;
        FdFrame::new(CanId::standard(0x7A0).unwrap(), FrameFormat::Fd { brs: true }, &data).unwrap()
    }

    fn wire(direction: WireDirection, kind: WireFaultKind, after: u64) -> (Wire, Instant) {
        let mut wire = Wire::default();
        wire.inject(WireFault { direction, kind, after });
        (wire, Instant::now())
    }

    #[test]
    fn a_fault_strikes_once_after_the_frames_that_pass_unharmed() {
        let (mut wire, now) = wire(WireDirection::In, WireFaultKind::Drop, 2);
        let seen: Vec<Frames> = (0..4).map(|sn| wire.handle_received(now, consecutive(sn))).collect();
        let passed = |sn| [Some(consecutive(sn)), None];
        assert_eq!(seen, [passed(0), passed(1), [None, None], passed(3)]);
    }

    #[test]
    fn frames_of_the_other_direction_do_not_count() {
        let (mut wire, now) = wire(WireDirection::Out, WireFaultKind::Drop, 0);
        assert_eq!(wire.handle_received(now, consecutive(0)), [Some(consecutive(0)), None]);
        assert_eq!(wire.handle_transmit(now, consecutive(1)), [None, None]);
    }

    #[test]
    fn an_overtaken_frame_follows_the_next_one_and_goes_alone_after_its_time() {
        let (mut wire, now) = wire(WireDirection::Out, WireFaultKind::Reorder, 0);
        assert_eq!(wire.handle_transmit(now, consecutive(0)), [None, None]);
        let both = [Some(consecutive(1)), Some(consecutive(0))];
        assert_eq!(wire.handle_transmit(now, consecutive(1)), both);
        wire.inject(WireFault { direction: WireDirection::Out, kind: WireFaultKind::Reorder, after: 0 });
        wire.handle_transmit(now, consecutive(2));
        let due = wire.poll_timeout().unwrap();
        assert_eq!(due, now + HELD_AT_MOST);
        assert_eq!(wire.release_sent(due - Duration::from_nanos(1)), None);
        assert_eq!(wire.release_sent(due), Some(consecutive(2)));
        assert_eq!(wire.poll_timeout(), None);
    }

    #[test]
    fn a_wrong_sequence_number_waits_for_a_frame_that_has_one() {
        let (mut wire, now) = wire(WireDirection::In, WireFaultKind::WrongSn, 0);
        let id = CanId::standard(0x7A0).unwrap();
        let single = FdFrame::new(id, FrameFormat::Fd { brs: true }, &[1, 0x3E]).unwrap();
        assert_eq!(wire.handle_received(now, single), [Some(single), None]);
        let [Some(changed), None] = wire.handle_received(now, consecutive(15)) else { panic!() };
        assert_eq!((changed.data()[0], &changed.data()[1..]), (0x20, &[7; 63][..]));
    }

    #[test]
    fn noise_hits_about_as_many_frames_as_it_says_and_none_when_it_is_off() {
        let (mut wire, now) = (Wire::default(), Instant::now());
        wire.set_noise(100_000, 1);
        let harmed = |wire: &mut Wire| {
            let changed = |sn: u32| {
                let frame = consecutive((sn % 16).to_le_bytes()[0]);
                u32::from(wire.handle_received(now, frame) != [Some(frame), None])
            };
            (0..10_000).map(changed).sum::<u32>()
        };
        // A frame that is overtaken changes its successor as well.
        let hit = harmed(&mut wire);
        assert!((900..1_400).contains(&hit), "{hit}");
        wire.clear();
        harmed(&mut wire);
        assert_eq!(harmed(&mut wire), 0);
    }
}
