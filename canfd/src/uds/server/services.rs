//! What each service does, and why it may refuse.

use super::{
    Answer, Application, Context, DataIdentifier, MemoryRange, Nrc, Outcome, RoutineControl, RoutineId,
    SUPPRESS_POSITIVE_RESPONSE, SecurityLevel, Server, ServiceId, Session, Work,
};
use crate::uds::message::RecordError;
use std::time::{Duration, Instant};

pub(super) const LENGTH: Nrc = Nrc::IncorrectMessageLengthOrInvalidFormat;
/// Identifiers in one 0x22.
const MAX_DIDS: usize = 64;

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
            ServiceId::RequestUpload => self.request_upload(now, parameters),
            ServiceId::RequestFileTransfer => self.request_file_transfer(now, parameters),
            ServiceId::TransferData => self.transfer_data(now, parameters),
            ServiceId::RequestTransferExit => self.request_transfer_exit(now),
            ServiceId::Authentication => self.authentication(now, parameters),
            ServiceId::ClearDiagnosticInformation => self.clear_diagnostic_information(now, parameters),
            ServiceId::ReadDtcInformation => self.read_dtc_information(now, parameters),
            ServiceId::ReadMemoryByAddress => self.read_memory(now, parameters),
            ServiceId::InputOutputControlByIdentifier => self.io_control(now, parameters),
        };
        result.unwrap_or_else(Answer::Negative)
    }

    /// Table 23: which service exists in which session.
    fn is_available(&self, service: ServiceId) -> bool {
        match service {
            ServiceId::CommunicationControl
            | ServiceId::ControlDtcSetting
            | ServiceId::SecurityAccess
            | ServiceId::InputOutputControlByIdentifier
            | ServiceId::WriteDataByIdentifier => self.session != Session::Default,
            ServiceId::RoutineControl
            | ServiceId::RequestDownload
            | ServiceId::RequestUpload
            | ServiceId::RequestFileTransfer
            | ServiceId::TransferData
            | ServiceId::RequestTransferExit => self.session == Session::Programming,
            _ => true,
        }
    }

    pub(super) fn context(&self, now: Instant) -> Context {
        let Self { session, unlocked, authenticated, .. } = *self;
        Context { now, session, unlocked, authenticated }
    }

    /// Turns the application's outcome into an answer that starts with `echo`.
    pub(super) fn answer(
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

    /// Several identifiers are answered by as many records; those the ECU does not have are left out (clause 11.2).
    fn read_data_by_identifier(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let (dids, rest) = parameters.as_chunks::<2>();
        if dids.is_empty() || !rest.is_empty() {
            return Err(LENGTH);
        }
        if dids.len() > MAX_DIDS {
            return Err(Nrc::ResponseTooLong);
        }
        let (mut answer, mut refusal) = (Vec::new(), Nrc::RequestOutOfRange);
        for did in dids {
            match self.application.read_data(self.context(now), DataIdentifier(u16::from_be_bytes(*did))) {
                Ok(record) => answer.extend([&did[..], &record].concat()),
                Err(nrc @ Nrc::RequestOutOfRange) => refusal = nrc,
                Err(nrc) => return Err(nrc),
            }
        }
        if answer.is_empty() { Err(refusal) } else { Ok(Answer::Positive(answer)) }
    }

    fn clear_diagnostic_information(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [high, middle, low] = *parameters else { return Err(LENGTH) };
        let group = u32::from_be_bytes([0, high, middle, low]);
        self.application.clear_diagnostic_information(self.context(now), group)?;
        Ok(Answer::Positive(Vec::new()))
    }

    fn read_dtc_information(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let (report_type, rest) = parameters.split_first().ok_or(LENGTH)?;
        let report_type = report_type & !SUPPRESS_POSITIVE_RESPONSE;
        let record = self.application.read_dtc_information(self.context(now), report_type, rest)?;
        Ok(Answer::Positive([&[report_type][..], &record].concat()))
    }

    fn read_memory(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let range = memory_range(parameters)?;
        Ok(Answer::Positive(self.application.read_memory(self.context(now), &range)?))
    }

    fn io_control(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [high, low, ref option @ ..] = *parameters else { return Err(LENGTH) };
        if option.is_empty() {
            return Err(LENGTH);
        }
        let did = DataIdentifier(u16::from_be_bytes([high, low]));
        let record = self.application.io_control(self.context(now), did, option)?;
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
}

fn tester_present(parameters: &[u8]) -> Result<Answer, Nrc> {
    let [sub_function] = parameters else { return Err(LENGTH) };
    match sub_function & !SUPPRESS_POSITIVE_RESPONSE {
        0x00 => Ok(Answer::Positive(vec![0x00])),
        _ => Err(Nrc::SubFunctionNotSupported),
    }
}

/// Format byte, address and length (clause 11.3 and others): widths that are none are out of range.
pub(super) fn memory_range(parameters: &[u8]) -> Result<MemoryRange, Nrc> {
    MemoryRange::parse(parameters).map_err(|error| match error {
        RecordError::Width { .. } => Nrc::RequestOutOfRange,
        _ => LENGTH,
    })
}
