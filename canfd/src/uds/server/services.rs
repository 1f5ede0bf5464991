//! What each service does, and why it may refuse.

use super::{
    Answer, Application, BlockSequenceCounter, Context, DataIdentifier, Download, Nrc, Outcome,
    RoutineControl, RoutineId, SUPPRESS_POSITIVE_RESPONSE, SecurityLevel, Server, ServiceId, Session, Work,
};
use std::time::{Duration, Instant};

const LENGTH: Nrc = Nrc::IncorrectMessageLengthOrInvalidFormat;

impl<A: Application> Server<A> {
    pub(super) fn dispatch(&mut self, now: Instant, service: ServiceId, parameters: &[u8]) -> Answer {
        if !self.is_available(service) {
            return Nrc::ServiceNotSupportedInActiveSession.into();
        }
        let result = match service {
            ServiceId::DiagnosticSessionControl => self.session_control(parameters),
            ServiceId::EcuReset => self.ecu_reset(now, parameters),
            ServiceId::TesterPresent => tester_present(parameters),
            ServiceId::SecurityAccess => self.security_access(now, parameters),
            ServiceId::CommunicationControl => self.communication_control(parameters),
            ServiceId::ControlDtcSetting => self.control_dtc_setting(parameters),
            ServiceId::ReadDataByIdentifier => self.read_data_by_identifier(now, parameters),
            ServiceId::WriteDataByIdentifier => self.write_data_by_identifier(now, parameters),
            ServiceId::RoutineControl => self.routine_control(now, parameters),
            ServiceId::RequestDownload => self.request_download(now, parameters),
            ServiceId::TransferData => self.transfer_data(now, parameters),
            ServiceId::RequestTransferExit => self.request_transfer_exit(now),
            _ => Err(Nrc::ServiceNotSupported),
        };
        result.unwrap_or_else(Answer::Negative)
    }

    /// Table 23: which service exists in which session.
    fn is_available(&self, service: ServiceId) -> bool {
        match service {
            ServiceId::CommunicationControl
            | ServiceId::ControlDtcSetting
            | ServiceId::SecurityAccess
            | ServiceId::WriteDataByIdentifier => self.session != Session::Default,
            ServiceId::RoutineControl
            | ServiceId::RequestDownload
            | ServiceId::TransferData
            | ServiceId::RequestTransferExit => self.session == Session::Programming,
            _ => true,
        }
    }

    fn context(&self, now: Instant) -> Context {
        Context { now, session: self.session, unlocked: self.unlocked }
    }

    /// Turns the application's outcome into an answer that starts with `echo`.
    fn answer(
        &mut self,
        now: Instant,
        service: ServiceId,
        echo: &[u8],
        outcome: Outcome,
    ) -> Result<Answer, Nrc> {
        match outcome {
            Outcome::Done(record) => Ok(Answer::Positive([echo, &record].concat())),
            Outcome::Refused(nrc) => Err(nrc),
            Outcome::Working { until } => {
                // Half of P2, so that the first 0x78 is never late.
                let next_pending = now + self.timings.p2 / 2;
                self.work = Some(Work { service, echo: echo.to_vec(), until, next_pending });
                Ok(Answer::Later)
            }
        }
    }

    fn session_control(&mut self, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [sub_function] = parameters else { return Err(LENGTH) };
        let session = Session::from_byte(sub_function & !SUPPRESS_POSITIVE_RESPONSE);
        if !matches!(session, Session::Default | Session::Extended | Session::Programming) {
            return Err(Nrc::SubFunctionNotSupported);
        }
        self.enter_session(session);
        let p2 = u16::try_from(self.timings.p2.as_millis()).unwrap_or(u16::MAX).to_be_bytes();
        let p2_star = u16::try_from(self.timings.p2_star.as_millis() / 10).unwrap_or(u16::MAX).to_be_bytes();
        Ok(Answer::Positive([&[session.to_byte()][..], &p2, &p2_star].concat()))
    }

    fn ecu_reset(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [sub_function] = parameters else { return Err(LENGTH) };
        let reset_type = sub_function & !SUPPRESS_POSITIVE_RESPONSE;
        let deaf: Duration = self.application.reset(self.context(now), reset_type)?;
        self.restart(now, now + deaf);
        Ok(Answer::Positive(vec![reset_type]))
    }

    fn security_access(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let (sub_function, record) = parameters.split_first().ok_or(LENGTH)?;
        let sub_function = sub_function & !SUPPRESS_POSITIVE_RESPONSE;
        if let Some(level) = SecurityLevel::new(sub_function) {
            return self.request_seed(now, level);
        }
        let (level, seed) = self.seed.take().ok_or(Nrc::RequestSequenceError)?;
        if level.send_key() != sub_function {
            return Err(Nrc::RequestSequenceError);
        }
        if self.application.accepts_key(level, &seed, record) {
            self.unlocked = Some(level);
            self.attempts = 0;
            return Ok(Answer::Positive(vec![sub_function]));
        }
        self.attempts += 1;
        if self.attempts < self.timings.max_attempts {
            return Err(Nrc::InvalidKey);
        }
        self.attempts = 0;
        self.locked_until = Some(now + self.timings.security_delay);
        Err(Nrc::ExceededNumberOfAttempts)
    }

