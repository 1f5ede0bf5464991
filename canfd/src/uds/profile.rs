//! The programming dialect of a kind of ECU, as data.
//!
//! Every key has a default, which together form a plain ISO 14229 one-bank ECU; unknown keys are refused. Durations
//! carry their unit (`"50ms"`).

mod layout;
mod steps;
mod timings;
mod validate;

pub(crate) use layout::Part;
pub use layout::{BlockCheck, FileTransfer, FlashDriver, Segment};
pub use steps::Phase;
pub use timings::Timings;
pub use validate::ProfileError;

use super::duration;
use super::message::{DataIdentifier, MemoryRange, RoutineId, SecurityLevel};
use super::security;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How one kind of ECU wants to be programmed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// 0x10 03 before programming. Default: `physical`.
    ///
    /// A functional step reaches every ECU on the bus: it disturbs a neighbour that is being programmed at the same
    /// time, so buses on which ECUs are programmed in parallel need `physical`.
    pub extended_session: SendTo,
    /// 0x85 02 before and 0x85 01 after programming. Default: `physical`.
    pub dtc_setting: SendTo,
    /// 0x28 03 before and 0x28 00 after programming, for normal communication messages. Default: `physical`.
    pub communication_control: SendTo,
    /// Sub-function of 0x10 that enters the programming session, 0x02 to 0x7F. Default: 0x02.
    pub programming_session: u8,
    /// Unlocking by 0x27 or 0x29. Default: `"none"`.
    pub security: Security,
    /// The record written by 0x2E before programming; absent: none. Default: DID 0xF15A with the version appended.
    pub fingerprint: Option<Fingerprint>,
    /// Erasing by 0x31. Default: routine 0xFF00 with address and length.
    pub erase: Erase,
    /// Widths and format bytes of 0x34 and of address-and-length records. Default: 4 and 4 bytes, format 0x00.
    pub memory: Memory,
    /// Where an image goes, one entry per bank. Default: one bank at address 0.
    pub banks: Vec<Bank>,
    /// Stretches of the image and where in the bank they go, in this order; each is erased and downloaded by itself.
    /// Default: none, the whole image goes to the bank's address.
    pub segments: Vec<Segment>,
    /// The image begins with the code that programs the flash, to be downloaded before anything is erased. Default:
    /// none.
    pub flash_driver: Option<FlashDriver>,
    /// The image is a file on the ECU, moved by 0x38 instead of 0x34; nothing is erased by a routine. Default: no.
    pub file: Option<FileTransfer>,
    /// What stands behind the data of every 0x36. Default: `none`.
    pub block_check: BlockCheck,
    /// DID with the index of the running bank in its last byte, for ECUs with two banks. Default: none.
    pub active_bank_did: Option<DataIdentifier>,
    /// Longest 0x36 request in bytes, service and counter included; the ECU's own limit holds if it is lower.
    /// 3 to 65535. Default: 4095.
    pub max_block_length: u32,
    /// Check of the written memory by 0x31; absent: none. Default: routine 0x0202 with SHA-256.
    pub checksum: Option<Checksum>,
    /// Check of programming dependencies by 0x31; absent: none. Default: 0xFF01.
    pub dependencies_routine: Option<RoutineId>,
    /// What makes the new image the running one. Default: `"reset"`.
    pub activation: Activation,
    /// Sub-function of 0x11. Default: 0x01, hard reset.
    pub reset_type: u8,
    /// DID of the software version, read before and after. Default: 0xF195.
    pub version_did: DataIdentifier,
    /// DID of the hardware number; absent: not read. Default: 0xF191.
    pub hardware_did: Option<DataIdentifier>,
    /// How a broken transfer is taken up again. Default: `"none"`, it starts over with erasing.
    pub resume: Resume,
    /// Waiting times and their bounds.
    pub timings: Timings,
    /// Deviations from the usual order of steps.
    pub order: Order,
}

/// Whether, and to whom, a step is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SendTo {
    /// Not at all
    Skip,
    /// To the ECU, which must answer
    #[default]
    Physical,
    /// To all ECUs, with the positive response suppressed
    Functional,
}

/// Unlocking before memory may be changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Security {
    /// The ECU needs no unlocking
    #[default]
    None,
    /// Service 0x27
    SeedKey {
        /// Odd sub-function that asks for the seed
        level: SecurityLevel,
        /// Name of a built-in algorithm (`uds::security`), or of one handed to the programmer
        algorithm: String,
    },
    /// Service 0x29 with certificates
    Certificate {
        /// Name of a built-in credential (`uds::security`), or of one handed to the programmer
        credential: String,
        /// Whether the ECU proves itself too (sub-function 0x02 instead of 0x01). Default: false.
        #[serde(default)]
        bidirectional: bool,
        /// communicationConfiguration. Default: 0x00.
        #[serde(default)]
        configuration: u8,
    },
}

/// The record that says who programs the ECU.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fingerprint {
    /// Where it is written. Default: 0xF15A.
    pub did: DataIdentifier,
    /// Used when the plan brings no fingerprint of its own. Default: empty.
    ///
    /// ECUs that resume take a changed fingerprint for another update: it must stay the same over one installation.
    pub value: String,
    /// Append the version of the coming software and its length in one byte, for ECUs that report it at
    /// `version_did` afterwards. Default: true.
    pub append_version: bool,
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self { did: DataIdentifier(0xF15A), value: String::new(), append_version: true }
    }
}

