//! What each answer means, and each missing one.

use super::error::Misbehaviour;
use super::{Asked, Cause, EcuState, Ending, Event, Programmer};
use crate::uds::client::{self, ClientError};
use crate::uds::message::{AUTHENTICATION_COMPLETE, Nrc, Request, ServiceId, parse_max_block_length};
use crate::uds::profile::{Phase, Security};
use std::time::{Duration, Instant};

/// Service and counter in front of the data of a 0x36.
const BLOCK_OVERHEAD: u32 = 2;

impl Programmer {
    /// Acts on what the client has to say.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(event) = self.client.poll_event() {
            let Some(asked) = self.asked.take() else { continue };
            if asked == Asked::Restore {
                self.restored &= !matches!(event, client::Event::Failed(_));
                self.continue_restore(now);
                continue;
            }
            let result = match event {
                client::Event::Answered { record, .. } => self.handle_record(now, asked, &record),
                client::Event::Unanswered { .. } => self.handle_record(now, asked, &[]),
                client::Event::Failed(error) => self.handle_failure(now, asked, error),
            };
            if let Err(cause) = result {
                self.fail(now, cause);
            }
        }
    }

    /// An erase, the last check, a switch or a reset that is sent may take effect even if its answer never comes.
    pub(super) fn note_danger(&mut self, asked: Asked) {
        let dangerous = match asked {
            Asked::Erase => !self.profile.keeps_old_software() && !self.erasing.begun,
            Asked::FileReplace => !self.profile.keeps_old_software(),
            // The last check may make the image one that starts.
            Asked::Checksum => {
                !self.profile.keeps_old_software() && self.profile.dependencies_routine.is_none()
            }
            Asked::Dependencies => !self.profile.keeps_old_software(),
            Asked::SwitchBank | Asked::Reset => true,
            _ => false,
        };
        if !(asked == Asked::Erase && self.erasing.begun) {
            self.state_before = self.ecu_state;
        }
        if dangerous {
            self.ecu_state = EcuState::Unknown;
        }
    }

    fn handle_record(&mut self, now: Instant, asked: Asked, record: &[u8]) -> Result<(), Cause> {
        match asked {
            Asked::Version => {
                let current = same_text(record, &self.plan.version) && !self.plan.reprogram_same_version;
                self.version = Some(record.to_vec());
                if current {
                    self.ecu_state = EcuState::NewSoftware;
                    self.begin_restore(now, Ending::Success { already_current: true });
                } else {
                    self.ecu_state = EcuState::OldSoftware;
                    self.identify_next(now, Asked::Version);
                }
            }
            Asked::Hardware => {
                if let Some(expected) = self.plan.hardware.as_ref().filter(|text| !same_text(record, text)) {
                    let (expected, reported) = (expected.clone(), record.to_vec());
                    return Err(Cause::HardwareMismatch { expected, reported });
                }
                self.hardware = Some(record.to_vec());
                self.identify_next(now, Asked::Hardware);
            }
            Asked::ActiveBank => {
                self.choose_bank(record)?;
                self.identify_next(now, Asked::ActiveBank);
            }
            Asked::Step | Asked::Key => self.advance(now),
            Asked::Exit => self.handle_exit(now),
            Asked::Certificate => self.send_proof(now, record)?,
            Asked::Proof => {
                if record.first() != Some(&AUTHENTICATION_COMPLETE) {
                    return Err(Cause::record(ServiceId::Authentication, record));
                }
                self.advance(now);
            }
            Asked::FileReplace | Asked::FileResume => self.handle_file(now, asked, record)?,
            Asked::Seed => self.send_key(now, record),
            Asked::ResumeOffset => self.handle_resume_offset(now, record)?,
            Asked::Erase => self.handle_erase(now, record)?,
            Asked::Download => {
                self.recovering = None;
                let wrong = |_| Cause::record(ServiceId::RequestDownload, record);
                let limit = parse_max_block_length(record).map_err(wrong)?;
                self.open(now, ServiceId::RequestDownload, record, limit)?;
            }
            Asked::Block => {
                self.transfer.acknowledge();
                self.events.push_back(Event::Acknowledged { offset: self.transfer.acknowledged() });
                if self.aborted {
                    return Err(Cause::Aborted);
                }
                self.continue_transfer(now);
            }
            Asked::Checksum => {
                let routine =
                    self.profile.checksum.map_or_else(Default::default, |checksum| checksum.routine);
                if let Err(status) = status(record) {
                    self.forget_danger(asked);
                    return Err(Cause::ChecksumRejected { routine, status });
                }
                self.advance(now);
            }
            Asked::Dependencies => {
                let routine = self.profile.dependencies_routine.unwrap_or_default();
                if let Err(status) = status(record) {
                    self.forget_danger(asked);
                    return Err(Cause::DependenciesRejected { routine, status });
                }
                // Complete and accepted: the next start, wanted or not, may run it.
                self.advance(now);
            }
            Asked::SwitchBank => {
                status(record).map_err(|_| Cause::record(ServiceId::RoutineControl, record))?;
                self.advance(now);
            }
            Asked::Reset => {
                self.reset_answered = true;
                self.await_return(now);
            }
            Asked::ReadBack => self.judge_version(now, record)?,
            Asked::Restore => {}
        }
        Ok(())
    }

    fn handle_failure(&mut self, now: Instant, asked: Asked, error: ClientError) -> Result<(), Cause> {
        let refusal = match &error {
            ClientError::Refused { nrc, .. } => Some(*nrc),
            _ => None,
        };
        match (asked, refusal) {
            // A boot loader without application may know neither. Others refuse for other reasons, so it proves nothing.
            (Asked::Version, Some(_)) => self.identify_next(now, asked),
            (Asked::Hardware, Some(_)) if self.plan.hardware.is_none() => self.identify_next(now, asked),
            (Asked::ActiveBank, Some(_)) if self.plan.bank.is_some() => self.identify_next(now, asked),
            (Asked::Seed, Some(nrc @ Nrc::RequiredTimeDelayNotExpired)) => {
                let waited = self.profile.timings.security_delay;
                if self.security_waited {
                    return Err(Cause::SecurityLocked { nrc, waited });
                }
                self.security_waited = true;
                self.pause = Some((now + waited, Asked::Seed));
            }
            (Asked::Seed | Asked::Key, Some(nrc @ Nrc::ExceededNumberOfAttempts)) => {
                return Err(Cause::SecurityLocked { nrc, waited: Duration::ZERO });
            }
            (Asked::ResumeOffset | Asked::Download | Asked::FileResume, _) if self.recovering.is_some() => {
                return Err(self.give_up_recovery().unwrap_or_else(|| error.into()));
            }
            (Asked::ResumeOffset, Some(_)) => self.jump(now, Phase::Erase),
            (Asked::FileResume, Some(_)) => self.ask(now, Asked::FileReplace),
            (Asked::Erase | Asked::FileReplace, Some(nrc)) => {
                if says_not_begun(nrc) {
                    self.forget_danger(asked);
                }
                return Err(error.into());
            }
            (Asked::Checksum | Asked::Dependencies, Some(_)) => {
                self.forget_danger(asked);
                return Err(error.into());
            }
            (Asked::Block, _) if is_lost_block(&error) => {
                let Some(query) = self.recovery() else { return Err(error.into()) };
                self.recovering = Some(error.into());
                self.jump(now, query);
            }
            (Asked::SwitchBank | Asked::Reset, Some(nrc)) => {
                if says_not_begun(nrc) {
                    self.ecu_state = self.state_before;
                }
                return Err(error.into());
            }
            (_, None) if asked != Asked::ReadBack && matches!(error, ClientError::BusyTooLong { .. }) => {
                // Perhaps it is busy with this very request, which the bus delivered twice.
                return Err(error.into());
            }
            // It may have reset before it could answer.
            (Asked::Reset, None) => self.await_return(now),
            (Asked::ReadBack, _) => self.poll_again(now, error)?,
            _ => return Err(error.into()),
        }
        Ok(())
    }

    /// Asks what is still unknown about the ECU, after `asked`.
    fn identify_next(&mut self, now: Instant, asked: Asked) {
        if asked == Asked::Version && self.profile.hardware_did.is_some() {
            self.ask(now, Asked::Hardware);
        } else if asked != Asked::ActiveBank && self.profile.active_bank_did.is_some() {
            self.ask(now, Asked::ActiveBank);
        } else {
            // `Plan::validate` made sure that they fit, whatever the bank.
            self.transfer.lay_out(self.profile.parts(self.plan.image_len, self.bank).unwrap_or_default());
            let (version, hardware, bank) = (self.version.clone(), self.hardware.clone(), self.bank);
            self.events.push_back(Event::Identified { version, hardware, bank });
            self.advance(now);
        }
    }

    fn choose_bank(&mut self, record: &[u8]) -> Result<(), Cause> {
        let Some(active) = record.last().copied() else {
            return Err(Cause::record(ServiceId::ReadDataByIdentifier, record));
        };
        let count = self.profile.banks.len();
        if usize::from(active) >= count {
            let did = self.profile.active_bank_did.unwrap_or_default();
            return Err(Misbehaviour::ActiveBank { did, bank: active, count }.into());
        }
        match self.plan.bank {
            Some(bank) if bank == usize::from(active) && self.profile.keeps_old_software() => {
                return Err(Cause::BankIsRunning { bank });
            }
            Some(bank) => self.bank = bank,
            None => self.bank = (usize::from(active) + 1) % count,
        }
        Ok(())
    }

    /// An all-zero seed says that the level is unlocked already (clause 10.4).
    fn send_key(&mut self, now: Instant, seed: &[u8]) {
        match (&self.profile.security, &self.secrets.algorithm) {
            (Security::SeedKey { level, .. }, Some(algorithm)) if seed.iter().any(|byte| *byte != 0) => {
                let request = Request::send_key(*level, &algorithm.key(*level, seed));
                self.send(now, Asked::Key, request);
            }
            _ => self.advance(now),
        }
    }

    /// The ECU says how much of the image it holds. Inside a broken transfer that place is taken, whatever it is; at
    /// the start of an attempt nothing held, or nonsense, means to erase again.
    fn handle_resume_offset(&mut self, now: Instant, record: &[u8]) -> Result<(), Cause> {
        let value = record.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let driver = self.transfer.driver_len();
        let valid = (4..=8).contains(&record.len()) && (driver..=self.plan.image_len).contains(&value);
        if !valid && let Some(cause) = self.give_up_recovery() {
            return Err(cause);
        }
        if self.recovering.is_none() && (!valid || value == driver) {
            self.jump(now, Phase::Erase);
        } else if self.transfer.lacks_driver() {
            self.resume_at = Some(value);
            self.transfer.restart_at(0);
            self.jump(now, Phase::RequestDownload);
        } else {
            self.resume_transfer(now, value);
        }
        Ok(())
    }

    /// Goes on with the transfer at the ECU's word.
    fn resume_transfer(&mut self, now: Instant, offset: u64) {
        self.transfer.restart_at(offset);
        self.events.push_back(Event::Resumed { offset });
        match (self.recovering.is_some(), self.transfer.is_complete()) {
            (true, false) => self.jump(now, Phase::RequestDownload),
            // The download is still open on the ECU's side.
            (true, true) => {
                self.recovering = None;
                self.jump(now, Phase::TransferExit);
            }
            (false, false) => self.jump_past(now, Phase::Erase),
            (false, true) => self.jump_past(now, Phase::TransferExit),
        }
    }

    /// The transfer cannot be taken up again: what broke it is the failure, in the phase in which it broke.
    fn give_up_recovery(&mut self) -> Option<Cause> {
        let cause = self.recovering.take()?;
        self.phase = Phase::TransferData;
        Some(cause)
    }

    /// The ECU takes a download in blocks of at most `limit` bytes, service and counter included.
    pub(super) fn open(
        &mut self,
        now: Instant,
        service: ServiceId,
        record: &[u8],
        limit: u64,
    ) -> Result<(), Cause> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).min(self.profile.max_block_length);
        let overhead = BLOCK_OVERHEAD + self.profile.block_check.len();
        let block_len = limit.checked_sub(overhead).filter(|len| *len > 0);
        self.transfer.open(block_len.ok_or_else(|| Cause::record(service, record))?);
        self.advance(now);
        Ok(())
    }

    /// A download is closed: the flash driver makes way for erasing, a segment for the next.
    fn handle_exit(&mut self, now: Instant) {
        if self.transfer.close_part() {
            match self.resume_at.take() {
                Some(offset) => self.resume_transfer(now, offset),
                None => self.jump(now, Phase::Erase),
            }
        } else if self.transfer.is_complete() {
            self.advance(now);
        } else {
            self.jump(now, Phase::RequestDownload);
        }
    }

    /// Where to go to ask how far a transfer got that broke: nowhere, if the ECU cannot tell or did so too often.
    fn recovery(&mut self) -> Option<Phase> {
        let query = match &self.profile.file {
            Some(file) => file.resume.then_some(Phase::RequestDownload),
            // What the ECU reports is what lies in its flash, not in its RAM.
            None if self.transfer.lacks_driver() => None,
            None => self.resume_did().map(|_| Phase::ResumeQuery),
        };
        query.filter(|_| self.transfer.try_recovery())
    }

    fn await_return(&mut self, now: Instant) {
        self.client.forget_session();
        self.reset_at = Some(now);
        self.advance(now);
    }

    fn judge_version(&mut self, now: Instant, record: &[u8]) -> Result<(), Cause> {
        if same_text(record, &self.plan.version) {
            self.ecu_state = EcuState::NewSoftware;
            self.version = Some(record.to_vec());
            self.advance(now);
            return Ok(());
        }
        // Without an answer to the reset it may not have happened, and the next one starts the other bank.
        let is_old = self.version.as_ref().is_some_and(|old| same_text(record, old));
        if is_old && self.reset_answered && self.profile.keeps_old_software() {
            self.ecu_state = EcuState::OldSoftware;
        }
        Err(Cause::VersionMismatch { expected: self.plan.version.clone(), reported: record.to_vec() })
    }

    /// The ECU is not back yet, or only its boot loader is.
    fn poll_again(&mut self, now: Instant, error: ClientError) -> Result<(), Cause> {
        let timings = &self.profile.timings;
        let next = now + timings.reset_poll;
        let since = self.reset_at.unwrap_or(now);
        if next <= since + timings.reset_wait {
            self.pause = Some((next, Asked::ReadBack));
            return Ok(());
        }
        match error {
            ClientError::NoAnswer { .. } | ClientError::Transport { .. } => {
                Err(Cause::DidNotComeBack { waited: now.saturating_duration_since(since) })
            }
            other => Err(other.into()),
        }
    }
}

