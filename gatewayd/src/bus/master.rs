//! The bus as a whole: which frame is whose.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use canfd::bit_timing::BitTiming;
use canfd::bus::{ControllerState, Received};
use canfd::frame::{CanId, FdFrame, FrameFormat};
use canfd::isotp::pci::Pci;
use canfd::pacing::{NotYet, Pacer, PacingConfig, Share, TrafficClass};

use super::message::{EcuError, EcuOrder, EcuReport, SeatConfig};
use super::rest::Rest;
use super::seat::Seat;
use super::silence::Silence;
use crate::gateway::message::EcuIndex;

/// Frames of telemetry that may wait: one fragmented block.
const MAX_TELEMETRY: usize = 256;
/// What programming gets of a bus whose controller is error passive: enough to see whether it recovers.
const PASSIVE_SHARE: u16 = 100;

/// The ECUs of one bus and their sessions.
///
/// Frames go out in the order of their [`TrafficClass`], each within its share of the bus, and in the silences that
/// `silence.rs` describes none.
#[derive(Debug)]
pub struct BusMaster {
    seats: Vec<Seat>,
    /// Seats whose functional request is on its way, in order.
    functional: VecDeque<usize>,
    /// Frames for all ECUs that the bus has not taken yet.
    broadcasts: VecDeque<FdFrame>,
    telemetry: VecDeque<FdFrame>,
    /// Why the bus is away, while it is.
    down: Option<String>,
    refusals: VecDeque<(EcuIndex, EcuReport)>,
    /// The seat that is asked first for its next frame: nobody starves.
    turn: usize,
    timing: BitTiming,
    pacing: PacingConfig,
    pacer: Option<Pacer>,
    silence: Silence,
    rest: Rest,
    /// Frames handed out and not yet confirmed.
    unconfirmed: Unconfirmed,
    /// How long the last one of them holds the bus.
    last_frame: Duration,
    /// When a class has tokens for the frame it was refused.
    paced_until: Option<Instant>,
}

impl BusMaster {
    /// A bus of 500 kbit/s and 2 Mbit/s that is still away, with these ECUs on it and the default shares.
    pub fn new(seats: impl IntoIterator<Item = SeatConfig>) -> Self {
        Self::paced(seats, BitTiming::FD_500K_2M, PacingConfig::default())
    }

    /// The same at these bit rates and with these shares.
    pub fn paced(
        seats: impl IntoIterator<Item = SeatConfig>,
        timing: BitTiming,
        pacing: PacingConfig,
    ) -> Self {
        Self {
            seats: seats.into_iter().map(Seat::new).collect(),
            functional: VecDeque::new(),
            broadcasts: VecDeque::new(),
            telemetry: VecDeque::new(),
            down: Some("not opened yet".to_owned()),
            refusals: VecDeque::new(),
            turn: 0,
            timing,
            pacing,
            pacer: None,
            silence: Silence::new(timing),
            rest: Rest::default(),
            unconfirmed: Unconfirmed::default(),
            last_frame: Duration::ZERO,
            paced_until: None,
        }
    }

    /// The identifiers it sends with and listens to, each once.
    pub fn ids(&self) -> Vec<CanId> {
        let of_seat =
            |seat: &Seat| [seat.config.ids.request, seat.config.ids.response, seat.config.functional];
        let mut ids: Vec<_> = self.seats.iter().flat_map(of_seat).collect();
        ids.sort_by_key(|it| it.to_can_id());
        ids.dedup();
        ids
    }

    /// The bus is there, with a controller that is taken to be well until it says otherwise.
    pub fn handle_bus_up(&mut self) {
        self.down = None;
        self.pacer = None;
    }

    /// The bus is away; every session on it is over.
    pub fn handle_bus_down(&mut self, reason: &str) {
        self.functional.clear();
        self.broadcasts.clear();
        self.telemetry.clear();
        self.unconfirmed = Unconfirmed::default();
        self.rest.handle_down();
        self.silence = Silence::new(self.timing);
        for seat in &mut self.seats {
            seat.handle_bus_down(reason);
        }
        self.down = Some(reason.to_owned());
    }

    /// The controller says how it is. A passive one programs at a tenth of the bus; one that is off has no bus.
    pub fn handle_bus_state(&mut self, now: Instant, state: ControllerState) {
        let share = match state {
            ControllerState::ErrorActive | ControllerState::ErrorWarning => self.pacing.programming,
            ControllerState::ErrorPassive => Share::permille(PASSIVE_SHARE)
                .map_or(self.pacing.programming, |it| it.min(self.pacing.programming)),
            ControllerState::BusOff => {
                self.handle_bus_down("the controller is bus-off");
                return;
            }
        };
        self.pacer(now).set_share(now, TrafficClass::Programming, share);
    }

