//! The rules that one value alone cannot break.

use std::collections::BTreeMap;

use canfd::doip::{AddressKind, LogicalAddress};
use crypto_offload::tls::Suites;

use super::addressing::{AddressingPart, clash};
use super::bus_telemetry;
use super::link::LinkUrl;
use super::parts::{BusPart, EcuPart, EngineName, MqttPart, TransportName};
use super::{Config, Finding, line_of};
use crate::io::mqtt::parse_url;

/// The largest 29-bit CAN id.
pub(super) const CAN_ID_MAX: u32 = 0x1FFF_FFFF;

/// Least room for the bytes of crypto jobs: the largest chunk (1 MiB), its tag, and the next.
const LARGEST_CHUNK: u64 = 2 << 20;

/// Every finding about a configuration that parsed.
pub(super) fn run(config: &Config, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    vehicle(config, &mut found);
    endpoints(config, &mut found);
    crypto(config, &mut found);
    buses(config, text, &mut found);
    ecus(config, text, &mut found);
    found
}

fn vehicle(config: &Config, found: &mut Vec<Finding>) {
    let vin = &config.vehicle.vin;
    let legal = |c: char| c.is_ascii_digit() || (c.is_ascii_uppercase() && !matches!(c, 'I' | 'O' | 'Q'));
    if vin.len() != 17 || !vin.chars().all(legal) {
        let message =
            format!("`{vin}` is not a VIN: 17 digits and capital letters without I, O and Q (ISO 3779)");
        found.push(Finding::error("VEH-001", 0, message));
    }
}

fn endpoints(config: &Config, found: &mut Vec<Finding>) {
    let cloud = &config.cloud;
    if !cloud.url.starts_with("https://") {
        let message =
            format!("cloud.url `{}` is not https; metadata and images only travel inside TLS 1.3", cloud.url);
        found.push(Finding::error("CLD-001", 0, message));
    }
    if cloud.transports.is_empty() {
        let message = "cloud.transports is empty; write [\"h3\", \"h2\"]".to_owned();
        found.push(Finding::error("CLD-002", 0, message));
    }
    if cloud.transports == [TransportName::Http3] {
        let message =
            "cloud.transports has no \"h2\": a network that blocks UDP cuts this vehicle off".to_owned();
        found.push(Finding::warning("CLD-003", 0, message));
    }
    if cloud.attempts == 0 {
        found.push(Finding::error("CLD-004", 0, "cloud.attempts must be 1 or more".to_owned()));
    }
    if cloud.sm_certificate.is_some() != cloud.sm_key.is_some() {
        let message = "cloud.sm_certificate and cloud.sm_key go together; one of them is missing".to_owned();
        found.push(Finding::error("CLD-005", 0, message));
    }
    if cloud.suites == Suites::SmPreferred && cloud.sm_certificate.is_none() {
        let message =
            "cloud.suites = \"sm-preferred\" needs a certificate of either kind: add sm_certificate and \
                       sm_key, and leave the international ones in certificate and key"
                .to_owned();
        found.push(Finding::error("CLD-006", 0, message));
    }
    broker(&config.mqtt, found);
}

fn broker(mqtt: &MqttPart, found: &mut Vec<Finding>) {
    match parse_url(&mqtt.url) {
        Err(error) => found.push(Finding::error("MQT-002", 0, format!("mqtt.url {error}"))),
        Ok(address) if !address.tls && !is_loopback(&address.host) => {
            let message = "mqtt.url: clear text to a broker on another machine; write mqtts://".to_owned();
            found.push(Finding::warning("MQT-003", 0, message));
        }
        Ok(address) if !address.tls && (mqtt.ca.is_some() || mqtt.certificate.is_some()) => {
            let message = "mqtt.ca and mqtt.certificate have no meaning without mqtts://".to_owned();
            found.push(Finding::warning("MQT-005", 0, message));
        }
        Ok(_) => {}
    }
    if mqtt.certificate.is_some() != mqtt.key.is_some() {
        let message = "mqtt.certificate and mqtt.key go together; one of them is missing".to_owned();
        found.push(Finding::error("MQT-006", 0, message));
    }
    if mqtt.outbox == 0 {
        found.push(Finding::error("MQT-004", 0, "mqtt.outbox must be 1 or more".to_owned()));
    }
}

