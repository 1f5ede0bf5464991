//! The receiving half of a link: reassembly and the receiver's side of flow control.

use std::time::Instant;

use super::pci::{FlowControl, FlowStatus};
use super::{Direction, LinkConfig, LinkError};

/// Buffers kept for the next messages.
const SPARE_BUFFERS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Flow control is handed out or consecutive frames arrive; the timer starts with the first of both.
    Receiving {
        block_left: Option<u8>,
        deadline: Option<Instant>,
    },
    /// The user is not ready: waits are sent in its name.
    Holding {
        waits: u8,
        next_wait: Instant,
    },
}

/// Receives one message at a time.
#[derive(Debug)]
pub(super) struct Receiver {
    state: State,
    sdu: Vec<u8>,
    len: usize,
    room: usize,
    sn: u8,
    ready: bool,
    /// Flow control to hand out.
    reply: Option<FlowStatus>,
    spare: Vec<Vec<u8>>,
}

impl Receiver {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Idle,
            sdu: Vec::new(),
            len: 0,
            room: 8,
            sn: 0,
            ready: true,
            reply: None,
            spare: Vec::new(),
        }
    }

    pub(super) fn is_receiving(&self) -> bool {
        self.state != State::Idle
    }

    /// Takes a buffer for a later message.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() > 0 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Gives up the message in progress, if there is one.
    pub(super) fn abort(&mut self) -> bool {
        let was_receiving = self.is_receiving();
        self.state = State::Idle;
        self.reply = None;
        self.sdu.clear();
        was_receiving
    }

    pub(super) fn handle_single(
        &mut self,
        payload: &[u8],
        config: &LinkConfig,
    ) -> Result<Vec<u8>, LinkError> {
        if payload.len() > config.max_len {
            return Err(LinkError::TooLong { len: payload.len(), max: config.max_len });
        }
        let mut sdu = self.spare.pop().unwrap_or_default();
        sdu.extend_from_slice(payload);
        Ok(sdu)
    }

    /// The length of the message that begins. The frame's own length becomes RX_DL (clause 9.6.3.1); `room` is what
    /// of it stands behind the address.
    pub(super) fn handle_first(
        &mut self,
        now: Instant,
        len: u32,
        payload: &[u8],
        room: usize,
        config: &LinkConfig,
    ) -> Result<usize, LinkError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > config.max_len {
            self.reply = Some(FlowStatus::Overflow);
            return Err(LinkError::TooLong { len, max: config.max_len });
        }
        if self.sdu.capacity() == 0 {
            self.sdu = self.spare.pop().unwrap_or_default();
        }
        self.sdu.clear();
        self.sdu.reserve(len);
        self.sdu.extend_from_slice(payload);
        self.len = len;
        self.room = room;
        self.sn = 1;
        self.ask_for_more(now, config);
        Ok(len)
    }

    /// The message, once it is complete. Consecutive frames that nothing announced are ignored, as are those of a
    /// length that cannot be (clauses 9.6.4.2 and 9.8.3).
    pub(super) fn handle_consecutive(
        &mut self,
        now: Instant,
        sn: u8,
        payload: &[u8],
        config: &LinkConfig,
    ) -> Result<Option<Vec<u8>>, LinkError> {
        let State::Receiving { block_left, .. } = self.state else { return Ok(None) };
        if self.reply.is_some() {
            return Ok(None);
        }
        let left = self.len.saturating_sub(self.sdu.len());
        let full = self.room.saturating_sub(1);
        let is_last = left <= full;
        let fits = if is_last { (left..=full).contains(&payload.len()) } else { payload.len() == full };
        if !fits {
            return Ok(None);
        }
        if sn != self.sn {
            let expected = self.sn;
            self.abort();
            return Err(LinkError::WrongSn { expected, received: sn });
        }
        self.sn = (self.sn + 1) & 0x0F;
        if is_last {
            self.sdu.extend_from_slice(payload.get(..left).unwrap_or(payload));
            self.state = State::Idle;
            return Ok(Some(std::mem::take(&mut self.sdu)));
        }
        self.sdu.extend_from_slice(payload);
        match block_left.map(|left| left.saturating_sub(1)) {
            Some(0) => self.ask_for_more(now, config),
            block_left => {
                self.state = State::Receiving { block_left, deadline: Some(now + config.timing.n_cr) };
            }
        }
        Ok(None)
    }

    /// Flow control of ours was confirmed.
    pub(super) fn handle_confirmed(&mut self, now: Instant, config: &LinkConfig) {
        if let State::Receiving { deadline: deadline @ None, .. } = &mut self.state
            && self.reply.is_none()
        {
            *deadline = Some(now + config.timing.n_cr);
        }
    }

    pub(super) fn set_ready(&mut self, now: Instant, ready: bool, config: &LinkConfig) {
        self.ready = ready;
        if ready && matches!(self.state, State::Holding { .. }) {
            self.ask_for_more(now, config);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, config: &LinkConfig) -> Result<(), LinkError> {
        match self.state {
            State::Receiving { deadline: Some(deadline), .. } if deadline <= now => {
                self.abort();
                Err(LinkError::TimeoutCr)
            }
            State::Holding { waits, next_wait } if next_wait <= now => {
                if waits >= config.wft_max {
                    self.abort();
                    return Err(LinkError::WftOverrun { direction: Direction::Receive, waits });
                }
                self.hold(now, waits, config);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Receiving { deadline, .. } => deadline,
            State::Holding { next_wait, .. } => Some(next_wait),
            State::Idle => None,
        }
    }

    /// The flow control frame to hand out. Handing it out is final.
    #[inline]
    pub(super) fn poll(&mut self, config: &LinkConfig) -> Option<FlowControl> {
        let status = self.reply.take()?;
        Some(FlowControl { status, block_size: config.block_size, st_min: config.st_min })
    }

    fn ask_for_more(&mut self, now: Instant, config: &LinkConfig) {
        if self.ready {
            self.reply = Some(FlowStatus::ContinueToSend);
            let block_left = (config.block_size != 0).then_some(config.block_size);
            self.state = State::Receiving { block_left, deadline: None };
        } else {
            self.hold(now, 0, config);
        }
    }

    fn hold(&mut self, now: Instant, waits: u8, config: &LinkConfig) {
        self.reply = Some(FlowStatus::Wait);
        self.state = State::Holding { waits: waits.saturating_add(1), next_wait: now + config.timing.n_br };
    }
}