    /// A frame of telemetry, which goes when nothing else wants to.
    ///
    /// # Errors
    /// The frame, where the bus is away or too many wait.
    pub fn send_telemetry(&mut self, frame: FdFrame) -> Result<(), FdFrame> {
        if self.down.is_some() || self.telemetry.len() >= MAX_TELEMETRY {
            return Err(frame);
        }
        self.telemetry.push_back(frame);
        Ok(())
    }

    /// An order for one of the ECUs. Orders for others are ignored.
    pub fn handle_order(&mut self, now: Instant, ecu: EcuIndex, order: EcuOrder) {
        let Some(seat) = self.seats.iter_mut().find(|it| it.config.ecu == ecu) else { return };
        match &self.down {
            None => seat.handle_order(now, order),
            Some(reason) if matches!(order, EcuOrder::Identify | EcuOrder::Program(_)) => {
                let error = EcuError::BusDown { reason: reason.clone() };
                self.refusals.push_back((ecu, EcuReport::Failed(error)));
            }
            Some(_) => {}
        }
    }

    /// A frame from the bus, ours (then it is the confirmation that it was sent) or another's.
    pub fn handle_frame(&mut self, now: Instant, received: &Received) {
        let frame = &received.frame;
        if !received.own {
            self.silence.handle_foreign(now);
            if let Some(seat) = self.seats.iter_mut().find(|it| it.config.is_response(frame)) {
                seat.handle_frame(now, frame);
            }
            return;
        }
        let held = self.unconfirmed.mean();
        self.unconfirmed.pop();
        if self.unconfirmed.count == 0 {
            self.rest.handle_empty(now, held);
        }
        if let Some(seat) = self.seats.iter_mut().find(|it| it.config.is_request(frame)) {
            seat.handle_transmitted(now);
        } else if self.seats.iter().any(|it| it.config.is_functional(frame))
            && let Some(seat) = self.functional.pop_front().and_then(|at| self.seats.get_mut(at))
        {
            seat.handle_functional_sent(now);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        for seat in &mut self.seats {
            if seat.poll_timeout().is_some_and(|at| at <= now) {
                seat.handle_timeout(now);
            }
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<FdFrame> {
        self.paced_until = None;
        if self.down.is_some() {
            return None;
        }
        self.collect_broadcasts();
        let sessions = self.seats.iter().filter(|seat| seat.is_open()).count();
        if !self.silence.may_speak(now, self.unconfirmed.count, sessions) {
            return None;
        }
        let frame = self
            .next_control(now)
            .or_else(|| self.next_programming(now))
            .or_else(|| self.next_telemetry(now))?;
        self.unconfirmed.push(self.last_frame);
        self.rest.handle_sent(now, self.last_frame);
        self.silence.spend(self.last_frame);
        Some(frame)
    }

    /// Once [`BusMaster::poll_transmit`] has nothing more: the bus need not be listened to before then, though orders and
    /// timeouts must. `None` where what it has to say is wanted at once.
    pub fn poll_rest(&self, now: Instant) -> Option<Instant> {
        let mut open = self.seats.iter().filter(|seat| seat.is_open());
        let (Some(seat), None) = (open.next(), open.next()) else { return None };
        if !seat.awaits_confirmations() {
            return None;
        }
        self.rest.poll(now, self.unconfirmed.count, self.unconfirmed.mean())
    }

    /// The next report.
    pub fn poll_report(&mut self) -> Option<(EcuIndex, EcuReport)> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Some(refusal);
        }
        self.seats.iter_mut().find_map(|seat| Some((seat.config.ecu, seat.poll_report()?)))
    }

    /// When to call [`BusMaster::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let seats = self.seats.iter().filter_map(Seat::poll_timeout);
        seats.chain(self.silence.poll_timeout()).chain(self.paced_until).min()
    }

    fn next_control(&mut self, now: Instant) -> Option<FdFrame> {
        if let Some(frame) = self.broadcasts.front().copied() {
            self.afford(now, TrafficClass::Control, &frame)?;
            return self.broadcasts.pop_front();
        }
        self.next_of(now, TrafficClass::Control)
    }

    fn next_programming(&mut self, now: Instant) -> Option<FdFrame> {
        self.next_of(now, TrafficClass::Programming)
    }

