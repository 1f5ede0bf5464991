//! What is behind the UDS services of a simulated ECU: identifiers, routines and flash, in the dialect of a profile.

use super::config::EcuConfig;
use super::digest::Digest;
use super::fault::Fault;
use super::flash::{BankState, Flash, FlashStateError, ProgramError};
use canfd::uds::message::{DataIdentifier, Nrc, RoutineControl, RoutineId, SecurityLevel};
use canfd::uds::profile::{Activation, ChecksumAlgorithm, Profile, Resume, Security};
use canfd::uds::security;
use canfd::uds::server::{Application, Context, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    work: Option<Work>,
    seed: u32,
    was_reset: bool,
    dead_after_reset: bool,
    storage_error: Option<FlashStateError>,
}

#[derive(Debug)]
struct Download {
    bank: usize,
    offset: u64,
    end: u64,
    digest: Digest,
    digested: u64,
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
            work: None,
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
        if let Some(download) = &self.download
            && let Err(ProgramError::Storage(error)) =
                self.flash.program(download.bank, download.offset, half)
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
            _ => Ok(()),
        }
    }

    fn store(&mut self, result: Result<(), FlashStateError>) -> Result<(), Nrc> {
        result.map_err(|error| {
            self.storage_error = Some(error);
            Nrc::GeneralProgrammingFailure
        })
    }

    /// Bank and offset in it of an address.
    fn locate(&self, address: u64) -> Option<(usize, u64)> {
        self.profile().banks.iter().enumerate().find_map(|(index, bank)| {
            let offset = address.checked_sub(bank.address)?;
            (offset < self.config.bank_size).then_some((index, offset))
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

    fn bank_to_erase(&self, option: &[u8]) -> Option<usize> {
        if !self.profile().erase.address_and_length {
            let [bank] = *option else { return None };
            return (usize::from(bank) < self.profile().banks.len()).then_some(bank.into());
        }
        let memory = self.profile().memory;
        let (widths, rest) = option.split_first()?;
        let (address, length) = rest.split_at_checked(memory.address_bytes.into())?;
        let expected = memory.length_bytes << 4 | memory.address_bytes;
        if *widths != expected || length.len() != usize::from(memory.length_bytes) {
            return None;
        }
        let (bank, offset) = self.locate(number(address))?;
        (offset == 0 && number(length) <= self.config.bank_size).then_some(bank)
    }

    fn begin_erase(&mut self, context: Context, option: &[u8]) -> Result<Outcome, Nrc> {
        self.check_unlocked(context)?;
        let bank = self.bank_to_erase(option).ok_or(Nrc::RequestOutOfRange)?;
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
        self.store(result)?;
        let slow = self.faults.iter().find_map(|fault| match fault {
            Fault::SlowErase { time } => Some(*time),
            _ => None,
        });
        self.work = Some(Work::Erase { bank });
        Ok(Outcome::Working { until: Some(context.now + slow.unwrap_or(self.config.erase_time)) })
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

    fn check_image(&mut self, expected: &[u8]) -> Result<Outcome, Nrc> {
        let algorithm =
            self.profile().checksum.map_or(ChecksumAlgorithm::Sha256, |checksum| checksum.algorithm);
        let (bank, digest, done, end) = match self.download.take() {
            Some(download) => (download.bank, download.digest, download.digested, download.end),
            // Resumed after everything was written: nothing was downloaded in this session.
            None => {
                let bank = self.held_bank().ok_or(Nrc::RequestSequenceError)?;
                (bank, Digest::new(algorithm), 0, self.flash.programmed(bank))
            }
        };
        let actual = match self.flash.digest(bank, digest, done, end) {
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

    fn check_dependencies(&mut self) -> Result<Outcome, Nrc> {
        let (bank, _) = self.checked.ok_or(Nrc::RequestSequenceError)?;
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
        let download = self.download.as_mut().ok_or(Nrc::RequestSequenceError)?;
        let end = download.offset + data.len() as u64;
        let broken = |fault: &Fault| matches!(fault, Fault::FlashFailure { offset } if (download.offset..end).contains(offset));
        if self.faults.iter().any(broken) {
            return Err(Nrc::GeneralProgrammingFailure);
        }
        match self.flash.program(download.bank, download.offset, data) {
            Ok(()) => {}
            Err(ProgramError::NotErased) => return Err(Nrc::GeneralProgrammingFailure),
            Err(ProgramError::Storage(error)) => {
                self.storage_error = Some(error);
                return Err(Nrc::GeneralProgrammingFailure);
            }
        }
        if download.digested == download.offset {
            download.digest.update(data);
            download.digested = end;
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
            let offset = self.held_bank().map_or(0, |bank| self.flash.programmed(bank));
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
            Security::SeedKey { level: own, .. } if own == level => {
                // Never zero, which would say "unlocked".
                self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) | 1;
                Some(self.seed.to_be_bytes().to_vec())
            }
            _ => None,
        }
    }

    fn accepts_key(&mut self, level: SecurityLevel, seed: &[u8], key: &[u8]) -> bool {
        match &self.profile().security {
            Security::SeedKey { algorithm, .. } => {
                security::by_name(algorithm).is_some_and(|algorithm| algorithm.key(level, seed) == key)
            }
            Security::None => false,
        }
    }

    fn request_download(
        &mut self,
        context: Context,
        format: u8,
        address: u64,
        length: u64,
    ) -> Result<u32, Nrc> {
        self.check_unlocked(context)?;
        let (bank, offset) = self.locate(address).ok_or(Nrc::RequestOutOfRange)?;
        let end = offset.checked_add(length).filter(|end| *end <= self.config.bank_size);
        let end = end.filter(|_| length > 0 && format == self.profile().memory.data_format);
        let end = end.ok_or(Nrc::RequestOutOfRange)?;
        let state = self.flash.state();
        let erased = state
            .banks
            .get(bank)
            .is_some_and(|it| !it.erasing && !it.valid && it.fingerprint == state.fingerprint);
        if !erased || offset != self.flash.programmed(bank) {
            return Err(Nrc::UploadDownloadNotAccepted);
        }
        let algorithm =
            self.profile().checksum.map_or(ChecksumAlgorithm::Sha256, |checksum| checksum.algorithm);
        self.download = Some(Download { bank, offset, end, digest: Digest::new(algorithm), digested: 0 });
        Ok(self.config.max_block_length)
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

/// Big endian, at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
