//! Flash memory in a directory: one file per bank and one for the rest.
//!
//! A bank's file holds the cells up to the last programmed one; everything after its end is erased. So the length of
//! the file is how far programming got, and it survives the simulator by itself.

use super::config::EcuConfig;
use super::digest::Digest;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What of an ECU survives a power cut, beside its image cells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Bank that the next boot starts
    pub(super) active: usize,
    pub(super) banks: Vec<BankState>,
    /// Last record written at the fingerprint DID
    pub(super) fingerprint: Vec<u8>,
    pub(super) boots: u64,
}

/// One bank of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BankState {
    /// Holds an application that may start
    pub(super) valid: bool,
    pub(super) version: Vec<u8>,
    /// An erase began and did not end
    pub(super) erasing: bool,
    pub(super) erase_count: u64,
    /// Whose image lies here, complete or not
    pub(super) fingerprint: Vec<u8>,
}

/// The files behind an ECU's flash cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FlashStateError {
    /// The system refused
    #[error("cannot use flash file {path}")]
    Io {
        /// Which file
        path: PathBuf,
        /// What the system said
        #[source]
        source: io::Error,
    },
    /// The file holds something else
    #[error("{path} is no state of a simulated ECU: remove its directory to begin with a new ECU")]
    Format {
        /// Which file
        path: PathBuf,
        /// What is wrong with it
        #[source]
        source: serde_json::Error,
    },
    /// The state has another number of banks than the profile
    #[error(
        "{path} has {found} banks, the profile has {expected}: remove its directory to begin with a new ECU"
    )]
    Banks {
        /// Which file
        path: PathBuf,
        /// In the file
        found: usize,
        /// In the profile
        expected: usize,
    },
}

/// Why cells were not programmed.
#[derive(Debug)]
pub(super) enum ProgramError {
    /// They hold something else already
    NotErased,
    Storage(FlashStateError),
}

#[derive(Debug)]
pub(super) struct Flash {
    directory: PathBuf,
    state: State,
    files: Vec<(File, u64)>,
}

impl Flash {
    pub(super) fn open(directory: &Path, config: &EcuConfig) -> Result<Self, FlashStateError> {
        fs::create_dir_all(directory).map_err(|source| io_error(directory, source))?;
        let path = directory.join("state.json");
        let count = config.profile.banks.len();
        let found: Option<State> = match fs::read(&path) {
            Ok(bytes) => Some(
                serde_json::from_slice(&bytes)
                    .map_err(|source| FlashStateError::Format { path: path.clone(), source })?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(io_error(&path, source)),
        };
        let is_new = found.is_none();
        let state = found.unwrap_or_else(|| factory_state(config));
        if state.banks.len() != count {
            return Err(FlashStateError::Banks { path, found: state.banks.len(), expected: count });
        }
        let mut files = Vec::with_capacity(count);
        for bank in 0..count {
            let path = bank_path(directory, bank);
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(is_new).open(&path);
            let file = file.map_err(|source| io_error(&path, source))?;
            let len = file.metadata().map_err(|source| io_error(&path, source))?.len();
            files.push((file, len));
        }
        let mut flash = Self { directory: directory.to_owned(), state, files };
        if is_new {
            // A new bank has no cell that could differ.
            flash.write(0, 0, &config.factory_image)?;
            flash.save()?;
        }
        Ok(flash)
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Changes the state and writes it down, as a whole or not at all.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut State)) -> Result<(), FlashStateError> {
        change(&mut self.state);
        self.save()
    }

    pub(super) fn bank_path(&self, bank: usize) -> PathBuf {
        bank_path(&self.directory, bank)
    }

    pub(super) fn erase_count(&self, bank: usize) -> u64 {
        self.state.banks.get(bank).map_or(0, |bank| bank.erase_count)
    }

    pub(super) fn boots(&self) -> u64 {
        self.state.boots
    }

    /// Cells programmed from the start of the bank.
    pub(super) fn programmed(&self, bank: usize) -> u64 {
        self.files.get(bank).map_or(0, |(_, len)| *len)
    }

    pub(super) fn erase(&mut self, bank: usize) -> Result<(), FlashStateError> {
        let path = self.bank_path(bank);
        if let Some((file, len)) = self.files.get_mut(bank) {
            file.set_len(0).map_err(|source| io_error(&path, source))?;
            *len = 0;
        }
        Ok(())
    }

    /// Programs cells; programmed ones keep their value, so only the same value can be programmed again.
    pub(super) fn program(&mut self, bank: usize, offset: u64, data: &[u8]) -> Result<(), ProgramError> {
        let programmed = self.programmed(bank);
        if offset < programmed {
            let overlap = usize::try_from(programmed - offset).unwrap_or(usize::MAX).min(data.len());
            let mut cells = vec![0; overlap];
            self.read(bank, offset, &mut cells).map_err(ProgramError::Storage)?;
            if !data.starts_with(&cells) {
                return Err(ProgramError::NotErased);
            }
        }
        self.write(bank, offset, data).map_err(ProgramError::Storage)
    }

    /// The checksum of the first `len` cells, from `done` on where `digest` stands.
    pub(super) fn digest(
        &self,
        bank: usize,
        mut digest: Digest,
        done: u64,
        len: u64,
    ) -> Result<Vec<u8>, FlashStateError> {
        let mut cells = vec![0; 64 << 10];
        let mut offset = done;
        while offset < len {
            let step = usize::try_from(len - offset).unwrap_or(usize::MAX).min(cells.len());
            let part = cells.get_mut(..step).unwrap_or_default();
            self.read(bank, offset, part)?;
            digest.update(part);
            offset += step as u64;
        }
        Ok(digest.finish())
    }

    pub(super) fn read(&self, bank: usize, offset: u64, cells: &mut [u8]) -> Result<(), FlashStateError> {
        let Some((file, _)) = self.files.get(bank) else { return Ok(()) };
        file.read_exact_at(cells, offset).map_err(|source| io_error(&self.bank_path(bank), source))
    }

    fn write(&mut self, bank: usize, offset: u64, data: &[u8]) -> Result<(), FlashStateError> {
        let path = self.bank_path(bank);
        if let Some((file, len)) = self.files.get_mut(bank) {
            file.write_all_at(data, offset).map_err(|source| io_error(&path, source))?;
            *len = (*len).max(offset + data.len() as u64);
        }
        Ok(())
    }

    fn save(&self) -> Result<(), FlashStateError> {
        let path = self.directory.join("state.json");
        let new = self.directory.join("state.json.new");
        let bytes = serde_json::to_vec(&self.state)
            .map_err(|source| FlashStateError::Format { path: path.clone(), source })?;
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| io_error(&path, source))
    }
}

fn factory_state(config: &EcuConfig) -> State {
    let mut banks = vec![BankState::default(); config.profile.banks.len()];
    if let Some(bank) = banks.first_mut() {
        bank.valid = true;
        bank.version.clone_from(&config.factory_version);
    }
    State { banks, ..State::default() }
}

fn bank_path(directory: &Path, bank: usize) -> PathBuf {
    directory.join(format!("bank{bank}.bin"))
}

fn io_error(path: &Path, source: io::Error) -> FlashStateError {
    FlashStateError::Io { path: path.to_owned(), source }
}
