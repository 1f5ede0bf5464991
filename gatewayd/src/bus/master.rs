//! The bus as a whole: which frame is whose.

use std::collections::VecDeque;
use std::time::Instant;

use canfd::bus::Received;
use canfd::frame::{CanId, FdFrame, FrameFormat};

use super::message::{EcuError, EcuOrder, EcuReport, SeatConfig};
use super::seat::Seat;
use crate::gateway::message::EcuIndex;

/// The ECUs of one bus and their sessions.
#[derive(Debug)]
pub struct BusMaster {
    seats: Vec<Seat>,
    /// Seats whose functional request is on its way, in order.
    functional: VecDeque<usize>,
    /// Frames for all ECUs that the bus has not taken yet.
    broadcasts: VecDeque<FdFrame>,
    /// Why the bus is away, while it is.
    down: Option<String>,
    refusals: VecDeque<(EcuIndex, EcuReport)>,
    /// The seat that is asked first for its next frame: nobody starves.
    turn: usize,
}

impl BusMaster {
    /// A bus that is still away, with these ECUs on it.
    pub fn new(seats: impl IntoIterator<Item = SeatConfig>) -> Self {
        Self {
            seats: seats.into_iter().map(Seat::new).collect(),
            functional: VecDeque::new(),
            broadcasts: VecDeque::new(),
            down: Some("not opened yet".to_owned()),
            refusals: VecDeque::new(),
            turn: 0,
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

    /// The bus is there.
    pub fn handle_bus_up(&mut self) {
        self.down = None;
    }

    /// The bus is away; every session on it is over.
    pub fn handle_bus_down(&mut self, reason: &str) {
        self.functional.clear();
        self.broadcasts.clear();
        for seat in &mut self.seats {
            seat.handle_bus_down(reason);
        }
        self.down = Some(reason.to_owned());
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
        let id = received.frame.id();
        if !received.own {
            if let Some(seat) = self.seats.iter_mut().find(|it| it.config.ids.response == id) {
                seat.handle_frame(now, &received.frame);
            }
        } else if let Some(seat) = self.seats.iter_mut().find(|it| it.config.ids.request == id) {
            seat.handle_transmitted(now);
        } else if let Some(seat) = self.functional.pop_front().and_then(|at| self.seats.get_mut(at)) {
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
        self.collect_broadcasts();
        if let Some(frame) = self.broadcasts.pop_front() {
            return Some(frame);
        }
        let count = self.seats.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            if let Some(frame) = self.seats.get_mut(at).and_then(|seat| seat.poll_transmit(now)) {
                self.turn = (at + 1) % count;
                return Some(frame);
            }
        }
        None
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
        self.seats.iter().filter_map(Seat::poll_timeout).min()
    }

    fn collect_broadcasts(&mut self) {
        for (at, seat) in self.seats.iter_mut().enumerate() {
            while let Some(pdu) = seat.poll_functional() {
                match single_frame(seat.config.functional, &pdu) {
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

/// A request for all ECUs: always one frame (ISO 15765-2, functional addressing), here of 8 bytes at most.
fn single_frame(id: CanId, pdu: &[u8]) -> Option<FdFrame> {
    let mut data = [0xCC; 8];
    let len = u8::try_from(pdu.len()).ok().filter(|len| (1..=7).contains(len))?;
    data[0] = len;
    data.get_mut(1..=pdu.len())?.copy_from_slice(pdu);
    FdFrame::new(id, FrameFormat::Fd { brs: true }, &data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functional_requests_of_1_to_7_bytes_fit_a_single_frame() {
        let id = CanId::standard(0x7DF).unwrap();
        let frame = single_frame(id, &[1, 2, 3, 4, 5, 6, 7]).unwrap();
        assert_eq!((frame.id(), frame.data()), (id, [7, 1, 2, 3, 4, 5, 6, 7].as_slice()));
        assert_eq!(single_frame(id, &[0x3E]).unwrap().data(), [1, 0x3E, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC]);
        assert_eq!(single_frame(id, &[]), None);
        assert_eq!(single_frame(id, &[0; 8]), None);
    }
}
