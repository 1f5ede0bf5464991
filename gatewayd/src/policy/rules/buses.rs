//! The buses, and what the dialects ask of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use canfd::bit_timing::BitTiming;
use canfd::bus::BusUrl;
use canfd::doip::DoipUrl;
use canfd::uds::profile::SendTo;

use super::{Check, Example, Report, Rule, Severity, Subject};
use crate::config::link::LinkUrl;

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "BUS-101",
        severity: Severity::Error,
        title: "every bus is another link",
        reason: "two workers on one link program two ECUs at once, and each takes half of what it believes to have",
        fix: "describe the link once, and put the ECUs on it",
        check: Check::Looking(same_link),
        examples: [
            Example::Config(
                "bus = [{}, { name = \"body\", url = \"can0\", nominal_bit_rate = 500000, data_bit_rate = 2000000 }]",
            ),
            Example::Config(
                "bus = [{}, { name = \"body\", url = \"can:can1\", nominal_bit_rate = 500000, data_bit_rate = 2000000 }]",
            ),
        ],
    },
    Rule {
        id: "BUS-102",
        severity: Severity::Warning,
        title: "every bus has an ECU",
        reason: "an open link that nothing needs is one more way in",
        fix: "take the bus out, or describe its ECUs",
        check: Check::Looking(without_ecu),
        examples: [
            Example::Config(
                "bus = [{}, { name = \"body\", url = \"can:can1\", nominal_bit_rate = 500000, data_bit_rate = 2000000 }]",
            ),
            Example::Reference,
        ],
    },
    Rule {
        id: "BUS-103",
        severity: Severity::Warning,
        title: "buses are real",
        reason: "a simulated bus belongs on a bench: whoever owns its socket plays every ECU",
        fix: "write can:INTERFACE",
        check: Check::Looking(simulated),
        examples: [
            Example::Config("bus = [{ url = \"virtual:/run/bus.sock\" }]"),
            Example::Config("bus = [{ url = \"can:can0\" }]"),
        ],
    },
    Rule {
        id: "BUS-104",
        severity: Severity::Error,
        title: "a block gets through the bus in the time it has",
        reason: "a budget over 100 %: the client gives every transfer up before the bus can have carried it",
        fix: "lower max_block_length, raise timings.send, or speed the bus up",
        check: Check::Looking(budget),
        examples: [
            Example::Config(
                "bus = [{ nominal_bit_rate = 125000, data_bit_rate = 125000 }]\ndialect.plain = { max_block_length = 65535, timings = { send = \"4s\" } }",
            ),
            Example::Config(
                "bus = [{ nominal_bit_rate = 125000, data_bit_rate = 500000 }]\ndialect.plain = { max_block_length = 65535, timings = { send = \"4s\" } }",
            ),
        ],
    },
    Rule {
        id: "BUS-105",
        severity: Severity::Warning,
        title: "long blocks only where there is a fast data phase",
        reason: "classical CAN carries 4095 bytes in one ISO-TP message (ISO 15765-2); an ECU without CAN FD aborts longer ones",
        fix: "write max_block_length = 4095 or less",
        check: Check::Looking(beyond_classical),
        examples: [
            Example::Config(
                "bus = [{ nominal_bit_rate = 500000, data_bit_rate = 500000 }]\ndialect.plain.max_block_length = 4096",
            ),
            Example::Config(
                "bus = [{ nominal_bit_rate = 500000, data_bit_rate = 500000 }]\ndialect.plain.max_block_length = 4095",
            ),
        ],
    },
    Rule {
        id: "BUS-106",
        severity: Severity::Warning,
        title: "no step disturbs the neighbours",
        reason: "a functional request reaches every ECU of the bus and puts them out of their normal session too",
        fix: "write \"physical\" for extended_session, dtc_setting and communication_control",
        check: Check::Looking(functional),
        examples: [
            Example::Config("dialect.plain.dtc_setting = \"functional\""),
            Example::Config("dialect.plain.dtc_setting = \"physical\""),
        ],
    },
    Rule {
        id: "BUS-107",
        severity: Severity::Warning,
        title: "DoIP goes by TLS where others could listen",
        reason: "R155 annex 5, 4.3.1: whoever is on that network reads and changes what ECUs are programmed with",
        fix: "write doips:// and, where it is not cloud.ca, the ca of the ECUs; ISO 13400-2:2019 has TLS on port 3496",
        check: Check::Looking(doip_in_clear),
        examples: [
            Example::Config(
                "bus = [{}, { name = \"eth\", url = \"doip://192.0.2.10\", source_address = 0x0E80 }]",
            ),
            Example::Config(
                "bus = [{}, { name = \"eth\", url = \"doips://192.0.2.10\", source_address = 0x0E80 }]",
            ),
        ],
    },
];

