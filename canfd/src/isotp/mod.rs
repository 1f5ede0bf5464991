//! ISO-TP: messages of up to 4 GiB over frames of 8 to 64 bytes (ISO 15765-2:2016).

pub mod addressing;
mod config;
mod error;
mod in_flight;
mod limit;
pub mod pci;
mod receiver;
mod sender;
mod timing;

use std::collections::VecDeque;
use std::time::Instant;

pub use addressing::Addressing;
pub use config::{LinkConfig, LinkLayer, TxDl};
pub use error::{Direction, LinkError, SendError, SendRefusal};
pub use limit::consecutive_frame_limit;
pub use timing::{StMin, Timing};

use crate::frame::{Dlc, FdFrame};
use in_flight::{InFlight, Kind};
use pci::Pci;
use receiver::Receiver;
use sender::Sender;

/// Events kept for a caller who does not drain; frames that arrive beyond are lost, as in a full controller.
const MAX_EVENTS: usize = 32;

/// What a link has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The first frame of a longer message arrived (N_USData_FF.indication). Either [`Event::Received`] follows or
    /// [`Event::Failed`] with [`Direction::Receive`]; until then the link watches over every gap.
    ReceptionStarted {
        /// Length of the whole message in bytes.
        len: usize,
    },
    /// A message arrived. Give its buffer back with [`Link::recycle`] and none is ever allocated again.
    Received(Vec<u8>),
    /// The message is on the wire as a whole; here is its buffer back.
    Sent(Vec<u8>),
    /// A message was given up; [`LinkError::direction`] says which one.
    Failed(LinkError),
}

/// One ISO-TP address pair on one bus, both directions at once.
///
/// Every call that takes `&mut self` is followed by a full drain of `poll_transmit` and `poll_event` before the next.
/// Frames go to the bus in the order they were handed out; for each one that the bus confirms, the caller calls
/// [`Self::handle_transmitted`] once. `poll_timeout` says when to call [`Self::handle_timeout`].
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    sender: Sender,
    receiver: Receiver,
    in_flight: InFlight,
    events: VecDeque<Event>,
}

impl Link {
    /// An idle link.
    pub fn new(config: LinkConfig) -> Self {
        Self {
            config,
            sender: Sender::new(),
            receiver: Receiver::new(),
            in_flight: InFlight::new(),
            events: VecDeque::with_capacity(MAX_EVENTS),
        }
    }

    /// What the link was told at its birth.
    pub const fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Takes a message of 1 to 2^32 - 1 bytes to send.
    ///
    /// # Errors
    /// [`SendError`] gives the message back, above all while another one is being sent.
    pub fn send(&mut self, _now: Instant, sdu: Vec<u8>) -> Result<(), SendError> {
        let reason = if !self.sender.is_idle() {
            SendRefusal::Busy
        } else if sdu.is_empty() {
            SendRefusal::Empty
        } else if u32::try_from(sdu.len()).is_err() {
            SendRefusal::TooLong(sdu.len())
        } else {
            self.sender.start(sdu);
            return Ok(());
        };
        Err(SendError { reason, sdu })
    }

    /// Whether [`Self::send`] would take a message.
    pub fn is_idle(&self) -> bool {
        self.sender.is_idle()
    }

    /// Gives up both directions without a word to the peer. Frames already handed out may still be confirmed.
    pub fn reset(&mut self) {
        let buffer = self.sender.abort();
        self.receiver.recycle(buffer);
        self.receiver.abort();
        self.in_flight.abandon(Kind::Data);
        self.in_flight.abandon(Kind::FlowControl);
    }

