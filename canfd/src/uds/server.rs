//! The ECU's side of UDS, for simulators and testers: sessions with S3, security, response pending and the order in
//! which negative response codes are decided (clause 8.7), over an [`Application`] that owns data and memory.
//!
//! Every call that takes `&mut self` is followed by a full drain of `poll_response`.

mod authentication;
mod services;
#[cfg(test)]
mod tests;
mod transfer;

use super::message::{
    BlockSequenceCounter, DataIdentifier, FileAccepted, FileRequest, MemoryRange, Nrc, RoutineControl,
    RoutineId, SUPPRESS_POSITIVE_RESPONSE, SecurityLevel, ServerChallenge, ServiceId, Session,
    negative_response, positive_response,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Responses kept for `poll_response`; a caller that drains as asked never meets the bound.
const MAX_RESPONSES: usize = 8;

/// How the server behaves in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTimings {
    /// Reported to the client; work longer than this is announced with NRC 0x78 (P2server).
    pub p2: Duration,
    /// Reported to the client; NRC 0x78 is repeated within it (P2*server).
    pub p2_star: Duration,
    /// Silence after which the session falls back to the default one (S3server).
    pub s3: Duration,
    /// Lock after `max_attempts` wrong keys, and after the start.
    pub security_delay: Duration,
    /// Wrong keys allowed.
    pub max_attempts: u32,
    /// Whether seeds are refused for `security_delay` after the start.
    pub delay_after_start: bool,
}

impl Default for ServerTimings {
    /// The values of ISO 14229-2; three attempts, 10 s of lock, none after the start.
    fn default() -> Self {
        Self {
            p2: Duration::from_millis(50),
            p2_star: Duration::from_millis(5000),
            s3: Duration::from_millis(5000),
            security_delay: Duration::from_secs(10),
            max_attempts: 3,
            delay_after_start: false,
        }
    }
}

/// What the application may know about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// When it arrived
    pub now: Instant,
    /// The session it arrived in
    pub session: Session,
    /// The level unlocked, if any
    pub unlocked: Option<SecurityLevel>,
    /// Whether the tester has proven itself by 0x29
    pub authenticated: bool,
}

/// How the application carries out a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// At once; the bytes follow the repeated part of the request
    Done(Vec<u8>),
    /// It takes time: [`Application::finish`] is called at `until`; without it, never
    Working {
        /// When it is done
        until: Option<Instant>,
    },
    /// Not at all
    Refused(Nrc),
}

/// What is behind the services. Session, security, order and length were checked before a method is called.
pub trait Application {
    /// Service 0x22, one identifier.
    ///
    /// # Errors
    /// The code to refuse with.
    fn read_data(&mut self, context: Context, did: DataIdentifier) -> Result<Vec<u8>, Nrc>;

    /// Service 0x2E.
    ///
    /// # Errors
    /// The code to refuse with.
    fn write_data(&mut self, context: Context, did: DataIdentifier, record: &[u8]) -> Result<(), Nrc>;

    /// Service 0x31.
    fn routine(&mut self, context: Context, control: RoutineControl, id: RoutineId, option: &[u8])
    -> Outcome;

    /// A seed for `level`; `None` if there is no such level. All zeros: unlocked already.
    fn seed(&mut self, level: SecurityLevel) -> Option<Vec<u8>>;

    /// Whether `key` answers `seed`.
    fn accepts_key(&mut self, level: SecurityLevel, seed: &[u8], key: &[u8]) -> bool;

    /// Service 0x34; returns the longest 0x36 request in bytes, service and counter included.
    ///
    /// # Errors
    /// The code to refuse with.
    fn request_download(
        &mut self,
        context: Context,
        format: u8,
        address: u64,
        length: u64,
    ) -> Result<u32, Nrc>;

    /// Data of a 0x36 with the right counter.
    fn transfer_data(&mut self, context: Context, data: &[u8]) -> Outcome;

