//! The connection and who is at its other end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use canfd::doip::client::{Client, ClientConfig, Event};
use canfd::doip::header::ProtocolVersion;
use canfd::doip::{LogicalAddress, Timings};

use super::seat::{DoipSeatConfig, Seat};
use crate::bus::{EcuOrder, EcuReport, chain};
use crate::gateway::message::EcuIndex;

/// A connection that was not used for so long is closed: an open one that nobody needs is one more way in.
const IDLE: Duration = Duration::from_secs(10);
/// Between the end of a connection and the next attempt: an ECU that restarts is not called without a pause.
const PAUSE: Duration = Duration::from_millis(200);
/// Service and addresses around the longest block, with room for what a dialect puts behind it.
const OVERHEAD: u32 = 64;

/// How to talk to a DoIP entity.
#[derive(Clone, Copy, Debug)]
pub struct DoipConfig {
    /// Our own address.
    pub source: LogicalAddress,
    /// The edition of the standard to speak.
    pub version: ProtocolVersion,
}

/// What the connection has to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOrder {
    /// Open it, then call [`DoipMaster::handle_connected`] or [`DoipMaster::handle_disconnected`].
    Open,
    /// Close it; no answer is expected.
    Close,
}

#[derive(Debug)]
enum Connection {
    /// Closed, and not to be opened again before then
    Down { until: Option<Instant> },
    /// Being opened
    Opening,
    /// Open; routing may still have to be activated
    Up(Box<Client>),
}

/// The ECUs behind one entity and their sessions.
#[derive(Debug)]
pub struct DoipMaster {
    config: ClientConfig,
    seats: Vec<Seat>,
    connection: Connection,
    orders: VecDeque<ConnectionOrder>,
    /// The seat that is asked first for its next request: nobody starves.
    turn: usize,
}

impl DoipMaster {
    /// Without a connection yet.
    pub fn new(seats: impl IntoIterator<Item = DoipSeatConfig>, config: DoipConfig) -> Self {
        let seats: Vec<_> = seats.into_iter().map(Seat::new).collect();
        let block = seats.iter().map(|seat| seat.config.profile.max_block_length).max().unwrap_or(0);
        let default = ClientConfig::new(config.source);
        let client = ClientConfig {
            version: config.version,
            max_request: default.max_request.max(block.saturating_add(OVERHEAD)),
            timings: Timings { general_inactivity: IDLE, ..Timings::default() },
            ..default
        };
        Self {
            config: client,
            seats,
            connection: Connection::Down { until: None },
            orders: VecDeque::new(),
            turn: 0,
        }
    }

    /// An order for one of the ECUs. Orders for others are ignored.
    pub fn handle_order(&mut self, now: Instant, ecu: EcuIndex, order: EcuOrder) {
        if let Some(seat) = self.seats.iter_mut().find(|it| it.config.ecu == ecu) {
            seat.handle_order(now, order);
        }
        self.settle(now);
    }

    /// The connection stands.
    pub fn handle_connected(&mut self, now: Instant) {
        self.connection = Connection::Up(Box::new(Client::new(now, self.config)));
        self.settle(now);
    }

    /// The connection could not be opened, or it broke, or the entity closed it.
    pub fn handle_disconnected(&mut self, now: Instant, reason: &str) {
        self.lose(now, reason);
        self.settle(now);
    }