    /// A buffer of the caller for a later message; at most four are kept.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.receiver.recycle(buffer);
    }

    /// Whether the user can take messages. While it cannot, senders of long messages are told to wait, at most
    /// `wft_max` times `n_br`.
    pub fn set_receive_ready(&mut self, now: Instant, ready: bool) {
        self.receiver.set_ready(now, ready, &self.config);
    }

    /// A frame from the bus. Frames of other addresses and frames that say nothing are ignored.
    #[inline]
    pub fn handle_frame(&mut self, now: Instant, frame: &FdFrame) {
        if frame.id() != self.config.rx_id || self.events.len() >= MAX_EVENTS {
            return;
        }
        let prefix = self.config.addressing.rx();
        let Ok((pci, payload)) = Pci::parse_behind(prefix, frame.data()) else { return };
        match pci {
            Pci::ConsecutiveFrame { sn } => {
                match self.receiver.handle_consecutive(now, sn, payload, &self.config) {
                    Ok(Some(sdu)) => self.events.push_back(Event::Received(sdu)),
                    Ok(None) => {}
                    Err(error) => self.fail(error),
                }
            }
            Pci::FlowControl(flow) => {
                if let Some(error) = self.sender.handle_flow_control(now, flow, &self.config) {
                    self.fail(error);
                }
            }
            Pci::SingleFrame { .. } => {
                self.interrupt_reception();
                match self.receiver.handle_single(payload, &self.config) {
                    Ok(sdu) => self.events.push_back(Event::Received(sdu)),
                    Err(error) => self.fail(error),
                }
            }
            Pci::FirstFrame { len } => {
                self.interrupt_reception();
                let room = frame.dlc().len() - self.config.addressing.len();
                match self.receiver.handle_first(now, len, payload, room, &self.config) {
                    Ok(len) => self.events.push_back(Event::ReceptionStarted { len }),
                    Err(error) => self.fail(error),
                }
            }
        }
    }

    /// The bus confirmed the oldest frame handed out and not yet confirmed.
    #[inline]
    pub fn handle_transmitted(&mut self, now: Instant) {
        match self.in_flight.confirm(now) {
            Some(Kind::Data) => {
                if self.sender.handle_confirmed(now, &self.config, &self.in_flight) {
                    let sdu = self.sender.abort();
                    self.events.push_back(Event::Sent(sdu));
                }
            }
            Some(Kind::FlowControl) => self.receiver.handle_confirmed(now, &self.config),
            Some(Kind::Stale) | None => {}
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.in_flight.deadline(&self.config.timing).is_some_and(|deadline| deadline <= now) {
            let lost = self.in_flight.clear();
            if lost.data {
                self.fail(LinkError::TimeoutA { direction: Direction::Send });
            }
            if lost.flow_control && self.receiver.abort() {
                self.fail(LinkError::TimeoutA { direction: Direction::Receive });
            }
        }
        if self.sender.is_overdue(now) {
            self.fail(LinkError::TimeoutBs);
        }
        if let Err(error) = self.receiver.handle_timeout(now, &self.config) {
            self.fail(error);
        }
    }

    /// The next frame for the bus, if one may go now. It counts as outstanding until confirmed.
    #[inline]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<FdFrame> {
        // Built where the caller wants it: each further move of a frame just written waits for the writes.
        let mut frame = None;
        if !self.in_flight.is_full() {
            self.transmit(now, &mut frame);
        }
        frame
    }

    #[inline]
    fn transmit(&mut self, now: Instant, frame: &mut Option<FdFrame>) {
        let Self { config, sender, receiver, in_flight, .. } = self;
        // Flow control first: the peer waits for it.
        let (kind, pci, payload) = if let Some(flow) = receiver.poll(config) {
            (Kind::FlowControl, Pci::FlowControl(flow), &[][..])
        } else if let Some((pci, payload)) = sender.poll(now, config, in_flight) {
            (Kind::Data, pci, payload)
        } else {
            return;
        };
        build(config, pci, payload, frame);
        in_flight.push(now, kind);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`], or `None` while nothing is due. Ask again after every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let bus = self.in_flight.deadline(&self.config.timing);
        let sender = self.sender.poll_timeout(&self.in_flight);
        [bus, sender, self.receiver.poll_timeout()].into_iter().flatten().min()
    }

    /// Frames handed out and not yet confirmed.
    pub const fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the message being sent waits for nothing but the confirmation of frames in flight: neither the peer nor
    /// a separation time can make it go on before the last of them, and no frame is due before some of them.
    pub fn awaits_confirmations(&self) -> bool {
        self.sender.awaits_confirmations(&self.config, &self.in_flight)
    }

    fn interrupt_reception(&mut self) {
        if self.receiver.abort() {
            self.fail(LinkError::UnexpectedPdu);
        }
    }

    fn fail(&mut self, error: LinkError) {
        match error.direction() {
            Direction::Send => {
                let buffer = self.sender.abort();
                self.receiver.recycle(buffer);
                self.in_flight.abandon(Kind::Data);
            }
            Direction::Receive => self.in_flight.abandon(Kind::FlowControl),
        }
        self.events.push_back(Event::Failed(error));
    }
}

/// A frame of control information and payload, padded. Both halves cut their payload to TX_DL.
#[inline]
fn build(config: &LinkConfig, pci: Pci, payload: &[u8], frame: &mut Option<FdFrame>) {
    let frame = frame.insert(FdFrame::blank(config.tx_id, config.link_layer.format(), config.padding));
    let field = frame.field_mut();
    let start = pci.write_behind(config.addressing.tx(), field);
    let end = start + payload.len();
    match (start, payload.first_chunk::<63>()) {
        // Nearly all frames of a long message; the fixed size makes it a handful of moves.
        (1, Some(payload)) => field[1..].copy_from_slice(payload),
        _ => {
            if let Some(field) = field.get_mut(start..end) {
                field.copy_from_slice(payload);
            }
        }
    }
    frame.shorten(Dlc::at_least(end.max(8)).unwrap_or(Dlc::MAX).min(config.link_layer.dlc()));
}

#[cfg(test)]
mod tests;
