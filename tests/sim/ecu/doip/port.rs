//! A simulated ECU as a DoIP entity, without thread or sockets: bytes in, bytes out.

use super::super::SimEcu;
use canfd::doip::LogicalAddress;
use canfd::doip::server::{Event, Request, Server, ServerConfig, SocketId, TooManyConnections};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What can go wrong with an ECU's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoipFault {
    /// Once, after so many diagnostic messages: every connection is closed instead of an acknowledgement
    Disconnect {
        /// Messages that pass before
        after: u32,
    },
    /// After so many diagnostic messages the cable is out: nothing is heard or said any more, no connection closed
    Unplug {
        /// Messages that pass before
        after: u32,
    },
}

/// The ECU with its connections.
///
/// Every call that takes `&mut self` is followed by a full drain of `poll_transmit`, then of `poll_close`.
#[derive(Debug)]
pub struct DoipPort {
    ecu: SimEcu,
    server: Server,
    address: LogicalAddress,
    boot_time: Duration,
    /// Whom the ECU answers.
    tester: Option<LogicalAddress>,
    boots: u64,
    down_until: Option<Instant>,
    fault: Option<DoipFault>,
    /// Diagnostic messages since the fault was injected
    messages: u32,
    closed: VecDeque<SocketId>,
}

impl DoipPort {
    /// The ECU behind the entity of `config`, of which it is the only one. After a reset nobody can connect for
    /// `boot_time`.
    pub fn new(ecu: SimEcu, config: ServerConfig, boot_time: Duration) -> Self {
        let boots = ecu.boots();
        let address = config.identity.logical_address;
        Self {
            ecu,
            server: Server::new(config),
            address,
            boot_time,
            tester: None,
            boots,
            down_until: None,
            fault: None,
            messages: 0,
            closed: VecDeque::new(),
        }
    }

    /// The ECU.
    pub fn ecu_mut(&mut self) -> &mut SimEcu {
        &mut self.ecu
    }

    /// Something goes wrong with the connections.
    pub fn inject(&mut self, fault: DoipFault) {
        self.messages = 0;
        self.fault = Some(fault);
    }

    /// Nothing goes wrong any more, neither with the ECU nor with its connections.
    pub fn clear_faults(&mut self) {
        self.fault = None;
        self.ecu.clear_faults();
    }

    /// Whether a connection can be opened at all: not while the ECU starts, nor without its cable.
    pub fn is_reachable(&self, now: Instant) -> bool {
        !self.is_unplugged() && self.down_until.is_none_or(|until| now >= until)
    }

    /// See [`Server::handle_connected`].
    ///
    /// # Errors
    /// No more connections.
    pub fn handle_connected(&mut self, now: Instant, tls: bool) -> Result<SocketId, TooManyConnections> {
        self.server.handle_connected(now, tls)
    }

    /// Bytes of a tester.
    pub fn handle_bytes(&mut self, now: Instant, socket: SocketId, bytes: &[u8]) {
        if !self.is_unplugged() {
            self.server.handle_bytes(now, socket, bytes);
        }
        self.settle(now);
    }

    /// A tester is gone.
    pub fn handle_closed(&mut self, now: Instant, socket: SocketId) {
        self.server.handle_closed(now, socket);
        self.settle(now);
    }

    /// A datagram on the discovery port, and the answer to it.
    pub fn handle_datagram(&self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        self.server.handle_datagram(datagram).filter(|_| self.is_reachable(now))
    }

    /// Call when the instant of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ecu.handle_timeout(now);
        self.server.handle_timeout(now);
        self.settle(now);
    }

    /// The next bytes, and for which connection.
    pub fn poll_transmit(&mut self) -> Option<(SocketId, Vec<u8>)> {
        while let Some(transmit) = self.server.poll_transmit() {
            if !self.is_unplugged() {
                return Some(transmit);
            }
        }
        None
    }

    /// The next connection to close.
    pub fn poll_close(&mut self) -> Option<SocketId> {
        self.closed.pop_front()
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ecu.poll_timeout().into_iter().chain(self.server.poll_timeout()).min()
    }

    fn is_unplugged(&self) -> bool {
        matches!(self.fault, Some(DoipFault::Unplug { after }) if self.messages > after)
    }

    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.server.poll_event() {
                match event {
                    Event::Request(request) => self.handle_request(now, &request),
                    Event::Close(socket) => self.closed.push_back(socket),
                    Event::Activated { .. } | Event::ConfirmationRequired { .. } => {}
                }
            }
            let Some(response) = self.ecu.poll_response() else { break };
            if let Some(tester) = self.tester {
                self.server.respond(now, self.address, tester, &response);
            }
        }
        if self.ecu.boots() != self.boots {
            // It took its connections with it.
            self.boots = self.ecu.boots();
            self.down_until = Some(now + self.boot_time);
            self.hang_up();
        }
    }

    fn handle_request(&mut self, now: Instant, request: &Request) {
        self.messages = self.messages.saturating_add(1);
        match self.fault {
            Some(DoipFault::Disconnect { after }) if self.messages > after => {
                self.fault = None;
                // The acknowledgement goes down with the connection.
                while self.server.poll_transmit().is_some() {}
                self.hang_up();
            }
            _ if self.is_unplugged() => {}
            _ => {
                self.tester = Some(request.tester);
                self.ecu.handle_request(now, request.functional, &request.data);
            }
        }
    }

    fn hang_up(&mut self) {
        self.server.reset();
        while let Some(event) = self.server.poll_event() {
            if let Event::Close(socket) = event {
                self.closed.push_back(socket);
            }
        }
    }
}
