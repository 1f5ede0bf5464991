//! Who gets a connection (ISO 13400-2:2019, clause 10.3: routing activation and socket handler).

use super::socket::State;
use super::{Event, Server, SocketId, TlsPolicy};
use crate::doip::LogicalAddress;
use crate::doip::codes::ActivationCode;
use crate::doip::payload::{Payload, RoutingActivationRequest, RoutingActivationResponse};
use std::time::Instant;

impl Server {
    /// Somebody has confirmed a routing activation, or not.
    pub fn handle_confirmation(&mut self, id: SocketId, granted: bool) {
        let Some(socket) = self.socket(id) else { return };
        let State::Confirming { tester } = socket.state else { return };
        if granted {
            socket.state = State::Active { tester };
            self.answer(id, tester, ActivationCode::Success);
            self.events.push_back(Event::Activated { socket: id, tester });
        } else {
            self.answer(id, tester, ActivationCode::RejectedConfirmation);
            self.close(id);
        }
    }

    pub(super) fn handle_activation(
        &mut self,
        now: Instant,
        id: SocketId,
        request: RoutingActivationRequest,
    ) {
        let Some(socket) = self.socket(id) else { return };
        if matches!(socket.state, State::Checking { .. }) {
            // One question at a time: the one before is still being answered.
            return;
        }
        let (tls, registered) = (socket.tls, socket.tester());
        let config = &self.config;
        let known = config.testers.iter().any(|range| range.contains(&request.source.0));
        let denial = if !known {
            Some(ActivationCode::UnknownSourceAddress)
        } else if !config.activation_types.contains(&request.activation_type) {
            Some(ActivationCode::UnsupportedActivationType)
        } else if config.tls == TlsPolicy::Required && !tls {
            Some(ActivationCode::TlsRequired)
        } else if registered.is_some_and(|tester| tester != request.source) {
            Some(ActivationCode::SourceAddressMismatch)
        } else {
            None
        };
        match denial {
            Some(code) => self.deny(id, request.source, code),
            None if registered.is_some() => self.register(id, request),
            None => self.seek_place(now, id, request),
        }
    }

    pub(super) fn handle_alive(&mut self, now: Instant, id: SocketId, source: LogicalAddress) {
        let Some(socket) = self.socket(id) else { return };
        if socket.tester() != Some(source) {
            // Not the tester that this connection is for.
            self.close(id);
            self.note_dead(now, id);
            return;
        }
        socket.alive_until = None;
        let mut denied = Vec::new();
        for socket in &mut self.sockets {
            if let State::Checking { request, waits_for, denial } = &mut socket.state {
                waits_for.retain(|other| *other != id);
                if waits_for.is_empty() {
                    denied.push((socket.id, request.source, *denial));
                }
            }
        }
        for (id, source, code) in denied {
            self.deny(id, source, code);
        }
    }

    /// A connection is over: whoever waited for its place tries again.
    pub(super) fn note_dead(&mut self, now: Instant, dead: SocketId) {
        let mut again = Vec::new();
        for socket in &mut self.sockets {
            if let State::Checking { request, waits_for, .. } = &socket.state
                && waits_for.contains(&dead)
            {
                again.push((socket.id, *request));
            }
        }
        let deadline = now + self.config.timings.initial_inactivity;
        for (id, request) in again {
            if let Some(socket) = self.socket(id) {
                socket.state = State::Fresh { deadline };
                self.seek_place(now, id, request);
            }
        }
    }

    /// Registers the connection where there is a place, else asks those who have it whether they are alive.
    fn seek_place(&mut self, now: Instant, id: SocketId, request: RoutingActivationRequest) {
        let holders: Vec<_> = self
            .sockets
            .iter()
            .filter(|it| it.id != id)
            .filter_map(|it| Some((it.id, it.tester()?)))
            .collect();
        let same: Vec<_> =
            holders.iter().filter(|(_, tester)| *tester == request.source).map(|(id, _)| *id).collect();
        let (waits_for, denial) = if !same.is_empty() {
            (same, ActivationCode::SourceAddressInUse)
        } else if holders.len() >= usize::from(self.config.max_sockets) {
            (holders.into_iter().map(|(id, _)| id).collect(), ActivationCode::AllSocketsActive)
        } else {
            self.register(id, request);
            return;
        };
        let until = now + self.config.timings.alive_check;
        for other in &waits_for {
            let Some(socket) = self.socket(*other) else { continue };
            // One that is being asked already is not asked twice.
            if socket.alive_until.is_none() {
                socket.alive_until = Some(until);
                self.say(*other, Payload::AliveCheckRequest);
            }
        }
        if let Some(socket) = self.socket(id) {
            socket.state = State::Checking { request, waits_for, denial };
        }
    }

    fn register(&mut self, id: SocketId, request: RoutingActivationRequest) {
        let tester = request.source;
        if self.config.authentication.is_some() && request.oem != self.config.authentication {
            self.answer(id, tester, ActivationCode::MissingAuthentication);
            return;
        }
        let confirmation = self.config.confirmation;
        let Some(socket) = self.socket(id) else { return };
        if socket.state == (State::Active { tester }) {
            self.answer(id, tester, ActivationCode::Success);
        } else if confirmation {
            socket.state = State::Confirming { tester };
            self.answer(id, tester, ActivationCode::ConfirmationRequired);
            self.events.push_back(Event::ConfirmationRequired { socket: id, tester });
        } else {
            socket.state = State::Active { tester };
            self.answer(id, tester, ActivationCode::Success);
            self.events.push_back(Event::Activated { socket: id, tester });
        }
    }

    fn deny(&mut self, id: SocketId, tester: LogicalAddress, code: ActivationCode) {
        self.answer(id, tester, code);
        self.close(id);
    }

    fn answer(&mut self, id: SocketId, tester: LogicalAddress, code: ActivationCode) {
        let entity = self.config.identity.logical_address;
        let response = RoutingActivationResponse { tester, entity, code, oem: None };
        self.say(id, Payload::RoutingActivationResponse(response));
    }
}