/// Payload of a CAN FD consecutive frame: 64 bytes less one of protocol control information.
const PAYLOAD: u64 = 63;
/// Bits of such a frame at the nominal and at the data rate, without dynamic stuff bits: what it takes at least.
const BITS: (u64, u64) = (30, 562);

fn same_link(it: &Subject, report: &mut Report<'_>) {
    let mut links: BTreeMap<String, &str> = BTreeMap::new();
    for (at, bus) in it.config.buses.iter().enumerate() {
        let bus = bus.get_ref();
        let Ok(url) = bus.url.parse::<LinkUrl>() else { continue };
        if let Some(other) = links.insert(url.to_string(), &bus.name) {
            report.at(
                &format!("bus[{at}].url"),
                format!("buses `{other}` and `{}` are one link, {url}", bus.name),
            );
        }
    }
}

fn without_ecu(it: &Subject, report: &mut Report<'_>) {
    for (at, bus) in it.config.buses.iter().enumerate() {
        let name = &bus.get_ref().name;
        if !it.config.ecus.iter().any(|ecu| ecu.get_ref().bus == *name) {
            report.at(&format!("bus[{at}]"), format!("no ECU is on bus `{name}`"));
        }
    }
}

fn simulated(it: &Subject, report: &mut Report<'_>) {
    for (at, bus) in it.config.buses.iter().enumerate() {
        let bus = bus.get_ref();
        if matches!(bus.url.parse(), Ok(BusUrl::Virtual(_) | BusUrl::Udp(_))) {
            report.at(&format!("bus[{at}].url"), format!("bus `{}` is a simulated one", bus.name));
        }
    }
}

fn doip_in_clear(it: &Subject, report: &mut Report<'_>) {
    for (at, bus) in it.config.buses.iter().enumerate() {
        let bus = bus.get_ref();
        if let Ok(LinkUrl::Doip(url)) = bus.url.parse()
            && !url.tls
            && is_routable(&url)
        {
            let message = format!("bus `{}` is DoIP in clear text over a network that routes", bus.name);
            report.at(&format!("bus[{at}].url"), message);
        }
    }
}

/// Whether more than this machine or this one cable may be between; a name may stand for anything.
fn is_routable(url: &DoipUrl) -> bool {
    let address = url.host.split('%').next().unwrap_or_default();
    match address.parse() {
        Ok(IpAddr::V4(address)) => !address.is_loopback() && !address.is_link_local(),
        Ok(IpAddr::V6(address)) => !address.is_loopback() && !address.is_unicast_link_local(),
        Err(_) => url.host != "localhost",
    }
}

fn budget(it: &Subject, report: &mut Report<'_>) {
    for (key, ecu, bus, profile) in it.programmed().filter(|(_, _, bus, _)| !bus.is_doip()) {
        let Some(timing) = BitTiming::new(bus.nominal_bit_rate, bus.data_bit_rate) else { continue };
        let frames = u64::from(profile.max_block_length).div_ceil(PAYLOAD);
        let seconds = frames as f64
            * (BITS.0 as f64 / f64::from(timing.nominal()) + BITS.1 as f64 / f64::from(timing.data()));
        let share = 100.0 * seconds / profile.timings.send.as_secs_f64().max(1e-6);
        if share > 100.0 {
            let message = format!(
                "a block of {} bytes for ECU `{}` takes {seconds:.1} s of bus `{}` at least: {share:.0} % of timings.send",
                profile.max_block_length, ecu.serial, bus.name
            );
            report.at(&format!("{key}.max_block_length"), message);
        }
    }
}

fn beyond_classical(it: &Subject, report: &mut Report<'_>) {
    for (key, ecu, bus, profile) in it.programmed() {
        if !bus.is_doip() && profile.max_block_length > 4095 && bus.data_bit_rate <= bus.nominal_bit_rate {
            let message = format!(
                "ECU `{}` gets blocks of {} bytes on bus `{}`, which has no fast data phase",
                ecu.serial, profile.max_block_length, bus.name
            );
            report.at(&format!("{key}.max_block_length"), message);
        }
    }
}

fn functional(it: &Subject, report: &mut Report<'_>) {
    for (key, _, bus, profile) in it.programmed() {
        let neighbours = it.config.ecus.iter().filter(|ecu| ecu.get_ref().bus == bus.name).count();
        for (step, to) in [
            ("extended_session", profile.extended_session),
            ("dtc_setting", profile.dtc_setting),
            ("communication_control", profile.communication_control),
        ] {
            if to == SendTo::Functional && neighbours > 1 {
                let message = format!("{step} goes to all {neighbours} ECUs of bus `{}`", bus.name);
                report.at(&format!("{key}.{step}"), message);
            }
        }
    }
}
