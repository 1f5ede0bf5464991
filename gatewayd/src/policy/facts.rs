//! What is known about the world around a configuration: files, certificates, root metadata, units.
//!
//! Everything here is read once, before any rule runs, and is handed to Rego rules as it stands. A file that is not
//! there or may not be read is an [`Unseen`], never a guess.

mod certificates;
mod files;
mod roots;
pub mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::subject::{DAEMON, PROFILER, credential_source, private_keys, secrets};
use crate::config::Config;
use crate::config::parts::Secret;

/// The facts. Maps by key are by key path of the configuration: `cloud.key`, `uptane.key_encryption_key[0].key`; where a
/// key is in a token, `cloud.key.pin` and `cloud.key.module` for the file of its PIN and its library.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// The system clock, seconds since 1970.
    pub now: u64,
    /// Files that the configuration names, and `config` for itself.
    pub files: BTreeMap<String, FileFact>,
    /// Certificates in `cloud.ca` and `cloud.certificate`, in the order of the files.
    pub certificates: BTreeMap<String, Vec<CertificateFact>>,
    /// Root metadata in `uptane.director_root` and `uptane.image_root`.
    pub roots: BTreeMap<String, RootFact>,
    /// Units by name.
    pub units: BTreeMap<String, UnitFact>,
    /// The file system that `state.directory` is on, or will be.
    pub state: Option<StateFact>,
    /// What could not be looked at.
    pub unseen: Vec<Unseen>,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileFact {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub len: u64,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateFact {
    /// Line of its file at which it begins.
    pub line: usize,
    /// Its subject, in the form of RFC 4514.
    pub subject: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// `rsa`, `ec`, `ed25519` or the object identifier.
    pub key_type: String,
    /// Bits of the modulus or of the curve.
    pub key_bits: u32,
    /// Hash of the signature: `sha256`..., `none` where the scheme has its own, or the object identifier.
    pub signature_hash: String,
    /// Whether it may sign others (basic constraints).
    pub authority: bool,
    /// Whether it is for TLS clients; `None` where it says nothing about its use.
    pub client_auth: Option<bool>,
}

/// The first root metadata of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RootFact {
    /// Why it is none; everything else is empty then.
    pub error: Option<String>,
    /// Its version.
    pub version: u64,
    /// Seconds since 1970.
    pub expires: u64,
    /// Roles by name: `root`, `timestamp`, `snapshot`, `targets`.
    pub roles: BTreeMap<String, RoleFact>,
}

/// One role of root metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleFact {
    /// How many keys must sign.
    pub threshold: u32,
    /// Usable keys by id, with their scheme; a key of an unknown scheme is not there.
    pub keys: BTreeMap<String, String>,
}

/// A unit with its drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnitFact {
    /// The unit's own file.
    pub path: PathBuf,
    /// Drop-ins in the order in which they apply.
    pub drop_ins: Vec<PathBuf>,
    /// Settings that hold, by `Section.Key`. An empty value stays in the list only where it is the last one.
    pub settings: BTreeMap<String, Vec<Setting>>,
}

/// One line of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Setting {
    /// Behind the equals sign.
    pub value: String,
    /// The unit's file or the drop-in.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

/// Where the journal and the store live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateFact {
    /// Type of the file system, as in `/proc/mounts`.
    pub filesystem: String,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits of the directory; `None` where it is not there yet.
    pub mode: Option<u32>,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Unseen {
    /// The key of the configuration that names it; `unit` for units.
    pub key: String,
    /// What it is.
    pub what: String,
    /// What the system says.
    pub reason: String,
}

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Put before every absolute path.
    pub root: Option<PathBuf>,
    /// Folders with units; empty: those of systemd.
    pub units: Vec<PathBuf>,
}

impl Places {
    /// Where the file is that the vehicle calls `path`.
    pub fn real(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }
}

impl UnitFact {
    /// The value that holds for a key that is set once.
    pub fn last(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)?.last()
    }

    /// All values of a key that may be given several times, without empty ones.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &Setting> {
        self.settings.get(key).into_iter().flatten().filter(|it| !it.value.is_empty())
    }

    /// Whether a key that is yes or no is yes; `None` where it is not set.
    pub fn is_yes(&self, key: &str) -> Option<bool> {
        let value = self.last(key)?.value.to_ascii_lowercase();
        Some(matches!(value.as_str(), "yes" | "true" | "on" | "1" | "y" | "t"))
    }
}

/// Looks at everything that the configuration and the units name.
pub fn gather(config: &Config, path: &Path, places: &Places) -> Facts {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let mut facts = Facts { now, ..Facts::default() };
    units::gather(&mut facts, places, &[DAEMON, PROFILER]);
    files::look(&mut facts, "config", path.to_owned());
    for (key, path) in named_files(config, &facts) {
        let path = path.map(|it| places.real(&it));
        match path {
            Ok(path) => files::look(&mut facts, &key, path),
            Err(reason) => facts.unseen.push(Unseen { what: key.clone(), key, reason }),
        }
    }
    for key in ["cloud.ca", "cloud.certificate"] {
        certificates::look(&mut facts, key);
    }
    for key in ["uptane.director_root", "uptane.image_root"] {
        roots::look(&mut facts, key);
    }
    facts.state = files::state(&places.real(&config.state.directory));
    facts
}

/// Every file of the configuration, by key path; a credential at its source, where the unit says which that is.
fn named_files(config: &Config, facts: &Facts) -> Vec<(String, Result<PathBuf, String>)> {
    let secret = |secret: &Secret| match secret {
        Secret::File(path) => Ok(path.clone()),
        Secret::Credential(name) => facts
            .units
            .get(DAEMON)
            .and_then(|unit| credential_source(unit, name))
            .filter(|it| it.is_absolute())
            .ok_or_else(|| format!("no unit says where credential `{name}` comes from")),
    };
    let mut files = vec![
        ("cloud.ca".to_owned(), Ok(config.cloud.ca.clone())),
        ("cloud.certificate".to_owned(), Ok(config.cloud.certificate.clone())),
        ("uptane.director_root".to_owned(), Ok(config.uptane.director_root.clone())),
        ("uptane.image_root".to_owned(), Ok(config.uptane.image_root.clone())),
    ];
    for (key, path) in [
        ("cloud.sm_certificate", &config.cloud.sm_certificate),
        ("mqtt.ca", &config.mqtt.ca),
        ("mqtt.certificate", &config.mqtt.certificate),
    ] {
        files.extend(path.iter().map(|it| (key.to_owned(), Ok(it.clone()))));
    }
    for (at, bus) in config.buses.iter().map(|it| it.get_ref()).enumerate() {
        for (name, path) in [("ca", &bus.ca), ("certificate", &bus.certificate)] {
            files.extend(path.iter().map(|it| (format!("bus[{at}].{name}"), Ok(it.clone()))));
        }
    }
    files.extend(secrets(config).into_iter().map(|(key, it)| (key, secret(it))));
    // Whatever is in the library of a token runs as the daemon.
    let tokens = private_keys(config).into_iter().filter_map(|(key, it)| Some((key, it.token()?)));
    files.extend(tokens.map(|(key, it)| (format!("{key}.module"), Ok(it.uri.module_path.clone()))));
    files
}
