//! One ECU behind a DoIP entity: its session, and the request of it that is under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use canfd::doip::LogicalAddress;
use canfd::uds::client::{Outgoing, TransportFailure};
use canfd::uds::profile::Profile;

use crate::bus::session::EcuSession;
use crate::bus::{EcuOrder, EcuReport};
use crate::gateway::message::EcuIndex;

/// What a DoIP link must know of one of its ECUs.
#[derive(Clone, Debug)]
pub struct DoipSeatConfig {
    /// The ECU's place in the configuration.
    pub ecu: EcuIndex,
    /// Its own address.
    pub address: LogicalAddress,
    /// The address of all ECUs; without one, what is meant for all goes to this one alone.
    pub functional: Option<LogicalAddress>,
    /// How it wants to be programmed.
    pub profile: Arc<Profile>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) config: DoipSeatConfig,
    session: EcuSession,
    /// Requests that wait for the connection; the session has one, and a tester present at most.
    waiting: VecDeque<(LogicalAddress, Vec<u8>)>,
    /// Whom the request addresses that is not acknowledged yet.
    in_flight: Option<LogicalAddress>,
}

impl Seat {
    pub(super) fn new(config: DoipSeatConfig) -> Self {
        let session = EcuSession::new(Arc::clone(&config.profile));
        Self { config, session, waiting: VecDeque::new(), in_flight: None }
    }

    pub(super) fn handle_order(&mut self, now: Instant, order: EcuOrder) {
        if matches!(order, EcuOrder::Identify | EcuOrder::Program(_)) {
            self.waiting.clear();
            // Its acknowledgement, if it still comes, is nobody's.
            self.in_flight = None;
        }
        self.session.handle_order(now, order);
        self.settle(now);
    }

    /// Whether the request under way went to that address.
    pub(super) fn waits_for(&self, target: LogicalAddress) -> bool {
        self.in_flight == Some(target)
    }

    pub(super) fn handle_acknowledged(&mut self, now: Instant) {
        self.in_flight = None;
        self.session.handle_sent(now);
        self.settle(now);
    }

    /// The request under way did not reach the ECU.
    pub(super) fn handle_refused(&mut self, now: Instant, reason: String) {
        self.in_flight = None;
        self.session.handle_transport_failure(now, TransportFailure::Send(reason));
        self.settle(now);
    }

    pub(super) fn handle_response(&mut self, now: Instant, pdu: &[u8]) {
        self.session.handle_response(now, pdu);
        self.settle(now);
    }

    /// The connection is gone, and with it what was being asked. A request that nobody has seen yet waits for the next
    /// connection, if there is to be one.
    pub(super) fn handle_connection_lost(&mut self, now: Instant, reason: &str, again: bool) {
        let in_flight = self.in_flight.take().is_some();
        if again && !in_flight && self.has_request() {
            return;
        }
        let unsent = in_flight || self.has_request();
        self.waiting.clear();
        let failure = if unsent { TransportFailure::Send } else { TransportFailure::Receive };
        self.session.handle_transport_failure(now, failure(reason.to_owned()));
        self.settle(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.settle(now);
    }

    /// The next request for the connection, where none is under way and `takes` its target; it is under way then.
    pub(super) fn poll_request(
        &mut self,
        takes: impl FnOnce(LogicalAddress) -> bool,
    ) -> Option<(LogicalAddress, Vec<u8>)> {
        let (target, _) = self.waiting.front().filter(|_| self.in_flight.is_none())?;
        let target = *target;
        if !takes(target) {
            return None;
        }
        self.in_flight = Some(target);
        self.waiting.pop_front()
    }

    pub(super) fn has_request(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn poll_report(&mut self) -> Option<EcuReport> {
        self.session.poll_report()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    fn settle(&mut self, now: Instant) {
        while self.session.settle(now) {}
        while let Some(Outgoing { functional, pdu }) = self.session.poll_request() {
            let target = self.config.functional.filter(|_| functional).unwrap_or(self.config.address);
            self.waiting.push_back((target, pdu));
        }
    }
}
