//! Files that appear whole or not at all, and secrets that only their owner may read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An operation on a file that failed, with the file's name in the message.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried: `read`, `write`, `create`.
    pub action: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: says which file the error is about.
    pub fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0644: metadata, certificates.
    Public,
    /// Mode 0600: keys.
    Owner,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Public => 0o644,
            Self::Owner => 0o600,
        }
    }
}

/// Writes a file under a hidden name beside its own, flushes it to the disk and renames it: readers see the old
/// bytes or the new ones.
///
/// # Errors
/// What the system says, with the file's name.
pub fn write_atomically(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let mut file = create_hidden(path, access)?;
    file.write_all(bytes).map_err(FileError::new("write", path))?;
    publish_hidden(file, path, path)
}

/// Writes a file under a hidden name of this process's and renames it: whole or not at all after a crash of the process,
/// though not after a power cut, and many times faster than [`write_atomically`]. Creates its directory.
///
/// # Errors
/// What the system says, with the file's name.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    create_dir(parent)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Others may be writing the same file.
    let hidden = parent.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&hidden, bytes).map_err(FileError::new("write", &hidden))?;
    std::fs::rename(&hidden, path).map_err(FileError::new("rename to", path))
}

/// Creates the hidden file that [`publish_hidden`] gives its name to; truncates one that an interrupted run left.
///
/// # Errors
/// What the system says, with the file's name.
pub fn create_hidden(path: &Path, access: Access) -> Result<File, FileError> {
    let hidden = hidden_name(path);
    match std::fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(FileError::new("replace", &hidden)(error));
        }
        _ => {}
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(access.mode())
        .open(&hidden)
        .map_err(FileError::new("create", &hidden))
}

/// Flushes the file that [`create_hidden`] made for `hidden_for` and renames it to `path`, in the same directory.
///
/// # Errors
/// What the system says, with the file's name.
pub fn publish_hidden(file: File, hidden_for: &Path, path: &Path) -> Result<(), FileError> {
    file.sync_all().map_err(FileError::new("flush", path))?;
    drop(file);
    std::fs::rename(hidden_name(hidden_for), path).map_err(FileError::new("rename to", path))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // The rename itself is only durable once its directory is.
    File::open(parent).and_then(|it| it.sync_all()).map_err(FileError::new("flush", parent))
}

/// Creates a directory and its parents.
///
/// # Errors
/// What the system says, with the directory's name.
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(path).map_err(FileError::new("create", path))
}

/// Where [`create_hidden`] puts the bytes: the origin does not serve names that begin with a dot.
pub(crate) fn hidden_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_readable_by_its_owner_alone_and_leaves_no_hidden_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        write_atomically(&path, b"one", Access::Owner).unwrap();
        write_atomically(&path, b"two", Access::Owner).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/root.key");
        let error = write_atomically(&path, b"one", Access::Owner).unwrap_err();
        assert!(error.to_string().contains("absent/.root.key.tmp"), "{error}");
    }
}
