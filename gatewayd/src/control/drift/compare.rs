//! Compares what runs with what is declared.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::running::{self, Running};
use super::{Drift, links, units};
use crate::config::Config;
use crate::policy::document;

const RESTART: &str = "systemctl restart gatewayd applies what is declared";

/// Every difference between the daemon and the files, units and links that are there now.
pub fn compare(running: &Running) -> Drift {
    let mut drift = Drift::default();
    configuration(&mut drift, running);
    anchors(&mut drift, running);
    program(&mut drift, running);
    threads(&mut drift, running);
    units::compare(&mut drift);
    for link in &running.links {
        links::compare(&mut drift, link);
    }
    drift.unchecked("memory policy of the threads", "the kernel shows it to the daemon's own user only");
    drift
}

fn configuration(drift: &mut Drift, running: &Running) {
    let path = &running.configuration.path;
    let what = format!("configuration {}", path.display());
    if let Err(error) = std::fs::File::open(path) {
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                drift.add(what, "no file", running.configuration.sha256.as_str(), "put the file back");
            }
            _ => drift.unchecked(what, error.to_string()),
        }
        return;
    }
    match Config::load(path) {
        Err(findings) => {
            let first = findings.to_string().lines().next().unwrap_or_default().to_owned();
            drift.add(what, first, "what was there at the start", "mend the file; a restart would fail");
        }
        Ok((config, _)) if config.source.sha256 != running.configuration.sha256 => {
            let declared = document::flat(&serde_json::to_value(&config).unwrap_or_default());
            let keys: BTreeSet<_> = declared.keys().chain(running.values.keys()).collect();
            let before = drift.items.len();
            for key in keys {
                let (now, then) = (declared.get(key), running.values.get(key));
                if now != then {
                    drift.add(format!("configuration {key}"), shown(now), shown(then), RESTART);
                }
            }
            if drift.items.len() == before {
                // Comments and spaces: nothing that runs differs.
                drift.unchecked(what, "its text has changed, no value has");
            }
        }
        Ok(_) => {}
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".to_owned(), ToString::to_string)
}

fn anchors(drift: &mut Drift, running: &Running) {
    for (key, then) in &running.files {
        let now = running::file(&then.path);
        let what = format!("file {key} ({})", then.path.display());
        if then.sha256 == now.sha256 && !now.sha256.is_empty() {
            continue;
        }
        match std::fs::metadata(&then.path) {
            Ok(_) if now.sha256.is_empty() => drift.unchecked(what, "this user may not read it"),
            Ok(_) if then.sha256.is_empty() => {
                drift.unchecked(what, "the daemon could not read it at its start")
            }
            Ok(_) => drift.add(what, digest(&now.sha256), digest(&then.sha256), RESTART),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                drift.add(what, "no file", digest(&then.sha256), "put the file back");
            }
            Err(error) => drift.unchecked(what, error.to_string()),
        }
    }
}

fn digest(hex: &str) -> String {
    format!("sha256 {}", hex.get(..16).unwrap_or(hex))
}

fn program(drift: &mut Drift, running: &Running) {
    if let Some(path) = running.program.strip_suffix(" (deleted)") {
        let declared = if Path::new(path).exists() { "another file of that name" } else { "no file" };
        drift.add(
            format!("program {path}"),
            declared,
            format!("version {}, since replaced", running.version),
            RESTART,
        );
    }
    let own = env!("CARGO_PKG_VERSION");
    if running.version != own {
        drift.add("version", own, running.version.as_str(), RESTART);
    }
}

fn threads(drift: &mut Drift, running: &Running) {
    for thread in &running.threads {
        let now = thread.now.as_deref().unwrap_or("no such thread");
        if now != thread.asked {
            let fix = "give the daemon these CPUs (AllowedCPUs=, isolated CPUs, hot-unplug), then restart it";
            drift.add(
                format!("thread {}", thread.name),
                format!("CPUs {}", thread.asked),
                format!("CPUs {now}"),
                fix,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::running::{FileState, ThreadState};
    use super::*;
    use crate::config::reference;

    fn running_on(path: &Path) -> Running {
        let (config, _) = Config::load(path).expect("it parses");
        Running {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: FileState { path: path.to_owned(), sha256: config.source.sha256.clone() },
            values: document::flat(&serde_json::to_value(&config).expect("it has a JSON form")),
            ..Running::default()
        }
    }

    fn items(running: &Running, part: fn(&mut Drift, &Running)) -> Drift {
        let mut drift = Drift::default();
        part(&mut drift, running);
        drift
    }

    #[test]
    fn a_changed_key_is_named_with_both_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gatewayd.toml");
        std::fs::write(&path, reference::TEXT).unwrap();
        let running = running_on(&path);
        assert_eq!(items(&running, configuration), Drift::default());

        std::fs::write(&path, reference::TEXT.replace("outbox = 4096", "outbox = 512")).unwrap();
        let drift = items(&running, configuration);
        assert_eq!(drift.items.len(), 1, "{drift}");
        let item = &drift.items[0];
        assert_eq!(
            (item.what.as_str(), item.declared.as_str(), item.running.as_str()),
            ("configuration mqtt.outbox", "512", "4096")
        );
    }

    #[test]
    fn a_comment_is_no_drift_and_a_broken_or_missing_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gatewayd.toml");
        std::fs::write(&path, reference::TEXT).unwrap();
        let running = running_on(&path);

        std::fs::write(&path, format!("# hello\n{}", reference::TEXT)).unwrap();
        let drift = items(&running, configuration);
        assert_eq!((drift.items.len(), drift.unchecked.len()), (0, 1), "{drift}");

        std::fs::write(&path, "[vehicle").unwrap();
        assert!(items(&running, configuration).items[0].declared.contains("CFG-002"));

        std::fs::remove_file(&path).unwrap();
        assert_eq!(items(&running, configuration).items[0].declared, "no file");
    }

    #[test]
    fn a_replaced_anchor_and_a_lost_pin_are_drift() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "one").unwrap();
        let mut running = Running::default();
        running.files.insert("cloud.ca".to_owned(), running::file(&path));
        assert_eq!(items(&running, anchors), Drift::default());
        std::fs::write(&path, "two").unwrap();
        assert_eq!(items(&running, anchors).items.len(), 1);

        let thread = |now: &str| ThreadState {
            name: "bus-chassis".to_owned(),
            asked: "2".to_owned(),
            now: Some(now.to_owned()),
        };
        running.threads = vec![thread("2")];
        assert_eq!(items(&running, threads), Drift::default());
        running.threads = vec![thread("0-3")];
        assert_eq!(items(&running, threads).items[0].running, "CPUs 0-3");
    }

    #[test]
    fn a_replaced_program_is_drift() {
        let mut running = Running { version: env!("CARGO_PKG_VERSION").to_owned(), ..Running::default() };
        running.program = "/usr/bin/gatewayd".to_owned();
        assert_eq!(items(&running, program), Drift::default());
        running.program = "/no/such/gatewayd (deleted)".to_owned();
        assert_eq!(items(&running, program).items[0].declared, "no file");
    }
}
