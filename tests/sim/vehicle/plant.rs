//! What a simulated vehicle is made of.

use std::sync::Arc;
use std::time::Duration;

use canfd::uds::message::{DataIdentifier, RoutineId};
use canfd::uds::profile::{Activation, Bank, Checksum, ChecksumAlgorithm, Profile, Resume};
use crypto_offload::queue::{Limits, Queue};
use crypto_offload::software::SoftwareEngine;
use ota::journal::Banks;

use crate::ecu::EcuConfig;

/// A vehicle.
#[derive(Clone, Debug)]
pub struct VehicleConfig {
    /// Its ECUs.
    pub ecus: Vec<EcuSpec>,
    /// Bytes that the image store may hold.
    pub quota: u64,
    /// Bytes a download may run ahead.
    pub read_ahead: u64,
    /// Fetch attempts in a row without a new byte.
    pub attempts: u32,
    /// How long after a start it asks the Director by itself; by default never.
    pub first_look: Duration,
    /// Whether it has the key-encryption keys.
    pub has_keys: bool,
    /// How far its clock is ahead of the publisher's, in milliseconds.
    pub clock_ahead_ms: u64,
    /// Decides what a power cut leaves of what was not confirmed.
    pub seed: u64,
    /// Makes its crypto queue.
    pub engines: fn() -> Queue,
}

/// One ECU.
#[derive(Clone, Debug)]
pub struct EcuSpec {
    /// Uptane serial.
    pub serial: &'static str,
    /// Uptane hardware id.
    pub hardware: &'static str,
    /// The bus it is on.
    pub bus: usize,
    /// How many images it holds.
    pub banks: Banks,
    /// What it is and how fast.
    pub config: Arc<EcuConfig>,
}

impl Default for VehicleConfig {
    /// Three ECUs on two buses: BRAKE-1 (one bank, resumes) and DOOR-1 (two banks, resumes) on the first, CAM-1 (one
    /// bank, starts over) on the second.
    fn default() -> Self {
        Self {
            ecus: vec![
                EcuSpec::new("BRAKE-1", 0, Banks::One, one_bank()),
                EcuSpec::new("DOOR-1", 0, Banks::Two, two_banks()),
                EcuSpec::new("CAM-1", 1, Banks::One, Profile::default()),
            ],
            quota: 1 << 20,
            read_ahead: 64 << 10,
            attempts: 5,
            first_look: super::POLL,
            has_keys: true,
            clock_ahead_ms: 0,
            seed: 1,
            engines: software,
        }
    }
}

impl EcuSpec {
    /// An ECU with a factory image that is quick to erase and to boot.
    pub fn new(serial: &'static str, bus: usize, banks: Banks, profile: Profile) -> Self {
        let config = EcuConfig {
            profile,
            factory_image: format!("factory image of {serial}").into_bytes(),
            bank_size: 1 << 20,
            erase_time: Duration::from_millis(400),
            ..EcuConfig::default()
        };
        Self { serial, hardware: "sim-hw", bus, banks, config: Arc::new(config) }
    }
}

/// One bank, resumes where it is told to.
pub fn one_bank() -> Profile {
    Profile { resume: Resume::ReportedOffset { did: DataIdentifier(0xFD01) }, ..Profile::default() }
}

/// Two banks, resumes, checks a CRC.
pub fn two_banks() -> Profile {
    Profile {
        banks: vec![Bank { address: 0x0800_0000 }, Bank { address: 0x0900_0000 }],
        active_bank_did: Some(DataIdentifier(0xFD02)),
        activation: Activation::SwitchBank { routine: RoutineId(0x0301) },
        checksum: Some(Checksum { algorithm: ChecksumAlgorithm::Crc32, ..Checksum::default() }),
        resume: Resume::ReportedOffset { did: DataIdentifier(0xFD01) },
        ..Profile::default()
    }
}

fn software() -> Queue {
    let engine = SoftwareEngine::new().expect("the software engine passes its test");
    Queue::new(Limits::default(), vec![Box::new(engine)])
}
