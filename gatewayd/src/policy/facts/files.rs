//! Files and file systems.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use super::{Facts, FileFact, StateFact, Unseen};

/// The longest file whose content is looked at.
const MAX_LEN: u64 = 1 << 20;

/// Takes down what the file of a key is.
pub(super) fn look(facts: &mut Facts, key: &str, path: PathBuf) {
    match fs::metadata(&path) {
        Ok(it) => {
            let fact =
                FileFact { len: it.len(), mode: it.mode() & 0o7777, uid: it.uid(), gid: it.gid(), path };
            facts.files.insert(key.to_owned(), fact);
        }
        Err(error) => facts.unseen.push(Unseen {
            key: key.to_owned(),
            what: path.display().to_string(),
            reason: error.to_string(),
        }),
    }
}

/// The content of the file of a key; `None`, and noted, where it cannot be had.
pub(super) fn content(facts: &mut Facts, key: &str) -> Option<Vec<u8>> {
    let path = facts.files.get(key)?.path.clone();
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes));
    let reason = match read {
        Ok(len) if len as u64 <= MAX_LEN => return Some(bytes),
        Ok(_) => format!("it is longer than {MAX_LEN} bytes"),
        Err(error) => error.to_string(),
    };
    let what = path.display().to_string();
    facts.unseen.push(Unseen { key: key.to_owned(), what, reason });
    None
}

/// The file system that a directory is on, or will be once somebody makes it.
pub(super) fn state(path: &Path) -> Option<StateFact> {
    let there = path.ancestors().find(|it| it.exists())?;
    let size = rustix::fs::statvfs(there).ok().map(|it| it.f_blocks.saturating_mul(it.f_frsize))?;
    let filesystem = filesystem_of(&fs::canonicalize(there).ok()?)?;
    let mode = fs::metadata(path).ok().map(|it| it.mode() & 0o7777);
    Some(StateFact { filesystem, size, mode })
}

/// The type of the mount that holds `path`: of those whose mount point is above it, the longest and latest.
fn filesystem_of(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let lines = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.replace("\\040", " "), fields.next()?.to_owned()))
    });
    let above = lines.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_seen_with_its_permissions_and_a_missing_one_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, [0; 16]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut facts = Facts::default();
        look(&mut facts, "cloud.key", path);
        look(&mut facts, "cloud.ca", dir.path().join("nothing"));
        let key = &facts.files["cloud.key"];
        assert_eq!((key.mode, key.len), (0o640, 16));
        assert_eq!(facts.unseen.len(), 1);
        assert_eq!(facts.unseen[0].key, "cloud.ca");
    }

    #[test]
    fn the_file_system_of_a_directory_to_come_is_that_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let now = state(dir.path()).unwrap();
        let later = state(&dir.path().join("a/b")).unwrap();
        assert_eq!(now.filesystem, later.filesystem);
        assert!(now.mode.is_some() && later.mode.is_none());
        assert_eq!(filesystem_of(Path::new("/proc/self")).as_deref(), Some("proc"));
    }

    #[test]
    fn content_beyond_the_limit_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        for (len, taken) in [(MAX_LEN, true), (MAX_LEN + 1, false)] {
            let path = dir.path().join("file");
            File::create(&path).unwrap().set_len(len).unwrap();
            let mut facts = Facts::default();
            look(&mut facts, "cloud.ca", path);
            assert_eq!(content(&mut facts, "cloud.ca").is_some(), taken);
            assert_eq!(facts.unseen.is_empty(), taken);
        }
    }
}
