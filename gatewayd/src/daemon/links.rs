//! From `[[bus]]` and `[[ecu]]` to the threads that talk to ECUs.

use std::path::Path;
use std::sync::Arc;

use canfd::bit_timing::BitTiming;
use canfd::bus::BusUrl;
use canfd::doip::header::ProtocolVersion;
use canfd::doip::{DoipUrl, LogicalAddress};
use canfd::frame::{CanId, CanIds};
use canfd::pacing::PacingConfig;
use canfd::uds::profile::Profile;
use telemetry::topics::EcuSegment;
use tokio::sync::mpsc;
use topology::Role;

use super::StartError;
use super::build::wrong;
use crate::bus::{BusMaster, SeatConfig, SourceBlock, TelemetryPort, TelemetrySource};
use crate::config::Config;
use crate::config::bus_telemetry::TelemetrySourcePart;
use crate::config::link::LinkUrl;
use crate::config::parts::{BusPart, EcuPart};
use crate::doip::{DoipConfig, DoipMaster, DoipSeatConfig};
use crate::gateway::message::{EcuIndex, Input};
use crate::io::can::{BusWorker, TelemetryLink};
use crate::io::doip::DoipWorker;
use crate::io::link::LinkWorker;
use crate::io::tls::{ClientTls, TlsError};
use crate::runtime::Layout;

/// One `[[bus]]` with its ECUs, checked.
#[derive(Debug)]
pub(super) enum LinkSetup {
    Can { url: BusUrl, timing: BitTiming, seats: Vec<SeatConfig>, telemetry: TelemetryPort },
    Doip { url: DoipUrl, tls: Option<ClientTls>, config: DoipConfig, seats: Vec<DoipSeatConfig> },
}

/// Every `[[bus]]`, in the order of the configuration.
pub(super) fn links(config: &Config, credentials: Option<&Path>) -> Result<Vec<LinkSetup>, StartError> {
    let parts = config.buses.iter().map(|it| it.get_ref());
    parts.map(|part| link(config, part, credentials)).collect()
}

fn link(config: &Config, part: &BusPart, credentials: Option<&Path>) -> Result<LinkSetup, StartError> {
    let wrong_url = |error| wrong(format!("bus `{}`: {error}", part.name));
    let ecus = config.ecus.iter().map(|it| it.get_ref()).enumerate();
    let mut ecus = ecus.filter(|(_, ecu)| ecu.bus == part.name);
    match part.url.parse::<LinkUrl>().map_err(wrong_url)? {
        LinkUrl::Can(url) => {
            let timing = BitTiming::new(part.nominal_bit_rate, part.data_bit_rate).ok_or_else(|| {
                wrong(format!("bus `{}`: data_bit_rate is below nominal_bit_rate", part.name))
            })?;
            let seats = ecus.map(|(at, ecu)| seat(config, at, ecu, &url)).collect::<Result<_, _>>()?;
            Ok(LinkSetup::Can { url, timing, seats, telemetry: telemetry_port(part)? })
        }
        LinkUrl::Doip(url) => {
            let source = part.source_address.ok_or_else(|| missing(&part.name, "source_address"))?;
            // TLS came with the edition of 2019.
            let version = if url.tls { ProtocolVersion::Iso2019 } else { ProtocolVersion::Iso2012 };
            let version = match part.protocol_version {
                None => version,
                Some(byte) => ProtocolVersion::from_byte(byte)
                    .ok_or_else(|| wrong(format!("bus `{}`: protocol_version is 2 or 3", part.name)))?,
            };
            let tls = url.tls.then(|| ClientTls::for_entity(part, &config.cloud, credentials));
            let tls = tls.transpose().map_err(|error| match error {
                // It may yet be plugged in, and says itself which it is.
                error @ TlsError::Token { .. } => StartError::Tls(error),
                error => wrong(format!("bus `{}`: {error}", part.name)),
            })?;
            let seats = ecus.try_fold(Vec::new(), |mut seats, (at, ecu)| {
                seats.push(doip_seat(config, at, ecu)?);
                Ok::<_, StartError>(seats)
            })?;
            let config = DoipConfig { source: LogicalAddress(source), version };
            Ok(LinkSetup::Doip { url, tls, config, seats })
        }
    }
}

