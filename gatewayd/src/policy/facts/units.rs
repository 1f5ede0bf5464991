//! Units and drop-ins, read as systemd reads them (systemd.unit(5), systemd.syntax(7)).
//!
//! Specifiers (`%i`) stay as they are written; none of the keys that rules look at needs them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Facts, Places, Setting, UnitFact, Unseen};

/// Where systemd looks, the most important first.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The longest unit that is read.
const MAX_LEN: u64 = 256 << 10;

/// Takes down the units of those names; one that is in no folder is noted.
pub fn gather(facts: &mut Facts, places: &Places, names: &[&str]) {
    let folders = folders(places);
    for name in names {
        match read(&folders, name) {
            Ok(Some(unit)) => {
                facts.units.insert((*name).to_owned(), unit);
            }
            Ok(None) => facts.unseen.push(Unseen {
                key: "unit".to_owned(),
                what: (*name).to_owned(),
                reason: "it is in no folder of units".to_owned(),
            }),
            Err(error) => facts.unseen.push(Unseen {
                key: "unit".to_owned(),
                what: (*name).to_owned(),
                reason: error.to_string(),
            }),
        }
    }
}

fn folders(places: &Places) -> Vec<PathBuf> {
    if places.units.is_empty() {
        FOLDERS.iter().map(|it| places.real(Path::new(it))).collect()
    } else {
        places.units.clone()
    }
}

/// The unit `name` from the first folder that has it, with the drop-ins of all folders; `None` where none has it.
///
/// # Errors
/// The system's, for a unit or drop-in that is there and cannot be read.
pub fn read(folders: &[PathBuf], name: &str) -> std::io::Result<Option<UnitFact>> {
    let Some(path) = folders.iter().map(|it| it.join(name)).find(|it| it.is_file()) else {
        return Ok(None);
    };
    let drop_ins = drop_ins(folders, name)?;
    let mut unit = UnitFact { path: path.clone(), drop_ins: drop_ins.clone(), ..UnitFact::default() };
    for file in std::iter::once(&path).chain(&drop_ins) {
        let mut text = String::new();
        File::open(file)?.take(MAX_LEN).read_to_string(&mut text)?;
        apply(&mut unit, file, &text);
    }
    Ok(Some(unit))
}

/// By file name over all folders; of two with the same name the more important folder's counts.
fn drop_ins(folders: &[PathBuf], name: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    for folder in folders.iter().rev() {
        let Ok(entries) = fs::read_dir(folder.join(format!("{name}.d"))) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "conf") {
                found.insert(path.file_name().map(ToOwned::to_owned), path);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Adds the settings of one file.
pub fn apply(unit: &mut UnitFact, file: &Path, text: &str) {
    let mut section = "";
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            section = name;
            continue;
        }
        let mut logical = line.to_owned();
        while let Some(head) = logical.strip_suffix('\\') {
            logical = format!("{} {}", head.trim_end(), lines.next().map_or("", |(_, it)| it.trim()));
        }
        let Some((key, value)) = logical.split_once('=') else { continue };
        let list = unit.settings.entry(format!("{section}.{}", key.trim_end())).or_default();
        let value = value.trim().to_owned();
        // An empty value takes back what came before; what comes after takes back the empty one.
        if value.is_empty() {
            list.clear();
        } else {
            list.retain(|it| !it.value.is_empty());
        }
        list.push(Setting { value, file: file.to_owned(), line: at + 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_takes_back_what_came_before() {
        let mut unit = UnitFact::default();
        apply(
            &mut unit,
            Path::new("a"),
            "[Service]\nCapabilityBoundingSet=CAP_BPF\nCapabilityBoundingSet=\n",
        );
        assert_eq!(unit.last("Service.CapabilityBoundingSet").map(|it| it.value.as_str()), Some(""));
        assert_eq!(unit.values("Service.CapabilityBoundingSet").count(), 0);
        apply(
            &mut unit,
            Path::new("b"),
            "; comment\n[Service]\nCapabilityBoundingSet = CAP_PERFMON \\\n  CAP_BPF\n",
        );
        let last = unit.last("Service.CapabilityBoundingSet").unwrap();
        assert_eq!(
            (last.value.as_str(), last.line, last.file.as_path()),
            ("CAP_PERFMON CAP_BPF", 3, Path::new("b"))
        );
        assert_eq!(unit.values("Service.CapabilityBoundingSet").count(), 1);
    }

    #[test]
    fn drop_ins_apply_by_name_and_the_more_important_folder_wins() {
        let dir = tempfile::tempdir().unwrap();
        let [etc, lib] = ["etc", "lib"].map(|it| dir.path().join(it));
        for (folder, file, text) in [
            (&lib, "x.service", "[Service]\nUser=a\nWatchdogSec=1\n"),
            (&lib, "x.service.d/20.conf", "[Service]\nUser=from-lib\n"),
            (&lib, "x.service.d/10.conf", "[Service]\nWatchdogSec=2\nUser=ten\n"),
            (&etc, "x.service.d/20.conf", "[Service]\nUser=from-etc\n"),
            (&etc, "x.service.d/README", "no"),
        ] {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let unit = read(&[etc.clone(), lib.clone()], "x.service").unwrap().unwrap();
        assert_eq!(unit.last("Service.User").map(|it| it.value.as_str()), Some("from-etc"));
        assert_eq!(unit.last("Service.WatchdogSec").map(|it| it.value.as_str()), Some("2"));
        assert_eq!(unit.drop_ins, [lib.join("x.service.d/10.conf"), etc.join("x.service.d/20.conf")]);
        assert_eq!(read(&[etc], "y.service").unwrap(), None);
    }
}
