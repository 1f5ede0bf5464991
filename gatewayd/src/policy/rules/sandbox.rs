//! What the units allow the services to do, against what they were shipped with.

use super::super::facts::UnitFact;
use super::units::{at, both};
use super::{Check, DAEMON, Example, PROFILER, Report, Rule, Severity, Subject};
use canfd::bus::BusUrl;

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "SBX-101",
        severity: Severity::Error,
        title: "the daemon has no capability",
        reason: "it talks to the network: CAN, AF_ALG and pinning need none, and whoever breaks in must find none",
        fix: "write CapabilityBoundingSet= and AmbientCapabilities= without a value",
        check: Check::Looking(daemon_capabilities),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nAmbientCapabilities=CAP_NET_ADMIN"),
            Example::DropIn(DAEMON, "[Service]\nAmbientCapabilities="),
        ],
    },
    Rule {
        id: "SBX-102",
        severity: Severity::Error,
        title: "the profiling service has two capabilities at most",
        reason: "CAP_PERFMON and CAP_BPF are what sampling needs; CAP_SYS_ADMIN would be everything",
        fix: "write CapabilityBoundingSet=CAP_PERFMON CAP_BPF",
        check: Check::Looking(profiler_capabilities),
        examples: [
            Example::DropIn(PROFILER, "[Service]\nCapabilityBoundingSet=CAP_SYS_ADMIN"),
            Example::DropIn(PROFILER, "[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_PERFMON"),
        ],
    },
    Rule {
        id: "SBX-103",
        severity: Severity::Error,
        title: "no privilege comes back through a program",
        reason: "a set-uid program would give back what the unit has taken away",
        fix: "write NoNewPrivileges=yes",
        check: Check::Looking(new_privileges),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nNoNewPrivileges=no"),
            Example::DropIn(DAEMON, "[Service]\nNoNewPrivileges=true"),
        ],
    },
    Rule {
        id: "SBX-104",
        severity: Severity::Error,
        title: "services are not root",
        reason: "root owns the vehicle computer",
        fix: "write User=gatewayd, User=gatewayd-profile, or DynamicUser=yes",
        check: Check::Looking(root_user),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nUser=root"),
            Example::DropIn(DAEMON, "[Service]\nUser=updater"),
        ],
    },
    Rule {
        id: "SBX-105",
        severity: Severity::Error,
        title: "the system is read-only for the services",
        reason: "whoever breaks in must not be able to stay",
        fix: "write ProtectSystem=strict",
        check: Check::Looking(protect_system),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nProtectSystem=full"),
            Example::DropIn(DAEMON, "[Service]\nProtectSystem=strict"),
        ],
    },
    Rule {
        id: "SBX-106",
        severity: Severity::Warning,
        title: "no line of the sandbox is taken back",
        reason: "each one was shipped for a reason that stands beside it in the unit",
        fix: "take the line out of the drop-in, or write down there why this vehicle needs it",
        check: Check::Looking(loosened),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nMemoryDenyWriteExecute=no"),
            Example::DropIn(DAEMON, "[Service]\nMemoryDenyWriteExecute=yes"),
        ],
    },
    Rule {
        id: "SBX-107",
        severity: Severity::Error,
        title: "system calls are filtered",
        reason: "most ways from a service into the kernel lead through calls that it never makes",
        fix: "write SystemCallFilter=@system-service",
        check: Check::Looking(system_calls),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nSystemCallFilter="),
            Example::DropIn(DAEMON, "[Service]\nSystemCallFilter=~@mount"),
        ],
    },
    Rule {
        id: "SBX-108",
        severity: Severity::Error,
        title: "new files are nobody else's business",
        reason: "images, keys and history must not become readable by an oversight",
        fix: "write UMask=0077",
        check: Check::Looking(umask),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nUMask=0022"),
            Example::DropIn(DAEMON, "[Service]\nUMask=0077"),
        ],
    },
    Rule {
        id: "SBX-109",
        severity: Severity::Error,
        title: "the daemon may open CAN sockets",
        reason: "without AF_CAN it opens no bus",
        fix: "write RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_CAN AF_ALG",
        check: Check::Looking(no_can),
        examples: [
            Example::DropIn(
                DAEMON,
                "[Service]\nRestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
            ),
            Example::DropIn(
                DAEMON,
                "[Service]\nRestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX AF_CAN",
            ),
        ],
    },
    Rule {
        id: "SBX-110",
        severity: Severity::Warning,
        title: "no socket family that nobody needs",
        reason: "packet, netlink and vsock sockets see or change what is not the daemon's",
        fix: "write RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_CAN AF_ALG",
        check: Check::Looking(families),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nRestrictAddressFamilies=AF_PACKET"),
            Example::DropIn(DAEMON, "[Service]\nRestrictAddressFamilies=AF_INET"),
        ],
    },
    Rule {
        id: "SBX-111",
        severity: Severity::Error,
        title: "the profiling service has no network",
        reason: "it may see stacks of every process; with a network it could tell somebody",
        fix: "write PrivateNetwork=yes",
        check: Check::Looking(profiler_network),
        examples: [
            Example::DropIn(PROFILER, "[Service]\nPrivateNetwork=no"),
            Example::DropIn(PROFILER, "[Service]\nPrivateNetwork=yes"),
        ],
    },
    Rule {
        id: "SBX-112",
        severity: Severity::Error,
        title: "the command is not exempt from the sandbox",
        reason: "a plus or exclamation mark before the command runs it with full privileges",
        fix: "take the mark away",
        check: Check::Looking(exempt),
        examples: [
            Example::DropIn(
                DAEMON,
                "[Service]\nExecStart=\nExecStart=+/usr/bin/gatewayd run --config /etc/gatewayd/gatewayd.toml",
            ),
            Example::DropIn(
                DAEMON,
                "[Service]\nExecStart=\nExecStart=/usr/bin/gatewayd run --config /etc/gatewayd/gatewayd.toml",
            ),
        ],
    },
    Rule {
        id: "SBX-113",
        severity: Severity::Error,
        title: "the state directory is the daemon's alone",
        reason: "it holds verified plain images and the vehicle's update history",
        fix: "write StateDirectoryMode=0700",
        check: Check::Looking(state_mode),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nStateDirectoryMode=0755"),
            Example::DropIn(DAEMON, "[Service]\nStateDirectoryMode=0700"),
        ],
    },
    Rule {
        id: "SBX-114",
        severity: Severity::Warning,
        title: "the runtime directory is for the daemon and its group",
        reason: "everybody who may enter it may talk to the control socket's name, or wait for one",
        fix: "write RuntimeDirectoryMode=0750",
        check: Check::Looking(runtime_mode),
        examples: [
            Example::DropIn(DAEMON, "[Service]\nRuntimeDirectoryMode=0755"),
            Example::DropIn(DAEMON, "[Service]\nRuntimeDirectoryMode=0750"),
        ],
    },
];

