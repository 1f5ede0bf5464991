//! What is behind the UDS services of a simulated ECU: identifiers, routines and flash, in the dialect of a profile.

mod access;
mod memory;
mod trouble;

use super::config::EcuConfig;
use super::digest::Digest;
use super::fault::Fault;
use super::flash::{BankState, Flash, FlashStateError, ProgramError};
use canfd::uds::message::{
    DataIdentifier, FileAccepted, FileRequest, MemoryRange, Nrc, RoutineControl, RoutineId, SecurityLevel,
    ServerChallenge,
};
use canfd::uds::profile::{Activation, ChecksumAlgorithm, Profile, Resume, Security};
use canfd::uds::security::{self, DemonstrationCertificate};
use canfd::uds::server::{Application, Context, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trouble::TroubleCodes;

/// Good and bad first byte of a routine's status record.
const STATUS_GOOD: u8 = 0x00;
const STATUS_BAD: u8 = 0x01;

#[derive(Debug)]
pub(super) struct Board {
    config: Arc<EcuConfig>,
    flash: Flash,
    faults: Vec<Fault>,
    /// Bank and version that started at the last boot, until erased
    running: Option<(usize, Vec<u8>)>,
    download: Option<Download>,
    /// Bank whose image passed the checksum, and whether it passed the dependency check too
    checked: Option<(usize, bool)>,
    /// The flash driver in RAM, complete or not
    driver: Vec<u8>,
    /// Bank under a polled erase, and when it is done
    polled_erase: Option<(usize, Instant)>,
    /// Kept up to date while a bank is programmed: the checksum of its first cells, behind that of the driver
    digest: Option<RunningDigest>,
    /// What an upload reads next
    upload: Option<(usize, u64)>,
    work: Option<Work>,
    trouble: TroubleCodes,
    seed: u32,
    was_reset: bool,
    dead_after_reset: bool,
    storage_error: Option<FlashStateError>,
}

#[derive(Debug)]
struct Download {
    /// `None`: the flash driver, to RAM
    bank: Option<usize>,
    /// In the bank's file
    offset: u64,
    end: u64,
}

#[derive(Debug)]
struct RunningDigest {
    bank: usize,
    digest: Digest,
    cells: u64,
}

#[derive(Debug)]
enum Work {
    Erase { bank: usize },
    Program,
}

impl Board {
    pub(super) fn new(flash: Flash, config: Arc<EcuConfig>) -> Self {
        Self {
            flash,
            faults: Vec::new(),
            running: None,
            download: None,
            checked: None,
            driver: Vec::new(),
            polled_erase: None,
            digest: None,
            upload: None,
            work: None,
            trouble: TroubleCodes::new(&config.trouble_codes),
            seed: 0x1234_5678,
            was_reset: false,
            dead_after_reset: false,
            storage_error: None,
            config,
        }
    }

    pub(super) fn set_faults(&mut self, faults: Vec<Fault>) {
        self.faults = faults;
    }

    pub(super) fn flash(&self) -> &Flash {
        &self.flash
    }

    pub(super) fn running_version(&self) -> Option<&[u8]> {
        self.running.as_ref().map(|(_, version)| version.as_slice())
    }

    pub(super) fn stored_version(&self) -> Option<&[u8]> {
        self.flash.state().banks.get(self.running_bank()?).map(|bank| bank.version.as_slice())
    }

    pub(super) fn running_bank(&self) -> Option<usize> {
        self.running.as_ref().map(|(bank, _)| *bank)
    }

    pub(super) fn storage_error(&self) -> Option<&FlashStateError> {
        self.storage_error.as_ref()
    }

    pub(super) fn is_dead_after_reset(&self) -> bool {
        self.dead_after_reset
    }

    /// Whether a 0x11 was carried out since the last call.
    pub(super) fn take_reset(&mut self) -> bool {
        std::mem::take(&mut self.was_reset)
    }

    /// RAM is empty; the active bank starts if it may.
    pub(super) fn boot(&mut self) -> Result<(), FlashStateError> {
        self.download = None;
        self.checked = None;
        self.driver.clear();
        self.polled_erase = None;
        self.digest = None;
        self.upload = None;
        self.work = None;
        self.flash.update(|state| state.boots += 1)?;
        let active = self.flash.state().active;
        let bank = self.flash.state().banks.get(active).filter(|bank| bank.valid);
        self.running = bank.map(|bank| (active, bank.version.clone()));
        for fault in &self.faults {
            if let (Fault::WrongVersion { version }, Some((_, running))) = (fault, &mut self.running) {
                running.clone_from(version);
            }
        }
        Ok(())
    }

    pub(super) fn boot_or_note(&mut self) {
        if let Err(error) = self.boot() {
            self.storage_error = Some(error);
        }
    }

    /// Programs the first half of a block that is never finished.
    pub(super) fn tear(&mut self, data: &[u8]) {
        let half = data.get(..data.len() / 2).unwrap_or_default();
        if let Some(Download { bank: Some(bank), offset, .. }) = self.download
            && let Err(ProgramError::Storage(error)) = self.flash.program(bank, offset, half)
        {
            self.storage_error = Some(error);
        }
    }

    fn profile(&self) -> &Profile {
        &self.config.profile
    }

    fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }

    /// Memory may be changed only by whom the profile's security let in.
    fn check_unlocked(&self, context: Context) -> Result<(), Nrc> {
        match self.profile().security {
            Security::SeedKey { level, .. } if context.unlocked != Some(level) => {
                Err(Nrc::SecurityAccessDenied)
            }
            Security::Certificate { .. } if !context.authenticated => Err(Nrc::AuthenticationRequired),
            _ => Ok(()),
        }
    }

    fn store(&mut self, result: Result<(), FlashStateError>) -> Result<(), Nrc> {
        result.map_err(|error| {
            self.storage_error = Some(error);
            Nrc::GeneralProgrammingFailure
        })
    }

    /// The bank that holds the image of the last fingerprint, complete or not, and does not run.
    fn held_bank(&self) -> Option<usize> {
        let state = self.flash.state();
        let running = self.running_bank();
        let holds = |bank: &BankState| !bank.erasing && bank.fingerprint == state.fingerprint;
        let mut banks = state.banks.iter().enumerate().filter(|_| !state.fingerprint.is_empty());
        banks.find(|(index, bank)| Some(*index) != running && holds(bank)).map(|(index, _)| index)
    }

    fn begin_erase(&mut self, context: Context, option: &[u8]) -> Result<Outcome, Nrc> {
        self.check_unlocked(context)?;
        let bank = self.bank_to_erase(option).ok_or(Nrc::RequestOutOfRange)?;
        let poll = self.profile().erase.poll;
        if let (Some(poll), Some((erasing, until))) = (poll, self.polled_erase)
            && erasing == bank
        {
            if context.now < until {
                return Ok(Outcome::Done(vec![poll.busy]));
            }
            self.polled_erase = None;
            return self.end_erase(bank).map(|()| Outcome::Done(vec![poll.done]));
        }
        if self.lacks_driver() {
            return Err(Nrc::ConditionsNotCorrect);
        }
        self.invalidate(bank)?;
        let slow = self.faults.iter().find_map(|fault| match fault {
            Fault::SlowErase { time } => Some(*time),
            _ => None,
        });
        let until = context.now + slow.unwrap_or(self.config.erase_time);
        if let Some(poll) = poll {
            self.polled_erase = Some((bank, until));
            return Ok(Outcome::Done(vec![poll.busy]));
        }
        self.work = Some(Work::Erase { bank });
        Ok(Outcome::Working { until: Some(until) })
    }

    /// What lies in the bank is not to be run any more.
    fn invalidate(&mut self, bank: usize) -> Result<(), Nrc> {
        if self.profile().keeps_old_software() && self.running_bank() == Some(bank) {
            return Err(Nrc::ConditionsNotCorrect);
        }
        if self.running_bank() == Some(bank) {
            self.running = None;
        }
        self.download = None;
        self.checked = None;
        let result = self.flash.update(|state| {
            if let Some(bank) = state.banks.get_mut(bank) {
                bank.valid = false;
                bank.erasing = true;
                bank.fingerprint.clear();
            }
        });
        self.store(result)
    }

    fn end_erase(&mut self, bank: usize) -> Result<(), Nrc> {
        let result = self.flash.erase(bank).and_then(|()| {
            self.flash.update(|state| {
                let fingerprint = state.fingerprint.clone();
                if let Some(bank) = state.banks.get_mut(bank) {
                    bank.erasing = false;
                    bank.erase_count += 1;
                    bank.fingerprint = fingerprint;
                }
            })
        });
        self.store(result)
    }

    fn algorithm(&self) -> ChecksumAlgorithm {
        self.profile().checksum.map_or(ChecksumAlgorithm::Sha256, |checksum| checksum.algorithm)
    }

    fn digest_of_driver(&self) -> Digest {
        let mut digest = Digest::new(self.algorithm());
        digest.update(&self.driver);
        digest
    }

    fn check_image(&mut self, expected: &[u8]) -> Result<Outcome, Nrc> {
        let bank = self.written_bank()?;
        let (digest, done) = match self.digest.take().filter(|running| running.bank == bank) {
            Some(running) => (running.digest, running.cells),
            None => (self.digest_of_driver(), 0),
        };
        let actual = match self.flash.digest(bank, digest, done, self.flash.programmed(bank)) {
            Ok(actual) => actual,
            Err(error) => return self.store(Err(error)).map(|()| Outcome::Done(vec![STATUS_BAD])),
        };
        if actual != expected || self.has(&Fault::WrongChecksum) {
            return Ok(Outcome::Done(vec![STATUS_BAD]));
        }
        self.checked = Some((bank, false));
        if self.profile().dependencies_routine.is_none() {
            self.accept(bank)?;
        }
        Ok(Outcome::Done(vec![STATUS_GOOD]))
    }

    /// The bank that was downloaded into. Resumed after everything was written, nothing was downloaded in this session.
    fn written_bank(&mut self) -> Result<usize, Nrc> {
        let downloaded = self.download.take().and_then(|download| download.bank);
        downloaded.or_else(|| self.held_bank()).ok_or(Nrc::RequestSequenceError)
    }

    fn check_dependencies(&mut self) -> Result<Outcome, Nrc> {
        let bank = match self.checked {
            Some((bank, _)) => bank,
            // Without a checksum routine this is the only check there is.
            None if self.profile().checksum.is_none() => self.written_bank()?,
            None => return Err(Nrc::RequestSequenceError),
        };
        if self.has(&Fault::WrongDependencies) {
            return Ok(Outcome::Done(vec![STATUS_BAD]));
        }
        self.accept(bank)?;
        Ok(Outcome::Done(vec![STATUS_GOOD]))
    }

    /// The image may start from now on.
    fn accept(&mut self, bank: usize) -> Result<(), Nrc> {
        self.checked = Some((bank, true));
        let version = self.coming_version();
        let result = self.flash.update(|state| {
            if let Some(bank) = state.banks.get_mut(bank) {
                bank.valid = true;
                bank.version = version;
            }
        });
        self.store(result)
    }

    fn switch_bank(&mut self, option: &[u8]) -> Result<Outcome, Nrc> {
        let Some((bank, true)) = self.checked else { return Err(Nrc::RequestSequenceError) };
        let [wanted] = *option else { return Err(Nrc::IncorrectMessageLengthOrInvalidFormat) };
        if usize::from(wanted) != bank {
            return Err(Nrc::RequestOutOfRange);
        }
        if !self.has(&Fault::IgnoreSwitch) {
            let result = self.flash.update(|state| state.active = bank);
            self.store(result)?;
        }
        Ok(Outcome::Done(vec![STATUS_GOOD]))
    }

    /// From the fingerprint record, as `EcuConfig::profile` documents.
    fn coming_version(&self) -> Vec<u8> {
        let record = &self.flash.state().fingerprint;
        let appended =
            self.profile().fingerprint.as_ref().is_some_and(|fingerprint| fingerprint.append_version);
        match record.split_last() {
            Some((len, rest)) if appended => {
                let start = rest.len().saturating_sub(usize::from(*len));
                rest.get(start..).unwrap_or_default().to_vec()
            }
            _ => record.clone(),
        }
    }

    fn begin_routine(&mut self, context: Context, id: RoutineId, option: &[u8]) -> Result<Outcome, Nrc> {
        let profile = &self.config.profile;
        let switch = match profile.activation {
            Activation::SwitchBank { routine } => Some(routine),
            Activation::Reset => None,
        };
        if id == profile.erase.routine {
            self.begin_erase(context, option)
        } else if profile.checksum.is_some_and(|checksum| checksum.routine == id) {
            self.check_image(option)
        } else if profile.dependencies_routine == Some(id) {
            self.check_dependencies()
        } else if switch == Some(id) {
            self.switch_bank(option)
        } else {
            Err(Nrc::RequestOutOfRange)
        }
    }

    fn program(&mut self, context: Context, data: &[u8]) -> Result<Outcome, Nrc> {
        let algorithm = self.algorithm();
        let download = self.download.as_mut().ok_or(Nrc::RequestSequenceError)?;
        let end = download.offset + data.len() as u64;
        let Some(bank) = download.bank else {
            self.driver.extend_from_slice(data);
            download.offset = end;
            return Ok(Outcome::Done(Vec::new()));
        };
        let broken = |fault: &Fault| matches!(fault, Fault::FlashFailure { offset } if (download.offset..end).contains(offset));
        if self.faults.iter().any(broken) {
            return Err(Nrc::GeneralProgrammingFailure);
        }
        match self.flash.program(bank, download.offset, data) {
            Ok(()) => {}
            Err(ProgramError::NotErased) => return Err(Nrc::GeneralProgrammingFailure),
            Err(ProgramError::Storage(error)) => {
                self.storage_error = Some(error);
                return Err(Nrc::GeneralProgrammingFailure);
            }
        }
        if download.offset == 0 {
            let mut digest = Digest::new(algorithm);
            digest.update(&self.driver);
            self.digest = Some(RunningDigest { bank, digest, cells: 0 });
        }
        if let Some(running) = &mut self.digest
            && (running.bank, running.cells) == (bank, download.offset)
        {
            running.digest.update(data);
            running.cells = end;
        }
        download.offset = end;
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let time = self.config.program_time_per_kib * len / 1024;
        if time.is_zero() {
            return Ok(Outcome::Done(Vec::new()));
        }
        self.work = Some(Work::Program);
        Ok(Outcome::Working { until: Some(context.now + time) })
    }
}