fn missing(name: &str, key: &str) -> StartError {
    wrong(format!("`{name}` has no {key}"))
}

fn profile(config: &Config, part: &EcuPart) -> Result<Arc<Profile>, StartError> {
    let profile = config.dialects.get(&part.dialect).cloned().unwrap_or_default();
    profile.validate().map_err(|error| wrong(format!("dialect `{}`: {error}", part.dialect)))?;
    Ok(Arc::new(profile))
}

fn seat(config: &Config, at: usize, part: &EcuPart, url: &BusUrl) -> Result<SeatConfig, StartError> {
    let ids =
        part.can_ids().ok_or_else(|| missing(&part.serial, "request_id, response_id or functional_id"))?;
    Ok(SeatConfig {
        ecu: EcuIndex(at),
        ids: CanIds { request: can_id(ids.request)?, response: can_id(ids.response)? },
        functional: can_id(ids.functional)?,
        addressing: part.addressing.physical(),
        functional_address: part.addressing.functional(),
        profile: profile(config, part)?,
        max_in_flight: SeatConfig::frames_in_flight(url),
    })
}

fn telemetry_port(part: &BusPart) -> Result<TelemetryPort, StartError> {
    let source = |it: &TelemetrySourcePart| {
        let name = EcuSegment::new(&it.name).map_err(wrong)?;
        Ok(TelemetrySource { name, id: can_id(it.id)?, ask: it.ask.map(can_id).transpose()? })
    };
    let sources = part.telemetry.receive.iter().map(source).collect::<Result<_, StartError>>()?;
    Ok(TelemetryPort::new(part.telemetry.send.map(can_id).transpose()?, sources))
}

fn doip_seat(config: &Config, at: usize, part: &EcuPart) -> Result<DoipSeatConfig, StartError> {
    let address = part.logical_address.ok_or_else(|| missing(&part.serial, "logical_address"))?;
    Ok(DoipSeatConfig {
        ecu: EcuIndex(at),
        address: LogicalAddress(address),
        functional: part.functional_address.map(LogicalAddress),
        profile: profile(config, part)?,
    })
}

fn can_id(raw: u32) -> Result<CanId, StartError> {
    match u16::try_from(raw) {
        Ok(short) if short <= 0x7FF => CanId::standard(short).map_err(wrong),
        _ => CanId::extended(raw).map_err(wrong),
    }
}

/// A worker for every bus.
pub(super) fn workers(
    config: &Config,
    links: Vec<LinkSetup>,
    layout: &Layout,
    inputs: &mpsc::Sender<Input>,
    blocks: &mpsc::Sender<SourceBlock>,
) -> Result<Vec<(String, LinkWorker)>, StartError> {
    let mut workers = Vec::new();
    for (at, (part, link)) in config.buses.iter().zip(links).enumerate() {
        let name = part.get_ref().name.clone();
        let (pin, inputs) = (layout.pin(Role::Bus, at), inputs.clone());
        let worker = match link {
            LinkSetup::Can { url, timing, seats, telemetry } => {
                let master = BusMaster::paced(seats, timing, PacingConfig::default());
                let telemetry = TelemetryLink { port: telemetry, blocks: blocks.clone() };
                let worker = BusWorker::start_with_telemetry(&name, url, master, telemetry, pin, inputs);
                worker.map(LinkWorker::Can)
            }
            LinkSetup::Doip { url, tls, config, seats } => {
                let master = DoipMaster::new(seats, config);
                DoipWorker::start(&name, url, tls, master, pin, inputs).map(LinkWorker::Doip)
            }
        };
        workers.push((name, worker.map_err(super::system("cannot start a bus worker"))?));
    }
    Ok(workers)
}