/// Lines with which both units are shipped as `yes`.
const SHIPPED: [&str; 16] = [
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateTmp",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "RemoveIPC",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
];

const CAPABILITIES: [&str; 2] = ["Service.CapabilityBoundingSet", "Service.AmbientCapabilities"];

fn words<'a>(unit: &'a UnitFact, key: &str) -> Vec<&'a str> {
    unit.values(key).flat_map(|it| it.value.split_whitespace()).collect()
}

fn daemon_capabilities(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.daemon() else { return };
    for key in CAPABILITIES {
        // An ambient set that is not written is empty; a bounding set that is not written is full.
        let all = key == CAPABILITIES[0] && unit.last(key).is_none();
        let some = words(unit, key);
        if all || !some.is_empty() {
            let some = if all { "all of them".to_owned() } else { some.join(" ") };
            at(report, unit, key, format!("{DAEMON} may have capabilities: {some}"));
        }
    }
}

fn profiler_capabilities(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.profiler() else { return };
    let set = words(unit, CAPABILITIES[0]);
    let more: Vec<_> = set.iter().filter(|it| !matches!(**it, "CAP_PERFMON" | "CAP_BPF")).copied().collect();
    if unit.last(CAPABILITIES[0]).is_none() {
        at(report, unit, CAPABILITIES[0], format!("{PROFILER} may have every capability"));
    } else if !more.is_empty() {
        at(report, unit, CAPABILITIES[0], format!("{PROFILER} may have {}", more.join(" ")));
    }
}