/// Erasing a bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Erase {
    /// Default: 0xFF00.
    pub routine: RoutineId,
    /// Option record holds format byte, address and length as in 0x34; otherwise the bank's index. Default: true.
    pub address_and_length: bool,
    /// The routine is started again until it says that it is done; absent: its first positive answer says so.
    pub poll: Option<ErasePoll>,
}

impl Default for Erase {
    fn default() -> Self {
        Self { routine: RoutineId(0xFF00), address_and_length: true, poll: None }
    }
}

/// Erasing by asking again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErasePoll {
    /// First byte of the status record while it erases. Default: 0x01.
    pub busy: u8,
    /// The same once it is done; what is neither is a failure. Default: 0x02.
    pub done: u8,
    /// Pause between two requests. Default: 200ms.
    #[serde(with = "duration")]
    pub interval: Duration,
}

impl Default for ErasePoll {
    fn default() -> Self {
        Self { busy: 0x01, done: 0x02, interval: Duration::from_millis(200) }
    }
}

/// Format of addresses and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Bytes of an address, 1 to 8. Default: 4.
    pub address_bytes: u8,
    /// Bytes of a length, 1 to 8. Default: 4, so images below 4 GiB.
    pub length_bytes: u8,
    /// Compression and encryption method of 0x34. Default: 0x00, neither.
    pub data_format: u8,
}

impl Default for Memory {
    fn default() -> Self {
        Self { address_bytes: 4, length_bytes: 4, data_format: 0x00 }
    }
}

/// One bank of program memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// First address
    pub address: u64,
}

/// The check of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checksum {
    /// Default: 0x0202.
    pub routine: RoutineId,
    /// What the caller supplies. Default: `sha256`.
    pub algorithm: ChecksumAlgorithm,
}

impl Default for Checksum {
    fn default() -> Self {
        Self { routine: RoutineId(0x0202), algorithm: ChecksumAlgorithm::Sha256 }
    }
}

/// Over the whole image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumAlgorithm {
    /// CRC-32 of IEEE 802.3, four bytes big endian
    Crc32,
    /// SHA-256, 32 bytes
    #[default]
    Sha256,
}

impl ChecksumAlgorithm {
    /// Length of its result in bytes.
    pub const fn len(self) -> usize {
        match self {
            Self::Crc32 => 4,
            Self::Sha256 => 32,
        }
    }

    /// Never: every algorithm has a result.
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// How the new image becomes the running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// The reset starts it
    #[default]
    Reset,
    /// A routine, with the bank's index as option record, marks the bank; then the reset starts it
    SwitchBank {
        /// The routine
        routine: RoutineId,
    },
}

/// How a broken transfer is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Resume {
    /// It starts over with erasing
    #[default]
    None,
    /// The ECU reports how far it got
    ReportedOffset {
        /// DID with the number of bytes of this image verified in flash, big endian, 4 to 8 bytes
        did: DataIdentifier,
    },
}

/// Deviations from the usual order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// Unlock in the extended session, before 0x10 02. Default: false.
    pub security_before_programming_session: bool,
    /// Write the fingerprint after erasing. Default: false.
    pub fingerprint_after_erase: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            extended_session: SendTo::Physical,
            dtc_setting: SendTo::Physical,
            communication_control: SendTo::Physical,
            programming_session: 0x02,
            security: Security::None,
            fingerprint: Some(Fingerprint::default()),
            erase: Erase::default(),
            memory: Memory::default(),
            banks: vec![Bank::default()],
            segments: Vec::new(),
            flash_driver: None,
            file: None,
            block_check: BlockCheck::None,
            active_bank_did: None,
            max_block_length: 4095,
            checksum: Some(Checksum::default()),
            dependencies_routine: Some(RoutineId(0xFF01)),
            activation: Activation::Reset,
            reset_type: 0x01,
            version_did: DataIdentifier(0xF195),
            hardware_did: Some(DataIdentifier(0xF191)),
            resume: Resume::None,
            timings: Timings::default(),
            order: Order::default(),
        }
    }
}

impl Profile {
    /// Whether the old software survives until activation.
    pub fn keeps_old_software(&self) -> bool {
        self.activation != Activation::Reset
    }

    /// Address and length in the widths of `memory`.
    pub(crate) fn range(&self, address: u64, length: u64) -> MemoryRange {
        let Memory { address_bytes, length_bytes, .. } = self.memory;
        MemoryRange { address, length, address_bytes, length_bytes }
    }

    /// Whether the algorithm or the credential of `security` is built in; true without one.
    pub fn has_known_algorithm(&self) -> bool {
        match &self.security {
            Security::None => true,
            Security::Certificate { credential, .. } => security::credential_by_name(credential).is_some(),
            Security::SeedKey { algorithm, .. } => security::by_name(algorithm).is_some(),
        }
    }
}

/// Whether `value` can be written in `bytes` bytes.
pub(crate) fn fits(value: u64, bytes: u8) -> bool {
    bytes >= 8 || value >> (8 * u32::from(bytes)) == 0
}

#[cfg(test)]
mod tests;
