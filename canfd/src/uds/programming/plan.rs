//! What to program: one image for one ECU.

use crate::uds::profile::{self, ChecksumAlgorithm, Profile, ProfileError, Resume};

/// One image for one ECU. All of it is known before the first request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Length of the image in bytes, at least 1.
    pub image_len: u64,
    /// What the ECU must report at the profile's version DID afterwards. Compared without trailing 0x00, 0x20, 0xFF,
    /// with which ECUs pad.
    pub version: Vec<u8>,
    /// What the ECU must report at the profile's hardware DID before anything is changed; `None`: anything. Compared
    /// like `version`.
    pub hardware: Option<Vec<u8>>,
    /// Result of the profile's checksum algorithm over the whole image; empty if the profile has none.
    pub checksum: Vec<u8>,
    /// Record for the profile's fingerprint DID; empty: the profile's value. It must stay the same when a broken
    /// installation is resumed.
    pub fingerprint: Vec<u8>,
    /// Index of the bank to program. `None`: the one that is not running, as the profile's `active_bank_did` tells,
    /// else the first.
    pub bank: Option<usize>,
    /// A journal says that the bank was erased for this very image and this many bytes were acknowledged. The ECU's
    /// own word goes before the journal's; an ECU that says nothing is erased again.
    pub resume_from: Option<u64>,
    /// Program even if the ECU reports `version` already. Default: no, such an ECU is finished at once.
    pub reprogram_same_version: bool,
}

impl Plan {
    /// Checks the plan against the profile.
    ///
    /// # Errors
    /// The first [`PlanError`] found.
    pub fn validate(&self, profile: &Profile) -> Result<(), PlanError> {
        profile.validate()?;
        if self.image_len == 0 {
            return Err(PlanError::EmptyImage);
        }
        if self.version.is_empty() || self.version.len() > usize::from(u8::MAX) {
            return Err(PlanError::VersionLength { length: self.version.len() });
        }
        let length_bytes = profile.memory.length_bytes;
        if !profile::fits(self.image_len, length_bytes) {
            return Err(PlanError::ImageTooLong { image_len: self.image_len, length_bytes });
        }
        let address_bytes = profile.memory.address_bytes;
        let last = |bank: &profile::Bank| bank.address.checked_add(self.image_len - 1);
        if !profile.banks.iter().all(|bank| last(bank).is_some_and(|last| profile::fits(last, address_bytes)))
        {
            return Err(PlanError::BeyondAddressSpace { image_len: self.image_len, address_bytes });
        }
        if (0..profile.banks.len()).any(|bank| profile.parts(self.image_len, bank).is_none()) {
            return Err(PlanError::Layout { image_len: self.image_len });
        }
        let expected = profile.checksum.map_or(0, |checksum| checksum.algorithm.len());
        if self.checksum.len() != expected {
            let algorithm = profile.checksum.map(|checksum| checksum.algorithm);
            return Err(PlanError::ChecksumLength { algorithm, expected, actual: self.checksum.len() });
        }
        match self.bank {
            Some(bank) if bank >= profile.banks.len() => {
                Err(PlanError::NoSuchBank { bank, count: profile.banks.len() })
            }
            None if profile.keeps_old_software() && profile.active_bank_did.is_none() => {
                Err(PlanError::BankUnknown)
            }
            _ => Ok(()),
        }
    }

    /// Whether an earlier transfer is to be continued.
    pub(super) fn resumes(&self, profile: &Profile) -> bool {
        let file = profile.file.as_ref().is_some_and(|file| file.resume);
        self.resume_from.is_some() && (file || profile.resume != Resume::None)
    }
}

/// A plan that cannot be carried out with its profile; nothing has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The profile contradicts itself
    #[error("the profile is not usable")]
    Profile(#[from] ProfileError),
    /// Nothing to program
    #[error("the image is empty")]
    EmptyImage,
    /// Without a version to read back success could not be told
    #[error("the plan's version is {length} bytes long, 1 to 255 are possible")]
    VersionLength {
        /// Its length
        length: usize,
    },
    /// The length does not fit in its field
    #[error(
        "an image of {image_len} bytes, the profile's memory.length_bytes = {length_bytes} cannot say its length"
    )]
    ImageTooLong {
        /// Length of the image
        image_len: u64,
        /// Width of the field
        length_bytes: u8,
    },
    /// The end of the image has no address
    #[error(
        "an image of {image_len} bytes ends beyond the addresses of memory.address_bytes = {address_bytes}"
    )]
    BeyondAddressSpace {
        /// Length of the image
        image_len: u64,
        /// Width of the field
        address_bytes: u8,
    },
    /// The image is not cut whole by the profile's flash driver and segments
    #[error("an image of {image_len} bytes does not fit the profile's flash_driver and segments")]
    Layout {
        /// Length of the image
        image_len: u64,
    },
    /// The checksum is not of the profile's algorithm
    #[error("a checksum of {actual} bytes, the profile's {algorithm:?} needs {expected}")]
    ChecksumLength {
        /// What the profile asks for
        algorithm: Option<ChecksumAlgorithm>,
        /// Length of its result
        expected: usize,
        /// Length of what was given
        actual: usize,
    },
    /// The profile has no such bank
    #[error("bank {bank}, the profile has {count}")]
    NoSuchBank {
        /// Index asked for
        bank: usize,
        /// How many there are
        count: usize,
    },
    /// Programming the running bank would destroy the old software
    #[error("the bank to program is unknown: give one, or set active_bank_did in the profile")]
    BankUnknown,
    /// The profile's credential is neither built in nor handed over
    #[error("credential `{name}` is unknown")]
    UnknownCredential {
        /// Its name in the profile
        name: String,
    },
    /// The profile's algorithm is neither built in nor handed over
    #[error("key algorithm `{name}` is unknown")]
    UnknownKeyAlgorithm {
        /// Its name in the profile
        name: String,
    },
}
