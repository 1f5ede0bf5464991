//! What the brain is told once: the vehicle, its ECUs, its keys.

use std::time::Duration;

use crypto_offload::job::{Cipher, SecretKey};
use crypto_offload::software::key_wrap;
use ota::journal::Banks;
use ota::uptane::WrappedKey;
use ota::uptane::verify::{Assignment, TrustedMetadata};
use ota::uptane::{EcuSerial, HardwareIdentifier, KekId, Vin};

use super::installation::Surroundings;
use super::message::EcuIndex;

/// Everything that does not change while the daemon runs.
#[derive(Debug)]
pub struct Setup {
    /// The vehicle.
    pub vin: Vin,
    /// Its ECUs, in the order of [`EcuIndex`].
    pub ecus: Vec<EcuSetup>,
    /// What is trusted from the factory on: both first roots.
    pub factory: TrustedMetadata,
    /// Keys that unwrap content keys.
    pub keys: Vec<KeyEncryptionKey>,
    /// Bytes a download may run ahead of its verification.
    pub read_ahead: u64,
    /// Fetch attempts in a row without a new byte.
    pub attempts: u32,
    /// How often the Director is asked without being told to.
    pub poll_interval: Duration,
    /// How long after a start the Director is asked where the last answer is older than `poll_interval` or unknown: a
    /// vehicle that is never on for a whole interval must ask all the same. After a look that failed the same, doubled
    /// each time.
    pub first_look: Duration,
}

/// One ECU.
#[derive(Clone, Debug)]
pub struct EcuSetup {
    /// Uptane ECU serial.
    pub serial: EcuSerial,
    /// Uptane hardware identifier.
    pub hardware_id: HardwareIdentifier,
    /// Its bus, by place in the configuration.
    pub bus: usize,
    /// The bus's name.
    pub bus_name: String,
    /// How many images it holds.
    pub banks: Banks,
}

/// A key that content keys are wrapped with.
#[derive(Debug)]
pub struct KeyEncryptionKey {
    /// The name that metadata calls it by.
    pub id: KekId,
    /// The AEAD it is for.
    pub cipher: Cipher,
    /// The key.
    pub key: SecretKey,
}

impl Setup {
    pub(super) fn ecu(&self, serial: &EcuSerial) -> Option<EcuIndex> {
        self.ecus.iter().position(|it| it.serial == *serial).map(EcuIndex)
    }

    pub(super) fn banks(&self, ecu: EcuIndex) -> Banks {
        self.ecus.get(ecu.0).map_or(Banks::One, |it| it.banks)
    }

    pub(super) fn surroundings(&self, ecu: EcuIndex) -> Surroundings {
        let (bus, name) = self.ecus.get(ecu.0).map_or((0, ""), |it| (it.bus, it.bus_name.as_str()));
        Surroundings {
            ecu,
            bus,
            bus_thread: format!("bus-{name}"),
            read_ahead: self.read_ahead,
            attempts: self.attempts,
        }
    }

    /// Unwraps the image's content key; `None` where the image is stored in the clear.
    pub(super) fn content_key(&self, assignment: &Assignment) -> Result<Option<SecretKey>, String> {
        let custom = &assignment.custom;
        let Some(cipher) = custom.chunks.layout.cipher() else { return Ok(None) };
        let Some(WrappedKey { kek, wrapped }) = &custom.content_key else {
            return Err(format!(
                "the image is sealed with {} and comes without a content key",
                cipher.name()
            ));
        };
        let Some(known) = self.keys.iter().find(|it| it.id == *kek) else {
            return Err(format!("key-encryption key `{kek}` is not in [[uptane.key_encryption_key]]"));
        };
        let aad = WrappedKey::aad(&self.vin, &assignment.name);
        key_wrap::unwrap(&known.key, known.cipher, &aad, wrapped).map(Some).map_err(|_| {
            format!("the content key does not open with key-encryption key `{kek}`; is it this vehicle's?")
        })
    }
}
