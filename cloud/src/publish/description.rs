//! What a campaign is made of, as its author writes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crypto_offload::job::{Cipher, HashAlgorithm};
use ota::stage::TraceId;
use ota::uptane::{
    CampaignId, EcuSerial, GroupName, HardwareIdentifier, Precondition, SoftwareVersion, TargetName, Vin,
};
use serde::Deserialize;

use crate::fsio::FileError;

/// Chunk size where none is given: 64 KiB.
pub(crate) const DEFAULT_CHUNK_SIZE: u32 = 64 * 1024;

/// One update of one vehicle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// The vehicle.
    pub vin: Vin,
    /// Names the campaign.
    pub campaign: CampaignId,
    /// Goes with everything that is done and said about it.
    pub trace_id: TraceId,
    /// The images.
    #[serde(rename = "target")]
    pub targets: Vec<TargetDescription>,
}

/// One image for one ECU.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetDescription {
    /// The package, any file with at least one byte.
    pub file: PathBuf,
    /// Its name in metadata.
    pub name: TargetName,
    /// The ECU that is to install it.
    pub ecu_serial: EcuSerial,
    /// The kind of hardware it is for.
    pub hardware_id: HardwareIdentifier,
    /// What the ECU shows its reader once the image runs.
    pub version: SoftwareVersion,
    /// Never lower than what the ECU runs.
    pub release_counter: u64,
    /// How to encrypt it; `none` to store it in the clear.
    #[serde(default, deserialize_with = "cipher")]
    pub cipher: Option<Cipher>,
    /// Hash function of the file's digest and of the chunk tree: `sha256` (default) or `sm3`.
    #[serde(default = "sha256", deserialize_with = "hash")]
    pub hash: HashAlgorithm,
    /// Plain bytes of a chunk: a number, or a text such as `"64KiB"`. A power of two from 4 KiB to 1 MiB.
    #[serde(default = "chunk_size", deserialize_with = "size")]
    pub chunk_size: u32,
    /// Lower orders are installed first. Defaults to 1.
    #[serde(default = "one")]
    pub order: u32,
    /// ECUs of one group are activated together. Defaults to the ECU's serial: a group of its own.
    #[serde(default)]
    pub group: Option<GroupName>,
    /// What must hold before programming begins.
    #[serde(default)]
    pub preconditions: Vec<Precondition>,
}

/// Why a description is not one; its author's fault.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// Not readable.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, an unknown key, a missing one, or a value that breaks its rule. The message has line and column.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// A `key=value` list that is not one.
    #[error("{text:?} is not a list of key=value pairs: {reason}")]
    Flag {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing to install.
    #[error("the campaign has no target (add a [[target]] table)")]
    NoTargets,
    /// Two targets of one name, or two for one ECU.
    #[error("{what} {name} stands in the campaign twice")]
    Twice {
        /// `target` or `ECU`.
        what: &'static str,
        /// Which.
        name: String,
    },
}

/// Reads a campaign from a TOML file. Packages are looked for beside it unless their path is absolute.
///
/// # Errors
/// [`DescriptionError`] names file, line and what is wrong.
pub fn read_campaign(path: &Path) -> Result<Campaign, DescriptionError> {
    let text = std::fs::read_to_string(path).map_err(FileError::new("read", path))?;
    let mut campaign: Campaign = toml::from_str(&text)
        .map_err(|source| DescriptionError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    for target in &mut campaign.targets {
        target.file = path.parent().unwrap_or_else(|| Path::new(".")).join(&target.file);
    }
    campaign.check()?;
    Ok(campaign)
}

impl Campaign {
    /// Rules that span targets.
    pub(crate) fn check(&self) -> Result<(), DescriptionError> {
        if self.targets.is_empty() {
            return Err(DescriptionError::NoTargets);
        }
        let (mut names, mut ecus) = (BTreeSet::new(), BTreeSet::new());
        for target in &self.targets {
            if !names.insert(&target.name) {
                return Err(DescriptionError::Twice { what: "target", name: target.name.to_string() });
            }
            if !ecus.insert(&target.ecu_serial) {
                return Err(DescriptionError::Twice { what: "ECU", name: target.ecu_serial.to_string() });
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for TargetDescription {
    type Err = DescriptionError;

    /// The same as a `[[target]]` table, on one line: `file=app.bin,name=app,ecu_serial=E1,...`. A package whose path
    /// has a comma needs the TOML form.
    fn from_str(text: &str) -> Result<Self, DescriptionError> {
        let error = |reason: String| DescriptionError::Flag { text: text.to_owned(), reason };
        let mut table = toml::Table::new();
        for pair in text.split(',') {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| error(format!("{pair:?} has no equals sign")))?;
            let value = match (key, value.parse::<i64>()) {
                ("release_counter" | "order" | "chunk_size", Ok(number)) => toml::Value::Integer(number),
                ("preconditions", _) => toml::Value::Array(vec![value.into()]),
                _ => value.into(),
            };
            if table.insert(key.to_owned(), value).is_some() {
                return Err(error(format!("{key:?} stands there twice")));
            }
        }
        table.try_into().map_err(|source: toml::de::Error| error(source.message().to_owned()))
    }
}

const fn sha256() -> HashAlgorithm {
    HashAlgorithm::Sha256
}

const fn chunk_size() -> u32 {
    DEFAULT_CHUNK_SIZE
}

const fn one() -> u32 {
    1
}

fn cipher<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Cipher>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name == "none" {
        return Ok(None);
    }
    Cipher::from_name(&name).map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "cipher {name:?} is none of none, aes-128-gcm, aes-256-gcm, sm4-gcm"
        ))
    })
}

