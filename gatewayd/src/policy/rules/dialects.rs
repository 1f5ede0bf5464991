//! How kinds of ECUs are programmed (ISO 14229-1).

use std::time::Duration;

use canfd::uds::profile::{ChecksumAlgorithm, Profile, Resume, Security, SendTo};

use super::{Check, Example, Report, Rule, Severity, Subject};

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "DIA-101",
        severity: Severity::Error,
        title: "a dialect does not contradict itself",
        reason: "the daemon would not start",
        fix: "do as the message says",
        check: Check::Looking(invalid),
        examples: [
            Example::Config("dialect.plain.max_block_length = 2"),
            Example::Config("dialect.plain.max_block_length = 3"),
        ],
    },
    Rule {
        id: "DIA-102",
        severity: Severity::Warning,
        title: "an ECU is unlocked before it is programmed",
        reason: "R155 annex 5, 4.3.2: an ECU that needs no unlocking can be programmed by whoever reaches the bus",
        fix: "have the ECU ask for 0x27, and describe it with security = { seed_key = ... }",
        check: Check::Looking(no_unlocking),
        examples: [
            Example::Config("dialect.plain.security = \"none\""),
            Example::Config(
                "[dialect]
plain.security = { seed_key = { level = 1, algorithm = \"oem\" } }
two-banks.security = { seed_key = { level = 1, algorithm = \"oem\" } }",
            ),
        ],
    },
    Rule {
        id: "DIA-103",
        severity: Severity::Warning,
        title: "no demonstration algorithm unlocks an ECU",
        reason: "the algorithms built in are public and protect nothing",
        fix: "link the manufacturer's algorithm in",
        check: Check::Looking(demonstration),
        examples: [
            Example::Config(
                "dialect.plain.security = { seed_key = { level = 1, algorithm = \"demonstration-xor-rotate\" } }",
            ),
            Example::Reference,
        ],
    },
    Rule {
        id: "DIA-104",
        severity: Severity::Error,
        title: "the algorithm that unlocks an ECU is there",
        reason: "every update of that ECU would fail at 0x27, after its session has been left",
        fix: "name one that is linked in: demonstration-xor-rotate, demonstration-multiply-add",
        check: Check::Looking(unknown_algorithm),
        examples: [
            Example::Config("dialect.plain.security = { seed_key = { level = 1, algorithm = \"oem\" } }"),
            Example::Config(
                "dialect.plain.security = { seed_key = { level = 1, algorithm = \"demonstration-xor-rotate\" } }",
            ),
        ],
    },
    Rule {
        id: "DIA-105",
        severity: Severity::Warning,
        title: "the check of the written memory is a cryptographic one",
        reason: "a CRC finds accidents; what was changed on purpose on the bus keeps its CRC",
        fix: "write checksum = { algorithm = \"sha256\" } where the ECU can",
        check: Check::Looking(crc),
        examples: [
            Example::Config("dialect.plain.checksum = { algorithm = \"crc32\" }"),
            Example::Config("dialect.plain.checksum = { algorithm = \"sha256\" }"),
        ],
    },
    Rule {
        id: "DIA-106",
        severity: Severity::Note,
        title: "faults are not stored while an ECU is programmed",
        reason: "its neighbours miss its messages and store trouble codes that a workshop will chase",
        fix: "write dtc_setting = \"physical\" or \"functional\"",
        check: Check::Looking(dtc),
        examples: [
            Example::Config("dialect.plain.dtc_setting = \"skip\""),
            Example::Config("dialect.plain.dtc_setting = \"physical\""),
        ],
    },
    Rule {
        id: "DIA-107",
        severity: Severity::Warning,
        title: "normal communication rests while an ECU is programmed",
        reason: "an ECU that still sends half-initialised signals acts on the vehicle (R156 7.2.2.1.3)",
        fix: "write communication_control = \"physical\" or \"functional\"",
        check: Check::Looking(communication),
        examples: [
            Example::Config("dialect.plain.communication_control = \"skip\""),
            Example::Config("dialect.plain.communication_control = \"physical\""),
        ],
    },
    Rule {
        id: "DIA-108",
        severity: Severity::Error,
        title: "tester present comes before the session ends",
        reason: "an ECU leaves its session after 5 s of silence (ISO 14229-2, S3 of the server), in the middle of an update",
        fix: "write timings.s3 = \"2s\"",
        check: Check::Looking(s3),
        examples: [
            Example::Config("dialect.plain.timings = { s3 = \"5s\" }"),
            Example::Config("dialect.plain.timings = { s3 = \"4s\" }"),
        ],
    },
    Rule {
        id: "DIA-109",
        severity: Severity::Error,
        title: "P2* is not shorter than P2",
        reason: "an ECU that asks for more time would get less, and a running erase would be taken for a dead ECU",
        fix: "write timings.p2_star = \"5100ms\" and timings.p2 = \"150ms\"",
        check: Check::Looking(p2),
        examples: [
            Example::Config("dialect.plain.timings = { p2 = \"6s\" }"),
            Example::Config("dialect.plain.timings = { p2 = \"5s\" }"),
        ],
    },
    Rule {
        id: "DIA-110",
        severity: Severity::Warning,
        title: "a locked ECU is given its delay",
        reason: "after wrong keys ECUs refuse 0x27 for 10 s as a rule; a try before that starts the delay again",
        fix: "write timings.security_delay = \"11s\"",
        check: Check::Looking(delay),
        examples: [
            Example::Config("dialect.plain.timings = { security_delay = \"9s\" }"),
            Example::Config("dialect.plain.timings = { security_delay = \"10s\" }"),
        ],
    },
    Rule {
        id: "DIA-111",
        severity: Severity::Warning,
        title: "an ECU cannot hold a campaign for ever",
        reason: "one that answers 0x78 without end keeps the vehicle from being ready to drive",
        fix: "write timings.pending_total = \"2m\"",
        check: Check::Looking(pending),
        examples: [
            Example::Config("dialect.plain.timings = { pending_total = \"11m\" }"),
            Example::Config("dialect.plain.timings = { pending_total = \"10m\" }"),
        ],
    },
    Rule {
        id: "DIA-112",
        severity: Severity::Error,
        title: "the version is read back after the reset",
        reason: "R156 7.2.2.4: without a read-back nobody knows whether the update succeeded",
        fix: "make timings.reset_wait longer than timings.reset_poll and the time the ECU takes to start",
        check: Check::Looking(read_back),
        examples: [
            Example::Config("dialect.plain.timings = { reset_wait = \"400ms\" }"),
            Example::Config("dialect.plain.timings = { reset_wait = \"501ms\" }"),
        ],
    },
    Rule {
        id: "DIA-113",
        severity: Severity::Error,
        title: "banks lie at addresses of their own",
        reason: "writing the spare bank would erase the running one",
        fix: "write the first address of each bank",
        check: Check::Looking(same_bank),
        examples: [
            Example::Config("dialect.two-banks.banks = [{ address = 0 }, { address = 0 }]"),
            Example::Config("dialect.two-banks.banks = [{ address = 0 }, { address = 1 }]"),
        ],
    },
    Rule {
        id: "DIA-114",
        severity: Severity::Error,
        title: "it is known which bank runs",
        reason: "the gateway does not guess: every update of that ECU would fail before it began",
        fix: "write active_bank_did",
        check: Check::Looking(active_bank),
        examples: [
            Example::Config(
                "ecu = [{ banks = 2, dialect = \"x\" }]\ndialect.x = { banks = [{ address = 0 }, { address = 1 }], activation = { switch_bank = { routine = 1 } } }",
            ),
            Example::Config(
                "ecu = [{ banks = 2, dialect = \"x\" }]\ndialect.x = { active_bank_did = 1, banks = [{ address = 0 }, { address = 1 }], activation = { switch_bank = { routine = 1 } } }",
            ),
        ],
    },
    Rule {
        id: "DIA-115",
        severity: Severity::Warning,
        title: "an ECU is not told that data is packed or encrypted which is not",
        reason: "the gateway sends plain bytes; an ECU that unpacks them programs garbage",
        fix: "write memory.data_format = 0, unless the image itself is made for that ECU's method",
        check: Check::Looking(data_format),
        examples: [
            Example::Config("dialect.plain.memory = { data_format = 0x11 }"),
            Example::Config("dialect.plain.memory = { data_format = 0x00 }"),
        ],
    },
    Rule {
        id: "DIA-116",
        severity: Severity::Note,
        title: "a one-bank ECU takes a broken transfer up again",
        reason: "without it every power cut erases the ECU again, and its flash wears",
        fix: "write resume = { reported_offset = { did = ... } } where the ECU can",
        check: Check::Looking(resume),
        examples: [
            Example::Config("dialect.plain.resume = \"none\""),
            Example::Config("dialect.plain.resume = { reported_offset = { did = 0xFD01 } }"),
        ],
    },
    Rule {
        id: "DIA-117",
        severity: Severity::Warning,
        title: "every dialect is spoken",
        reason: "a dialect that no ECU uses is reviewed for nothing, or an ECU uses the wrong one",
        fix: "take it out, or name it at its ECU",
        check: Check::Looking(unused),
        examples: [Example::Config("[dialect.left-over]"), Example::Reference],
    },
];

fn each(it: &Subject, report: &mut Report<'_>, key: &str, judge: impl Fn(&Profile) -> Option<String>) {
    for (dialect, profile) in it.dialects() {
        if let Some(message) = judge(profile) {
            report.at(&format!("{dialect}.{key}"), format!("{dialect}: {message}"));
        }
    }
}

fn invalid(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "", |profile| profile.validate().err().map(|it| it.to_string()));
}

fn no_unlocking(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "security", |profile| {
        (profile.security == Security::None).then(|| "its ECUs need no unlocking".to_owned())
    });
}

fn demonstration(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "security", |profile| match &profile.security {
        Security::SeedKey { algorithm, .. } if algorithm.starts_with("demonstration-") => {
            Some(format!("`{algorithm}` protects nothing"))
        }
        _ => None,
    });
}

