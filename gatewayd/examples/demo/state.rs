//! What the demo remembers between two starts, in `demo.json`.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_cloud::fsio::{self, Access};
use ota::stage::TraceId;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};

/// Everything below the demo's directory that a new campaign removes.
const OWNED: [&str; 14] = [
    "keys",
    "certs",
    "repository",
    "gateway",
    "ecus",
    "packages",
    "gatewayd.toml",
    "gatewayd.log",
    "profile.log",
    "events.jsonl",
    "metrics.jsonl",
    "vehicles.jsonl",
    "profile.folded",
    "summary.json",
];

/// The file that makes a directory the demo's.
const STATE: &str = "demo.json";

/// A campaign, published or about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Everything a vehicle fetches lies in the repository.
    pub(crate) published: bool,
    /// The demo has seen the campaign's end.
    pub(crate) finished: bool,
    pub(crate) campaign: String,
    pub(crate) trace: TraceId,
    /// Milliseconds since 1970.
    pub(crate) started_at_ms: u64,
    pub(crate) untimed: bool,
    /// Starts of the demo for this campaign.
    pub(crate) starts: u32,
    /// One per ECU.
    pub(crate) packages: Vec<Package>,
    /// Bits flipped on the server.
    pub(crate) spoiled: Vec<Spoiled>,
    /// ECUs, by place, whose images are to be spoiled.
    pub(crate) tampered: Vec<usize>,
}

/// A source file as it was when it was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// Milliseconds since 1970.
    pub(crate) modified_ms: u64,
}

/// One flipped bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spoiled {
    pub(crate) ecu: usize,
    /// Path below the served directory.
    pub(crate) path: String,
    pub(crate) chunk: u64,
    pub(crate) chunks: u64,
    /// Byte in the stored file.
    pub(crate) offset: u64,
    pub(crate) bit: u8,
}

impl Package {
    /// The file as it is now.
    pub(crate) fn of(path: &Path) -> Outcome<Self> {
        let len = crate::args::check_package(path)?;
        let path = path.canonicalize().map_err(Failure::of(path.display()))?;
        let modified = std::fs::metadata(&path).and_then(|it| it.modified());
        let modified_ms = modified.map_or(0, unix_ms);
        Ok(Self { path, len, modified_ms })
    }
}

/// The directory, ours alone until the process ends.
#[derive(Debug)]
pub(crate) struct Home {
    /// Absolute.
    pub(crate) dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes or takes the directory.
    pub(crate) fn open(dir: &Path) -> Outcome<Self> {
        let shown = dir.display();
        let refuse = |error: std::io::Error| Failure::new(format!("cannot use directory {shown}: {error}"));
        std::fs::create_dir_all(dir).map_err(refuse)?;
        let dir = dir.canonicalize().map_err(refuse)?;
        let is_ours = dir.join(STATE).exists() || dir.join("demo.lock").exists();
        let is_empty = std::fs::read_dir(&dir).map_err(refuse)?.next().is_none();
        if !is_ours && !is_empty {
            return Err(Failure::usage(format!(
                "--dir {shown} holds something that is not the demo's; choose an empty or a new directory"
            )));
        }
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("demo.lock"));
        let lock = lock.map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::new(format!(
                "another demo is running in {shown}; wait for it, or choose another --dir"
            ))),
            Err(TryLockError::Error(error)) => Err(refuse(error)),
        }
    }

    /// What the last start left, if it can be read.
    pub(crate) fn load(&self) -> Option<State> {
        serde_json::from_slice(&std::fs::read(self.dir.join(STATE)).ok()?).ok()
    }

    /// Writes the state, as a whole or not at all.
    pub(crate) fn save(&self, state: &State) -> Outcome<()> {
        let text = serde_json::to_vec_pretty(state).map_err(Failure::of(STATE))?;
        fsio::write_atomically(&self.dir.join(STATE), &text, Access::Public).map_err(Failure::of(STATE))
    }

    /// Removes what an earlier campaign left.
    pub(crate) fn clear(&self) -> Outcome<()> {
        for name in OWNED {
            let path = self.dir.join(name);
            let removed = match std::fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Failure::new(format!("cannot remove {}: {error}", path.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
