//! The units: life, limits, and what belongs to a developer's machine.

use std::time::Duration;

use super::super::facts::UnitFact;
use super::{Check, DAEMON, Example, PROFILER, Report, Rule, Severity, Subject};

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "UNI-101",
        severity: Severity::Error,
        title: "a watchdog watches both services",
        reason: "a daemon that hangs with an ECU half programmed must be restarted without a person",
        fix: "write WatchdogSec=5s",
        check: Check::Looking(no_watchdog),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nWatchdogSec=0"),
            Example::DropIn(DAEMON, "[Service]\nWatchdogSec=10s"),
        ],
    },
    Rule {
        id: "UNI-102",
        severity: Severity::Warning,
        title: "the watchdog bites within 30 s",
        reason: "an ECU's session ends after 5 s; a hang of minutes strands it",
        fix: "write WatchdogSec=5s",
        check: Check::Looking(slow_watchdog),
        examples: [
            Example::DropIn(PROFILER, "[Service]\nWatchdogSec=31s"),
            Example::DropIn(PROFILER, "[Service]\nWatchdogSec=30s"),
        ],
    },
    Rule {
        id: "UNI-103",
        severity: Severity::Error,
        title: "no development drop-in is installed",
        reason: "it takes the watchdog, restarts and limits away",
        fix: "remove development.conf from the unit's drop-in folder",
        check: Check::Looking(development),
        examples: [
            Example::DropIn("development.conf", "[Service]\nMemoryMax=1G"),
            Example::DropIn(DAEMON, "[Service]\nMemoryMax=512M"),
        ],
    },
    Rule {
        id: "UNI-104",
        severity: Severity::Warning,
        title: "the environment does not make the log louder",
        reason: "GATEWAYD_LOG overrides log.filter, and nobody who reads the configuration sees it",
        fix: "remove GATEWAYD_LOG from Environment=",
        check: Check::Looking(loud_environment),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nEnvironment=GATEWAYD_LOG=debug"),
            Example::DropIn(DAEMON, "[Service]\nEnvironment=TZ=UTC"),
        ],
    },
    Rule {
        id: "UNI-105",
        severity: Severity::Error,
        title: "services come back after a failure",
        reason: "an update that stopped half way goes on only in a daemon that runs",
        fix: "write Restart=always",
        check: Check::Looking(no_restart),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nRestart=no"),
            Example::DropIn(DAEMON, "[Service]\nRestart=on-failure"),
        ],
    },
    Rule {
        id: "UNI-106",
        severity: Severity::Warning,
        title: "a wrong configuration is not tried again and again",
        reason: "exit status 78 means that a restart cannot help; a loop of restarts hides the message",
        fix: "write RestartPreventExitStatus=64 78",
        check: Check::Looking(restart_on_78),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nRestartPreventExitStatus="),
            Example::DropIn(DAEMON, "[Service]\nRestartPreventExitStatus=78"),
        ],
    },
    Rule {
        id: "UNI-107",
        severity: Severity::Error,
        title: "memory has a limit",
        reason: "a fault in the daemon must not take the vehicle computer's other functions with it",
        fix: "write MemoryMax=256M",
        check: Check::Looking(memory),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nMemoryMax=infinity"),
            Example::DropIn(DAEMON, "[Service]\nMemoryMax=1G"),
        ],
    },
    Rule {
        id: "UNI-108",
        severity: Severity::Error,
        title: "tasks have a limit",
        reason: "a fault in the daemon must not use up the machine's processes",
        fix: "write TasksMax=128",
        check: Check::Looking(tasks),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nTasksMax=infinity"),
            Example::DropIn(DAEMON, "[Service]\nTasksMax=64"),
        ],
    },
    Rule {
        id: "UNI-109",
        severity: Severity::Error,
        title: "no core file holds keys",
        reason: "the daemon's memory holds content keys and its private key",
        fix: "write LimitCORE=0",
        check: Check::Looking(core),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nLimitCORE=infinity"),
            Example::DropIn(DAEMON, "[Service]\nLimitCORE=0:0"),
        ],
    },
    Rule {
        id: "UNI-110",
        severity: Severity::Warning,
        title: "the unit starts the daemon with this configuration",
        reason: "what was reviewed is not what runs",
        fix: "check the file that ExecStart= names, or mend ExecStart=",
        check: Check::Looking(other_config),
        examples: [
            Example::DropIn(
                DAEMON,
                "[Service]\nExecStart=\nExecStart=/usr/bin/gatewayd run --config /opt/other.toml",
            ),
            Example::DropIn(
                DAEMON,
                "[Service]\nExecStart=\nExecStart=/usr/bin/gatewayd run --config /etc/gatewayd/gatewayd.toml",
            ),
        ],
    },
    Rule {
        id: "UNI-111",
        severity: Severity::Warning,
        title: "failures in a row end in a state that is seen",
        reason: "without a limit on starts a broken daemon restarts for ever and looks alive",
        fix: "write StartLimitIntervalSec=5min and StartLimitBurst=10",
        check: Check::Looking(start_limit),
        examples: [
            Example::DropIn(DAEMON, "[Unit]\nStartLimitIntervalSec=0"),
            Example::DropIn(DAEMON, "[Unit]\nStartLimitIntervalSec=10min"),
        ],
    },
];

/// Both units that were found.
pub(super) fn both(it: &Subject) -> impl Iterator<Item = (&'static str, &UnitFact)> {
    [(DAEMON, it.daemon()), (PROFILER, it.profiler())].into_iter().filter_map(|(name, it)| Some((name, it?)))
}