fn new_privileges(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        if unit.is_yes("Service.NoNewPrivileges") != Some(true) {
            at(report, unit, "Service.NoNewPrivileges", format!("{name} may gain privileges"));
        }
    }
}

fn root_user(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        let user = unit.last("Service.User").map_or("", |it| it.value.as_str());
        let dynamic = unit.is_yes("Service.DynamicUser") == Some(true);
        if matches!(user, "root" | "0") || (user.is_empty() && !dynamic) {
            at(report, unit, "Service.User", format!("{name} runs as root"));
        }
    }
}

fn protect_system(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        if unit.last("Service.ProtectSystem").is_none_or(|it| it.value != "strict") {
            at(report, unit, "Service.ProtectSystem", format!("{name} may write to the system"));
        }
    }
}

fn loosened(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        for line in SHIPPED {
            let key = format!("Service.{line}");
            if unit.is_yes(&key) != Some(true) {
                at(report, unit, &key, format!("{name} is not held by {line}="));
            }
        }
    }
}

fn system_calls(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        if unit.values("Service.SystemCallFilter").next().is_none() {
            at(report, unit, "Service.SystemCallFilter", format!("{name} may make every system call"));
        }
    }
}

/// Permission bits, `None` where they are no octal number.
fn octal(unit: &UnitFact, key: &str) -> Option<u32> {
    unit.last(key).and_then(|it| u32::from_str_radix(&it.value, 8).ok())
}

fn umask(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        if octal(unit, "Service.UMask").is_none_or(|it| it & 0o077 != 0o077) {
            at(report, unit, "Service.UMask", format!("others may read what {name} writes"));
        }
    }
}

fn no_can(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.daemon() else { return };
    let real = it.config.buses.iter().any(|bus| matches!(bus.get_ref().url.parse(), Ok(BusUrl::Can(_))));
    let families = words(unit, "Service.RestrictAddressFamilies");
    if real && !families.is_empty() && !families.contains(&"AF_CAN") {
        at(report, unit, "Service.RestrictAddressFamilies", format!("{DAEMON} may not open CAN sockets"));
    }
}

fn families(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.daemon() else { return };
    let needed = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_CAN", "AF_ALG"];
    let key = "Service.RestrictAddressFamilies";
    let all = words(unit, key);
    let more: Vec<_> = all.iter().filter(|it| !needed.contains(it)).copied().collect();
    if all.is_empty() || !more.is_empty() {
        let which = if all.is_empty() { "of every family".to_owned() } else { more.join(" ") };
        at(report, unit, key, format!("{DAEMON} may open sockets {which}"));
    }
}

fn profiler_network(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.profiler() else { return };
    if unit.is_yes("Service.PrivateNetwork") != Some(true) {
        at(report, unit, "Service.PrivateNetwork", format!("{PROFILER} has a network"));
    }
}

fn exempt(it: &Subject, report: &mut Report<'_>) {
    for (name, unit) in both(it) {
        for setting in unit.values("Service.ExecStart") {
            let marks = setting.value.split('/').next().unwrap_or_default();
            if marks.contains(['+', '!']) {
                report.at_setting(setting, format!("{name} is started with full privileges"));
            }
        }
    }
}

fn state_mode(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.daemon() else { return };
    let key = "Service.StateDirectoryMode";
    if octal(unit, key).is_none_or(|it| it & 0o077 != 0) {
        at(report, unit, key, format!("others may look into the state of {DAEMON}"));
    }
}

fn runtime_mode(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.daemon() else { return };
    let key = "Service.RuntimeDirectoryMode";
    if octal(unit, key).is_none_or(|it| it & 0o007 != 0) {
        at(report, unit, key, format!("everybody may enter the runtime directory of {DAEMON}"));
    }
}
