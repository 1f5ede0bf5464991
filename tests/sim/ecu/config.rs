//! What a simulated ECU is.

use canfd::uds::profile::Profile;
use canfd::uds::server::ServerTimings;
use std::time::Duration;

/// What a simulated ECU is and how fast.
#[derive(Debug, Clone)]
pub struct EcuConfig {
    /// The dialect it speaks: identifiers, routines, banks, security. It wants no step that the profile skips.
    ///
    /// It learns the version of new software from the fingerprint record: with `append_version` the bytes that the
    /// record's last byte counts, otherwise the whole record.
    pub profile: Profile,
    /// Answer at the hardware DID.
    pub hardware: Vec<u8>,
    /// Version of the factory image.
    pub factory_version: Vec<u8>,
    /// Image in bank 0 of a new ECU.
    pub factory_image: Vec<u8>,
    /// Size of each bank in bytes.
    pub bank_size: u64,
    /// Longest 0x36 request it takes, service and counter included.
    pub max_block_length: u32,
    /// Time to erase a bank.
    pub erase_time: Duration,
    /// Time to program 1024 bytes.
    pub program_time_per_kib: Duration,
    /// Time from reset to the first answer.
    pub boot_time: Duration,
    /// Trouble codes it has found, 0 to 0xFFFFFF each; a power cycle finds those again that were cleared.
    pub trouble_codes: Vec<u32>,
    /// Timing of its UDS server.
    pub server: ServerTimings,
}

impl Default for EcuConfig {
    /// A one-bank ECU of 16 MiB in the default dialect: erases in 400 ms, programs at 1 MiB/s, boots in 300 ms.
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            hardware: b"SIM-ECU".to_vec(),
            factory_version: b"1.0.0".to_vec(),
            factory_image: b"factory image".to_vec(),
            bank_size: 16 << 20,
            max_block_length: 4095,
            erase_time: Duration::from_millis(400),
            program_time_per_kib: Duration::from_micros(977),
            boot_time: Duration::from_millis(300),
            trouble_codes: Vec::new(),
            server: ServerTimings::default(),
        }
    }
}
