//! Units: what systemd has loaded against the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Drift;
use crate::policy::child;
use crate::policy::facts::{Facts, Places, units};
use crate::policy::subject::{DAEMON, PROFILER};

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer in bytes.
const MAX_ANSWER: u64 = 64 << 10;
const PROPERTIES: &str =
    "--property=LoadState,NeedDaemonReload,FragmentPath,DropInPaths,ActiveState,ExecMainStartTimestamp";

pub(super) fn compare(drift: &mut Drift) {
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        drift.unchecked("units", "systemd does not run here");
        return;
    }
    let mut facts = Facts::default();
    units::gather(&mut facts, &Places::default(), &[DAEMON, PROFILER]);
    for name in [DAEMON, PROFILER] {
        let mut command = Command::new("systemctl");
        command.args(["show", "--timestamp=unix", PROPERTIES, name]);
        match child::run(&mut command, Vec::new(), PATIENCE, MAX_ANSWER) {
            Ok(outcome) if outcome.status.success() => {
                let loaded = Loaded::parse(&String::from_utf8_lossy(&outcome.output));
                let files = facts.units.get(name).map(|it| (it.path.clone(), it.drop_ins.clone()));
                judge(drift, name, &loaded, files.as_ref());
            }
            Ok(outcome) => drift.unchecked(format!("unit {name}"), format!("systemctl: {}", outcome.status)),
            Err(error) => drift.unchecked(format!("unit {name}"), error.to_string()),
        }
    }
}

/// What systemd says about one unit.
#[derive(Debug, Default, PartialEq, Eq)]
struct Loaded {
    load: String,
    active: String,
    needs_reload: bool,
    fragment: PathBuf,
    drop_ins: BTreeSet<PathBuf>,
    /// Seconds since 1970 at which the process was started.
    started: Option<i64>,
}

impl Loaded {
    fn parse(text: &str) -> Self {
        let fields: BTreeMap<_, _> = text.lines().filter_map(|it| it.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        Self {
            load: field("LoadState").to_owned(),
            active: field("ActiveState").to_owned(),
            needs_reload: field("NeedDaemonReload") == "yes",
            fragment: PathBuf::from(field("FragmentPath")),
            drop_ins: field("DropInPaths").split_whitespace().map(PathBuf::from).collect(),
            started: field("ExecMainStartTimestamp").trim_start_matches('@').parse().ok(),
        }
    }
}

fn judge(drift: &mut Drift, name: &str, loaded: &Loaded, files: Option<&(PathBuf, Vec<PathBuf>)>) {
    let what = format!("unit {name}");
    if loaded.load != "loaded" {
        match files {
            Some((path, _)) => {
                drift.add(what, path.display().to_string(), loaded.load.as_str(), "systemctl daemon-reload")
            }
            None => drift.unchecked(what, "it is not installed"),
        }
        return;
    }
    if loaded.needs_reload {
        let fix = "systemctl daemon-reload, then restart the service";
        drift.add(what, "files that have changed", "what systemd read before", fix);
        return;
    }
    let Some((_, drop_ins)) = files else {
        drift.add(what, "no file", loaded.fragment.display().to_string(), "install the unit again");
        return;
    };
    let declared: BTreeSet<_> = drop_ins.iter().cloned().collect();
    for path in declared.symmetric_difference(&loaded.drop_ins) {
        // Drop-ins for all services (service.d) and transient ones are not in the unit's own folder.
        if path
            .parent()
            .and_then(|it| it.file_name())
            .is_some_and(|it| it.to_string_lossy() == format!("{name}.d"))
        {
            let is = |set: &BTreeSet<PathBuf>| if set.contains(path) { "there" } else { "not there" };
            let what = format!("{what}, drop-in {}", path.display());
            drift.add(
                what,
                is(&declared),
                is(&loaded.drop_ins),
                "systemctl daemon-reload, then restart the service",
            );
        }
    }
    let Some(started) = loaded.started.filter(|_| loaded.active == "active") else { return };
    for path in std::iter::once(&loaded.fragment).chain(&loaded.drop_ins) {
        // The whole second of the start counts as before it: timestamps of systemd have no finer grain here.
        if fs::metadata(path).is_ok_and(|it| it.mtime() > started) {
            let what = format!("{what}, {}", path.display());
            drift.add(what, "changed after the start", "what was there at the start", "restart the service");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Loaded {
        Loaded::parse(&format!("LoadState=loaded\nActiveState=active\n{text}"))
    }

    fn judged(loaded: &Loaded, files: Option<(PathBuf, Vec<PathBuf>)>) -> Drift {
        let mut drift = Drift::default();
        judge(&mut drift, DAEMON, loaded, files.as_ref());
        drift
    }

    #[test]
    fn a_unit_that_must_be_read_again_is_drift() {
        let files = || Some((PathBuf::from("/u/gatewayd.service"), Vec::new()));
        assert_eq!(
            judged(&loaded("NeedDaemonReload=no\nFragmentPath=/u/gatewayd.service"), files()).items,
            []
        );
        assert_eq!(judged(&loaded("NeedDaemonReload=yes"), files()).items.len(), 1);
    }

    #[test]
    fn a_drop_in_that_only_one_side_has_is_drift() {
        let own = PathBuf::from("/e/gatewayd.service.d/site.conf");
        let files =
            |list: &[&PathBuf]| Some((PathBuf::from("/u"), list.iter().map(|it| (*it).clone()).collect()));
        let both = loaded("DropInPaths=/e/gatewayd.service.d/site.conf /e/service.d/all.conf");
        assert_eq!(judged(&both, files(&[&own])).items, []);
        assert_eq!(judged(&both, files(&[])).items[0].declared, "not there");
        assert_eq!(judged(&loaded(""), files(&[&own])).items[0].running, "not there");
    }

    #[test]
    fn a_file_newer_than_the_process_is_drift() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gatewayd.service");
        fs::write(&path, "").unwrap();
        let mtime = fs::metadata(&path).unwrap().mtime();
        let files = || Some((path.clone(), Vec::new()));
        for (started, items) in [(mtime, 0), (mtime - 1, 1)] {
            let text = format!("FragmentPath={}\nExecMainStartTimestamp=@{started}", path.display());
            assert_eq!(judged(&loaded(&text), files()).items.len(), items);
        }
    }
}
