//! The sending half of a link: segmentation and the sender's side of flow control.

use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::pci::{FlowControl, FlowStatus, Pci};
use super::{Direction, LinkConfig, LinkError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// The single or first frame is to be handed out.
    Start,
    /// A first frame or a whole block is on its way or confirmed; flow control is due.
    AwaitFlowControl {
        deadline: Option<Instant>,
    },
    /// Consecutive frames may go; `block_left` of them where the receiver set a block size.
    Consecutive {
        block_left: Option<u8>,
        not_before: Option<Instant>,
    },
    /// Everything is handed out; the last confirmation is due.
    Drain,
}

/// Sends one message at a time.
#[derive(Debug)]
pub(super) struct Sender {
    state: State,
    sdu: Vec<u8>,
    position: usize,
    sn: u8,
    st_min: Duration,
    waits: u8,
}

impl Sender {
    pub(super) const fn new() -> Self {
        Self { state: State::Idle, sdu: Vec::new(), position: 0, sn: 0, st_min: Duration::ZERO, waits: 0 }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// The caller has checked that the sender is idle and the message neither empty nor above 32 bits of length.
    pub(super) fn start(&mut self, sdu: Vec<u8>) {
        self.sdu = sdu;
        self.position = 0;
        self.sn = 0;
        self.waits = 0;
        self.state = State::Start;
    }

    /// Gives up and returns the message's buffer.
    pub(super) fn abort(&mut self) -> Vec<u8> {
        self.state = State::Idle;
        std::mem::take(&mut self.sdu)
    }

    pub(super) fn handle_flow_control(
        &mut self,
        now: Instant,
        flow: FlowControl,
        config: &LinkConfig,
    ) -> Option<LinkError> {
        let State::AwaitFlowControl { .. } = self.state else {
            // Unexpected flow control is ignored (clause 9.8.3).
            return None;
        };
        match flow.status {
            FlowStatus::ContinueToSend => {
                self.waits = 0;
                self.st_min = flow.st_min.duration();
                let block_left = (flow.block_size != 0).then_some(flow.block_size);
                self.state = State::Consecutive { block_left, not_before: None };
                None
            }
            FlowStatus::Wait if self.waits >= config.wft_max => {
                Some(LinkError::WftOverrun { direction: Direction::Send, waits: config.wft_max })
            }
            FlowStatus::Wait => {
                self.waits += 1;
                self.state = State::AwaitFlowControl { deadline: Some(now + config.timing.n_bs) };
                None
            }
            FlowStatus::Overflow => Some(LinkError::BufferOverflow { len: self.sdu.len() }),
            FlowStatus::Reserved(value) => Some(LinkError::InvalidFs { value }),
        }
    }

    /// A data frame was confirmed; true where that was the last one of the message.
    pub(super) fn handle_confirmed(
        &mut self,
        now: Instant,
        config: &LinkConfig,
        in_flight: &InFlight,
    ) -> bool {
        match &mut self.state {
            State::AwaitFlowControl { deadline } if in_flight.data() == 0 => {
                *deadline = Some(now + config.timing.n_bs);
            }
            State::Consecutive { not_before, .. } if !self.st_min.is_zero() => {
                *not_before = Some(now + self.st_min);
            }
            State::Drain => return in_flight.data() == 0,
            _ => {}
        }
        false
    }

    /// True where flow control is overdue.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.state, State::AwaitFlowControl { deadline: Some(deadline) } if deadline <= now)
    }

    /// True while nothing but the confirmation of frames in flight lets it go on.
    pub(super) fn awaits_confirmations(&self, config: &LinkConfig, in_flight: &InFlight) -> bool {
        match self.state {
            State::Consecutive { .. } => self.st_min.is_zero() && in_flight.data() >= self.window(config),
            // The peer answers the last of them.
            State::AwaitFlowControl { .. } | State::Drain => in_flight.data() > 0,
            State::Idle | State::Start => false,
        }
    }

    /// Data frames that may be with the bus at once.
    fn window(&self, config: &LinkConfig) -> usize {
        if self.st_min.is_zero() { usize::from(config.max_in_flight.max(1)) } else { 1 }
    }

    pub(super) fn poll_timeout(&self, in_flight: &InFlight) -> Option<Instant> {
        match self.state {
            State::AwaitFlowControl { deadline } => deadline,
            State::Consecutive { not_before, .. } if in_flight.data() == 0 => not_before,
            _ => None,
        }
    }

    /// The control information and payload of the next frame, if one may go now. Handing it out is final.
    #[inline]
    pub(super) fn poll(
        &mut self,
        now: Instant,
        config: &LinkConfig,
        in_flight: &InFlight,
    ) -> Option<(Pci, &[u8])> {
        let room = config.room();
        match self.state {
            State::Start => {
                let len = self.sdu.len();
                let single = u8::try_from(len).ok().filter(|_| len <= single_frame_max(config));
                let (pci, overhead) = match single {
                    Some(len) => (Pci::SingleFrame { len }, 0),
                    None => {
                        // `Link::send` refuses what 32 bits cannot say.
                        let pci = Pci::FirstFrame { len: u32::try_from(len).unwrap_or(u32::MAX) };
                        (pci, pci.write(&mut [0; 64]))
                    }
                };
                self.position = if single.is_some() { len } else { room - overhead };
                self.state = match single {
                    Some(_) => State::Drain,
                    None => State::AwaitFlowControl { deadline: None },
                };
                self.sn = 1;
                self.sdu.get(..self.position).map(|payload| (pci, payload))
            }
            State::Consecutive { block_left, not_before } => {
                if in_flight.data() >= self.window(config) || not_before.is_some_and(|it| now < it) {
                    return None;
                }
                let start = self.position;
                let end = self.sdu.len().min(start + room - 1);
                let pci = Pci::ConsecutiveFrame { sn: self.sn };
                self.sn = (self.sn + 1) & 0x0F;
                self.position = end;
                let block_left = block_left.map(|left| left.saturating_sub(1));
                self.state = if end == self.sdu.len() {
                    State::Drain
                } else if block_left == Some(0) {
                    State::AwaitFlowControl { deadline: None }
                } else {
                    State::Consecutive { block_left, not_before: None }
                };
                self.sdu.get(start..end).map(|payload| (pci, payload))
            }
            State::Idle | State::AwaitFlowControl { .. } | State::Drain => None,
        }
    }
}

/// The longest message that fits in a single frame (clause 9.6.2).
pub(super) const fn single_frame_max(config: &LinkConfig) -> usize {
    if config.link_layer.tx_dl() <= 8 { config.room() - 1 } else { config.room() - 2 }
}
