//! How ECUs are addressed and which bank they have.

use std::collections::BTreeMap;

use super::{Check, Example, Report, Rule, Severity, Subject};
use crate::config::addressing::clash;
use crate::config::parts::{EcuPart, RawCanIds};

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "ECU-101",
        severity: Severity::Error,
        title: "the functional id is nobody's own",
        reason: "what is meant for one ECU would reach all of them, or the other way round",
        fix: "use the functional id of the bus, 0x7DF or 0x18DB33F1 as a rule",
        check: Check::Looking(functional_clash),
        examples: [
            Example::Config("ecu = [{ functional_id = 0x732 }]"),
            Example::Config("ecu = [{ functional_id = 0x7DF }]"),
        ],
    },
    Rule {
        id: "ECU-102",
        severity: Severity::Warning,
        title: "a bus has one functional id",
        reason: "ECUs that listen to another one stay in their normal session while a neighbour is programmed",
        fix: "write the same functional_id for every ECU of the bus",
        check: Check::Looking(functional_differs),
        examples: [
            Example::Config("ecu = [{ functional_id = 0x7DE }]"),
            Example::Config("ecu = [{ functional_id = 0x7DF }]"),
        ],
    },
    Rule {
        id: "ECU-103",
        severity: Severity::Error,
        title: "an ECU with two banks is programmed into the one that does not run",
        reason: "R156 7.2.2.1.1: it is written to while its image still arrives, so the running software must stay whole",
        fix: "give its dialect two banks and activation = { switch_bank = ... }, or write banks = 1",
        check: Check::Looking(two_banks_without_switch),
        examples: [
            Example::Config("ecu = [{ banks = 2 }]"),
            Example::Config("ecu = [{ banks = 2, dialect = \"two-banks\" }]"),
        ],
    },
    Rule {
        id: "ECU-104",
        severity: Severity::Warning,
        title: "a dialect with a spare bank is used as one",
        reason: "with banks = 1 the image waits in the store although the ECU could take it: time and room are lost",
        fix: "write banks = 2",
        check: Check::Looking(one_bank_with_switch),
        examples: [
            Example::Config("ecu = [{}, { banks = 1 }]"),
            Example::Config("ecu = [{}, { banks = 2 }]"),
        ],
    },
    Rule {
        id: "ECU-105",
        severity: Severity::Warning,
        title: "request and response ids are of one length",
        reason: "normal addressing (ISO 15765-4) has 11 bits both ways or 29; a mix is most often a slip of the pen",
        fix: "write both with 11 bits or both with 29",
        check: Check::Looking(mixed_length),
        examples: [
            Example::Config("ecu = [{ response_id = 0x18DAF110 }]"),
            Example::Config("ecu = [{ request_id = 0x18DA10F1, response_id = 0x18DAF110 }]"),
        ],
    },
    Rule {
        id: "ECU-106",
        severity: Severity::Warning,
        title: "programming yields to control traffic",
        reason: "low ids win arbitration: a transfer below 0x100 can starve what keeps the vehicle safe",
        fix: "use the diagnostic range, 0x600 to 0x7FF or 29 bits with priority 6",
        check: Check::Looking(high_priority),
        examples: [
            Example::Config("ecu = [{ request_id = 0x0FF }]"),
            Example::Config("ecu = [{ request_id = 0x100 }]"),
        ],
    },
    Rule {
        id: "ECU-107",
        severity: Severity::Warning,
        title: "ECUs of one kind speak one dialect",
        reason: "an image for that hardware would be programmed in two ways, of which one is untested",
        fix: "use one dialect, or tell the hardware apart by its identifier",
        check: Check::Looking(two_dialects),
        examples: [
            Example::Config("ecu = [{}, { hardware_id = \"brake-s32k3\" }]"),
            Example::Config("ecu = [{}, { hardware_id = \"brake-s32k4\" }]"),
        ],
    },
    Rule {
        id: "ECU-108",
        severity: Severity::Warning,
        title: "there is an ECU to update",
        reason: "the Director's campaigns for this vehicle would all be refused",
        fix: "describe the ECUs with [[ecu]]",
        check: Check::Looking(no_ecu),
        examples: [Example::File("without [[ecu]]"), Example::Reference],
    },
];