    /// Bytes from the entity.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if let Connection::Up(client) = &mut self.connection {
            client.handle_bytes(now, bytes);
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Connection::Up(client) = &mut self.connection {
            client.handle_timeout(now);
        }
        for seat in &mut self.seats {
            if seat.poll_timeout().is_some_and(|at| at <= now) {
                seat.handle_timeout(now);
            }
        }
        self.settle(now);
    }

    /// The next order for the connection.
    pub fn poll_connection(&mut self) -> Option<ConnectionOrder> {
        self.orders.pop_front()
    }

    /// The next bytes for the entity. Send them whole before asking for more.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        match &mut self.connection {
            Connection::Up(client) => client.poll_transmit(now),
            Connection::Down { .. } | Connection::Opening => None,
        }
    }

    /// The next report.
    pub fn poll_report(&mut self) -> Option<(EcuIndex, EcuReport)> {
        self.seats.iter_mut().find_map(|seat| Some((seat.config.ecu, seat.poll_report()?)))
    }

    /// When to call [`DoipMaster::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connection = match &self.connection {
            Connection::Up(client) => client.poll_timeout(),
            Connection::Down { until } => until.filter(|_| self.is_wanted()),
            Connection::Opening => None,
        };
        self.seats.iter().filter_map(Seat::poll_timeout).chain(connection).min()
    }

    fn is_wanted(&self) -> bool {
        self.seats.iter().any(Seat::has_request)
    }

    /// Lets everything that has happened take effect, until nothing more follows from it.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut busy = self.drain_client(now);
            busy |= self.send_requests(now);
            if !busy {
                break;
            }
        }
        if let Connection::Down { until } = self.connection
            && self.is_wanted()
            && until.is_none_or(|until| until <= now)
        {
            self.connection = Connection::Opening;
            self.orders.push_back(ConnectionOrder::Open);
        }
    }

    fn drain_client(&mut self, now: Instant) -> bool {
        let Connection::Up(client) = &mut self.connection else { return false };
        let Some(event) = client.poll_event() else { return false };
        match event {
            Event::Activated { entity } => tracing::debug!(%entity, "DoIP routing is active"),
            Event::ConfirmationRequired => {
                tracing::info!("the vehicle wants its DoIP routing activation to be confirmed");
            }
            Event::Acknowledged { target } => {
                if let Some(seat) = self.seats.iter_mut().find(|it| it.waits_for(target)) {
                    seat.handle_acknowledged(now);
                }
            }
            Event::Refused { target, refusal } => self.refuse(now, target, refusal.to_string()),
            Event::Unacknowledged { target } => {
                let waited = self.config.timings.diagnostic_message;
                self.refuse(now, target, format!("the DoIP entity did not acknowledge it within {waited:?}"));
            }
            Event::Received { source, data } => {
                if let Some(seat) = self.seats.iter_mut().find(|it| it.config.address == source) {
                    seat.handle_response(now, &data);
                }
            }
            Event::Closed(reason) => {
                self.orders.push_back(ConnectionOrder::Close);
                self.lose(now, &chain(&reason));
            }
        }
        true
    }

    fn refuse(&mut self, now: Instant, target: LogicalAddress, reason: String) {
        if let Some(seat) = self.seats.iter_mut().find(|it| it.waits_for(target)) {
            seat.handle_refused(now, reason);
        }
    }

    fn lose(&mut self, now: Instant, reason: &str) {
        // Where it never came to routing, another attempt would most likely end the same way.
        let was_active = matches!(&self.connection, Connection::Up(client) if client.was_active());
        self.connection = Connection::Down { until: Some(now + PAUSE) };
        for seat in &mut self.seats {
            seat.handle_connection_lost(now, reason, was_active);
        }
    }

    /// Hands requests to the connection, by turns.
    fn send_requests(&mut self, now: Instant) -> bool {
        let Connection::Up(client) = &mut self.connection else { return false };
        if !client.is_active() {
            return false;
        }
        let (mut busy, count) = (false, self.seats.len());
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some(seat) = self.seats.get_mut(at) else { continue };
            // Not yet where the last request of this ECU, or another's to all of them, is being acknowledged.
            let Some((target, pdu)) = seat.poll_request(|target| client.takes(target)) else { continue };
            busy = true;
            if let Err(error) = client.request(target, pdu) {
                seat.handle_refused(now, error.to_string());
            }
        }
        if busy {
            self.turn = (self.turn + 1) % count;
        }
        busy
    }
}