/// The first byte of a routine's status record; absent or zero is good, anything else is the error.
fn status(record: &[u8]) -> Result<(), u8> {
    match record.first() {
        None | Some(0) => Ok(()),
        Some(status) => Err(*status),
    }
}

/// Whether the code rules out that the ECU began to do what it was asked for (clause 8.7 and table A.1): it is decided
/// before anything is done.
fn says_not_begun(nrc: Nrc) -> bool {
    matches!(
        nrc,
        Nrc::ServiceNotSupported
            | Nrc::SubFunctionNotSupported
            | Nrc::IncorrectMessageLengthOrInvalidFormat
            | Nrc::ConditionsNotCorrect
            | Nrc::RequestSequenceError
            | Nrc::RequestOutOfRange
            | Nrc::SecurityAccessDenied
            | Nrc::AuthenticationRequired
            | Nrc::SubFunctionNotSupportedInActiveSession
            | Nrc::ServiceNotSupportedInActiveSession
            | Nrc::VoltageTooHigh
            | Nrc::VoltageTooLow
    )
}

/// Whether the ECU may or may not hold the block: only it can tell.
fn is_lost_block(error: &ClientError) -> bool {
    match error {
        ClientError::NoAnswer { .. } | ClientError::Transport { .. } => true,
        ClientError::Refused { nrc, .. } => *nrc == Nrc::WrongBlockSequenceCounter,
        _ => false,
    }
}

/// Equal but for the bytes with which ECUs pad fixed-length records.
fn same_text(a: &[u8], b: &[u8]) -> bool {
    trim(a) == trim(b)
}

fn trim(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, 0x00 | b' ' | 0xFF)).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or(text)
}