fn crypto(config: &Config, found: &mut Vec<Finding>) {
    let crypto = &config.crypto;
    let order = [EngineName::Device, EngineName::AfAlg, EngineName::Software];
    let in_order: Vec<_> = order.into_iter().filter(|it| crypto.engines.contains(it)).collect();
    if in_order != crypto.engines || crypto.engines.last() != Some(&EngineName::Software) {
        let message =
            "crypto.engines is \"software\", and before it \"device\" and \"af-alg\" if wanted, in this \
                       order: the CPU stands behind any other"
                .to_owned();
        found.push(Finding::error("CRY-001", 0, message));
    }
    if crypto.max_jobs == 0 || crypto.max_bytes.get() < LARGEST_CHUNK {
        let message = "crypto.max_jobs must be 1 or more and crypto.max_bytes 2MiB or more".to_owned();
        found.push(Finding::error("CRY-002", 0, message));
    }
    if crypto.patience.get().is_zero() || crypto.probation.get().is_zero() {
        let message = "crypto.patience and crypto.probation must be more than nothing".to_owned();
        found.push(Finding::error("CRY-003", 0, message));
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

fn buses(config: &Config, text: &str, found: &mut Vec<Finding>) {
    let mut names = BTreeMap::new();
    for bus in &config.buses {
        let (line, bus) = (line_of(text, bus.span().start), bus.get_ref());
        if let Some(before) = names.insert(&bus.name, line) {
            let message = format!("bus `{}` is already there (line {before}); rename one of them", bus.name);
            found.push(Finding::error("BUS-001", line, message));
        }
        if let Err(error) = bus.url.parse::<LinkUrl>() {
            found.push(Finding::error("BUS-002", line, format!("bus `{}`: {error}", bus.name)));
        }
        bus_telemetry::check(bus, config.ecus.iter().map(|it| it.get_ref()), line, found);
        if bus.is_doip() {
            doip_bus(bus, line, found);
            continue;
        }
        if bus.source_address.is_some() || bus.protocol_version.is_some() || bus.has_tls_files() {
            let message = format!(
                "bus `{}`: source_address, protocol_version, ca, certificate and key are for DoIP only",
                bus.name
            );
            found.push(Finding::error("BUS-005", line, message));
        }
        if !(10_000..=1_000_000).contains(&bus.nominal_bit_rate) {
            let message = format!("bus `{}`: nominal_bit_rate is in bit/s, 10000 to 1000000", bus.name);
            found.push(Finding::error("BUS-003", line, message));
        }
        if !(bus.nominal_bit_rate..=8_000_000).contains(&bus.data_bit_rate) {
            let message = format!(
                "bus `{}`: data_bit_rate is in bit/s, from the nominal bit rate to 8000000",
                bus.name
            );
            found.push(Finding::error("BUS-004", line, message));
        }
    }
}

/// A DoIP entity.
fn doip_bus(bus: &BusPart, line: usize, found: &mut Vec<Finding>) {
    let name = &bus.name;
    if bus.nominal_bit_rate != 0 || bus.data_bit_rate != 0 {
        let message = format!("bus `{name}`: nominal_bit_rate and data_bit_rate are for CAN only");
        found.push(Finding::error("BUS-005", line, message));
    }
    if bus.certificate.is_some() != bus.key.is_some() {
        let message = format!("bus `{name}`: certificate and key go together; one of them is missing");
        found.push(Finding::error("BUS-005", line, message));
    }
    if bus.has_tls_files() && !matches!(bus.url.parse(), Ok(LinkUrl::Doip(url)) if url.tls) {
        let message = format!("bus `{name}`: ca, certificate and key have no meaning without doips://");
        found.push(Finding::error("BUS-005", line, message));
    }
    if !bus.source_address.is_some_and(|it| LogicalAddress(it).kind() == AddressKind::Tester) {
        let message = format!("bus `{name}`: source_address is the gateway's own, 0x0E00 to 0x0FFF");
        found.push(Finding::error("BUS-006", line, message));
    }
    if !matches!(bus.protocol_version, None | Some(2 | 3)) {
        let message = format!("bus `{name}`: protocol_version is 2 (ISO 13400-2:2012) or 3 (2019)");
        found.push(Finding::error("BUS-006", line, message));
    }
}

fn ecus(config: &Config, text: &str, found: &mut Vec<Finding>) {
    let mut serials = BTreeMap::new();
    let mut ids: BTreeMap<_, Vec<(Option<u8>, &str)>> = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for ecu in &config.ecus {
        let (line, ecu) = (line_of(text, ecu.span().start), ecu.get_ref());
        ecu_references(config, ecu, line, found);
        if let Some(before) = serials.insert(&ecu.serial, line) {
            let message = format!("ECU `{}` is already there (line {before})", ecu.serial);
            found.push(Finding::error("ECU-002", line, message));
        }
        if config.buses.iter().any(|bus| bus.get_ref().name == ecu.bus && bus.get_ref().is_doip()) {
            let address = ecu.logical_address.unwrap_or_default();
            if let Some(other) = addresses.insert((&ecu.bus, address), &ecu.serial) {
                let message = format!(
                    "ECU `{}` and `{other}` share logical address {address:#06x} on bus `{}`",
                    ecu.serial, ecu.bus
                );
                found.push(Finding::error("ECU-003", line, message));
            }
            doip_ecu(ecu, line, found);
        } else if ecu.can_ids().is_none() || ecu.logical_address.is_some() || ecu.functional_address.is_some()
        {
            let message = format!(
                "ECU `{}`: on CAN it needs request_id, response_id and functional_id, and no logical_address or \
                 functional_address",
                ecu.serial
            );
            found.push(Finding::error("ECU-007", line, message));
        }
        let addressing = ecu.addressing.physical();
        for (id, address) in [(ecu.request_id, addressing.tx()), (ecu.response_id, addressing.rx())] {
            let Some(id) = id else { continue };
            if id > CAN_ID_MAX {
                let message = format!("ECU `{}`: {id:#x} is not a CAN id (29 bit at most)", ecu.serial);
                found.push(Finding::error("ECU-004", line, message));
            }
            let users = ids.entry((&ecu.bus, id)).or_default();
            let other = users.iter().find(|(taken, _)| clash(*taken, address)).map(|(_, serial)| *serial);
            users.push((address, &ecu.serial));
            if let Some(other) = other {
                let message = format!(
                    "ECU `{}` and `{other}` share CAN id {id:#x} on bus `{}`: both would answer, and every transfer \
                     would abort",
                    ecu.serial, ecu.bus
                );
                found.push(Finding::error("ECU-003", line, message));
            }
        }
        if !(1..=2).contains(&ecu.banks) {
            found.push(Finding::error("ECU-005", line, format!("ECU `{}`: banks is 1 or 2", ecu.serial)));
        }
    }
}

/// An ECU behind a DoIP entity.
fn doip_ecu(ecu: &EcuPart, line: usize, found: &mut Vec<Finding>) {
    let serial = &ecu.serial;
    let has_ids = ecu.request_id.is_some() || ecu.response_id.is_some() || ecu.functional_id.is_some();
    if has_ids || ecu.addressing != AddressingPart::Normal {
        let message = format!(
            "ECU `{serial}`: with DoIP it has a logical_address, and no request_id, response_id, functional_id or \
             addressing"
        );
        found.push(Finding::error("ECU-007", line, message));
    }
    let kind = |address: Option<u16>| address.map(|it| LogicalAddress(it).kind());
    if !matches!(kind(ecu.logical_address), Some(AddressKind::Ecu | AddressKind::TruckAndBus)) {
        let message = format!(
            "ECU `{serial}`: logical_address is an ECU's, 0x0001 to 0x0DFF, 0x1000 to 0x7FFF or 0xD000 to 0xDFFF"
        );
        found.push(Finding::error("ECU-008", line, message));
    }
    if !matches!(kind(ecu.functional_address), None | Some(AddressKind::FunctionalGroup)) {
        let message =
            format!("ECU `{serial}`: functional_address is a group's, 0xE000 to 0xEFFF (ISO 13400-2)");
        found.push(Finding::error("ECU-008", line, message));
    }
}

fn ecu_references(config: &Config, ecu: &EcuPart, line: usize, found: &mut Vec<Finding>) {
    if !config.buses.iter().any(|bus| bus.get_ref().name == ecu.bus) {
        let message = format!("ECU `{}` is on bus `{}`, which no [[bus]] describes", ecu.serial, ecu.bus);
        found.push(Finding::error("ECU-001", line, message));
    }
    if !config.dialects.contains_key(&ecu.dialect) {
        let message = format!(
            "ECU `{}` speaks `{}`, which no [dialect.{}] describes",
            ecu.serial, ecu.dialect, ecu.dialect
        );
        found.push(Finding::error("ECU-006", line, message));
    }
}