    /// Takes off what stands behind the data of a 0x36 given whole; the rest is data.
    ///
    /// # Errors
    /// The code to refuse with, such as after a wrong checksum.
    fn check_block<'a>(&mut self, request: &'a [u8]) -> Result<&'a [u8], Nrc> {
        Ok(request)
    }

    /// Service 0x37 after as many bytes as 0x34 announced.
    fn transfer_exit(&mut self, context: Context) -> Outcome;

    /// The result of work that was announced with [`Outcome::Working`].
    ///
    /// # Errors
    /// The code to refuse with.
    fn finish(&mut self, now: Instant) -> Result<Vec<u8>, Nrc>;

    /// Service 0x14 for a group of trouble codes.
    ///
    /// # Errors
    /// The code to refuse with.
    fn clear_diagnostic_information(&mut self, _context: Context, _group: u32) -> Result<(), Nrc> {
        Err(Nrc::ServiceNotSupported)
    }

    /// Service 0x19: what follows the report type.
    ///
    /// # Errors
    /// The code to refuse with.
    fn read_dtc_information(
        &mut self,
        _context: Context,
        _report_type: u8,
        _parameters: &[u8],
    ) -> Result<Vec<u8>, Nrc> {
        Err(Nrc::ServiceNotSupported)
    }

    /// Service 0x23.
    ///
    /// # Errors
    /// The code to refuse with.
    fn read_memory(&mut self, _context: Context, _range: &MemoryRange) -> Result<Vec<u8>, Nrc> {
        Err(Nrc::ServiceNotSupported)
    }

    /// Service 0x2F: what follows the identifier in the answer.
    ///
    /// # Errors
    /// The code to refuse with.
    fn io_control(
        &mut self,
        _context: Context,
        _did: DataIdentifier,
        _option: &[u8],
    ) -> Result<Vec<u8>, Nrc> {
        Err(Nrc::ServiceNotSupported)
    }

    /// Service 0x29: a challenge for the owner of that certificate, and with `challenge` the ECU's own proof.
    ///
    /// # Errors
    /// The code to refuse with.
    fn verify_certificate(
        &mut self,
        _context: Context,
        _certificate: &[u8],
        _challenge: Option<&[u8]>,
    ) -> Result<ServerChallenge, Nrc> {
        Err(Nrc::ServiceNotSupported)
    }

    /// Service 0x29: whether `proof` answers the ECU's challenge.
    fn accepts_proof(&mut self, _challenge: &ServerChallenge, _proof: &[u8]) -> bool {
        false
    }

    /// Service 0x35; returns the longest answer to 0x36 in bytes, service and counter included.
    ///
    /// # Errors
    /// The code to refuse with.
    fn request_upload(&mut self, _context: Context, _format: u8, _range: &MemoryRange) -> Result<u32, Nrc> {
        Err(Nrc::ServiceNotSupported)
    }

    /// Service 0x36 of an upload: the next so many bytes.
    ///
    /// # Errors
    /// The code to refuse with.
    fn upload(&mut self, _context: Context, _len: usize) -> Result<Vec<u8>, Nrc> {
        Err(Nrc::RequestSequenceError)
    }

    /// Service 0x38. A file to the ECU goes on as after 0x34, one from the ECU as after 0x35.
    ///
    /// # Errors
    /// The code to refuse with.
    fn request_file_transfer(
        &mut self,
        _context: Context,
        _request: &FileRequest,
    ) -> Result<FileAccepted, Nrc> {
        Err(Nrc::ServiceNotSupported)
    }

    /// Service 0x11: restart; returns how long the ECU is deaf.
    ///
    /// # Errors
    /// The code to refuse with.
    fn reset(&mut self, context: Context, reset_type: u8) -> Result<Duration, Nrc>;
}

/// One ECU's diagnostic server.
#[derive(Debug)]
pub struct Server<A> {
    application: A,
    timings: ServerTimings,
    session: Session,
    s3_deadline: Option<Instant>,
    unlocked: Option<SecurityLevel>,
    seed: Option<(SecurityLevel, Vec<u8>)>,
    /// Given out and not yet answered in 0x29
    challenge: Option<ServerChallenge>,
    authenticated: bool,
    attempts: u32,
    locked_until: Option<Instant>,
    deaf_until: Option<Instant>,
    download: Option<Download>,
    work: Option<Work>,
    communication_enabled: bool,
    dtc_setting_enabled: bool,
    responses: VecDeque<Vec<u8>>,
}

#[derive(Debug)]
struct Download {
    counter: BlockSequenceCounter,
    remaining: u64,
    max_block_length: u32,
    /// Of a transfer from the ECU: the block sent last, to be sent again if it is asked for again
    last: Option<Vec<u8>>,
    to_tester: bool,
}

/// A request whose answer takes time.
#[derive(Debug)]
struct Work {
    service: ServiceId,
    /// What the positive response repeats
    echo: Vec<u8>,
    until: Option<Instant>,
    next_pending: Instant,
}

/// The answer to a request, before addressing and suppression are looked at.
enum Answer {
    Positive(Vec<u8>),
    Later,
    Negative(Nrc),
}

impl From<Nrc> for Answer {
    fn from(nrc: Nrc) -> Self {
        Self::Negative(nrc)
    }
}

impl<A: Application> Server<A> {
    /// An ECU that starts now.
    pub fn new(now: Instant, application: A, timings: ServerTimings) -> Self {
        Self {
            application,
            locked_until: timings.delay_after_start.then(|| now + timings.security_delay),
            timings,
            session: Session::Default,
            s3_deadline: None,
            unlocked: None,
            seed: None,
            challenge: None,
            authenticated: false,
            attempts: 0,
            deaf_until: None,
            download: None,
            work: None,
            communication_enabled: true,
            dtc_setting_enabled: true,
            responses: VecDeque::new(),
        }
    }

    /// What is behind the services.
    pub fn application(&self) -> &A {
        &self.application
    }

    /// What is behind the services.
    pub fn application_mut(&mut self) -> &mut A {
        &mut self.application
    }

    /// The session now.
    pub fn session(&self) -> Session {
        self.session
    }

