//! Where state lives, and the sockets.

use std::path::Path;

use super::{Check, Example, Report, Rule, Severity, Subject};

/// `sun_path` of unix(7), terminator included.
const SOCKET_PATH: usize = 108;

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "STO-101",
        severity: Severity::Error,
        title: "the journal survives a power cut",
        reason: "on a file system in memory a power cut forgets that an ECU is half erased",
        fix: "put state.directory on flash",
        check: Check::Looking(in_memory),
        examples: [
            Example::Facts("state.filesystem = \"tmpfs\""),
            Example::Facts("state.filesystem = \"ext4\""),
        ],
    },
    Rule {
        id: "STO-102",
        severity: Severity::Error,
        title: "the store fits its medium",
        reason: "a quota that cannot be had is no bound: the download fails when the medium is full, with the journal on it",
        fix: "lower state.quota, and leave room for the journal and the outbox",
        check: Check::Looking(quota_too_large),
        examples: [
            Example::Facts("state.size = 8_000_000_000"),
            Example::Facts("state.size = 16_000_000_000"),
        ],
    },
    Rule {
        id: "STO-103",
        severity: Severity::Warning,
        title: "the store has room for an image",
        reason: "an ECU with one bank is updated only once its whole image lies in the store",
        fix: "write state.quota larger than all images of a campaign for ECUs with one bank",
        check: Check::Looking(quota_too_small),
        examples: [Example::Config("state.quota = \"15MiB\""), Example::Config("state.quota = \"16MiB\"")],
    },
    Rule {
        id: "STO-104",
        severity: Severity::Error,
        title: "nobody else may look into the state",
        reason: "it holds verified plain images and the vehicle's update history",
        fix: "chmod 0700, or StateDirectoryMode=0700 in the unit",
        check: Check::Looking(state_mode),
        examples: [Example::Facts("state.mode = 0o750"), Example::Facts("state.mode = 0o700")],
    },
    Rule {
        id: "STO-105",
        severity: Severity::Error,
        title: "the daemon may write where it must",
        reason: "with ProtectSystem=strict everything else is read-only, and the daemon does not start",
        fix: "keep state.directory in StateDirectory= of the unit, or name it in ReadWritePaths=",
        check: Check::Looking(not_writable),
        examples: [
            Example::Config("state.directory = \"/opt/gatewayd\""),
            Example::Config("state.directory = \"/var/lib/gatewayd/vehicle\""),
        ],
    },
    Rule {
        id: "STO-106",
        severity: Severity::Error,
        title: "paths are absolute",
        reason: "a relative one depends on the folder that the daemon happens to start in",
        fix: "begin it with a slash",
        check: Check::Looking(relative),
        examples: [
            Example::Config("uptane.image_root = \"image-root.json\""),
            Example::Config("uptane.image_root = \"/etc/gatewayd/image.json\""),
        ],
    },
    Rule {
        id: "STO-107",
        severity: Severity::Warning,
        title: "state is not in a folder for temporary files",
        reason: "it is emptied at every start, or by whoever tidies up; and everybody may put names there",
        fix: "write /var/lib/gatewayd",
        check: Check::Looking(temporary),
        examples: [
            Example::Config("state.directory = \"/run/gatewayd/state\""),
            Example::Config("state.directory = \"/var/lib/gatewayd\""),
        ],
    },
    Rule {
        id: "CTL-101",
        severity: Severity::Error,
        title: "control and profile sockets are two",
        reason: "the second takes the first one's name away",
        fix: "give each a path",
        check: Check::Looking(one_socket),
        examples: [
            Example::Config("control.profile_socket = \"/run/gatewayd/control.sock\""),
            Example::Config("control.profile_socket = \"/run/gatewayd/p.sock\""),
        ],
    },
    Rule {
        id: "CTL-102",
        severity: Severity::Error,
        title: "socket paths are short enough",
        reason: "the kernel takes 107 bytes, and the daemon does not start",
        fix: "write a shorter path",
        check: Check::Looking(long_path),
        examples: [
            Example::Config(
                "control.socket = \"/run/gatewayd/0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\"",
            ),
            Example::Config(
                "control.socket = \"/run/gatewayd/000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\"",
            ),
        ],
    },
    Rule {
        id: "CTL-103",
        severity: Severity::Error,
        title: "sockets lie in a folder of the daemon's own",
        reason: "in a folder where everybody may write, somebody else's socket may be there first and be trusted",
        fix: "keep them in RuntimeDirectory= of the unit, /run/gatewayd",
        check: Check::Looking(socket_place),
        examples: [
            Example::Config("control.socket = \"/tmp/control.sock\""),
            Example::Config("control.socket = \"/run/gatewayd/c.sock\""),
        ],
    },
];