fn unknown_algorithm(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "security", |profile| match &profile.security {
        Security::SeedKey { algorithm, .. } if !profile.has_known_algorithm() => {
            Some(format!("there is no algorithm `{algorithm}`"))
        }
        _ => None,
    });
}

fn crc(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "checksum", |profile| {
        let crc = profile.checksum.is_some_and(|it| it.algorithm == ChecksumAlgorithm::Crc32);
        crc.then(|| "what was written is checked by CRC-32 only".to_owned())
    });
}

fn dtc(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "dtc_setting", |profile| {
        (profile.dtc_setting == SendTo::Skip).then(|| "0x85 is skipped".to_owned())
    });
}

fn communication(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "communication_control", |profile| {
        (profile.communication_control == SendTo::Skip).then(|| "0x28 is skipped".to_owned())
    });
}

fn s3(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "timings.s3", |profile| {
        let s3 = profile.timings.s3;
        (s3 > Duration::from_secs(4)).then(|| format!("tester present comes after {s3:?} of silence"))
    });
}

fn p2(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "timings", |profile| {
        let (p2, p2_star) = (profile.timings.p2, profile.timings.p2_star);
        (p2_star < p2).then(|| format!("P2* is {p2_star:?}, P2 is {p2:?}"))
    });
}

fn delay(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "timings.security_delay", |profile| {
        let delay = profile.timings.security_delay;
        (delay < Duration::from_secs(10)).then(|| format!("0x27 is tried again after {delay:?}"))
    });
}