impl Application for Board {
    fn read_data(&mut self, _context: Context, did: DataIdentifier) -> Result<Vec<u8>, Nrc> {
        let profile = &self.config.profile;
        if did == profile.version_did {
            self.running_version().map(<[u8]>::to_vec).ok_or(Nrc::RequestOutOfRange)
        } else if profile.hardware_did == Some(did) {
            Ok(self.config.hardware.clone())
        } else if profile.active_bank_did == Some(did) {
            let active = self.running_bank().unwrap_or_else(|| self.flash.state().active);
            Ok(vec![u8::try_from(active).unwrap_or(u8::MAX)])
        } else if profile.resume == (Resume::ReportedOffset { did }) {
            let driver = self.profile().flash_driver.map_or(0, |driver| driver.length);
            let offset = self.held_bank().map_or(0, |bank| driver + self.flash.programmed(bank));
            Ok(u32::try_from(offset)
                .map_or_else(|_| offset.to_be_bytes().to_vec(), |it| it.to_be_bytes().to_vec()))
        } else {
            Err(Nrc::RequestOutOfRange)
        }
    }

    fn write_data(&mut self, context: Context, did: DataIdentifier, record: &[u8]) -> Result<(), Nrc> {
        self.check_unlocked(context)?;
        if self.profile().fingerprint.as_ref().is_none_or(|fingerprint| fingerprint.did != did) {
            return Err(Nrc::RequestOutOfRange);
        }
        let late = self.profile().order.fingerprint_after_erase;
        let empty: Vec<bool> =
            (0..self.profile().banks.len()).map(|bank| self.flash.programmed(bank) == 0).collect();
        let result = self.flash.update(|state| {
            state.fingerprint = record.to_vec();
            // A dialect that writes it after erasing means the bank that was just erased.
            for (bank, empty) in state.banks.iter_mut().zip(empty) {
                if late && empty && bank.erase_count > 0 && !bank.erasing {
                    bank.fingerprint = record.to_vec();
                }
            }
        });
        self.store(result)
    }

