//! The programming dialect of a kind of ECU, as data.
//!
//! Every key has a default, which together form a plain ISO 14229 one-bank ECU; unknown keys are refused. Durations
//! carry their unit (`"50ms"`).

use super::client::ClientTimings;
use super::message::{DataIdentifier, RoutineId, SecurityLevel};
use super::{duration, security};
use serde::Deserialize;
use std::time::Duration;

/// How one kind of ECU wants to be programmed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
    /// Unlocking by 0x27. Default: `"none"`.
    pub security: Security,
    /// The record written by 0x2E before programming; absent: none. Default: DID 0xF15A with the version appended.
    pub fingerprint: Option<Fingerprint>,
    /// Erasing by 0x31. Default: routine 0xFF00 with address and length.
    pub erase: Erase,
    /// Widths and format bytes of 0x34 and of address-and-length records. Default: 4 and 4 bytes, format 0x00.
    pub memory: Memory,
    /// Where an image goes, one entry per bank. Default: one bank at address 0.
    pub banks: Vec<Bank>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
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
}

/// The record that says who programs the ECU.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Erase {
    /// Default: 0xFF00.
    pub routine: RoutineId,
    /// Option record holds format byte, address and length as in 0x34; otherwise the bank's index. Default: true.
    pub address_and_length: bool,
}

impl Default for Erase {
    fn default() -> Self {
        Self { routine: RoutineId(0xFF00), address_and_length: true }
    }
}

/// Format of addresses and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// First address
    pub address: u64,
}

/// The check of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
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

/// Waiting times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// P2 of the client, the way included. Default: 150ms.
    #[serde(with = "duration")]
    pub p2: Duration,
    /// P2* of the client. Default: 5100ms.
    #[serde(with = "duration")]
    pub p2_star: Duration,
    /// Silence after which tester present is sent. Default: 2s.
    #[serde(with = "duration")]
    pub s3: Duration,
    /// Longest time one request may stay pending (NRC 0x78). Default: 2m.
    #[serde(with = "duration")]
    pub pending_total: Duration,
    /// Pause after NRC 0x21. Default: 200ms.
    #[serde(with = "duration")]
    pub busy_delay: Duration,
    /// Most repetitions after NRC 0x21. Default: 10.
    pub busy_max: u32,
    /// Longest time the transport may take for one request. Default: 10s.
    #[serde(with = "duration")]
    pub send: Duration,
    /// Pause before the one repetition of 0x27 after NRC 0x37. Default: 11s.
    #[serde(with = "duration")]
    pub security_delay: Duration,
    /// Pause between reset and first sign of life, and between later tries. Default: 500ms.
    #[serde(with = "duration")]
    pub reset_poll: Duration,
    /// Longest time from reset to the read-back of the version. Default: 30s.
    #[serde(with = "duration")]
    pub reset_wait: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let client = ClientTimings::default();
        Self {
            p2: client.p2,
            p2_star: client.p2_star,
            s3: client.s3,
            pending_total: client.pending_total,
            busy_delay: client.busy_delay,
            busy_max: client.busy_max,
            send: client.send,
            security_delay: Duration::from_secs(11),
            reset_poll: Duration::from_millis(500),
            reset_wait: Duration::from_secs(30),
        }
    }
}

impl Timings {
    /// The part that the client needs.
    pub fn client(&self) -> ClientTimings {
        ClientTimings {
            p2: self.p2,
            p2_star: self.p2_star,
            s3: self.s3,
            pending_total: self.pending_total,
            busy_delay: self.busy_delay,
            busy_max: self.busy_max,
            send: self.send,
            ..ClientTimings::default()
        }
    }
}

/// Deviations from the usual order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// Unlock in the extended session, before 0x10 02. Default: false.
    pub security_before_programming_session: bool,
    /// Write the fingerprint after erasing. Default: false.
    pub fingerprint_after_erase: bool,
}

