//! What the rules look at.

use std::path::{Path, PathBuf};

use super::facts::{Facts, Setting, UnitFact};
use super::lines::Lines;
use crate::config::Config;
use crate::config::key::PrivateKey;
use crate::config::parts::{BusPart, EcuPart, Secret};
use canfd::uds::profile::Profile;

/// The daemon's unit.
pub const DAEMON: &str = "gatewayd.service";
/// The profiling service's unit.
pub const PROFILER: &str = "gatewayd-profile.service";

/// A configuration that parsed, and what is known about the world around it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The file it came from.
    pub path: PathBuf,
    /// The configuration.
    pub config: Config,
    /// Where its keys stand.
    pub lines: Lines,
    /// Files, certificates, root metadata and units.
    pub facts: Facts,
}

impl Subject {
    /// The daemon's unit, where it was found.
    pub fn daemon(&self) -> Option<&UnitFact> {
        self.facts.units.get(DAEMON)
    }

    /// The profiling service's unit, where it was found.
    pub fn profiler(&self) -> Option<&UnitFact> {
        self.facts.units.get(PROFILER)
    }

    /// Every secret that the daemon reads itself, with its key path: keys, and PINs of tokens as `KEY.pin`.
    pub fn secrets(&self) -> Vec<(String, &Secret)> {
        secrets(&self.config)
    }

    /// Every private key for TLS, with its key path.
    pub fn private_keys(&self) -> Vec<(String, &PrivateKey)> {
        private_keys(&self.config)
    }

    /// Every ECU whose bus and dialect are described, with the key path of its dialect.
    pub fn programmed(&self) -> impl Iterator<Item = (String, &EcuPart, &BusPart, &Profile)> {
        self.config.ecus.iter().filter_map(|ecu| {
            let ecu = ecu.get_ref();
            let bus = self.config.buses.iter().map(|it| it.get_ref()).find(|it| it.name == ecu.bus)?;
            let profile = self.config.dialects.get(&ecu.dialect)?;
            Some((format!("dialect.{}", ecu.dialect), ecu, bus, profile))
        })
    }

    /// Every dialect that is written down, with its key path.
    pub fn dialects(&self) -> impl Iterator<Item = (String, &Profile)> {
        self.config.dialects.iter().map(|(name, it)| (format!("dialect.{name}"), it))
    }
}

/// As [`Subject::private_keys`].
pub(super) fn private_keys(config: &Config) -> Vec<(String, &PrivateKey)> {
    let mut all = vec![("cloud.key".to_owned(), &config.cloud.key)];
    all.extend(config.mqtt.key.iter().map(|it| ("mqtt.key".to_owned(), it)));
    let buses = config.buses.iter().map(|it| it.get_ref()).enumerate();
    all.extend(buses.filter_map(|(at, bus)| Some((format!("bus[{at}].key"), bus.key.as_ref()?))));
    all
}

/// As [`Subject::secrets`].
pub(super) fn secrets(config: &Config) -> Vec<(String, &Secret)> {
    let keys = config.uptane.key_encryption_keys.iter().enumerate();
    let mut all: Vec<_> =
        keys.map(|(at, it)| (format!("uptane.key_encryption_key[{at}].key"), &it.key)).collect();
    all.extend(config.cloud.sm_key.iter().map(|it| ("cloud.sm_key".to_owned(), it)));
    all.extend(private_keys(config).into_iter().map(|(key, it)| match it {
        PrivateKey::Stored(secret) => (key, secret),
        PrivateKey::Token(token) => (format!("{key}.pin"), &token.pin),
    }));
    all
}

/// Where the unit's credential `name` comes from; `None` where the unit loads none of that name.
///
/// A folder in `LoadCredential=ID:FOLDER` gives credentials named `ID_FILE` (systemd.exec(5)).
pub fn credential_source(unit: &UnitFact, name: &str) -> Option<PathBuf> {
    let keys = ["Service.LoadCredential", "Service.LoadCredentialEncrypted"].into_iter();
    let loaded = keys.flat_map(|key| unit.values(key));
    for Setting { value, .. } in loaded {
        let (id, source) = value.split_once(':').unwrap_or((value, ""));
        if id == name {
            return Some(PathBuf::from(source));
        }
        if let Some(file) = name.strip_prefix(id).and_then(|rest| rest.strip_prefix('_')) {
            return Some(Path::new(source).join(file));
        }
    }
    None
}

/// Whether the unit sets the credential itself or imports it from the system.
pub fn credential_given_otherwise(unit: &UnitFact, name: &str) -> bool {
    let keys = ["Service.SetCredential", "Service.SetCredentialEncrypted"].into_iter();
    keys.flat_map(|key| unit.values(key)).any(|it| it.value.split_once(':').is_some_and(|(id, _)| id == name))
        || unit.values("Service.ImportCredential").any(|it| {
            it.value.strip_suffix('*').map_or_else(|| it.value == name, |prefix| name.starts_with(prefix))
        })
}