    fn routine(
        &mut self,
        context: Context,
        control: RoutineControl,
        id: RoutineId,
        option: &[u8],
    ) -> Outcome {
        if control != RoutineControl::Start {
            return Outcome::Refused(Nrc::SubFunctionNotSupported);
        }
        self.begin_routine(context, id, option).unwrap_or_else(Outcome::Refused)
    }

    fn seed(&mut self, level: SecurityLevel) -> Option<Vec<u8>> {
        match self.profile().security {
            Security::SeedKey { level: own, .. } if own == level => Some(self.next_seed().to_vec()),
            _ => None,
        }
    }

    fn accepts_key(&mut self, level: SecurityLevel, seed: &[u8], key: &[u8]) -> bool {
        match &self.profile().security {
            Security::SeedKey { algorithm, .. } => {
                security::by_name(algorithm).is_some_and(|algorithm| algorithm.key(level, seed) == key)
            }
            Security::None | Security::Certificate { .. } => false,
        }
    }

    fn verify_certificate(
        &mut self,
        _context: Context,
        certificate: &[u8],
        challenge: Option<&[u8]>,
    ) -> Result<ServerChallenge, Nrc> {
        self.challenge_for(certificate, challenge)
    }

    fn accepts_proof(&mut self, challenge: &ServerChallenge, proof: &[u8]) -> bool {
        proof == DemonstrationCertificate::proof(DemonstrationCertificate::TESTER, &challenge.challenge)
    }