/// A step of the programming sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// 0x22: version, hardware, running bank
    Identification,
    /// 0x10 03
    ExtendedSession,
    /// 0x85 02
    DtcSettingOff,
    /// 0x28 03
    CommunicationOff,
    /// 0x10 02
    ProgrammingSession,
    /// 0x27
    SecurityAccess,
    /// 0x2E
    Fingerprint,
    /// Waits for the caller's `begin_transfer`; nothing on the ECU has changed so far
    AwaitTransfer,
    /// 0x22: how far an earlier transfer got; entered only with a plan that resumes
    ResumeQuery,
    /// 0x31 FF00
    Erase,
    /// 0x34
    RequestDownload,
    /// 0x36
    TransferData,
    /// 0x37
    TransferExit,
    /// 0x31 0202
    Checksum,
    /// 0x31 FF01
    Dependencies,
    /// Waits for the caller's `activate`; the image is complete and, on an ECU with two banks, not yet chosen
    AwaitActivation,
    /// 0x31: choose the bank
    SwitchBank,
    /// 0x11
    Reset,
    /// 0x22 until the ECU is back and reports its version
    ReadBack,
    /// 0x10 03, 0x28 00, 0x85 01, 0x10 01
    Restore,
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
    /// The steps of this dialect in the order in which they are taken.
    pub fn steps(&self) -> Vec<Phase> {
        let mut steps = vec![Phase::Identification];
        let mut push_if = |wanted: bool, phase| {
            if wanted {
                steps.push(phase);
            }
        };
        let unlocks = self.security != Security::None;
        let security_first = self.order.security_before_programming_session;
        let fingerprint_late = self.order.fingerprint_after_erase;
        push_if(self.extended_session != SendTo::Skip, Phase::ExtendedSession);
        push_if(self.dtc_setting != SendTo::Skip, Phase::DtcSettingOff);
        push_if(self.communication_control != SendTo::Skip, Phase::CommunicationOff);
        push_if(unlocks && security_first, Phase::SecurityAccess);
        push_if(true, Phase::ProgrammingSession);
        push_if(unlocks && !security_first, Phase::SecurityAccess);
        push_if(self.fingerprint.is_some() && !fingerprint_late, Phase::Fingerprint);
        push_if(true, Phase::AwaitTransfer);
        push_if(self.resume != Resume::None, Phase::ResumeQuery);
        push_if(true, Phase::Erase);
        push_if(self.fingerprint.is_some() && fingerprint_late, Phase::Fingerprint);
        push_if(true, Phase::RequestDownload);
        push_if(true, Phase::TransferData);
        push_if(true, Phase::TransferExit);
        push_if(self.checksum.is_some(), Phase::Checksum);
        push_if(self.dependencies_routine.is_some(), Phase::Dependencies);
        push_if(true, Phase::AwaitActivation);
        push_if(self.activation != Activation::Reset, Phase::SwitchBank);
        push_if(true, Phase::Reset);
        push_if(true, Phase::ReadBack);
        push_if(true, Phase::Restore);
        steps
    }

    /// Whether the old software survives until activation.
    pub fn keeps_old_software(&self) -> bool {
        self.activation != Activation::Reset
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The first [`ProfileError`] found.
    pub fn validate(&self) -> Result<(), ProfileError> {
        for (key, bytes) in [
            ("memory.address_bytes", self.memory.address_bytes),
            ("memory.length_bytes", self.memory.length_bytes),
        ] {
            if !(1..=8).contains(&bytes) {
                return Err(ProfileError::Width { key, bytes });
            }
        }
        if !(2..=0x7F).contains(&self.programming_session) {
            return Err(ProfileError::ProgrammingSession { session: self.programming_session });
        }
        if !(3..=65_535).contains(&self.max_block_length) {
            return Err(ProfileError::MaxBlockLength { length: self.max_block_length });
        }
        let needed = if self.keeps_old_software() { 2 } else { 1 };
        if self.banks.len() < needed || self.banks.len() > usize::from(u8::MAX) {
            return Err(ProfileError::Banks { count: self.banks.len(), needed });
        }
        for bank in &self.banks {
            if !fits(bank.address, self.memory.address_bytes) {
                let (address, address_bytes) = (bank.address, self.memory.address_bytes);
                return Err(ProfileError::BankAddress { address, address_bytes });
            }
        }
        Ok(())
    }

    /// Format byte, address and length as 0x34 and the erase routine want them.
    pub(crate) fn address_and_length(&self, address: u64, length: u64) -> Vec<u8> {
        let Memory { address_bytes, length_bytes, .. } = self.memory;
        let mut record = vec![length_bytes << 4 | address_bytes];
        record.extend_from_slice(low_bytes(&address.to_be_bytes(), address_bytes));
        record.extend_from_slice(low_bytes(&length.to_be_bytes(), length_bytes));
        record
    }

    /// Whether the algorithm of `security` is built in; true without one.
    pub fn has_known_algorithm(&self) -> bool {
        match &self.security {
            Security::None => true,
            Security::SeedKey { algorithm, .. } => security::by_name(algorithm).is_some(),
        }
    }
}

/// Whether `value` can be written in `bytes` bytes.
pub(crate) fn fits(value: u64, bytes: u8) -> bool {
    bytes >= 8 || value >> (8 * u32::from(bytes)) == 0
}

fn low_bytes(all: &[u8; 8], bytes: u8) -> &[u8] {
    all.get(8_usize.saturating_sub(bytes.into())..).unwrap_or(all)
}

