//! The steps forward: what each phase asks.

use super::{Asked, Cause, Ending, Erasing, Event, Programmer};
use crate::uds::message::{
    Addressing, AuthenticationRequest, DataIdentifier, FileMode, FileRequest, Request, RoutineControl,
    Session,
};
use crate::uds::profile::{Activation, Phase, Resume, Security, SendTo};
use std::time::Instant;

/// Communication type of 0x28: normal communication messages (table B.1).
const NORMAL_MESSAGES: u8 = 0x01;

impl Programmer {
    /// Takes the next step of the profile.
    pub(super) fn advance(&mut self, now: Instant) {
        self.position += 1;
        let next = self.steps.get(self.position).copied().unwrap_or(Phase::Restore);
        if next == Phase::ResumeQuery && !self.plan.resumes(&self.profile) {
            self.advance(now);
        } else {
            self.enter(now, next);
        }
    }

    /// Goes to `phase` and on from there; every phase that is a target is a step of its profile.
    pub(super) fn jump(&mut self, now: Instant, phase: Phase) {
        self.position = self.steps.iter().position(|step| *step == phase).unwrap_or(self.position);
        self.enter(now, phase);
    }

    /// Goes to the step after `phase`.
    pub(super) fn jump_past(&mut self, now: Instant, phase: Phase) {
        self.position = self.steps.iter().position(|step| *step == phase).unwrap_or(self.position);
        self.advance(now);
    }

    pub(super) fn enter(&mut self, now: Instant, phase: Phase) {
        if self.aborted && self.is_abortable() {
            self.fail(now, Cause::Aborted);
            return;
        }
        self.phase = phase;
        self.events.push_back(Event::PhaseEntered(phase));
        match phase {
            Phase::Identification => self.ask(now, Asked::Version),
            Phase::ExtendedSession
            | Phase::DtcSettingOff
            | Phase::CommunicationOff
            | Phase::ProgrammingSession
            | Phase::Fingerprint => self.ask(now, Asked::Step),
            Phase::TransferExit => self.ask(now, Asked::Exit),
            Phase::SecurityAccess => match self.profile.security {
                Security::Certificate { .. } => self.ask(now, Asked::Certificate),
                Security::None | Security::SeedKey { .. } => self.ask(now, Asked::Seed),
            },
            Phase::AwaitTransfer if self.may_transfer => self.advance(now),
            Phase::AwaitActivation if self.may_activate => self.advance(now),
            Phase::AwaitTransfer | Phase::AwaitActivation => {}
            Phase::ResumeQuery => self.ask(now, Asked::ResumeOffset),
            Phase::Erase if self.transfer.lacks_driver() => {
                self.transfer.restart_at(0);
                self.jump(now, Phase::RequestDownload);
            }
            Phase::Erase => {
                self.erasing = Erasing { since: Some(now), ..Erasing::default() };
                self.ask(now, Asked::Erase);
            }
            Phase::RequestDownload => self.request_transfer(now),
            Phase::TransferData => self.continue_transfer(now),
            Phase::Checksum => self.ask(now, Asked::Checksum),
            Phase::Dependencies => self.ask(now, Asked::Dependencies),
            Phase::SwitchBank => self.ask(now, Asked::SwitchBank),
            Phase::Reset => self.ask(now, Asked::Reset),
            Phase::ReadBack => self.pause = Some((now + self.profile.timings.reset_poll, Asked::ReadBack)),
            Phase::Restore => self.begin_restore(now, Ending::Success { already_current: false }),
        }
    }

    /// Sends a block if one is ready, and asks for the data of the next: while a block is under way, the caller
    /// fetches the one after it.
    pub(super) fn continue_transfer(&mut self, now: Instant) {
        if self.transfer.is_part_complete() {
            self.advance(now);
            return;
        }
        if let Some(request) = self.transfer.next_request() {
            self.send(now, Asked::Block, request);
        }
        if let Some(wanted) = self.transfer.want() {
            self.events.push_back(Event::NeedData { offset: wanted.offset, max_len: wanted.max_len });
        }
    }

    /// Makes the request that `asked` stands for, unless the caller gave up.
    pub(super) fn ask(&mut self, now: Instant, asked: Asked) {
        if self.aborted && self.is_abortable() {
            self.fail(now, Cause::Aborted);
            return;
        }
        let request = match asked {
            Asked::Version | Asked::ReadBack => Some(Request::read_data(self.profile.version_did)),
            Asked::Hardware => self.profile.hardware_did.map(Request::read_data),
            Asked::ActiveBank => self.profile.active_bank_did.map(Request::read_data),
            Asked::Step => self.step_request(),
            Asked::Seed => match self.profile.security {
                Security::SeedKey { level, .. } => Some(Request::request_seed(level)),
                Security::None | Security::Certificate { .. } => None,
            },
            Asked::Certificate => self.certificate_request(),
            Asked::ResumeOffset => self.resume_did().map(Request::read_data),
            Asked::Erase => Some(self.erase_request()),
            Asked::Download => Some(self.download_request()),
            Asked::FileReplace => self.file_request(FileMode::Replace),
            Asked::FileResume => self.file_request(FileMode::Resume),
            Asked::Exit => Some(Request::transfer_exit()),
            Asked::Checksum => self.profile.checksum.map(|checksum| {
                Request::routine(RoutineControl::Start, checksum.routine, &self.plan.checksum)
            }),
            Asked::Dependencies => {
                self.profile.dependencies_routine.map(|id| Request::routine(RoutineControl::Start, id, &[]))
            }
            Asked::SwitchBank => match self.profile.activation {
                Activation::SwitchBank { routine } => {
                    Some(Request::routine(RoutineControl::Start, routine, &[self.bank_byte()]))
                }
                Activation::Reset => None,
            },
            Asked::Reset => Some(Request::ecu_reset(self.profile.reset_type)),
            // Made where their contents are at hand: `answers.rs`, `continue_transfer`, `restore.rs`.
            Asked::Key | Asked::Proof | Asked::Block | Asked::Restore => None,
        };
        self.note_danger(asked);
        match request {
            Some(request) => self.send(now, asked, request),
            None => self.advance(now),
        }
    }

