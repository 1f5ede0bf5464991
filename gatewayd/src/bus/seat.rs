//! One ECU's place on a bus: its ISO-TP link and the session that uses it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use canfd::frame::FdFrame;
use canfd::isotp::{self, Direction, Link, LinkConfig};
use canfd::uds::client::{Outgoing, TransportFailure};
use canfd::uds::profile::{ChecksumAlgorithm, Phase};
use canfd::uds::programming::{self, Plan, Programmer};

use super::feed::Feed;
use super::identify::{Identify, text};
use super::message::{EcuError, EcuOrder, EcuReport, Program, SeatConfig, chain};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) config: SeatConfig,
    link: Link,
    /// A frame of the link that has to wait for its turn.
    next: Option<FdFrame>,
    session: Session,
    feed: Feed,
    wanted: Option<(u64, usize)>,
    begun: bool,
    image_len: u64,
    reports: VecDeque<EcuReport>,
    functional: VecDeque<Vec<u8>>,
}

/// What the ECU is being asked.
#[derive(Debug)]
enum Session {
    None,
    Identify(Box<Identify>),
    Program(Box<Programmer>),
}

impl Seat {
    pub(super) fn new(config: SeatConfig) -> Self {
        Self {
            link: new_link(&config),
            next: None,
            config,
            session: Session::None,
            feed: Feed::default(),
            wanted: None,
            begun: false,
            image_len: 0,
            reports: VecDeque::new(),
            functional: VecDeque::new(),
        }
    }

    pub(super) fn handle_order(&mut self, now: Instant, order: EcuOrder) {
        match order {
            EcuOrder::Identify => {
                self.link.reset();
                self.session = Session::Identify(Box::new(Identify::new(now, &self.config.profile)));
            }
            EcuOrder::Program(program) => self.program(now, program),
            // What was on its way when the session ended is nobody's any more.
            EcuOrder::Data { .. } if !matches!(self.session, Session::Program(_)) => {}
            EcuOrder::Data { offset, bytes } => self.feed.push(offset, bytes),
            EcuOrder::Activate => {
                if let Session::Program(programmer) = &mut self.session {
                    programmer.activate(now);
                }
            }
            EcuOrder::Cancel => match &mut self.session {
                Session::Program(programmer) => {
                    programmer.abort(now);
                }
                _ => self.session = Session::None,
            },
        }
        self.settle(now);
    }

    /// The bus is away: whatever was going on is over.
    pub(super) fn handle_bus_down(&mut self, reason: &str) {
        // Frames that the bus took with it are never confirmed, so the link must forget them as well.
        self.link = new_link(&self.config);
        self.next = None;
        self.functional.clear();
        self.feed.clear();
        if !matches!(self.session, Session::None) {
            self.session = Session::None;
            self.reports.push_back(EcuReport::Failed(EcuError::BusDown { reason: reason.to_owned() }));
        }
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
        !matches!(self.session, Session::None)
    }

    /// A request for all ECUs, to be sent in a single frame.
    pub(super) fn poll_functional(&mut self) -> Option<Vec<u8>> {
        self.functional.pop_front()
    }

    pub(super) fn poll_report(&mut self) -> Option<EcuReport> {
        self.reports.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.link.poll_timeout().into_iter().chain(self.session.poll_timeout()).min()
    }

    /// Lets everything that has happened take effect, until nothing more follows from it.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut busy = self.drain_link(now);
            busy |= self.drain_session(now);
            busy |= self.feed_session(now);
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

    fn drain_session(&mut self, now: Instant) -> bool {
        match &mut self.session {
            Session::None => false,
            Session::Identify(identify) => match identify.poll(now) {
                Some(report) => {
                    self.session = Session::None;
                    self.reports.push_back(report);
                    true
                }
                None => false,
            },
            Session::Program(programmer) => match programmer.poll_event() {
                Some(event) => {
                    self.handle_programming(now, event);
                    true
                }
                None => false,
            },
        }
    }

