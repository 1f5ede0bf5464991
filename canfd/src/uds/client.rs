//! One tester talking to one ECU: one outstanding request, timed after ISO 14229-2.
//!
//! Every call that takes `&mut self` is followed by a full drain of `poll_request` and `poll_event` before the next.

mod error;
mod timings;

pub use error::{Busy, ClientError, TransportFailure};
pub use timings::ClientTimings;

use super::message::{Addressing, Nrc, Request, Response, ServiceId, Session};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A request on its way to the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Send to the functional address instead of the ECU's
    pub functional: bool,
    /// The bytes
    pub pdu: Vec<u8>,
}

/// What became of a request; exactly one per accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The ECU carried it out
    Answered {
        /// Service asked for
        service: ServiceId,
        /// The response after the part that repeats the request
        record: Vec<u8>,
    },
    /// A functional or suppressed request that, as wished, nobody answered
    Unanswered {
        /// Service asked for
        service: ServiceId,
    },
    /// It was not carried out, or nobody knows
    Failed(ClientError),
}

/// The client's side of one diagnostic connection.
#[derive(Debug)]
pub struct Client {
    timings: ClientTimings,
    p2: Duration,
    p2_star: Duration,
    session: Session,
    exchange: Option<Exchange>,
    tester_present: TesterPresent,
    /// When the connection was last in use; S3 counts from here.
    last_use: Option<Instant>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Exchange {
    request: Request,
    state: State,
    /// End of all patience, known once the request was first confirmed.
    limit: Option<Instant>,
    pending: u32,
    busy: u32,
    discarded: u32,
    /// An answer of several frames has begun.
    receiving: bool,
}

impl Exchange {
    fn new(request: Request) -> Self {
        Self {
            request,
            state: State::Queued,
            limit: None,
            pending: 0,
            busy: 0,
            discarded: 0,
            receiving: false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Queued,
    Sending { deadline: Instant },
    Waiting { deadline: Instant },
    BackOff { until: Instant },
}

#[derive(Debug, Clone, Copy)]
enum TesterPresent {
    Idle,
    Queued { deadline: Instant },
    Sending { deadline: Instant },
}

/// Added to a P2 that the ECU reports about itself, for the way there and back.
const WAY_ALLOWANCE: Duration = Duration::from_millis(100);

impl Client {
    /// A client in the default session, with nothing outstanding.
    pub fn new(timings: ClientTimings) -> Self {
        Self {
            p2: timings.p2,
            p2_star: timings.p2_star,
            timings,
            session: Session::Default,
            exchange: None,
            tester_present: TesterPresent::Idle,
            last_use: None,
            events: VecDeque::new(),
        }
    }

    /// The session the ECU is in, as far as its answers tell.
    pub fn session(&self) -> Session {
        self.session
    }

    /// The ECU restarted or was lost: it is in the default session again and needs no tester present.
    pub fn forget_session(&mut self) {
        self.session = Session::Default;
        self.p2 = self.timings.p2;
        self.p2_star = self.timings.p2_star;
    }

    /// Hands in a request.
    ///
    /// # Errors
    /// [`Busy`] while another one is outstanding.
    pub fn request(&mut self, now: Instant, request: Request) -> Result<(), Busy> {
        if let Some(exchange) = &self.exchange {
            return Err(Busy { outstanding: exchange.request.service() });
        }
        self.last_use = Some(now);
        self.exchange = Some(Exchange::new(request));
        Ok(())
    }

    /// The transport confirms that the last polled request left (N_USData.confirm); P2 starts here.
    pub fn handle_sent(&mut self, now: Instant) {
        if let TesterPresent::Sending { .. } = self.tester_present {
            self.tester_present = TesterPresent::Idle;
            self.last_use = Some(now);
            return;
        }
        let (p2, total) = (self.p2, self.timings.pending_total);
        if let Some(exchange) = &mut self.exchange
            && let State::Sending { .. } = exchange.state
        {
            let limit = *exchange.limit.get_or_insert(now + total);
            let deadline = if exchange.receiving { limit } else { (now + p2).min(limit) };
            exchange.state = State::Waiting { deadline };
        }
    }

    /// The transport sees an answer of several frames begin (N_USData_FF.indication), which is what P2 and P2* are
    /// measured to. From here on the transport watches over its gaps, and only the end of all patience is left here.
    pub fn handle_response_started(&mut self, now: Instant) {
        let total = self.timings.pending_total;
        let Some(exchange) = &mut self.exchange else { return };
        match exchange.state {
            State::Sending { .. } => exchange.receiving = true,
            State::Waiting { .. } => {
                exchange.receiving = true;
                let deadline = *exchange.limit.get_or_insert(now + total);
                exchange.state = State::Waiting { deadline };
            }
            State::Queued | State::BackOff { .. } => {}
        }
    }

    /// A PDU from the ECU. What answers no outstanding request is discarded and counted.
    pub fn handle_response(&mut self, now: Instant, pdu: &[u8]) {
        let Some(exchange) = &mut self.exchange else { return };
        // An answer may overtake the transport's confirmation, but not the request itself.
        if !matches!(exchange.state, State::Sending { .. } | State::Waiting { .. }) {
            return;
        }
        let service = exchange.request.service();
        let received = std::mem::take(&mut exchange.receiving);
        match Response::parse(pdu) {
            Err(source) => self.finish(now, Event::Failed(ClientError::Malformed { service, source })),
            Ok(response) if response.service() != service => self.discard(now, received),
            Ok(Response::Positive { parameters, .. }) => match exchange.request.strip_echo(parameters) {
                Some(record) => {
                    let record = record.to_vec();
                    self.finish(now, Event::Answered { service, record });
                }
                None => self.discard(now, received),
            },
            Ok(Response::Negative { nrc: Nrc::ResponsePending, .. }) => self.handle_pending(now),
            // Both say that nothing was done yet, so even a 0x36 may be sent once more.
            Ok(Response::Negative {
                nrc: Nrc::BusyRepeatRequest | Nrc::ResourceTemporarilyNotAvailable,
                ..
            }) => self.handle_busy(now),
            Ok(Response::Negative { nrc, .. }) => {
                self.finish(now, Event::Failed(ClientError::Refused { service, nrc }));
            }
        }
    }

    /// The transport gives up on the request or on the answer.
    pub fn handle_transport_failure(&mut self, now: Instant, failure: TransportFailure) {
        if let TesterPresent::Sending { .. } = self.tester_present {
            // The next one is due after S3; a dead link shows itself at the next request.
            self.tester_present = TesterPresent::Idle;
            self.last_use = Some(now);
            return;
        }
        let Some(exchange) = &self.exchange else { return };
        let service = exchange.request.service();
        if matches!(exchange.state, State::Sending { .. } | State::Waiting { .. }) {
            self.finish(now, Event::Failed(ClientError::Transport { service, source: failure }));
        }
    }

    /// Call when the instant of `poll_timeout` has come; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle_tester_present_timeout(now);
        let Some(exchange) = &mut self.exchange else { return };
        let service = exchange.request.service();
        match exchange.state {
            State::Sending { deadline } if now >= deadline => {
                let source = TransportFailure::NotConfirmed;
                self.finish(now, Event::Failed(ClientError::Transport { service, source }));
            }
            State::Waiting { deadline } if now >= deadline => {
                let event = if exchange.pending > 0 && exchange.limit.is_some_and(|limit| now >= limit) {
                    let count = exchange.pending;
                    Event::Failed(ClientError::ResponsePendingTooLong { service, count })
                } else if exchange.pending == 0 && exchange.request.may_stay_unanswered() {
                    Event::Unanswered { service }
                } else {
                    Event::Failed(ClientError::NoAnswer { service, discarded: exchange.discarded })
                };
                self.finish(now, event);
            }
            State::BackOff { until } if now >= until => exchange.state = State::Queued,
            _ => {}
        }
    }

    /// The next request for the transport, which answers with `handle_sent` or `handle_transport_failure`.
    pub fn poll_request(&mut self) -> Option<Outgoing> {
        match self.tester_present {
            TesterPresent::Queued { deadline } => {
                self.tester_present = TesterPresent::Sending { deadline };
                let request = Request::new(ServiceId::TesterPresent, &[0x00]).suppress_positive_response();
                let functional = self.timings.tester_present == Addressing::Functional;
                return Some(Outgoing { functional, pdu: request.pdu().to_vec() });
            }
            // The transport confirms one request at a time.
            TesterPresent::Sending { .. } => return None,
            TesterPresent::Idle => {}
        }
        let exchange = self.exchange.as_mut()?;
        let State::Queued = exchange.state else { return None };
        // `last_use` was set when the request was handed in or its repetition fell due.
        let deadline = self.last_use? + self.timings.send;
        exchange.state = State::Sending { deadline };
        let functional = exchange.request.addressing() == Addressing::Functional;
        Some(Outgoing { functional, pdu: exchange.request.pdu().to_vec() })
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let exchange = self.exchange.as_ref().and_then(|exchange| match exchange.state {
            State::Queued => None,
            State::Sending { deadline } | State::Waiting { deadline } => Some(deadline),
            State::BackOff { until } => Some(until),
        });
        let tester_present = match self.tester_present {
            TesterPresent::Idle => self.tester_present_due(),
            TesterPresent::Queued { deadline } | TesterPresent::Sending { deadline } => Some(deadline),
        };
        exchange.into_iter().chain(tester_present).min()
    }

    /// Counts what answers another request. A long one has kept the ECU from answering, so P2 starts again.
    fn discard(&mut self, now: Instant, received: bool) {
        let p2 = self.p2;
        let Some(exchange) = &mut self.exchange else { return };
        exchange.discarded = exchange.discarded.saturating_add(1);
        if received && let (State::Waiting { .. }, Some(limit)) = (exchange.state, exchange.limit) {
            exchange.state = State::Waiting { deadline: (now + p2).min(limit) };
        }
    }

    fn handle_pending(&mut self, now: Instant) {
        let (p2_star, max, total) = (self.p2_star, self.timings.pending_max, self.timings.pending_total);
        let Some(exchange) = &mut self.exchange else { return };
        exchange.pending += 1;
        let limit = *exchange.limit.get_or_insert(now + total);
        if exchange.pending > max || now >= limit {
            let (service, count) = (exchange.request.service(), exchange.pending);
            self.finish(now, Event::Failed(ClientError::ResponsePendingTooLong { service, count }));
        } else {
            exchange.state = State::Waiting { deadline: (now + p2_star).min(limit) };
        }
    }

    fn handle_busy(&mut self, now: Instant) {
        let (delay, max, total) =
            (self.timings.busy_delay, self.timings.busy_max, self.timings.pending_total);
        let Some(exchange) = &mut self.exchange else { return };
        exchange.busy += 1;
        let limit = *exchange.limit.get_or_insert(now + total);
        if exchange.busy > max || now + delay >= limit {
            let (service, count) = (exchange.request.service(), exchange.busy);
            self.finish(now, Event::Failed(ClientError::BusyTooLong { service, count }));
        } else {
            exchange.state = State::BackOff { until: now + delay };
            self.last_use = Some(now + delay);
        }
    }

    fn finish(&mut self, now: Instant, event: Event) {
        if let Some(exchange) = self.exchange.take() {
            self.note_session(&exchange.request, &event);
        }
        self.last_use = Some(now);
        self.events.push_back(event);
    }

    /// Follows the ECU through 0x10 and 0x11. A functional 0x10 has no answer but took effect all the same.
    fn note_session(&mut self, request: &Request, event: &Event) {
        let record: &[u8] = match event {
            Event::Answered { record, .. } => record,
            Event::Unanswered { .. } => &[],
            Event::Failed(_) => return,
        };
        match (request.service(), request.sub_function()) {
            (ServiceId::EcuReset, _) => self.forget_session(),
            (ServiceId::DiagnosticSessionControl, Some(session)) => {
                self.forget_session();
                self.session = Session::from_byte(session);
                // Clause 10.2: P2 in ms, P2* in 10 ms.
                if let [a, b, c, d] = *record {
                    let p2 = Duration::from_millis(u16::from_be_bytes([a, b]).into());
                    let p2_star = Duration::from_millis(10 * u64::from(u16::from_be_bytes([c, d])));
                    self.p2 = self.timings.p2.max(p2 + WAY_ALLOWANCE);
                    self.p2_star = self.timings.p2_star.max(p2_star + WAY_ALLOWANCE);
                }
            }
            _ => {}
        }
    }

    fn tester_present_due(&self) -> Option<Instant> {
        let idle = self.exchange.is_none() && self.session != Session::Default;
        self.last_use.filter(|_| idle).map(|last_use| last_use + self.timings.s3)
    }

    fn handle_tester_present_timeout(&mut self, now: Instant) {
        match self.tester_present {
            TesterPresent::Idle if self.tester_present_due().is_some_and(|due| now >= due) => {
                self.tester_present = TesterPresent::Queued { deadline: now + self.timings.send };
            }
            TesterPresent::Queued { deadline } | TesterPresent::Sending { deadline } if now >= deadline => {
                self.tester_present = TesterPresent::Idle;
                self.last_use = Some(now);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