    fn request_seed(&mut self, now: Instant, level: SecurityLevel) -> Result<Answer, Nrc> {
        if self.locked_until.is_some_and(|until| now < until) {
            return Err(Nrc::RequiredTimeDelayNotExpired);
        }
        self.locked_until = None;
        let seed = self.application.seed(level).ok_or(Nrc::SubFunctionNotSupported)?;
        let mut parameters = vec![level.request_seed()];
        if self.unlocked == Some(level) {
            parameters.extend(seed.iter().map(|_| 0));
        } else {
            parameters.extend(&seed);
            self.seed = Some((level, seed));
        }
        Ok(Answer::Positive(parameters))
    }

    fn communication_control(&mut self, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [sub_function, _communication_type] = parameters else { return Err(LENGTH) };
        let sub_function = sub_function & !SUPPRESS_POSITIVE_RESPONSE;
        match sub_function {
            0x00 => self.communication_enabled = true,
            0x01..=0x03 => self.communication_enabled = false,
            _ => return Err(Nrc::SubFunctionNotSupported),
        }
        Ok(Answer::Positive(vec![sub_function]))
    }

    fn control_dtc_setting(&mut self, parameters: &[u8]) -> Result<Answer, Nrc> {
        let (sub_function, _option) = parameters.split_first().ok_or(LENGTH)?;
        let sub_function = sub_function & !SUPPRESS_POSITIVE_RESPONSE;
        self.dtc_setting_enabled = match sub_function {
            0x01 => true,
            0x02 => false,
            _ => return Err(Nrc::SubFunctionNotSupported),
        };
        Ok(Answer::Positive(vec![sub_function]))
    }

    fn read_data_by_identifier(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [high, low] = *parameters else { return Err(LENGTH) };
        let did = DataIdentifier(u16::from_be_bytes([high, low]));
        let record = self.application.read_data(self.context(now), did)?;
        Ok(Answer::Positive([&[high, low][..], &record].concat()))
    }

    fn write_data_by_identifier(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [high, low, ref record @ ..] = *parameters else { return Err(LENGTH) };
        if record.is_empty() {
            return Err(LENGTH);
        }
        let did = DataIdentifier(u16::from_be_bytes([high, low]));
        self.application.write_data(self.context(now), did, record)?;
        Ok(Answer::Positive(vec![high, low]))
    }

    fn routine_control(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [sub_function, high, low, ref option @ ..] = *parameters else { return Err(LENGTH) };
        let sub_function = sub_function & !SUPPRESS_POSITIVE_RESPONSE;
        let control = RoutineControl::from_byte(sub_function).ok_or(Nrc::SubFunctionNotSupported)?;
        let id = RoutineId(u16::from_be_bytes([high, low]));
        let outcome = self.application.routine(self.context(now), control, id, option);
        self.answer(now, ServiceId::RoutineControl, &[sub_function, high, low], outcome)
    }

    fn request_download(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [format, widths, ref rest @ ..] = *parameters else { return Err(LENGTH) };
        let (address_bytes, length_bytes) = (usize::from(widths & 0x0F), usize::from(widths >> 4));
        if !(1..=8).contains(&address_bytes) || !(1..=8).contains(&length_bytes) {
            return Err(Nrc::RequestOutOfRange);
        }
        if rest.len() != address_bytes + length_bytes {
            return Err(LENGTH);
        }
        let (address, length) = rest.split_at_checked(address_bytes).ok_or(LENGTH)?;
        let (address, length) = (number(address), number(length));
        let max_block_length =
            self.application.request_download(self.context(now), format, address, length)?;
        self.download =
            Some(Download { counter: BlockSequenceCounter::FIRST, remaining: length, max_block_length });
        Ok(Answer::Positive([&[0x40][..], &max_block_length.to_be_bytes()].concat()))
    }

    fn transfer_data(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let context = self.context(now);
        let download = self.download.as_mut().ok_or(Nrc::RequestSequenceError)?;
        let (counter, data) = parameters.split_first().ok_or(LENGTH)?;
        if data.is_empty() || parameters.len() as u64 + 1 > u64::from(download.max_block_length) {
            return Err(LENGTH);
        }
        if *counter == download.counter.previous().to_byte()
            && download.counter != BlockSequenceCounter::FIRST
        {
            // Clause 15.4: a repeated block is acknowledged and not written again.
            return Ok(Answer::Positive(vec![*counter]));
        }
        if *counter != download.counter.to_byte() {
            return Err(Nrc::WrongBlockSequenceCounter);
        }
        let Some(remaining) = download.remaining.checked_sub(data.len() as u64) else {
            return Err(Nrc::TransferDataSuspended);
        };
        let outcome = self.application.transfer_data(context, data);
        if let Outcome::Refused(nrc) = outcome {
            self.download = None;
            return Err(nrc);
        }
        if let Some(download) = &mut self.download {
            download.remaining = remaining;
            download.counter = download.counter.next();
        }
        self.answer(now, ServiceId::TransferData, &[*counter], outcome)
    }

    fn request_transfer_exit(&mut self, now: Instant) -> Result<Answer, Nrc> {
        let complete = self.download.as_ref().is_some_and(|download| download.remaining == 0);
        if !complete {
            return Err(Nrc::RequestSequenceError);
        }
        self.download = None;
        let outcome = self.application.transfer_exit(self.context(now));
        self.answer(now, ServiceId::RequestTransferExit, &[], outcome)
    }
}

fn tester_present(parameters: &[u8]) -> Result<Answer, Nrc> {
    let [sub_function] = parameters else { return Err(LENGTH) };
    match sub_function & !SUPPRESS_POSITIVE_RESPONSE {
        0x00 => Ok(Answer::Positive(vec![0x00])),
        _ => Err(Nrc::SubFunctionNotSupported),
    }
}

/// Big endian, at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
