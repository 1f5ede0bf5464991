//! One ECU from its old version to its new one: the whole programming sequence of ISO 14229-1 clause 16 over one
//! [`Client`], in the dialect of a [`Profile`].
//!
//! The contract: answers, data and permissions go in through `handle_*`, [`Programmer::begin_transfer`],
//! [`Programmer::activate`] and [`Programmer::abort`]; requests and events come out through `poll_*`; every call that
//! takes `&mut self` is followed by a full drain of `poll_request` and `poll_event`. The last event is
//! [`Event::Finished`] or [`Event::Failed`], exactly one of them, and every way to it is bounded in time except the
//! two gates and the wait for data, which end when the caller says so.
//!
//! Two gates: nothing is erased before `begin_transfer`, nothing is switched or reset before `activate`; both may be
//! called before they are due. In between, the session is kept alive. A block of 0x36 is never sent twice in one
//! download: when its answer is lost, the ECU is asked how far it got and a new download starts there, or the attempt
//! fails and a later one resumes.
//!
//! ```
//! use canfd::uds::programming::{Event, Plan, Programmer};
//! use canfd::uds::profile::Profile;
//! use std::{sync::Arc, time::Instant};
//!
//! let now = Instant::now();
//! let profile = Profile { checksum: None, ..Profile::default() };
//! let plan = Plan { image_len: 4, version: b"2.0.0".to_vec(), ..Plan::default() };
//! let mut programmer = Programmer::new(now, Arc::new(profile), plan).unwrap();
//! programmer.begin_transfer(now);
//! programmer.activate(now);
//! let finished = loop {
//!     while let Some(outgoing) = programmer.poll_request() {
//!         programmer.handle_sent(now); // once the transport confirms it
//!         assert_eq!(outgoing.pdu, [0x22, 0xF1, 0x95]);
//!         programmer.handle_response(now, b"\x62\xF1\x952.0.0"); // an ECU that is up to date already
//!     }
//!     match programmer.poll_event() {
//!         Some(Event::NeedData { offset, .. }) => programmer.handle_data(now, offset, b"code").unwrap(),
//!         Some(last @ (Event::Finished { .. } | Event::Failed(_))) => break last,
//!         _ => {} // with nothing to do: wait until `poll_timeout` and call `handle_timeout`
//!     }
//! };
//! assert!(matches!(finished, Event::Finished { already_current: true, .. }));
//! ```

mod answers;
mod error;
mod plan;
mod restore;
mod sequence;
mod steps;
mod transfer;

pub use error::{Cause, EcuState, Misbehaviour, ProgrammingError};
pub use plan::{Plan, PlanError};
pub use transfer::DataError;

use super::client::{Client, Outgoing, TransportFailure};
use super::message::Request;
use super::profile::{Phase, Profile, Security};
use super::security::{self, Credential, KeyAlgorithm};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use transfer::Transfer;

/// What happens to the ECU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step begins. [`Phase::AwaitTransfer`] and [`Phase::AwaitActivation`] wait for the caller.
    PhaseEntered(Phase),
    /// What the ECU said about itself before anything was changed
    Identified {
        /// Its version; `None` if it refuses to tell, as a boot loader without application may
        version: Option<Vec<u8>>,
        /// Its hardware; `None` if it refuses to tell or was not asked
        hardware: Option<Vec<u8>>,
        /// Index of the bank that will be programmed
        bank: usize,
    },
    /// The bank is empty: a journal's acknowledged bytes are void
    Erased,
    /// A broken transfer goes on here, at the ECU's word; bytes from here on will be asked for
    Resumed {
        /// Bytes from the start of the image that the ECU holds
        offset: u64,
    },
    /// Hand in the image from here with `handle_data`
    NeedData {
        /// From the start of the image
        offset: u64,
        /// Most bytes wanted; fewer are allowed but cost throughput
        max_len: u32,
    },
    /// The ECU has positively acknowledged the image up to here
    Acknowledged {
        /// From the start of the image
        offset: u64,
    },
    /// The ECU runs the planned version
    Finished {
        /// As the ECU reports it
        version: Vec<u8>,
        /// It did so before, nothing was changed
        already_current: bool,
        /// Whether every request that ends the session and restores communication was carried out
        restored: bool,
    },
    /// The attempt ended without success
    Failed(ProgrammingError),
}