    pub(super) fn send(&mut self, now: Instant, asked: Asked, request: Request) {
        self.asked = Some(asked);
        let accepted = self.client.request(now, request);
        debug_assert!(accepted.is_ok(), "the programmer asks only when nothing is outstanding");
    }

    pub(super) fn resume_did(&self) -> Option<DataIdentifier> {
        match self.profile.resume {
            Resume::ReportedOffset { did } => Some(did),
            Resume::None => None,
        }
    }

    /// Up to the gate of activation the ECU can be left as it is.
    pub(super) fn is_abortable(&self) -> bool {
        !matches!(self.phase, Phase::SwitchBank | Phase::Reset | Phase::ReadBack | Phase::Restore)
    }

    fn step_request(&self) -> Option<Request> {
        match self.phase {
            Phase::ExtendedSession => {
                addressed(Request::session(Session::Extended), self.profile.extended_session)
            }
            Phase::DtcSettingOff => addressed(Request::control_dtc_setting(false), self.profile.dtc_setting),
            Phase::CommunicationOff => {
                let request = Request::communication_control(0x03, NORMAL_MESSAGES);
                addressed(request, self.profile.communication_control)
            }
            Phase::ProgrammingSession => {
                Some(Request::session(Session::from_byte(self.profile.programming_session)))
            }
            Phase::Fingerprint => self.fingerprint_request(),
            _ => None,
        }
    }

    fn fingerprint_request(&self) -> Option<Request> {
        let fingerprint = self.profile.fingerprint.as_ref()?;
        let own = fingerprint.value.as_bytes();
        let mut record =
            if self.plan.fingerprint.is_empty() { own.to_vec() } else { self.plan.fingerprint.clone() };
        if fingerprint.append_version {
            record.extend_from_slice(&self.plan.version);
            // `Plan::validate` bounds it.
            record.push(u8::try_from(self.plan.version.len()).unwrap_or(u8::MAX));
        }
        Some(Request::write_data(fingerprint.did, &record))
    }

    /// Of the segment under way, or of the whole bank where the routine wants its index.
    fn erase_request(&self) -> Request {
        let erase = self.profile.erase;
        let option = if erase.address_and_length {
            let (address, length) = self.transfer.erasures().nth(self.erasing.index).unwrap_or_default();
            self.profile.range(address, length).to_bytes()
        } else {
            vec![self.bank_byte()]
        };
        Request::routine(RoutineControl::Start, erase.routine, &option)
    }

    /// By 0x34, or by 0x38 where the image is a file: anew, or on where a broken transfer ended.
    fn request_transfer(&mut self, now: Instant) {
        let asked = match &self.profile.file {
            None => Asked::Download,
            Some(file) => {
                let broken = self.recovering.is_some() || self.plan.resumes(&self.profile);
                if file.resume && broken { Asked::FileResume } else { Asked::FileReplace }
            }
        };
        self.ask(now, asked);
    }

    fn download_request(&self) -> Request {
        let (address, length) = self.transfer.rest();
        Request::download(self.profile.memory.data_format, &self.profile.range(address, length))
    }

    fn file_request(&self, mode: FileMode) -> Option<Request> {
        let file = self.profile.file.as_ref()?;
        let request = FileRequest {
            mode,
            path: file.path.clone().into_bytes(),
            data_format: self.profile.memory.data_format,
            size: (self.plan.image_len, self.plan.image_len),
        };
        Some(request.to_request())
    }

    fn certificate_request(&mut self) -> Option<Request> {
        let Security::Certificate { bidirectional, configuration, .. } = self.profile.security else {
            return None;
        };
        let credential = self.secrets.credential.as_ref()?;
        self.challenge = if bidirectional { credential.challenge() } else { Vec::new() };
        let request = AuthenticationRequest::VerifyCertificate {
            bidirectional,
            configuration,
            certificate: credential.certificate(),
            challenge: self.challenge.clone(),
        };
        Some(request.to_request())
    }

    /// `Profile::validate` bounds the number of banks.
    fn bank_byte(&self) -> u8 {
        u8::try_from(self.bank).unwrap_or(u8::MAX)
    }
}

/// The request as the profile addresses it; `None` if it skips it.
pub(super) fn addressed(request: Request, to: SendTo) -> Option<Request> {
    match to {
        SendTo::Skip => None,
        SendTo::Physical => Some(request),
        SendTo::Functional => Some(request.addressed(Addressing::Functional).suppress_positive_response()),
    }
}
