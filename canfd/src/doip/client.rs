//! The tester's end of one connection: routing activation, then diagnostic messages to any number of ECUs.
//!
//! The contract: the connection stands when [`Client::new`] is called. Bytes go in through
//! [`Client::handle_bytes`], its end through [`Client::handle_closed`]; every call that takes `&mut self` is followed by
//! a full drain of `poll_transmit` and `poll_event`. [`Event::Closed`] is the last event: close the connection then.
//! Alive checks are answered without a word.

mod config;
mod error;
mod outstanding;

pub use config::ClientConfig;
pub use error::{CloseReason, Refusal, RequestError};

use super::LogicalAddress;
use super::codes::ActivationCode;
use super::header::MessageError;
use super::payload::{Payload, RoutingActivationRequest, RoutingActivationResponse};
use super::reader::Reader;
use outstanding::{MAX_OUTSTANDING, Outstanding};
use std::collections::VecDeque;
use std::time::Instant;

/// Events that may come of one call of [`Client::handle_bytes`]; an entity that says more at once is not sane.
const MAX_EVENTS: usize = 1024;
/// Two addresses in front of the user data.
const ADDRESSES: usize = 4;

/// What happens on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Diagnostic messages are routed from here on
    Activated {
        /// The entity at the other end
        entity: LogicalAddress,
    },
    /// The vehicle asks somebody to confirm; [`Event::Activated`] or [`Event::Closed`] follows
    ConfirmationRequired,
    /// The message is on the target's network, or was answered already: the transport's confirmation
    Acknowledged {
        /// To whom it was
        target: LogicalAddress,
    },
    /// The message was not handed on
    Refused {
        /// To whom it was
        target: LogicalAddress,
        /// Why
        refusal: Refusal,
    },
    /// Nobody said in time what became of the message, though the connection is in use
    Unacknowledged {
        /// To whom it was
        target: LogicalAddress,
    },
    /// A message for the tester
    Received {
        /// Whose
        source: LogicalAddress,
        /// One byte or more
        data: Vec<u8>,
    },
    /// The connection is over, and with it everything outstanding; the last event
    Closed(CloseReason),
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    reader: Reader,
    core: Core,
}

/// Everything but the bytes of the message under way.
#[derive(Debug)]
struct Core {
    config: ClientConfig,
    state: State,
    activated: bool,
    activation_queued: bool,
    /// Alive checks are answered once, however many there were.
    alive_queued: bool,
    outstanding: Outstanding,
    /// Last byte in either direction.
    last_use: Instant,
    last_received: Option<Instant>,
    ignored: u64,
    events: VecDeque<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Activating { deadline: Instant },
    Confirming { deadline: Instant },
    Active,
    Closed,
}

impl Client {
    /// On a connection that stands since `now`; the routing activation request waits in `poll_transmit`.
    pub fn new(now: Instant, config: ClientConfig) -> Self {
        let deadline = now + config.timings.control;
        Self {
            reader: Reader::new(config.max_payload),
            core: Core {
                config,
                state: State::Activating { deadline },
                activated: false,
                activation_queued: true,
                alive_queued: false,
                outstanding: Outstanding::default(),
                last_use: now,
                last_received: None,
                ignored: 0,
                events: VecDeque::new(),
            },
        }
    }

    /// Whether [`Self::request`] may be called.
    pub fn is_active(&self) -> bool {
        self.core.state == State::Active
    }

    /// Whether routing was ever activated.
    pub fn was_active(&self) -> bool {
        self.core.activated
    }

    /// Whether [`Self::request`] would take a message to `target` of a length that fits.
    pub fn takes(&self, target: LogicalAddress) -> bool {
        let outstanding = &self.core.outstanding;
        self.is_active() && !outstanding.is_waiting(target) && outstanding.len() < MAX_OUTSTANDING
    }

    /// Messages that answered nothing or were not for us, and were passed over.
    pub fn ignored(&self) -> u64 {
        self.core.ignored
    }

    /// Takes a diagnostic message; exactly one of `Acknowledged`, `Refused`, `Unacknowledged` and `Closed` follows.
    ///
    /// # Errors
    /// The message is not taken, above all while another one to the same target waits for its acknowledgement.
    pub fn request(&mut self, target: LogicalAddress, data: Vec<u8>) -> Result<(), RequestError> {
        let core = &mut self.core;
        if core.state != State::Active {
            return Err(RequestError::NotActive);
        }
        if data.is_empty() || data.len() + ADDRESSES > core.config.max_request as usize {
            return Err(RequestError::Length { len: data.len(), max: core.config.max_request });
        }
        if core.outstanding.is_waiting(target) {
            return Err(RequestError::Busy { target });
        }
        if core.outstanding.len() >= MAX_OUTSTANDING {
            return Err(RequestError::TooMany { max: MAX_OUTSTANDING });
        }
        core.outstanding.push(target, data);
        Ok(())
    }