/// Programs one ECU once.
#[derive(Debug)]
pub struct Programmer {
    profile: Arc<Profile>,
    plan: Plan,
    secrets: Secrets,
    /// Of ours to the ECU, in 0x29
    challenge: Vec<u8>,
    client: Client,
    steps: Vec<Phase>,
    position: usize,
    phase: Phase,
    asked: Option<Asked>,
    /// A request to be made later
    pause: Option<(Instant, Asked)>,
    transfer: Transfer,
    /// What broke the transfer that is being taken up again
    recovering: Option<Cause>,
    /// Where the transfer goes on once the flash driver is in place
    resume_at: Option<u64>,
    erasing: Erasing,
    bank: usize,
    version: Option<Vec<u8>>,
    hardware: Option<Vec<u8>>,
    ecu_state: EcuState,
    /// To go back to when the ECU refuses to erase or to switch
    state_before: EcuState,
    may_transfer: bool,
    may_activate: bool,
    aborted: bool,
    security_waited: bool,
    reset_at: Option<Instant>,
    reset_answered: bool,
    ending: Option<Ending>,
    restore: VecDeque<Request>,
    restored: bool,
    events: VecDeque<Event>,
}

/// What the profile's security needs and data cannot hold.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// For 0x27, whatever the profile calls it; `None`: the built-in one of that name
    pub algorithm: Option<Arc<dyn KeyAlgorithm>>,
    /// For 0x29, whatever the profile calls it; `None`: the built-in one of that name
    pub credential: Option<Arc<dyn Credential>>,
}

/// How far erasing is.
#[derive(Debug, Clone, Copy, Default)]
struct Erasing {
    /// Segment under way
    index: usize,
    /// When the first request was made
    since: Option<Instant>,
    /// The ECU has said yes once, so something is gone
    begun: bool,
}

/// The request under way, by what its answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Version,
    Hardware,
    ActiveBank,
    /// A step whose positive answer says nothing more
    Step,
    Seed,
    Key,
    Certificate,
    Proof,
    ResumeOffset,
    Erase,
    Download,
    FileReplace,
    FileResume,
    Block,
    Exit,
    Checksum,
    Dependencies,
    SwitchBank,
    Reset,
    ReadBack,
    Restore,
}

#[derive(Debug, Clone)]
enum Ending {
    Success { already_current: bool },
    Failure(ProgrammingError),
    Over,
}

impl Programmer {
    /// Checks the plan and starts at once: the first request waits in `poll_request`.
    ///
    /// # Errors
    /// A plan that cannot be carried out with this profile.
    pub fn new(now: Instant, profile: Arc<Profile>, plan: Plan) -> Result<Self, PlanError> {
        Self::with_secrets(now, profile, plan, Secrets::default())
    }