    fn check_block<'a>(&mut self, request: &'a [u8]) -> Result<&'a [u8], Nrc> {
        self.without_check(request)
    }

    fn clear_diagnostic_information(&mut self, _context: Context, group: u32) -> Result<(), Nrc> {
        self.trouble.clear(group)
    }

    fn read_dtc_information(
        &mut self,
        _context: Context,
        report_type: u8,
        parameters: &[u8],
    ) -> Result<Vec<u8>, Nrc> {
        self.trouble.report(report_type, parameters)
    }

    fn read_memory(&mut self, context: Context, range: &MemoryRange) -> Result<Vec<u8>, Nrc> {
        self.check_unlocked(context)?;
        self.read_range(range)
    }

    fn request_upload(&mut self, context: Context, format: u8, range: &MemoryRange) -> Result<u32, Nrc> {
        self.check_unlocked(context)?;
        self.begin_upload(format, range)
    }

    fn upload(&mut self, _context: Context, len: usize) -> Result<Vec<u8>, Nrc> {
        self.read_upload(len)
    }

    fn request_file_transfer(
        &mut self,
        context: Context,
        request: &FileRequest,
    ) -> Result<FileAccepted, Nrc> {
        self.check_unlocked(context)?;
        self.begin_file(request)
    }

    fn request_download(
        &mut self,
        context: Context,
        format: u8,
        address: u64,
        length: u64,
    ) -> Result<u32, Nrc> {
        self.check_unlocked(context)?;
        self.begin_download(format, address, length)
    }

    fn transfer_data(&mut self, context: Context, data: &[u8]) -> Outcome {
        self.program(context, data).unwrap_or_else(Outcome::Refused)
    }

    fn transfer_exit(&mut self, _context: Context) -> Outcome {
        match &self.download {
            Some(download) if download.offset == download.end => Outcome::Done(Vec::new()),
            _ => Outcome::Refused(Nrc::RequestSequenceError),
        }
    }

    fn finish(&mut self, _now: Instant) -> Result<Vec<u8>, Nrc> {
        match self.work.take() {
            Some(Work::Erase { bank }) => self.end_erase(bank).map(|()| vec![STATUS_GOOD]),
            Some(Work::Program) | None => Ok(Vec::new()),
        }
    }

    fn reset(&mut self, _context: Context, reset_type: u8) -> Result<Duration, Nrc> {
        if reset_type != self.profile().reset_type {
            return Err(Nrc::SubFunctionNotSupported);
        }
        self.dead_after_reset = self.has(&Fault::DeadAfterReset);
        let result = self.boot();
        self.store(result)?;
        self.was_reset = true;
        Ok(self.config.boot_time)
    }
}
