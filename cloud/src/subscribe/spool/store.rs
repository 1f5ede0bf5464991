//! Where blocks wait: a directory that members of a group share and that outlives them, or memory.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::fsio::{self, FileError};

/// Named bytes in folders. Folder names are made of plain segments (letters, digits, `-`, `_`, `.`) by the caller.
#[derive(Debug)]
pub(crate) enum Store {
    /// Gone with the process.
    Memory(HashMap<String, BTreeMap<String, Vec<u8>>>),
    /// Survives the process, not necessarily a power cut: nothing is flushed to the medium.
    Directory(PathBuf),
}

/// The right to read, decode and write one folder; given back when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct Guard {
    _file: Option<File>,
}

const LOCK: &str = "lock";

impl Store {
    pub(crate) fn memory() -> Self {
        Self::Memory(HashMap::new())
    }

    pub(crate) fn directory(path: &Path) -> Result<Self, FileError> {
        fsio::create_dir(path)?;
        Ok(Self::Directory(path.to_owned()))
    }

    /// Adds bytes under a name; what is there under that name stays, and the answer is false.
    pub(crate) fn put(&mut self, folder: &str, name: &str, bytes: &[u8]) -> Result<bool, FileError> {
        match self {
            Self::Memory(folders) => {
                let folder = folders.entry(folder.to_owned()).or_default();
                let new = !folder.contains_key(name);
                folder.entry(name.to_owned()).or_insert_with(|| bytes.to_vec());
                Ok(new)
            }
            Self::Directory(root) => {
                let path = root.join(folder).join(name);
                if path.exists() { Ok(false) } else { fsio::write_whole(&path, bytes).map(|()| true) }
            }
        }
    }

    /// Writes bytes under a name, whole or not at all.
    pub(crate) fn replace(&mut self, folder: &str, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        match self {
            Self::Memory(folders) => {
                folders.entry(folder.to_owned()).or_default().insert(name.to_owned(), bytes.to_vec());
                Ok(())
            }
            Self::Directory(root) => fsio::write_whole(&root.join(folder).join(name), bytes),
        }
    }

    pub(crate) fn get(&self, folder: &str, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        match self {
            Self::Memory(folders) => Ok(folders.get(folder).and_then(|it| it.get(name)).cloned()),
            Self::Directory(root) => {
                let path = root.join(folder).join(name);
                absent_is_none(fs::read(&path)).map_err(FileError::new("read", &path))
            }
        }
    }

    /// Bytes under a name; 0 where nothing is.
    pub(crate) fn len(&self, folder: &str, name: &str) -> Result<u64, FileError> {
        match self {
            Self::Memory(folders) => {
                Ok(folders.get(folder).and_then(|it| it.get(name)).map_or(0, |it| it.len() as u64))
            }
            Self::Directory(root) => {
                let path = root.join(folder).join(name);
                let metadata = absent_is_none(fs::metadata(&path)).map_err(FileError::new("read", &path))?;
                Ok(metadata.map_or(0, |it| it.len()))
            }
        }
    }

    pub(crate) fn remove(&mut self, folder: &str, name: &str) -> Result<(), FileError> {
        match self {
            Self::Memory(folders) => {
                folders.get_mut(folder).map(|it| it.remove(name));
                Ok(())
            }
            Self::Directory(root) => {
                let path = root.join(folder).join(name);
                absent_is_none(fs::remove_file(&path)).map_err(FileError::new("remove", &path)).map(drop)
            }
        }
    }

    /// What lies in a folder, in order of name; what is being written does not count.
    pub(crate) fn names(&self, folder: &str) -> Result<Vec<String>, FileError> {
        let mut names = match self {
            Self::Memory(folders) => {
                folders.get(folder).map(|it| it.keys().cloned().collect()).unwrap_or_default()
            }
            Self::Directory(root) => list(&root.join(folder), |it| it.is_file())?,
        };
        names.retain(|it| it != LOCK && !it.starts_with('.'));
        names.sort_unstable();
        Ok(names)
    }

    /// The folders right below `folder` (of the root when empty), the one not written to for longest first.
    pub(crate) fn folders(&self, folder: &str) -> Result<Vec<String>, FileError> {
        match self {
            // Memory is new with its process: nothing was left in it.
            Self::Memory(_) => Ok(Vec::new()),
            Self::Directory(root) => list(&root.join(folder), |it| it.is_dir()),
        }
    }

    pub(crate) fn remove_folder(&mut self, folder: &str) -> Result<(), FileError> {
        match self {
            Self::Memory(folders) => {
                folders.remove(folder);
                Ok(())
            }
            Self::Directory(root) => {
                let path = root.join(folder);
                absent_is_none(fs::remove_dir_all(&path)).map_err(FileError::new("remove", &path)).map(drop)
            }
        }
    }

    /// `None` while another holds the folder. Never waits.
    pub(crate) fn try_lock(&self, folder: &str) -> Result<Option<Guard>, FileError> {
        let Self::Directory(root) = self else { return Ok(Some(Guard { _file: None })) };
        let dir = root.join(folder);
        fsio::create_dir(&dir)?;
        let path = dir.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(FileError::new("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Guard { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(FileError::new("lock", &path)(error)),
        }
    }
}

fn list(path: &Path, wanted: impl Fn(&fs::FileType) -> bool) -> Result<Vec<String>, FileError> {
    let Some(entries) = absent_is_none(fs::read_dir(path)).map_err(FileError::new("list", path))? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::new("list", path))?;
        if entry.file_type().is_ok_and(|it| wanted(&it)) {
            let modified = entry.metadata().and_then(|it| it.modified()).ok();
            names.extend(entry.file_name().into_string().map(|name| (modified, name)));
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

fn absent_is_none<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}
