//! The vehicle's end: one DoIP entity with all its connections, for simulators and for testing testers.
//!
//! The contract: connections, bytes and answers go in through `handle_*` and [`Server::respond`], bytes and events
//! come out through `poll_*`; every call that takes `&mut self` is followed by a full drain of `poll_transmit`, then of
//! `poll_event`: what was said before a connection is closed still goes out.
//!
//! Connections are handled as the standard's socket handler has it: a connection has T_TCP_Initial_Inactivity to ask
//! for routing, one source address is active on one connection only, and before a newcomer is turned away those who
//! hold its place are asked whether they are alive.

mod activation;
mod config;
mod socket;

pub use config::{ServerConfig, TlsPolicy};

use super::LogicalAddress;
use super::codes::{DiagnosticNackCode, NackCode, PowerMode};
use super::header::{MessageError, ProtocolVersion};
use super::payload::{Announcement, EntityStatus, Payload};
use socket::{Socket, State};
use std::collections::VecDeque;
use std::time::Instant;

/// Messages that may wait for one connection; whoever makes the entity say more without reading is cut off.
const MAX_WAITING: usize = 1024;

/// One connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(u64);

/// A diagnostic message for an ECU of the entity. It is acknowledged already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks; where [`Server::respond`] sends the answer.
    pub tester: LogicalAddress,
    /// Who is asked.
    pub target: LogicalAddress,
    /// Whether that is a group of ECUs.
    pub functional: bool,
    /// What, one byte or more.
    pub data: Vec<u8>,
}

/// What happens at the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A tester may send diagnostic messages from here on
    Activated {
        /// Where
        socket: SocketId,
        /// Who
        tester: LogicalAddress,
    },
    /// Somebody has to confirm, with [`Server::handle_confirmation`]
    ConfirmationRequired {
        /// Where
        socket: SocketId,
        /// Who asks
        tester: LogicalAddress,
    },
    /// A message for an ECU
    Request(Request),
    /// Close this connection, once everything is sent; its id is not known any more
    Close(SocketId),
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{max} connections are open, one more than may be active")]
pub struct TooManyConnections {
    /// How many there are at most
    pub max: usize,
}

/// One DoIP entity.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    sockets: Vec<Socket>,
    next_id: u64,
    /// In the order in which they are to be sent
    transmits: VecDeque<(SocketId, Vec<u8>)>,
    events: VecDeque<Event>,
}

impl Server {
    /// Without connections.
    pub const fn new(config: ServerConfig) -> Self {
        Self { config, sockets: Vec::new(), next_id: 0, transmits: VecDeque::new(), events: VecDeque::new() }
    }

    /// A tester has connected, with TLS or without.
    ///
    /// # Errors
    /// [`TooManyConnections`] beyond one more than may be active: close it without a word.
    pub fn handle_connected(&mut self, now: Instant, tls: bool) -> Result<SocketId, TooManyConnections> {
        let max = usize::from(self.config.max_sockets) + 1;
        if self.sockets.len() >= max {
            return Err(TooManyConnections { max });
        }
        let id = SocketId(self.next_id);
        self.next_id += 1;
        let deadline = now + self.config.timings.initial_inactivity;
        self.sockets.push(Socket::new(now, id, tls, deadline, self.config.max_payload));
        Ok(id)
    }

    /// Bytes of a tester.
    pub fn handle_bytes(&mut self, now: Instant, id: SocketId, bytes: &[u8]) {
        let max = self.config.max_payload;
        let Some(socket) = self.socket(id) else { return };
        socket.last_use = now;
        let mut reader = socket.take_reader(max);
        let mut input = bytes;
        while let Some(message) = reader.next(&mut input) {
            match message {
                Ok(payload) => self.handle_payload(now, id, payload),
                Err(error) => self.handle_error(id, error),
            }
            if self.position(id).is_none() {
                return;
            }
        }
        if let Some(socket) = self.socket(id) {
            socket.put_reader(reader);
        }
    }

    /// A tester has closed its connection, or it broke.
    pub fn handle_closed(&mut self, now: Instant, id: SocketId) {
        if self.remove(id) {
            self.note_dead(now, id);
        }
    }

    /// A datagram on the discovery port; the answer goes back to where it came from.
    pub fn handle_datagram(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let answer = match Payload::parse_datagram(datagram, self.config.max_payload) {
            Ok((_, Payload::IdentificationRequest)) => Payload::Announcement(self.config.identity),
            Ok((_, Payload::IdentificationRequestEid(eid))) if eid == self.config.identity.eid => {
                Payload::Announcement(self.config.identity)
            }
            Ok((_, Payload::IdentificationRequestVin(vin))) if vin == self.config.identity.vin => {
                Payload::Announcement(self.config.identity)
            }
            Ok((_, Payload::EntityStatusRequest)) => Payload::EntityStatusResponse(self.status()),
            Ok((_, Payload::PowerModeRequest)) => Payload::PowerModeResponse(PowerMode::Ready),
            Ok((_, _)) => return None,
            Err(error) => Payload::GenericNack(error.nack_code()),
        };
        Some(answer.to_bytes(self.config.version))
    }

