//! From the configuration to the parts of the daemon. Files are read here, nothing is connected.

use std::path::Path;
use std::time::Duration;

use crypto_offload::job::{Cipher, SecretKey};
use ota::journal::Banks;
use ota::uptane::verify::{TrustedMetadata, TrustedRepository};
use topology::Topology;
use zeroize::Zeroizing;

use super::StartError;
use crate::config::Config;
use crate::config::parts::{EcuPart, KekPart};
use crate::event_loop::Topics;
use crate::gateway::{EcuSetup, KeyEncryptionKey, Setup};
use crate::io::mqtt::{self, MqttConfig};
use crate::io::tls::ClientTls;
use crate::systemd::ServiceManager;

pub(super) fn wrong(error: impl std::fmt::Display) -> StartError {
    StartError::Config(error.to_string())
}

/// What the brain is told.
pub(super) fn setup(config: &Config) -> Result<Setup, StartError> {
    let root = |path: &Path| {
        std::fs::read(path).map(TrustedRepository::new).map_err(|error| {
            wrong(format!(
                "cannot read {}: {error}; it is made by `gateway-cloud publish keys`",
                path.display()
            ))
        })
    };
    let keys = config.uptane.key_encryption_keys.iter().map(key).collect::<Result<_, _>>()?;
    Ok(Setup {
        vin: config.vehicle.vin.parse().map_err(wrong)?,
        ecus: config.ecus.iter().map(|it| ecu(config, it.get_ref())).collect::<Result<_, _>>()?,
        factory: TrustedMetadata {
            director: root(&config.uptane.director_root)?,
            image: root(&config.uptane.image_root)?,
        },
        keys,
        read_ahead: config.cloud.read_ahead.get(),
        attempts: config.cloud.attempts,
        poll_interval: config.cloud.poll_interval.get(),
        first_look: first_look(&config.vehicle.vin),
    })
}

/// Between ten seconds and a minute, by vehicle: a fleet that is switched on together does not ask together. The hash is
/// FNV-1a, 32 bits.
fn first_look(vin: &str) -> Duration {
    let hash =
        vin.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Duration::from_millis(10_000 + u64::from(hash % 50_000))
}

fn ecu(config: &Config, part: &EcuPart) -> Result<EcuSetup, StartError> {
    let bus = bus_of(config, part)?;
    Ok(EcuSetup {
        serial: part.serial.parse().map_err(wrong)?,
        hardware_id: part.hardware_id.parse().map_err(wrong)?,
        bus,
        bus_name: part.bus.clone(),
        banks: if part.banks == 2 { Banks::Two } else { Banks::One },
    })
}

fn bus_of(config: &Config, part: &EcuPart) -> Result<usize, StartError> {
    let found = config.buses.iter().position(|it| it.get_ref().name == part.bus);
    found.ok_or_else(|| wrong(format!("ECU `{}` is on bus `{}`, which is not there", part.serial, part.bus)))
}

fn key(part: &KekPart) -> Result<KeyEncryptionKey, StartError> {
    let cipher = Cipher::from_name(&part.cipher).ok_or_else(|| {
        wrong(format!(
            "key-encryption key `{}`: `{}` is no cipher; write aes-256-gcm or sm4-gcm",
            part.id, part.cipher
        ))
    })?;
    let path = part.key.path(ServiceManager::credentials().as_deref()).map_err(StartError::Config)?;
    let bytes = std::fs::read(&path).map(Zeroizing::new).map_err(|error| {
        wrong(format!("cannot read key-encryption key `{}` from {}: {error}", part.id, path.display()))
    })?;
    if bytes.len() != cipher.key_len() {
        return Err(wrong(format!(
            "key-encryption key `{}` in {} has {} bytes, {} takes {}",
            part.id,
            path.display(),
            bytes.len(),
            part.cipher,
            cipher.key_len()
        )));
    }
    Ok(KeyEncryptionKey { id: part.id.parse().map_err(wrong)?, cipher, key: SecretKey::new(bytes.to_vec()) })
}

/// What the broker link is told.
pub(super) fn mqtt(
    config: &Config,
    topics: &Topics,
    credentials: Option<&Path>,
) -> Result<MqttConfig, StartError> {
    let address = mqtt::parse_url(&config.mqtt.url).map_err(StartError::Config)?;
    let tls = address.tls.then(|| ClientTls::for_broker(&config.mqtt, &config.cloud, credentials));
    Ok(MqttConfig {
        host: address.host,
        port: address.port,
        tls: tls.transpose()?,
        client_id: format!("gatewayd-{}", config.vehicle.vin),
        keep_alive: config.mqtt.keep_alive.get(),
        outbox: config.mqtt.outbox,
        presence_topic: topics.presence.clone(),
        subscriptions: vec![topics.command.clone(), topics.rebirth.clone()],
        rebirth_topic: topics.rebirth.clone(),
    })
}

/// The hardware of this machine.
pub(super) fn topology() -> Result<Topology, StartError> {
    crate::inspect::hardware().map_err(wrong)
}
