//! One ECU's place on a bus: its ISO-TP link and the session that uses it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use canfd::frame::FdFrame;
use canfd::isotp::{self, Direction, Link, LinkConfig};
use canfd::uds::client::{Outgoing, TransportFailure};

use super::message::{EcuOrder, EcuReport, SeatConfig};
use super::session::EcuSession;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) config: SeatConfig,
    link: Link,
    /// A frame of the link that has to wait for its turn.
    next: Option<FdFrame>,
    session: EcuSession,
    functional: VecDeque<Vec<u8>>,
}

impl Seat {
    pub(super) fn new(config: SeatConfig) -> Self {
        Self {
            link: new_link(&config),
            next: None,
            session: EcuSession::new(Arc::clone(&config.profile)),
            config,
            functional: VecDeque::new(),
        }
    }

    pub(super) fn handle_order(&mut self, now: Instant, order: EcuOrder) {
        if matches!(order, EcuOrder::Identify | EcuOrder::Program(_)) {
            self.link.reset();
        }
        self.session.handle_order(now, order);
        self.settle(now);
    }

    /// The bus is away: whatever was going on is over.
    pub(super) fn handle_bus_down(&mut self, reason: &str) {
        // Frames that the bus took with it are never confirmed, so the link must forget them as well.
        self.link = new_link(&self.config);
        self.next = None;
        self.functional.clear();
        self.session.handle_bus_down(reason);
    }

    pub(super) fn handle_frame(&mut self, now: Instant, frame: &FdFrame) {
        self.link.handle_frame(now, frame);
        self.settle(now);
    }

    /// A frame of the physical link is on the wire.
    pub(super) fn handle_transmitted(&mut self, now: Instant) {
        self.link.handle_transmitted(now);
        self.settle(now);
    }

    /// The functional request is on the wire.
    pub(super) fn handle_functional_sent(&mut self, now: Instant) {
        self.session.handle_sent(now);
        self.settle(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.link.poll_timeout().is_some_and(|at| at <= now) {
            self.link.handle_timeout(now);
        }
        self.session.handle_timeout(now);
        self.settle(now);
    }

    /// The frame that [`Self::poll_transmit`] gives out next.
    pub(super) fn peek_transmit(&mut self, now: Instant) -> Option<&FdFrame> {
        if self.next.is_none() {
            self.next = self.link.poll_transmit(now);
        }
        self.next.as_ref()
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<FdFrame> {
        self.next.take().or_else(|| self.link.poll_transmit(now))
    }

    /// Whether nothing but the confirmation of its frames is awaited.
    pub(super) fn awaits_confirmations(&self) -> bool {
        self.next.is_none() && self.link.awaits_confirmations()
    }

    /// Whether it is in the middle of something.
    pub(super) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// A request for all ECUs, to be sent in a single frame.
    pub(super) fn poll_functional(&mut self) -> Option<Vec<u8>> {
        self.functional.pop_front()
    }

    pub(super) fn poll_report(&mut self) -> Option<EcuReport> {
        self.session.poll_report()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout().into_iter().chain(self.session.poll_timeout()).min()
    }

    /// Lets everything that has happened take effect, until nothing more follows from it.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut busy = self.drain_link(now);
            busy |= self.session.settle(now);
            busy |= self.send_requests(now);
            if !busy {
                return;
            }
        }
    }

    fn drain_link(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(event) = self.link.poll_event() {
            busy = true;
            match event {
                isotp::Event::Received(pdu) => {
                    self.session.handle_response(now, &pdu);
                    self.link.recycle(pdu);
                }
                isotp::Event::ReceptionStarted { .. } => self.session.handle_response_started(now),
                isotp::Event::Sent(buffer) => {
                    self.session.handle_sent(now);
                    self.link.recycle(buffer);
                }
                isotp::Event::Failed(error) => {
                    let failure = match error.direction() {
                        Direction::Send => TransportFailure::Send(error.to_string()),
                        Direction::Receive => TransportFailure::Receive(error.to_string()),
                    };
                    self.session.handle_transport_failure(now, failure);
                }
            }
        }
        busy
    }

    fn send_requests(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(Outgoing { functional, pdu }) = self.session.poll_request() {
            busy = true;
            if functional {
                self.functional.push_back(pdu);
            } else if let Err(refused) = self.link.send(now, pdu) {
                let failure = TransportFailure::Send(refused.reason.to_string());
                self.session.handle_transport_failure(now, failure);
            }
        }
        busy
    }
}

fn new_link(config: &SeatConfig) -> Link {
    let SeatConfig { addressing, max_in_flight, .. } = *config;
    Link::new(LinkConfig { addressing, max_in_flight, ..LinkConfig::tester(config.ids) })
}