fn pending(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "timings.pending_total", |profile| {
        let total = profile.timings.pending_total;
        (total > Duration::from_secs(600)).then(|| format!("a request may stay pending for {total:?}"))
    });
}

fn read_back(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "timings.reset_wait", |profile| {
        let (wait, poll) = (profile.timings.reset_wait, profile.timings.reset_poll);
        (wait <= poll)
            .then(|| format!("the ECU is given up {wait:?} after the reset and first asked after {poll:?}"))
    });
}

fn same_bank(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "banks", |profile| {
        let mut addresses: Vec<_> = profile.banks.iter().map(|it| it.address).collect();
        addresses.sort_unstable();
        let twice = addresses.windows(2).find(|pair| pair.first() == pair.last())?;
        Some(format!("two banks at {:#x}", twice.first()?))
    });
}

fn active_bank(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "active_bank_did", |profile| {
        (profile.keeps_old_software() && profile.active_bank_did.is_none())
            .then(|| "it has a spare bank, and no way to ask which one runs".to_owned())
    });
}

fn data_format(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "memory.data_format", |profile| {
        let format = profile.memory.data_format;
        (format != 0).then(|| format!("0x34 announces method {format:#04x}"))
    });
}

fn resume(it: &Subject, report: &mut Report<'_>) {
    each(it, report, "resume", |profile| {
        (!profile.keeps_old_software() && profile.resume == Resume::None)
            .then(|| "a broken transfer starts over with erasing".to_owned())
    });
}

fn unused(it: &Subject, report: &mut Report<'_>) {
    for name in it.config.dialects.keys() {
        if !it.config.ecus.iter().any(|ecu| ecu.get_ref().dialect == *name) {
            report.at(&format!("dialect.{name}"), format!("no ECU speaks `{name}`"));
        }
    }
}