fn hash<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<HashAlgorithm, D::Error> {
    let name = String::deserialize(deserializer)?;
    // Chunk trees take 32-byte digests only, so that sha512 would fail later.
    HashAlgorithm::from_name(&name)
        .filter(|it| it.digest_len() == 32)
        .ok_or_else(|| serde::de::Error::custom(format!("hash {name:?} is none of sha256, sm3")))
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Number(u32),
        Text(String),
    }
    let text = match Size::deserialize(deserializer)? {
        Size::Number(number) => return Ok(number),
        Size::Text(text) => text,
    };
    let (digits, unit) = text.split_at(text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        _ => None,
    };
    unit.and_then(|unit| digits.parse::<u32>().ok()?.checked_mul(unit))
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a size such as \"64KiB\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
vin = "WVWZZZ1JZXW000001"
campaign = "spring"
trace_id = "G0123456789abcde"
[[target]]
file = "brake.bin"
name = "brake-2.1.0.bin"
ecu_serial = "BRK-1"
hardware_id = "brake-s32k3"
version = "2.1.0"
release_counter = 7
cipher = "sm4-gcm"
hash = "sm3"
chunk_size = "64KiB"
"#;

    fn read(text: &str) -> Result<Campaign, DescriptionError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("campaign.toml");
        std::fs::write(&path, text).unwrap();
        read_campaign(&path)
    }

    #[test]
    fn a_good_description_is_read_with_its_defaults() {
        let campaign = read(GOOD).unwrap();
        let target = &campaign.targets[0];
        assert_eq!((target.chunk_size, target.order), (65_536, 1));
        assert_eq!((target.cipher, target.hash), (Some(Cipher::Sm4Gcm), HashAlgorithm::Sm3));
        assert!(target.file.is_absolute() && target.file.ends_with("brake.bin"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, expected) in [
            ("sm4-gcm", "rot13", "aes-256-gcm"),
            ("\"sm3\"", "\"sha512\"", "sha256"),
            ("64KiB", "64 kB", "64KiB"),
            ("WVWZZZ1JZXW000001", "WVW", "VIN"),
            ("G0123456789abcde", "g0123456789abcde", "trace id"),
            ("brake-2.1.0.bin", "../x", "target name"),
            ("version", "verzion", "verzion"),
            ("release_counter = 7", "", "release_counter"),
        ] {
            let error = read(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        let twice = format!("{GOOD}{}", &GOOD[GOOD.find("[[").unwrap()..]);
        assert!(matches!(read(&twice).unwrap_err(), DescriptionError::Twice { what: "target", .. }));
        let none = format!("{}\ntarget = []", &GOOD[..GOOD.find("[[").unwrap()]);
        assert!(matches!(read(&none).unwrap_err(), DescriptionError::NoTargets));
    }

    #[test]
    fn a_target_fits_on_one_line() {
        let line = "file=a.bin,name=a.bin,ecu_serial=E1,hardware_id=h,version=1.0,release_counter=3,\
                    chunk_size=4096,preconditions=speed=0";
        let target: TargetDescription = line.parse().unwrap();
        assert_eq!((target.release_counter, target.chunk_size, target.cipher), (3, 4096, None));
        assert_eq!(target.preconditions[0].as_str(), "speed=0");
        for (bad, expected) in [("file", "equals"), ("file=a,file=b", "twice"), ("file=a", "missing")] {
            let error = bad.parse::<TargetDescription>().unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