    /// The datagram with which an entity announces itself when it starts.
    pub fn announcement(&self) -> Vec<u8> {
        Payload::Announcement(self.config.identity).to_bytes(self.config.version)
    }

    /// Whom it answers as.
    pub const fn identity(&self) -> &Announcement {
        &self.config.identity
    }

    /// A message of an ECU of the entity to a tester. Where that is not there any more, nothing happens.
    pub fn respond(&mut self, now: Instant, source: LogicalAddress, tester: LogicalAddress, data: &[u8]) {
        let active = self.sockets.iter_mut().find(|it| it.state == State::Active { tester });
        if let Some(socket) = active {
            socket.last_use = now;
            let id = socket.id;
            self.say(id, Payload::Diagnostic { source, target: tester, data });
        }
    }

    /// The entity restarts: every connection is over.
    pub fn reset(&mut self) {
        for id in self.sockets.iter().map(|it| it.id).collect::<Vec<_>>() {
            self.close(id);
        }
    }

    /// Call when the instant of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (general, overdue) = (self.config.timings.general_inactivity, |at: Instant| at <= now);
        let idle: Vec<_> =
            self.sockets.iter().filter(|it| overdue(it.deadline(general))).map(|it| it.id).collect();
        for id in idle {
            if self.position(id).is_some() {
                self.close(id);
                self.note_dead(now, id);
            }
        }
    }

    /// The next message, and for which connection.
    pub fn poll_transmit(&mut self) -> Option<(SocketId, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sockets.iter().map(|it| it.deadline(self.config.timings.general_inactivity)).min()
    }

    fn handle_payload(&mut self, now: Instant, id: SocketId, payload: Payload<'_>) {
        match payload {
            Payload::RoutingActivationRequest(request) => self.handle_activation(now, id, request),
            Payload::AliveCheckResponse { source } => self.handle_alive(now, id, source),
            Payload::Diagnostic { source, target, data } => self.handle_diagnostic(id, source, target, data),
            Payload::EntityStatusRequest => {
                let status = self.status();
                self.say(id, Payload::EntityStatusResponse(status));
            }
            Payload::PowerModeRequest => self.say(id, Payload::PowerModeResponse(PowerMode::Ready)),
            // Only tester to entity over UDP, or entity to tester: it is not for this socket.
            _ => self.say(id, Payload::GenericNack(NackCode::UnknownPayloadType)),
        }
    }

    fn handle_diagnostic(
        &mut self,
        id: SocketId,
        source: LogicalAddress,
        target: LogicalAddress,
        data: &[u8],
    ) {
        let active = self.socket(id).is_some_and(|it| it.state == State::Active { tester: source });
        let functional = self.config.functional.contains(&target);
        let refusal = if !active {
            Some(DiagnosticNackCode::InvalidSourceAddress)
        } else if !functional && !self.config.targets.contains(&target) {
            Some(DiagnosticNackCode::UnknownTargetAddress)
        } else {
            None
        };
        if let Some(code) = refusal {
            self.say(id, Payload::DiagnosticNack { source: target, target: source, code, previous: &[] });
            if code == DiagnosticNackCode::InvalidSourceAddress {
                self.close(id);
            }
            return;
        }
        self.say(id, Payload::DiagnosticAck { source: target, target: source, previous: &[] });
        let request = Request { tester: source, target, functional, data: data.to_vec() };
        self.events.push_back(Event::Request(request));
    }

    fn handle_error(&mut self, id: SocketId, error: MessageError) {
        self.say(id, Payload::GenericNack(error.nack_code()));
        if error.skip().is_none() {
            self.close(id);
        }
    }

    fn status(&self) -> EntityStatus {
        let active = self.sockets.iter().filter(|it| matches!(it.state, State::Active { .. })).count();
        EntityStatus {
            node_type: self.config.node_type,
            max_sockets: self.config.max_sockets,
            open_sockets: u8::try_from(active).unwrap_or(u8::MAX),
            max_data_size: Some(self.config.max_payload),
        }
    }

    fn say(&mut self, id: SocketId, payload: Payload<'_>) {
        let version = match self.config.version {
            ProtocolVersion::Any => ProtocolVersion::Iso2012,
            version => version,
        };
        if self.transmits.iter().filter(|(to, _)| *to == id).count() >= MAX_WAITING {
            self.close(id);
            return;
        }
        self.transmits.push_back((id, payload.to_bytes(version)));
    }

    fn position(&self, id: SocketId) -> Option<usize> {
        self.sockets.iter().position(|it| it.id == id)
    }

    fn socket(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.iter_mut().find(|it| it.id == id)
    }

    fn remove(&mut self, id: SocketId) -> bool {
        self.position(id).map(|at| self.sockets.swap_remove(at)).is_some()
    }

    fn close(&mut self, id: SocketId) {
        if self.remove(id) {
            self.events.push_back(Event::Close(id));
        }
    }
}

#[cfg(test)]
mod tests;