    fn next_telemetry(&mut self, now: Instant) -> Option<FdFrame> {
        let frame = self.telemetry.front().copied()?;
        self.afford(now, TrafficClass::Telemetry, &frame)?;
        self.telemetry.pop_front()
    }

    /// The next frame of that class, by turns.
    fn next_of(&mut self, now: Instant, class: TrafficClass) -> Option<FdFrame> {
        let count = self.seats.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some(seat) = self.seats.get_mut(at) else { continue };
            let address = seat.config.addressing.tx();
            let frame = seat.peek_transmit(now).copied();
            let Some(frame) = frame.filter(|frame| class_of(address, frame) == class) else { continue };
            self.afford(now, class, &frame)?;
            self.turn = (at + 1) % count;
            return self.seats.get_mut(at).and_then(|seat| seat.poll_transmit(now));
        }
        None
    }

    /// Takes the tokens for a frame, or notes when there will be enough.
    fn afford(&mut self, now: Instant, class: TrafficClass, frame: &FdFrame) -> Option<()> {
        let duration = self.timing.frame_duration(frame);
        match self.pacer(now).handle_request(now, class, duration) {
            Ok(()) => {
                self.last_frame = duration;
                Some(())
            }
            Err(NotYet { until }) => {
                self.paced_until = self.paced_until.into_iter().chain(until).min();
                None
            }
        }
    }

    fn pacer(&mut self, now: Instant) -> &mut Pacer {
        let config = &self.pacing;
        self.pacer.get_or_insert_with(|| Pacer::new(now, config))
    }

    fn collect_broadcasts(&mut self) {
        for (at, seat) in self.seats.iter_mut().enumerate() {
            while let Some(pdu) = seat.poll_functional() {
                match single_frame(seat.config.functional, seat.config.functional_address, &pdu) {
                    Some(frame) => {
                        self.broadcasts.push_back(frame);
                        self.functional.push_back(at);
                    }
                    None => {
                        tracing::error!(len = pdu.len(), "functional request does not fit a single frame")
                    }
                }
            }
        }
    }
}

/// How many frames are with the bus, and how long about they hold it.
#[derive(Debug, Default)]
struct Unconfirmed {
    count: u32,
    time: Duration,
}

impl Unconfirmed {
    fn push(&mut self, frame: Duration) {
        self.count += 1;
        self.time += frame;
    }

    fn pop(&mut self) {
        self.time -= self.mean();
        self.count = self.count.saturating_sub(1);
    }

    /// Of one frame.
    fn mean(&self) -> Duration {
        self.time.checked_div(self.count).unwrap_or_default()
    }
}

/// The stream of a long message is programming, whatever it holds; everything short keeps sessions going.
fn class_of(address: Option<u8>, frame: &FdFrame) -> TrafficClass {
    match Pci::parse_behind(address, frame.data()) {
        Ok((Pci::FirstFrame { .. } | Pci::ConsecutiveFrame { .. }, _)) => TrafficClass::Programming,
        _ => TrafficClass::Control,
    }
}

/// A request for all ECUs: always one frame (ISO 15765-2, functional addressing), here of 8 bytes at most.
fn single_frame(id: CanId, address: Option<u8>, pdu: &[u8]) -> Option<FdFrame> {
    let mut data = [0xCC; 8];
    let len = u8::try_from(pdu.len()).ok().filter(|len| *len > 0)?;
    let head = [address.as_slice(), &[len]].concat();
    data.get_mut(..head.len())?.copy_from_slice(&head);
    data.get_mut(head.len()..head.len() + pdu.len())?.copy_from_slice(pdu);
    FdFrame::new(id, FrameFormat::Fd { brs: true }, &data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functional_requests_of_1_to_7_bytes_fit_a_single_frame() {
        let id = CanId::standard(0x7DF).unwrap();
        let frame = single_frame(id, None, &[1, 2, 3, 4, 5, 6, 7]).unwrap();
        assert_eq!((frame.id(), frame.data()), (id, [7, 1, 2, 3, 4, 5, 6, 7].as_slice()));
        let short = single_frame(id, None, &[0x3E]).unwrap();
        assert_eq!(short.data(), [1, 0x3E, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC]);
        assert_eq!((single_frame(id, None, &[]), single_frame(id, None, &[0; 8])), (None, None));
    }

    #[test]
    fn behind_an_address_they_have_6_bytes() {
        let id = CanId::standard(0x6F1).unwrap();
        let frame = single_frame(id, Some(0xFE), &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(frame.data(), [0xFE, 6, 1, 2, 3, 4, 5, 6]);
        assert_eq!(single_frame(id, Some(0xFE), &[0; 7]), None);
    }
}
