//! What one ECU is being asked, whatever carries the questions: from orders to UDS requests and from answers to
//! reports.
//!
//! Every call that takes `&mut self` is followed by [`EcuSession::settle`] and a full drain of `poll_request` and
//! `poll_report`. The transport confirms each request by `handle_sent`, or reports its failure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use canfd::uds::client::{Outgoing, TransportFailure};
use canfd::uds::profile::{ChecksumAlgorithm, Phase, Profile};
use canfd::uds::programming::{self, Plan, Programmer};

use super::feed::Feed;
use super::identify::{Identify, text};
use super::message::{EcuError, EcuOrder, EcuReport, Program, chain};

/// The conversation with one ECU.
#[derive(Debug)]
pub(crate) struct EcuSession {
    profile: Arc<Profile>,
    session: Session,
    feed: Feed,
    wanted: Option<(u64, usize)>,
    begun: bool,
    image_len: u64,
    reports: VecDeque<EcuReport>,
}

/// What the ECU is being asked.
#[derive(Debug)]
enum Session {
    None,
    Identify(Box<Identify>),
    Program(Box<Programmer>),
}

impl EcuSession {
    /// Silent so far.
    pub(crate) fn new(profile: Arc<Profile>) -> Self {
        Self {
            profile,
            session: Session::None,
            feed: Feed::default(),
            wanted: None,
            begun: false,
            image_len: 0,
            reports: VecDeque::new(),
        }
    }

    pub(crate) fn handle_order(&mut self, now: Instant, order: EcuOrder) {
        match order {
            EcuOrder::Identify => {
                self.session = Session::Identify(Box::new(Identify::new(now, &self.profile)));
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
    }

    /// The bus is away: whatever was going on is over.
    pub(crate) fn handle_bus_down(&mut self, reason: &str) {
        self.feed.clear();
        if self.is_open() {
            self.session = Session::None;
            self.reports.push_back(EcuReport::Failed(EcuError::BusDown { reason: reason.to_owned() }));
        }
    }

    pub(crate) fn handle_response(&mut self, now: Instant, pdu: &[u8]) {
        self.session.handle_response(now, pdu);
    }

    pub(crate) fn handle_response_started(&mut self, now: Instant) {
        self.session.handle_response_started(now);
    }

    pub(crate) fn handle_sent(&mut self, now: Instant) {
        self.session.handle_sent(now);
    }

    pub(crate) fn handle_transport_failure(&mut self, now: Instant, failure: TransportFailure) {
        self.session.handle_transport_failure(now, failure);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
    }

    /// Whether it is in the middle of something.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.session, Session::None)
    }

    /// Lets what has happened take effect; true where anything had.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        self.drain_session(now) | self.feed_session(now)
    }

    /// The next request for the transport.
    pub(crate) fn poll_request(&mut self) -> Option<Outgoing> {
        self.session.poll_request()
    }

    pub(crate) fn poll_report(&mut self) -> Option<EcuReport> {
        self.reports.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
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

    fn program(&mut self, now: Instant, program: Program) {
        let algorithm = self.profile.checksum.map(|it| it.algorithm);
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
        self.feed.clear();
        self.wanted = None;
        self.begun = false;
        self.image_len = plan.image_len;
        match Programmer::new(now, Arc::clone(&self.profile), plan) {
            Ok(programmer) => self.session = Session::Program(Box::new(programmer)),
            Err(error) => self.refuse(&chain(&error)),
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.session = Session::None;
        self.reports.push_back(EcuReport::Failed(EcuError::Refused { reason: reason.to_owned() }));
    }
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