    /// The same with secrets of the caller's.
    ///
    /// # Errors
    /// A plan that cannot be carried out with this profile.
    pub fn with_secrets(
        now: Instant,
        profile: Arc<Profile>,
        plan: Plan,
        mut secrets: Secrets,
    ) -> Result<Self, PlanError> {
        match &profile.security {
            Security::None => {}
            Security::SeedKey { algorithm: name, .. } => {
                secrets.algorithm = secrets.algorithm.or_else(|| security::by_name(name));
                if secrets.algorithm.is_none() {
                    return Err(PlanError::UnknownKeyAlgorithm { name: name.clone() });
                }
            }
            Security::Certificate { credential: name, .. } => {
                secrets.credential = secrets.credential.or_else(|| security::credential_by_name(name));
                if secrets.credential.is_none() {
                    return Err(PlanError::UnknownCredential { name: name.clone() });
                }
            }
        }
        plan.validate(&profile)?;
        // What an earlier attempt left behind only the ECU can tell.
        let ecu_state = if plan.resume_from.is_some() { EcuState::Unknown } else { EcuState::OldSoftware };
        let mut programmer = Self {
            secrets,
            challenge: Vec::new(),
            client: Client::new(profile.timings.client()),
            steps: profile.steps(),
            position: 0,
            phase: Phase::Identification,
            asked: None,
            pause: None,
            transfer: Transfer::new(plan.image_len, profile.block_check),
            recovering: None,
            resume_at: None,
            erasing: Erasing::default(),
            bank: plan.bank.unwrap_or(0),
            version: None,
            hardware: None,
            ecu_state,
            state_before: ecu_state,
            may_transfer: false,
            may_activate: false,
            aborted: false,
            security_waited: false,
            reset_at: None,
            reset_answered: false,
            ending: None,
            restore: VecDeque::new(),
            restored: true,
            events: VecDeque::new(),
            profile,
            plan,
        };
        programmer.enter(now, Phase::Identification);
        Ok(programmer)
    }

    /// The step under way.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the ECU runs, as far as is known now.
    pub fn ecu_state(&self) -> EcuState {
        self.ecu_state
    }

    /// Permits everything up to `AwaitActivation`, erasing included.
    pub fn begin_transfer(&mut self, now: Instant) {
        self.may_transfer = true;
        if self.phase == Phase::AwaitTransfer && self.ending.is_none() {
            self.advance(now);
        }
    }

    /// Permits the new image to become the running one.
    pub fn activate(&mut self, now: Instant) {
        self.may_activate = true;
        if self.phase == Phase::AwaitActivation && self.ending.is_none() {
            self.advance(now);
        }
    }

    /// Gives up, after the request under way. Returns false, and changes nothing, once activation has begun.
    pub fn abort(&mut self, now: Instant) -> bool {
        if self.ending.is_some() || !self.is_abortable() {
            return false;
        }
        self.aborted = true;
        if self.asked.is_none() {
            self.fail(now, Cause::Aborted);
        }
        true
    }

    /// Hands in the image from `offset` on, as `NeedData` asked for.
    ///
    /// # Errors
    /// Data that is not wanted; harmless if the transfer was taken up elsewhere in the meantime.
    pub fn handle_data(&mut self, now: Instant, offset: u64, data: &[u8]) -> Result<(), DataError> {
        if self.ending.is_some() {
            return Err(DataError::NotWanted);
        }
        self.transfer.stage(offset, data)?;
        if self.phase == Phase::TransferData && self.asked.is_none() {
            self.continue_transfer(now);
        }
        Ok(())
    }

    /// See [`Client::handle_response`].
    pub fn handle_response(&mut self, now: Instant, pdu: &[u8]) {
        self.client.handle_response(now, pdu);
        self.settle(now);
    }

    /// See [`Client::handle_response_started`].
    pub fn handle_response_started(&mut self, now: Instant) {
        self.client.handle_response_started(now);
    }

    /// See [`Client::handle_sent`].
    pub fn handle_sent(&mut self, now: Instant) {
        self.client.handle_sent(now);
    }

    /// See [`Client::handle_transport_failure`].
    pub fn handle_transport_failure(&mut self, now: Instant, failure: TransportFailure) {
        self.client.handle_transport_failure(now, failure);
        self.settle(now);
    }

    /// Call when the instant of `poll_timeout` has come; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        self.settle(now);
        if let Some((until, asked)) = self.pause
            && now >= until
        {
            self.pause = None;
            self.ask(now, asked);
        }
    }

    /// The next request for the transport.
    pub fn poll_request(&mut self) -> Option<Outgoing> {
        self.client.poll_request()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; `None` while the caller is waited for, and at the end.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pause = self.pause.map(|(until, _)| until);
        self.client.poll_timeout().into_iter().chain(pause).min()
    }
}