fn key(at: usize, name: &str) -> String {
    format!("ecu[{at}].{name}")
}

fn ecus(it: &Subject) -> impl Iterator<Item = (usize, &EcuPart)> {
    it.config.ecus.iter().map(|it| it.get_ref()).enumerate()
}

/// Those on CAN, with their ids.
fn on_can(it: &Subject) -> impl Iterator<Item = (usize, &EcuPart, RawCanIds)> {
    ecus(it).filter_map(|(at, ecu)| Some((at, ecu, ecu.can_ids()?)))
}

fn functional_clash(it: &Subject, report: &mut Report<'_>) {
    for (at, ecu, ids) in on_can(it) {
        let own = on_can(it).find(|(_, other, of_other)| {
            let addressing = other.addressing.physical();
            let own = [(of_other.request, addressing.tx()), (of_other.response, addressing.rx())];
            let is_own = |(id, address)| id == ids.functional && clash(address, ecu.addressing.functional());
            other.bus == ecu.bus && own.into_iter().any(is_own)
        });
        if let Some((_, other, _)) = own {
            let message = format!("functional id {:#x} is an id of ECU `{}`", ids.functional, other.serial);
            report.at(&key(at, "functional_id"), message);
        }
    }
}

fn functional_differs(it: &Subject, report: &mut Report<'_>) {
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    for (at, ecu, ids) in on_can(it) {
        let expected = *first.entry(&ecu.bus).or_insert(ids.functional);
        if expected != ids.functional {
            let message = format!(
                "ECU `{}` has functional id {:#x}, others of bus `{}` have {expected:#x}",
                ecu.serial, ids.functional, ecu.bus
            );
            report.at(&key(at, "functional_id"), message);
        }
    }
}

fn two_banks_without_switch(it: &Subject, report: &mut Report<'_>) {
    for (at, ecu) in ecus(it) {
        let dialect = it.config.dialects.get(&ecu.dialect);
        if ecu.banks == 2 && dialect.is_some_and(|it| !it.keeps_old_software() || it.banks.len() < 2) {
            let message = format!(
                "ECU `{}` has two banks, dialect `{}` would write over the running one",
                ecu.serial, ecu.dialect
            );
            report.at(&key(at, "banks"), message);
        }
    }
}

fn one_bank_with_switch(it: &Subject, report: &mut Report<'_>) {
    for (at, ecu) in ecus(it) {
        let dialect = it.config.dialects.get(&ecu.dialect);
        if ecu.banks == 1 && dialect.is_some_and(|it| it.keeps_old_software()) {
            report.at(
                &key(at, "banks"),
                format!("ECU `{}` has one bank, dialect `{}` two", ecu.serial, ecu.dialect),
            );
        }
    }
}

fn mixed_length(it: &Subject, report: &mut Report<'_>) {
    for (at, ecu, ids) in on_can(it) {
        if (ids.request > 0x7FF) != (ids.response > 0x7FF) {
            let message = format!(
                "ECU `{}` is asked on {:#x} and answers on {:#x}: 11 bits and 29",
                ecu.serial, ids.request, ids.response
            );
            report.at(&key(at, "response_id"), message);
        }
    }
}

fn high_priority(it: &Subject, report: &mut Report<'_>) {
    for (at, ecu, ids) in on_can(it) {
        for (name, id) in [("request_id", ids.request), ("response_id", ids.response)] {
            if id < 0x100 {
                report.at(
                    &key(at, name),
                    format!("{name} {id:#x} of ECU `{}` outranks control traffic", ecu.serial),
                );
            }
        }
    }
}

fn two_dialects(it: &Subject, report: &mut Report<'_>) {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for (at, ecu) in ecus(it) {
        let expected = *first.entry(&ecu.hardware_id).or_insert(&ecu.dialect);
        if expected != ecu.dialect {
            let message = format!(
                "hardware `{}` speaks `{expected}` here and `{}` there",
                ecu.hardware_id, ecu.dialect
            );
            report.at(&key(at, "dialect"), message);
        }
    }
}

fn no_ecu(it: &Subject, report: &mut Report<'_>) {
    if it.config.ecus.is_empty() {
        report.at("vehicle", "no ECU is described");
    }
}