/// A profile that contradicts itself; the fault is the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A width that no format byte can say
    #[error("{key} is {bytes}, it must be 1 to 8")]
    Width {
        /// Which key
        key: &'static str,
        /// Its value
        bytes: u8,
    },
    /// Not a session to program in
    #[error("programming_session is 0x{session:02X}, it must be 0x02 to 0x7F")]
    ProgrammingSession {
        /// Its value
        session: u8,
    },
    /// Too short for one byte of data, or too long for any ECU
    #[error("max_block_length is {length}, it must be 3 to 65535")]
    MaxBlockLength {
        /// Its value
        length: u32,
    },
    /// Too few or too many banks
    #[error("{count} banks, this activation needs at least {needed} and at most 255")]
    Banks {
        /// How many there are
        count: usize,
        /// How many are needed
        needed: usize,
    },
    /// An address wider than its field
    #[error("bank address 0x{address:X} does not fit in {address_bytes} bytes")]
    BankAddress {
        /// The address
        address: u64,
        /// Width of the field
        address_bytes: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BANKS: &str = r#"
        extended_session = "functional"
        dtc_setting = "functional"
        communication_control = "skip"
        security = { seed_key = { level = 0x11, algorithm = "demonstration-multiply-add" } }
        erase = { routine = 0xFF00, address_and_length = false }
        banks = [{ address = 0x0800_0000 }, { address = 0x0900_0000 }]
        checksum = { routine = 0x0202, algorithm = "crc32" }
        activation = { switch_bank = { routine = 0x0301 } }
        resume = { reported_offset = { did = 0xFD01 } }
        [timings]
        p2 = "50ms"
        [order]
        security_before_programming_session = true
        fingerprint_after_erase = true
    "#;

    #[test]
    fn an_empty_profile_is_the_default_and_takes_the_usual_steps() {
        let profile: Profile = toml::from_str("").unwrap();
        assert_eq!(profile, Profile::default());
        assert_eq!(profile.validate(), Ok(()));
        use Phase::*;
        let expected = [
            Identification,
            ExtendedSession,
            DtcSettingOff,
            CommunicationOff,
            ProgrammingSession,
            Fingerprint,
            AwaitTransfer,
            Erase,
            RequestDownload,
            TransferData,
            TransferExit,
            Checksum,
            Dependencies,
            AwaitActivation,
            Reset,
            ReadBack,
            Restore,
        ];
        assert_eq!(profile.steps(), expected);
    }

    #[test]
    fn another_dialect_takes_other_steps() {
        let profile: Profile = toml::from_str(TWO_BANKS).unwrap();
        assert_eq!(profile.validate(), Ok(()));
        assert_eq!(profile.timings.p2, Duration::from_millis(50));
        assert_eq!(profile.timings.s3, Duration::from_secs(2));
        use Phase::*;
        let expected = [
            Identification,
            ExtendedSession,
            DtcSettingOff,
            SecurityAccess,
            ProgrammingSession,
            AwaitTransfer,
            ResumeQuery,
            Erase,
            Fingerprint,
            RequestDownload,
            TransferData,
            TransferExit,
            Checksum,
            Dependencies,
            AwaitActivation,
            SwitchBank,
            Reset,
            ReadBack,
            Restore,
        ];
        assert_eq!(profile.steps(), expected);
    }

    #[test]
    fn unknown_keys_and_values_without_unit_are_refused() {
        for bad in [
            "resett_type = 1",
            "[timings]\np2 = 50",
            "[timings]\np2 = \"50\"",
            "security = { seed_key = { level = 2, algorithm = \"x\" } }",
            "activation = { switch_bank = { routine = 1, bank = 2 } }",
        ] {
            assert!(toml::from_str::<Profile>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn contradictions_are_found() {
        let of = |change: fn(&mut Profile)| {
            let mut profile = Profile::default();
            change(&mut profile);
            profile.validate()
        };
        assert_eq!(of(|p| p.max_block_length = 3), Ok(()));
        assert_eq!(of(|p| p.max_block_length = 2), Err(ProfileError::MaxBlockLength { length: 2 }));
        assert_eq!(of(|p| p.banks.clear()), Err(ProfileError::Banks { count: 0, needed: 1 }));
        let activation = Activation::SwitchBank { routine: RoutineId(1) };
        let one_bank = Profile { activation, ..Profile::default() };
        assert_eq!(one_bank.validate(), Err(ProfileError::Banks { count: 1, needed: 2 }));
        assert_eq!(of(|p| p.banks[0].address = 0xFFFF_FFFF), Ok(()));
        let error = ProfileError::BankAddress { address: 0x1_0000_0000, address_bytes: 4 };
        assert_eq!(of(|p| p.banks[0].address = 0x1_0000_0000), Err(error));
        let error = ProfileError::Width { key: "memory.length_bytes", bytes: 9 };
        assert_eq!(of(|p| p.memory.length_bytes = 9), Err(error));
        assert_eq!(of(|p| p.programming_session = 1), Err(ProfileError::ProgrammingSession { session: 1 }));
    }

    #[test]
    fn address_and_length_take_the_widths_of_the_profile() {
        let mut profile = Profile::default();
        assert_eq!(profile.address_and_length(0x0102, 0x0A), [0x44, 0, 0, 1, 2, 0, 0, 0, 0x0A]);
        profile.memory = Memory { address_bytes: 3, length_bytes: 5, data_format: 0 };
        assert_eq!(profile.address_and_length(0x0102, 0x1_0000_000A), [0x53, 0, 1, 2, 1, 0, 0, 0, 0x0A]);
    }
}