    fn handle_programming(&mut self, now: Instant, event: programming::Event) {
        use programming::Event;
        match event {
            Event::PhaseEntered(phase) => {
                if phase == Phase::AwaitTransfer
                    && let Session::Program(programmer) = &mut self.session
                {
                    // The brain wrote its intent to the journal before it gave the order.
                    programmer.begin_transfer(now);
                }
                let report = if phase == Phase::AwaitActivation {
                    EcuReport::ReadyToActivate
                } else {
                    EcuReport::Entered(phase)
                };
                self.reports.push_back(report);
            }
            Event::Identified { .. } => {}
            Event::Erased => {
                self.begun = false;
                self.feed.clear();
                self.reports.push_back(EcuReport::Erased);
            }
            Event::Resumed { offset } => {
                self.begun = true;
                self.feed.clear();
                self.reports.push_back(EcuReport::TransferBegins { offset });
            }
            Event::NeedData { offset, max_len } => {
                if !self.begun {
                    self.begun = true;
                    self.reports.push_back(EcuReport::TransferBegins { offset });
                }
                let left = usize::try_from(self.image_len.saturating_sub(offset)).unwrap_or(usize::MAX);
                self.wanted = Some((offset, left.min(max_len as usize)));
            }
            Event::Acknowledged { offset } => self.reports.push_back(EcuReport::Acknowledged { offset }),
            Event::Finished { version, .. } => {
                self.session = Session::None;
                self.feed.clear();
                self.reports.push_back(EcuReport::Finished { version: text(&version) });
            }
            Event::Failed(error) => {
                self.session = Session::None;
                self.feed.clear();
                let message = chain(&error.cause);
                let error = EcuError::Session { phase: error.phase, state: error.ecu_state, message };
                self.reports.push_back(EcuReport::Failed(error));
            }
        }
    }

    fn feed_session(&mut self, now: Instant) -> bool {
        let Some((offset, len)) = self.wanted else { return false };
        let Session::Program(programmer) = &mut self.session else {
            self.wanted = None;
            return false;
        };
        let Some(block) = self.feed.block(offset, len) else { return false };
        self.wanted = None;
        if let Err(error) = programmer.handle_data(now, offset, block) {
            tracing::debug!(%error, "block not taken");
        }
        true
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

    fn program(&mut self, now: Instant, program: Program) {
        let algorithm = self.config.profile.checksum.map(|it| it.algorithm);
        let checksum = match algorithm {
            None => Vec::new(),
            Some(ChecksumAlgorithm::Crc32) => program.crc32.to_be_bytes().to_vec(),
            Some(ChecksumAlgorithm::Sha256) => program.sha256,
        };
        let plan = Plan {
            image_len: program.image_len,
            version: program.version.into_bytes(),
            checksum,
            resume_from: program.resume_from,
            ..Plan::default()
        };
        self.link.reset();
        self.feed.clear();
        self.wanted = None;
        self.begun = false;
        self.image_len = plan.image_len;
        match Programmer::new(now, Arc::clone(&self.config.profile), plan) {
            Ok(programmer) => self.session = Session::Program(Box::new(programmer)),
            Err(error) => self.refuse(&chain(&error)),
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.session = Session::None;
        self.reports.push_back(EcuReport::Failed(EcuError::Refused { reason: reason.to_owned() }));
    }
}

fn new_link(config: &SeatConfig) -> Link {
    let SeatConfig { addressing, max_in_flight, .. } = *config;
    Link::new(LinkConfig { addressing, max_in_flight, ..LinkConfig::tester(config.ids) })
}

impl Session {
    fn handle_response(&mut self, now: Instant, pdu: &[u8]) {
        match self {
            Self::None => {}
            Self::Identify(it) => it.client.handle_response(now, pdu),
            Self::Program(it) => it.handle_response(now, pdu),
        }
    }

    fn handle_response_started(&mut self, now: Instant) {
        match self {
            Self::None => {}
            Self::Identify(it) => it.client.handle_response_started(now),
            Self::Program(it) => it.handle_response_started(now),
        }
    }

    fn handle_sent(&mut self, now: Instant) {
        match self {
            Self::None => {}
            Self::Identify(it) => it.client.handle_sent(now),
            Self::Program(it) => it.handle_sent(now),
        }
    }

    fn handle_transport_failure(&mut self, now: Instant, failure: TransportFailure) {
        match self {
            Self::None => {}
            Self::Identify(it) => it.client.handle_transport_failure(now, failure),
            Self::Program(it) => it.handle_transport_failure(now, failure),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::None => {}
            Self::Identify(it) => it.client.handle_timeout(now),
            Self::Program(it) => it.handle_timeout(now),
        }
    }

    fn poll_request(&mut self) -> Option<Outgoing> {
        match self {
            Self::None => None,
            Self::Identify(it) => it.client.poll_request(),
            Self::Program(it) => it.poll_request(),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Identify(it) => it.client.poll_timeout(),
            Self::Program(it) => it.poll_timeout(),
        }
    }
}