/// At the setting, or at the unit's first line where there is none.
pub(super) fn at(report: &mut Report<'_>, unit: &UnitFact, key: &str, message: String) {
    match unit.last(key) {
        Some(setting) => report.at_setting(setting, message),
        None => report.in_file(&unit.path, 1, message),
    }
}

/// `256M`, `1G`, `1024`; `None` for `infinity`, percentages and what is no size.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.char_indices().last()? {
        (at, 'K') => (text.get(..at)?, 10),
        (at, 'M') => (text.get(..at)?, 20),
        (at, 'G') => (text.get(..at)?, 30),
        (at, 'T') => (text.get(..at)?, 40),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `5s`, `5min`, `1min 30s`, `90`; `None` for `infinity` and what is no time span (systemd.time(7)).
fn span(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let micros = match unit {
            "us" | "usec" => 1,
            "ms" | "msec" => 1_000,
            "" | "s" | "sec" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            _ => return None,
        };
        let micros = number.parse::<u64>().ok()?.checked_mul(micros)?;
        total = total.checked_add(Duration::from_micros(micros))?;
        rest = tail.trim_start();
    }
    Some(total)
}

fn watchdog(unit: &UnitFact) -> Option<Duration> {
    unit.last("Service.WatchdogSec").and_then(|it| span(&it.value)).filter(|it| !it.is_zero())
}

fn no_watchdog(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        if watchdog(unit).is_none() {
            at(report, unit, "Service.WatchdogSec", format!("{name} has no watchdog"));
        }
    }
}

fn slow_watchdog(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        if let Some(span) = watchdog(unit).filter(|it| *it > Duration::from_secs(30)) {
            at(report, unit, "Service.WatchdogSec", format!("the watchdog of {name} waits {span:?}"));
        }
    }
}

fn development(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        for file in &unit.drop_ins {
            if file.file_name().is_some_and(|it| it == "development.conf") {
                report.in_file(file, 1, format!("{name} has the drop-in for developers' machines"));
            }
        }
    }
}

fn loud_environment(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        for setting in unit.values("Service.Environment") {
            let words = setting.value.split_whitespace().map(|it| it.trim_matches(['"', '\'']));
            if words.into_iter().any(|it| it.starts_with("GATEWAYD_LOG=")) {
                report.at_setting(setting, format!("{name}: GATEWAYD_LOG overrides log.filter"));
            }
        }
    }
}

fn no_restart(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        let value = unit.last("Service.Restart").map(|it| it.value.as_str());
        if !matches!(value, Some("always" | "on-failure")) {
            at(report, unit, "Service.Restart", format!("{name} does not come back after every failure"));
        }
    }
}

fn restart_on_78(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        let mut words =
            unit.values("Service.RestartPreventExitStatus").flat_map(|it| it.value.split_whitespace());
        if !words.any(|it| matches!(it, "78" | "CONFIG")) {
            let message = format!("{name} is started again with a configuration that it has refused");
            at(report, unit, "Service.RestartPreventExitStatus", message);
        }
    }
}

fn limited(it: &Subject, report: &mut Report<'_>, key: &str, what: &str) {
    for (name, unit) in both(it) {
        let value = unit.last(key).map(|it| it.value.as_str());
        if value.is_none_or(|it| it.is_empty() || it == "infinity") {
            at(report, unit, key, format!("{name} may use any number of {what}"));
        }
    }
}

fn memory(it: &Subject, report: &mut Report<'_>) {
    limited(it, report, "Service.MemoryMax", "bytes");
}

fn tasks(it: &Subject, report: &mut Report<'_>) {
    limited(it, report, "Service.TasksMax", "tasks");
}

fn core(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        let value = unit.last("Service.LimitCORE").map(|it| it.value.as_str());
        if !matches!(value, Some("0" | "0:0")) {
            at(report, unit, "Service.LimitCORE", format!("{name} may leave a core file"));
        }
    }
}

fn other_config(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        let Some(start) = unit.last("Service.ExecStart") else { continue };
        let mut words = start.value.split_whitespace();
        let named = words.find_map(|word| match word.strip_prefix("--config") {
            Some("") => Some(None),
            Some(rest) => rest.strip_prefix('=').map(Some),
            None => None,
        });
        let named = named.and_then(|it| it.or_else(|| words.next()));
        // The file of a root file system being built stands below another folder: the end of its path decides.
        if let Some(named) = named
            && !it.path.ends_with(named.trim_start_matches('/'))
        {
            report.at_setting(start, format!("{name} is started with {named}"));
        }
    }
}

fn start_limit(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        let off =
            unit.last("Unit.StartLimitIntervalSec").is_some_and(|it| span(&it.value) == Some(Duration::ZERO));
        if off {
            at(report, unit, "Unit.StartLimitIntervalSec", format!("{name} may restart for ever"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_read_as_systemd_writes_them() {
        assert_eq!(span("5s"), Some(Duration::from_secs(5)));
        assert_eq!(span("1min 30s"), Some(Duration::from_secs(90)));
        assert_eq!(span("1min30"), Some(Duration::from_secs(90)));
        assert_eq!(span("90"), Some(Duration::from_secs(90)));
        for none in ["", "infinity", "5 parsecs", "s"] {
            assert_eq!(span(none), None, "{none}");
        }
        assert_eq!(bytes("256M"), Some(256 << 20));
        assert_eq!(bytes("1024"), Some(1024));
        for none in ["", "infinity", "10%", "M", "99999999999T"] {
            assert_eq!(bytes(none), None, "{none}");
        }
    }
}