    /// Bytes from the entity.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if bytes.is_empty() || self.core.state == State::Closed {
            return;
        }
        self.core.last_use = now;
        self.core.last_received = Some(now);
        let mut input = bytes;
        while let Some(message) = self.reader.next(&mut input) {
            match message {
                Ok(payload) => self.core.handle_payload(now, payload),
                Err(error) => self.core.handle_error(error),
            }
            if self.core.events.len() >= MAX_EVENTS {
                self.core.close(CloseReason::Flood { events: MAX_EVENTS });
            }
            if self.core.state == State::Closed {
                return;
            }
        }
    }

    /// The entity has closed the connection, or it broke.
    pub fn handle_closed(&mut self) {
        self.core.close(CloseReason::ByPeer);
    }

    /// Call when the instant of `poll_timeout` has come; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let core = &mut self.core;
        match core.state {
            State::Activating { deadline } if now >= deadline => {
                core.close(CloseReason::ActivationTimeout { waited: core.config.timings.control });
            }
            State::Confirming { deadline } if now >= deadline => {
                core.close(CloseReason::NotConfirmed { waited: core.config.timings.confirmation });
            }
            State::Active => core.handle_active_timeout(now),
            _ => {}
        }
    }

    /// The next message for the entity. It counts as sent now: A_DoIP_Diagnostic_Message starts.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        let core = &mut self.core;
        if core.state == State::Closed {
            return None;
        }
        let (version, source) = (core.config.version, core.config.source);
        let message = if std::mem::take(&mut core.activation_queued) {
            let request = RoutingActivationRequest {
                source,
                activation_type: core.config.activation_type,
                oem: core.config.oem,
            };
            Payload::RoutingActivationRequest(request).to_bytes(version)
        } else if std::mem::take(&mut core.alive_queued) {
            Payload::AliveCheckResponse { source }.to_bytes(version)
        } else {
            let (target, data) = core.outstanding.hand_out(now, core.config.timings.diagnostic_message)?;
            Payload::Diagnostic { source, target, data: &data }.to_bytes(version)
        };
        core.last_use = now;
        Some(message)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// When to call `handle_timeout`; `None` once the connection is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let core = &self.core;
        match core.state {
            State::Closed => None,
            State::Activating { deadline } | State::Confirming { deadline } => Some(deadline),
            State::Active => {
                let idle = core.last_use + core.config.timings.general_inactivity;
                core.outstanding.deadline().or_else(|| core.outstanding.is_empty().then_some(idle))
            }
        }
    }
}

impl Core {
    fn handle_payload(&mut self, now: Instant, payload: Payload<'_>) {
        let own = self.config.source;
        match payload {
            Payload::RoutingActivationResponse(response) => self.handle_activation(now, response),
            Payload::AliveCheckRequest => self.alive_queued = true,
            Payload::Diagnostic { source, target, data } if target == own && self.state == State::Active => {
                // What is answered has arrived, whatever became of the acknowledgement.
                if self.outstanding.confirm(source) {
                    self.events.push_back(Event::Acknowledged { target: source });
                }
                self.events.push_back(Event::Received { source, data: data.to_vec() });
            }
            Payload::DiagnosticAck { source, target, .. } if target == own => {
                if self.outstanding.confirm(source) {
                    self.events.push_back(Event::Acknowledged { target: source });
                } else {
                    self.ignored += 1;
                }
            }
            Payload::DiagnosticNack { source, target, code, .. } if target == own => {
                if self.outstanding.confirm(source) {
                    let refusal = Refusal::Diagnostic(code);
                    self.events.push_back(Event::Refused { target: source, refusal });
                } else {
                    self.ignored += 1;
                }
            }
            Payload::GenericNack(code) => self.handle_nack(code),
            _ => self.ignored += 1,
        }
    }

    fn handle_activation(&mut self, now: Instant, response: RoutingActivationResponse) {
        if response.tester != self.config.source {
            self.ignored += 1;
            return;
        }
        match (self.state, response.code) {
            (State::Activating { .. } | State::Confirming { .. }, ActivationCode::Success) => {
                self.state = State::Active;
                self.activated = true;
                self.events.push_back(Event::Activated { entity: response.entity });
            }
            (State::Activating { .. }, ActivationCode::ConfirmationRequired) => {
                self.state = State::Confirming { deadline: now + self.config.timings.confirmation };
                self.events.push_back(Event::ConfirmationRequired);
            }
            (State::Active, ActivationCode::Success) | (_, ActivationCode::ConfirmationRequired) => {
                self.ignored += 1;
            }
            (_, code) => self.close(CloseReason::ActivationDenied { code }),
        }
    }

    /// It names no message, but messages are looked at in their order: it is about the oldest.
    fn handle_nack(&mut self, code: super::codes::NackCode) {
        use super::codes::NackCode::{MessageTooLarge, OutOfMemory, UnknownPayloadType};
        let survives = matches!(code, MessageTooLarge | OutOfMemory | UnknownPayloadType);
        match self.outstanding.oldest().filter(|_| survives) {
            Some(target) => {
                self.outstanding.confirm(target);
                self.events.push_back(Event::Refused { target, refusal: Refusal::Header(code) });
            }
            None => self.close(CloseReason::Nack { code }),
        }
    }

    /// Messages of other kinds pass; what cannot be held or not be read ends the connection.
    fn handle_error(&mut self, error: MessageError) {
        match error {
            MessageError::UnknownType { .. } => self.ignored += 1,
            error => self.close(CloseReason::Message(error)),
        }
    }

    fn handle_active_timeout(&mut self, now: Instant) {
        while let Some((target, sent)) = self.outstanding.take_overdue(now) {
            if self.last_received.is_none_or(|received| received < sent) {
                // Not one byte since: the entity or the way to it is gone.
                self.close(CloseReason::Silent { waited: self.config.timings.diagnostic_message });
                return;
            }
            self.events.push_back(Event::Unacknowledged { target });
        }
        if self.outstanding.is_empty() && now >= self.last_use + self.config.timings.general_inactivity {
            self.close(CloseReason::Inactive { waited: self.config.timings.general_inactivity });
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.outstanding = Outstanding::default();
        self.events.push_back(Event::Closed(reason));
    }
}

#[cfg(test)]
mod tests;
