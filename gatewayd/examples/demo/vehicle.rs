//! The vehicle of the demo: two buses, three ECUs, and what each of them is given.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use canfd::frame::{CanId, CanIds};
use canfd::uds::profile::Profile;
use crypto_offload::job::{Cipher, HashAlgorithm};
use gateway_sim::ecu::EcuConfig;

use crate::failure::{Failure, Outcome};

/// Vehicle identification number.
pub(crate) const VIN: &str = "LSVAG2180E2100001";
/// What the ECUs run from the factory on.
pub(crate) const OLD_VERSION: &str = "1.0.0";
/// What the campaign brings them to.
pub(crate) const NEW_VERSION: &str = "2.0.0";
/// Names of the buses.
pub(crate) const BUSES: [&str; 2] = ["chassis", "body"];
/// Identifier of requests to all ECUs of a bus.
pub(crate) const FUNCTIONAL_ID: u16 = 0x7DF;
/// Length of the image that an ECU leaves the factory with, in bytes.
const OLD_IMAGE_LEN: usize = 192 << 10;
/// Images above this length need addresses of more than four bytes.
const FOUR_BYTE_LIMIT: u64 = 0x7FFF_FFFF;

/// One ECU and its part of the campaign.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EcuSpec {
    pub(crate) serial: &'static str,
    pub(crate) hardware_id: &'static str,
    /// Place in [`BUSES`].
    pub(crate) bus: usize,
    pub(crate) request_id: u16,
    pub(crate) response_id: u16,
    pub(crate) banks: u8,
    /// Name of its image in metadata.
    pub(crate) target: &'static str,
    pub(crate) cipher: Option<Cipher>,
    pub(crate) hash: HashAlgorithm,
}

/// The ECUs: one bank with SM4 and SM3, two banks with AES and SHA-256, one bank in the clear.
pub(crate) const ECUS: [EcuSpec; 3] = [
    EcuSpec {
        serial: "BRAKE-0001",
        hardware_id: "brake-s32k3",
        bus: 0,
        request_id: 0x731,
        response_id: 0x7B1,
        banks: 1,
        target: "brake-2.0.0.img",
        cipher: Some(Cipher::Sm4Gcm),
        hash: HashAlgorithm::Sm3,
    },
    EcuSpec {
        serial: "CLUSTER-0001",
        hardware_id: "cluster-rh850",
        bus: 1,
        request_id: 0x732,
        response_id: 0x7B2,
        banks: 2,
        target: "cluster-2.0.0.img",
        cipher: Some(Cipher::Aes256Gcm),
        hash: HashAlgorithm::Sha256,
    },
    EcuSpec {
        serial: "LAMP-0001",
        hardware_id: "lamp-tc3xx",
        bus: 0,
        request_id: 0x733,
        response_id: 0x7B3,
        banks: 1,
        target: "lamp-2.0.0.img",
        cipher: None,
        hash: HashAlgorithm::Sha256,
    },
];

impl EcuSpec {
    /// The dialect's name in the configuration.
    pub(crate) fn dialect_name(&self) -> &'static str {
        self.hardware_id
    }

    /// The dialect as the table `[dialect.NAME]` of the configuration has it, for an image of this length.
    pub(crate) fn dialect(&self, image_len: u64, untimed: bool) -> String {
        let wide = image_len > FOUR_BYTE_LIMIT;
        let second_bank: u64 = if wide { 1 << 41 } else { 0x8000_0000 };
        let mut text = String::from(
            "security = { seed_key = { level = 1, algorithm = \"demonstration-xor-rotate\" } }\n\
             resume = { reported_offset = { did = 0xFD01 } }\n",
        );
        if wide {
            text += "memory = { address_bytes = 6, length_bytes = 6 }\n";
        }
        if untimed {
            text += "max_block_length = 65535\n";
        }
        if self.banks == 2 {
            text += &format!("banks = [{{ address = 0 }}, {{ address = {second_bank} }}]\n");
            text += "active_bank_did = 0xF1A2\nactivation = { switch_bank = { routine = 0xFF02 } }\n";
        }
        text
    }

    /// What the simulator needs to know, for an image of this length.
    pub(crate) fn simulated(&self, image_len: u64, untimed: bool) -> Outcome<Arc<EcuConfig>> {
        let profile: Profile = toml::from_str(&self.dialect(image_len, untimed))
            .map_err(Failure::of(format!("the dialect of {}", self.serial)))?;
        let mut config = EcuConfig {
            profile,
            hardware: self.hardware_id.as_bytes().to_vec(),
            factory_version: OLD_VERSION.as_bytes().to_vec(),
            factory_image: self.old_image(),
            // 5 MiB/s: the bus is the bottleneck, as it is where flash is programmed while the next block arrives.
            program_time_per_kib: Duration::from_micros(195),
            bank_size: image_len.next_multiple_of(1 << 20).max(16 << 20),
            ..EcuConfig::default()
        };
        if untimed {
            config.max_block_length = 65_535;
            config.erase_time = Duration::from_millis(1);
            config.program_time_per_kib = Duration::ZERO;
        }
        Ok(Arc::new(config))
    }

    /// The identifiers it listens and answers on.
    pub(crate) fn can_ids(&self) -> Outcome<CanIds> {
        let id = |id| CanId::standard(id).map_err(Failure::of(format!("a CAN id of {}", self.serial)));
        Ok(CanIds { request: id(self.request_id)?, response: id(self.response_id)? })
    }

    /// The image it leaves the factory with: different for every ECU, the same in every run.
    pub(crate) fn old_image(&self) -> Vec<u8> {
        let mut state = self.serial.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let mut image = format!("{} {OLD_VERSION}\n", self.serial).into_bytes();
        while image.len() < OLD_IMAGE_LEN {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            image.extend_from_slice(&state.to_le_bytes());
        }
        image.truncate(OLD_IMAGE_LEN);
        image
    }

    /// How its image is protected, in words.
    pub(crate) fn protection(&self) -> String {
        let cipher = self.cipher.map_or("not encrypted", Cipher::name);
        format!("{cipher}, tree {}", self.hash.name())
    }

    /// Where its flash lies.
    pub(crate) fn flash_dir(&self, dir: &Path) -> std::path::PathBuf {
        dir.join("ecus").join(self.serial)
    }
}