fn in_memory(it: &Subject, report: &mut Report<'_>) {
    if let Some(state) = &it.facts.state
        && matches!(state.filesystem.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    {
        let directory = it.config.state.directory.display();
        report.at("state.directory", format!("{directory} is on {}", state.filesystem));
    }
}

fn quota_too_large(it: &Subject, report: &mut Report<'_>) {
    let quota = it.config.state.quota;
    if let Some(state) = it.facts.state.as_ref().filter(|it| it.size < quota.get()) {
        report.at("state.quota", format!("state.quota is {quota}, the medium has {} MiB", state.size >> 20));
    }
}

fn quota_too_small(it: &Subject, report: &mut Report<'_>) {
    let quota = it.config.state.quota;
    if quota.get() < 16 << 20 {
        report.at("state.quota", format!("state.quota is {quota}"));
    }
}

fn state_mode(it: &Subject, report: &mut Report<'_>) {
    if let Some(mode) = it.facts.state.as_ref().and_then(|it| it.mode).filter(|it| it & 0o077 != 0) {
        let directory = it.config.state.directory.display();
        report.at("state.directory", format!("{directory} is open to others (mode {mode:04o})"));
    }
}

/// Folders below `base` that the unit gives the daemon.
fn folders(it: &Subject, key: &str, base: &str) -> Vec<std::path::PathBuf> {
    let unit = it.daemon().into_iter();
    let names = unit.flat_map(|unit| unit.values(key)).flat_map(|it| it.value.split_whitespace());
    names.map(|name| Path::new(base).join(name.split(':').next().unwrap_or(name))).collect()
}

fn not_writable(it: &Subject, report: &mut Report<'_>) {
    let strict = it.daemon().and_then(|unit| unit.last("Service.ProtectSystem"));
    if strict.is_none_or(|it| it.value != "strict") {
        return;
    }
    let mut writable = folders(it, "Service.StateDirectory", "/var/lib");
    for key in ["Service.ReadWritePaths", "Service.BindPaths"] {
        writable.extend(folders(it, key, "/").into_iter().map(|it| {
            // A dash or plus before a path asks for leniency or the unit's root.
            let text = it.to_string_lossy().trim_start_matches("/-").trim_start_matches("/+").to_owned();
            Path::new("/").join(text)
        }));
    }
    let directory = &it.config.state.directory;
    if !writable.iter().any(|it| directory.starts_with(it)) {
        report.at(
            "state.directory",
            format!("the unit does not let the daemon write to {}", directory.display()),
        );
    }
}

fn relative(it: &Subject, report: &mut Report<'_>) {
    let config = &it.config;
    let mut paths = vec![
        ("cloud.ca".to_owned(), config.cloud.ca.as_path()),
        ("cloud.certificate".to_owned(), &config.cloud.certificate),
        ("uptane.director_root".to_owned(), &config.uptane.director_root),
        ("uptane.image_root".to_owned(), &config.uptane.image_root),
        ("state.directory".to_owned(), &config.state.directory),
        ("control.socket".to_owned(), &config.control.socket),
        ("control.profile_socket".to_owned(), &config.control.profile_socket),
    ];
    for (key, secret) in it.secrets() {
        if let crate::config::parts::Secret::File(path) = secret {
            paths.push((key, path));
        }
    }
    for (key, path) in paths.into_iter().filter(|(_, path)| path.is_relative()) {
        report.at(&key, format!("{key} is `{}`", path.display()));
    }
}

/// Folders where everybody may write.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

fn temporary(it: &Subject, report: &mut Report<'_>) {
    let directory = &it.config.state.directory;
    if TEMPORARY.iter().any(|it| directory.starts_with(it)) || directory.starts_with("/run") {
        report.at("state.directory", format!("{} does not last", directory.display()));
    }
}

fn sockets(it: &Subject) -> [(&'static str, &Path); 2] {
    let control = &it.config.control;
    [("control.socket", &control.socket), ("control.profile_socket", &control.profile_socket)]
}

fn one_socket(it: &Subject, report: &mut Report<'_>) {
    if it.config.control.socket == it.config.control.profile_socket {
        report.at("control.profile_socket", "it is the path of control.socket");
    }
}

fn long_path(it: &Subject, report: &mut Report<'_>) {
    for (key, path) in sockets(it) {
        let len = path.as_os_str().len();
        if len >= SOCKET_PATH {
            report.at(key, format!("{key} has {len} bytes"));
        }
    }
}

fn socket_place(it: &Subject, report: &mut Report<'_>) {
    let own = folders(it, "Service.RuntimeDirectory", "/run");
    for (key, path) in sockets(it) {
        let known = own.is_empty() || own.iter().any(|it| path.starts_with(it));
        let shared = TEMPORARY.iter().any(|it| path.parent() == Some(Path::new(it)));
        if shared || (it.daemon().is_some() && !known) {
            report.at(key, format!("{} is not in a folder of the daemon's own", path.display()));
        }
    }
}
