//! From the configuration to the parts of the daemon. Files are read here, nothing is connected.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use canfd::bit_timing::BitTiming;
use canfd::bus::BusUrl;
use canfd::frame::{CanId, CanIds};
use canfd::pacing::PacingConfig;
use crypto_offload::job::{Cipher, SecretKey};
use ota::journal::Banks;
use ota::uptane::verify::{TrustedMetadata, TrustedRepository};
use tokio::sync::mpsc;
use topology::{Role, Topology};
use zeroize::Zeroizing;

use super::StartError;
use crate::bus::{BusMaster, SeatConfig};
use crate::config::Config;
use crate::config::parts::{BusPart, EcuPart, KekPart};
use crate::event_loop::Topics;
use crate::gateway::message::{EcuIndex, Input};
use crate::gateway::{EcuSetup, KeyEncryptionKey, Setup};
use crate::io::can::BusWorker;
use crate::io::mqtt::{self, MqttConfig};
use crate::io::tls::ClientTls;
use crate::runtime::Layout;
use crate::systemd::ServiceManager;

fn wrong(error: impl std::fmt::Display) -> StartError {
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

/// The seats of every bus, in the order of the configuration.
pub(super) fn seats(config: &Config) -> Result<Vec<Vec<SeatConfig>>, StartError> {
    let mut seats: Vec<Vec<SeatConfig>> = config.buses.iter().map(|_| Vec::new()).collect();
    for (at, part) in config.ecus.iter().enumerate() {
        let part = part.get_ref();
        let profile = config.dialects.get(&part.dialect).cloned().unwrap_or_default();
        profile.validate().map_err(|error| wrong(format!("dialect `{}`: {error}", part.dialect)))?;
        let bus = bus_of(config, part)?;
        let url = config.buses.get(bus).map(|it| url_of(it.get_ref())).transpose()?;
        let seat = SeatConfig {
            ecu: EcuIndex(at),
            ids: CanIds { request: can_id(part.request_id)?, response: can_id(part.response_id)? },
            functional: can_id(part.functional_id)?,
            addressing: part.addressing.physical(),
            functional_address: part.addressing.functional(),
            profile: Arc::new(profile),
            max_in_flight: url.as_ref().map_or(1, SeatConfig::frames_in_flight),
        };
        if let Some(seats) = seats.get_mut(bus) {
            seats.push(seat);
        }
    }
    Ok(seats)
}

fn url_of(part: &BusPart) -> Result<BusUrl, StartError> {
    part.url.parse().map_err(|error| wrong(format!("bus `{}`: {error}", part.name)))
}

fn can_id(raw: u32) -> Result<CanId, StartError> {
    match u16::try_from(raw) {
        Ok(short) if short <= 0x7FF => CanId::standard(short).map_err(wrong),
        _ => CanId::extended(raw).map_err(wrong),
    }
}

/// A worker for every bus.
pub(super) fn buses(
    config: &Config,
    seats: Vec<Vec<SeatConfig>>,
    layout: &Layout,
    inputs: &mpsc::Sender<Input>,
) -> Result<Vec<(String, BusWorker)>, StartError> {
    let mut workers = Vec::new();
    for (at, (part, seats)) in config.buses.iter().zip(seats).enumerate() {
        let part = part.get_ref();
        let url = url_of(part)?;
        let pin = layout.pin(Role::Bus, at);
        let timing = BitTiming::new(part.nominal_bit_rate, part.data_bit_rate)
            .ok_or_else(|| wrong(format!("bus `{}`: data_bit_rate is below nominal_bit_rate", part.name)))?;
        let master = BusMaster::paced(seats, timing, PacingConfig::default());
        let worker = BusWorker::start(&part.name, url, master, pin, inputs.clone())
            .map_err(super::system("cannot start a bus worker"))?;
        workers.push((part.name.clone(), worker));
    }
    Ok(workers)
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
        tls: tls.transpose().map_err(wrong)?,
        client_id: format!("gatewayd-{}", config.vehicle.vin),
        keep_alive: config.mqtt.keep_alive.get(),
        outbox: config.mqtt.outbox,
        presence_topic: topics.presence.clone(),
        subscriptions: vec![topics.command.clone(), topics.rebirth.clone()],
    })
}

/// The hardware of this machine.
pub(super) fn topology() -> Result<Topology, StartError> {
    crate::inspect::hardware().map_err(wrong)
}