    /// Whether normal communication is on (0x28).
    pub fn is_communication_enabled(&self) -> bool {
        self.communication_enabled
    }

    /// Whether trouble codes are set (0x85).
    pub fn is_dtc_setting_enabled(&self) -> bool {
        self.dtc_setting_enabled
    }

    /// The ECU restarts, and is deaf until `deaf_until`.
    pub fn restart(&mut self, now: Instant, deaf_until: Instant) {
        self.enter_session(Session::Default);
        self.attempts = 0;
        self.work = None;
        self.responses.clear();
        self.locked_until = self.timings.delay_after_start.then(|| now + self.timings.security_delay);
        self.deaf_until = Some(deaf_until);
    }

    /// Locks security access until `until`, as after too many wrong keys.
    pub fn lock_security(&mut self, until: Instant) {
        self.locked_until = Some(until);
        self.unlocked = None;
    }

    /// A request PDU.
    pub fn handle_request(&mut self, now: Instant, functional: bool, pdu: &[u8]) {
        self.handle_timeout(now);
        if self.deaf_until.is_some() {
            return;
        }
        let Some((sid, parameters)) = pdu.split_first() else { return };
        let Some(service) = ServiceId::from_byte(*sid) else {
            self.respond(functional, false, *sid, Answer::Negative(Nrc::ServiceNotSupported));
            return;
        };
        if self.work.is_some() {
            // Tester present is absorbed, everything else has to wait (ISO 14229-2, one request at a time).
            if service != ServiceId::TesterPresent {
                self.respond(functional, false, *sid, Answer::Negative(Nrc::BusyRepeatRequest));
            }
            return;
        }
        let suppress = service.has_sub_function()
            && parameters.first().is_some_and(|sub_function| sub_function & SUPPRESS_POSITIVE_RESPONSE != 0);
        let answer = self.dispatch(now, service, parameters);
        self.respond(functional, suppress, *sid, answer);
        if self.session != Session::Default {
            self.s3_deadline = Some(now + self.timings.s3);
        }
    }

    /// Call when the instant of `poll_timeout` has come; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deaf_until.is_some_and(|until| now >= until) {
            self.deaf_until = None;
        }
        self.handle_work(now);
        if self.work.is_none() && self.s3_deadline.is_some_and(|deadline| now >= deadline) {
            self.enter_session(Session::Default);
        }
    }

    /// The next response PDU.
    pub fn poll_response(&mut self) -> Option<Vec<u8>> {
        self.responses.pop_front()
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let work = self
            .work
            .as_ref()
            .map(|work| work.until.map_or(work.next_pending, |at| at.min(work.next_pending)));
        let s3 = if self.work.is_some() { None } else { self.s3_deadline };
        [work, s3, self.deaf_until].into_iter().flatten().min()
    }

    fn handle_work(&mut self, now: Instant) {
        let Some(work) = &mut self.work else { return };
        if work.until.is_some_and(|until| now >= until) {
            let (service, mut parameters) = (work.service, std::mem::take(&mut work.echo));
            self.work = None;
            let response = match self.application.finish(now) {
                Ok(record) => {
                    parameters.extend(record);
                    positive_response(service, &parameters)
                }
                Err(nrc) => negative_response(service.to_byte(), nrc),
            };
            self.push(response);
            if self.session != Session::Default {
                self.s3_deadline = Some(now + self.timings.s3);
            }
        } else if now >= work.next_pending {
            let service = work.service.to_byte();
            // Well before the client's P2* ends.
            work.next_pending = now + self.timings.p2_star * 3 / 4;
            self.push(negative_response(service, Nrc::ResponsePending));
        }
    }

    fn respond(&mut self, functional: bool, suppress: bool, sid: u8, answer: Answer) {
        match answer {
            Answer::Later => {}
            Answer::Positive(_) if suppress => {}
            Answer::Positive(parameters) => {
                if let Some(service) = ServiceId::from_byte(sid) {
                    self.push(positive_response(service, &parameters));
                }
            }
            // Table 5: a functional request that an ECU cannot serve is for another one.
            Answer::Negative(
                Nrc::ServiceNotSupported
                | Nrc::SubFunctionNotSupported
                | Nrc::RequestOutOfRange
                | Nrc::SubFunctionNotSupportedInActiveSession
                | Nrc::ServiceNotSupportedInActiveSession,
            ) if functional => {}
            Answer::Negative(nrc) => self.push(negative_response(sid, nrc)),
        }
    }

    fn push(&mut self, response: Vec<u8>) {
        if self.responses.len() < MAX_RESPONSES {
            self.responses.push_back(response);
        }
    }

    /// Any change of session locks the ECU, and the default one switches everything on again (clause 10.2).
    fn enter_session(&mut self, session: Session) {
        self.session = session;
        self.unlocked = None;
        self.seed = None;
        self.download = None;
        self.challenge = None;
        if session == Session::Default {
            self.authenticated = false;
            self.communication_enabled = true;
            self.dtc_setting_enabled = true;
            self.s3_deadline = None;
        }
    }
}
