//! The ECUs of a test bench, as a TOML file: [`EXAMPLE`] shows every key.

mod ethernet;

pub use ethernet::{DoipPart, DoipPartError, TlsPart};

use super::doip::DoipNodeConfig;
use super::{EcuConfig, NodeConfig};
use canfd::bus::BusUrl;
use canfd::frame::{CanId, CanIds, IdError};
use canfd::isotp::{LinkConfig, LinkLayer, TxDl};
use canfd::uds::duration;
use canfd::uds::profile::{Profile, ProfileError};
use canfd::uds::server::ServerTimings;
use gatewayd::config::units::Size;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A commented bench file with every key at its default.
pub const EXAMPLE: &str = include_str!("bench.toml");

/// What a bench file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// Bus of the ECUs that name none.
    pub bus: Option<BusUrl>,
    /// Folder for the flash of every ECU, each in a folder of its name.
    pub flash_dir: Option<PathBuf>,
    /// The ECUs.
    pub ecu: Vec<EcuPart>,
    /// What they speak, by name; as in the gateway's configuration.
    #[serde(default)]
    pub dialect: BTreeMap<String, Profile>,
}

/// One ECU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EcuPart {
    /// Its name in commands and its flash folder.
    pub name: String,
    /// How it is reached by DoIP, instead of a bus.
    pub doip: Option<DoipPart>,
    /// Its bus.
    pub bus: Option<BusUrl>,
    /// CAN id it listens on (above 0x7FF: 29 bit); not with DoIP.
    pub request_id: Option<u32>,
    /// CAN id it answers on (above 0x7FF: 29 bit); not with DoIP.
    pub response_id: Option<u32>,
    /// CAN id for requests to all ECUs of the bus.
    pub functional_id: Option<u32>,
    /// Frames it sends.
    #[serde(default)]
    pub frames: Frames,
    /// Bytes of a full FD frame it sends: 8, 12, 16, 20, 24, 32, 48 or 64.
    #[serde(default = "EcuPart::default_tx_dl")]
    pub tx_dl: u8,
    /// The `[dialect.NAME]` it speaks; without one the default dialect.
    pub dialect: Option<String>,
    /// Answer at the hardware DID.
    pub hardware: Option<String>,
    /// Version of the factory image.
    pub version: Option<String>,
    /// File with the factory image.
    pub image: Option<PathBuf>,
    /// Size of each bank.
    pub bank_size: Option<Size>,
    /// Longest 0x36 request it takes in bytes.
    pub max_block_length: Option<u32>,
    /// Time to erase a bank.
    #[serde(default, deserialize_with = "optional")]
    pub erase_time: Option<Duration>,
    /// Time to program 1024 bytes.
    #[serde(default, deserialize_with = "optional")]
    pub program_time_per_kib: Option<Duration>,
    /// Time from reset to the first answer.
    #[serde(default, deserialize_with = "optional")]
    pub boot_time: Option<Duration>,
    /// Trouble codes it has found.
    #[serde(default)]
    pub trouble_codes: Vec<u32>,
    /// P2 of its server.
    #[serde(default, deserialize_with = "optional")]
    pub p2: Option<Duration>,
    /// P2* of its server.
    #[serde(default, deserialize_with = "optional")]
    pub p2_star: Option<Duration>,
    /// S3 of its server.
    #[serde(default, deserialize_with = "optional")]
    pub s3: Option<Duration>,
    /// Lock after too many wrong keys.
    #[serde(default, deserialize_with = "optional")]
    pub security_delay: Option<Duration>,
    /// Faults from the start on, as in the commands.
    #[serde(default)]
    pub faults: Vec<String>,
}

/// Kind of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frames {
    /// CAN FD with bit rate switch
    #[default]
    Fd,
    /// CAN FD at one rate
    FdWithoutBrs,
    /// Classical CAN
    Classical,
}

impl EcuPart {
    const fn default_tx_dl() -> u8 {
        64
    }
}

/// One ECU, ready to be switched on.
#[derive(Debug, Clone)]
pub struct BenchEcu {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub link: BenchLink,
    /// Where its flash lies.
    pub flash: PathBuf,
    /// What it is.
    pub config: EcuConfig,
    /// Faults from the start on.
    pub faults: Vec<String>,
}

/// Where an ECU listens.
#[derive(Debug, Clone)]
pub enum BenchLink {
    /// On a CAN bus
    Can {
        /// Which
        bus: BusUrl,
        /// Its identifiers and frames
        node: NodeConfig,
    },
    /// On Ethernet
    Doip(Box<DoipNodeConfig>),
}

impl BenchLink {
    /// The bus, where it is one.
    pub const fn bus(&self) -> Option<&BusUrl> {
        match self {
            Self::Can { bus, .. } => Some(bus),
            Self::Doip(_) => None,
        }
    }
}

impl Bench {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BenchError::Read`] and [`BenchError::Syntax`], which name line and column.
    pub fn load(path: &Path) -> Result<Self, BenchError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| BenchError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| BenchError::Syntax { path: path.to_owned(), source: Box::new(source) })
    }

    /// The ECUs, checked. Where given, `bus` and `flash_dir` go before those of the file.
    ///
    /// # Errors
    /// The first thing that does not fit together.
    pub fn ecus(&self, bus: Option<&BusUrl>, flash_dir: Option<&Path>) -> Result<Vec<BenchEcu>, BenchError> {
        if self.ecu.is_empty() {
            return Err(BenchError::NoEcu);
        }
        let flash_dir = flash_dir.or(self.flash_dir.as_deref()).ok_or(BenchError::NoFlashDir)?;
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        let mut ecus = Vec::with_capacity(self.ecu.len());
        for part in &self.ecu {
            let ecu = self.assemble(part, bus, flash_dir)?;
            if !names.insert(ecu.name.clone()) {
                return Err(BenchError::Twice { name: ecu.name });
            }
            if let Some(bus) = ecu.link.bus() {
                for id in part.request_id.into_iter().chain(part.response_id) {
                    if !ids.insert((bus.to_string(), id)) {
                        return Err(BenchError::SharedId { name: ecu.name, id });
                    }
                }
            }
            ecus.push(ecu);
        }
        Ok(ecus)
    }

    fn assemble(
        &self,
        part: &EcuPart,
        bus: Option<&BusUrl>,
        flash_dir: &Path,
    ) -> Result<BenchEcu, BenchError> {
        let name = part.name.clone();
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            || name.starts_with('.')
        {
            return Err(BenchError::Name { name });
        }
        let config = self.config(part)?;
        let link = match &part.doip {
            Some(_) if part.bus.is_some() || part.request_id.is_some() || part.response_id.is_some() => {
                return Err(BenchError::TwoLinks { name });
            }
            Some(doip) => {
                let wrong = |source| BenchError::Doip { name: name.clone(), source: Box::new(source) };
                BenchLink::Doip(Box::new(doip.node(config.boot_time).map_err(wrong)?))
            }
            None => {
                let bus = bus.or(part.bus.as_ref()).or(self.bus.as_ref());
                let bus = bus.cloned().ok_or_else(|| BenchError::NoBus { name: name.clone() })?;
                BenchLink::Can { bus, node: node(part)? }
            }
        };
        Ok(BenchEcu { flash: flash_dir.join(&name), link, config, faults: part.faults.clone(), name })
    }

    fn config(&self, part: &EcuPart) -> Result<EcuConfig, BenchError> {
        let name = || part.name.clone();
        let profile = match &part.dialect {
            None => Profile::default(),
            Some(dialect) => self
                .dialect
                .get(dialect)
                .cloned()
                .ok_or_else(|| BenchError::Dialect { name: name(), dialect: dialect.clone() })?,
        };
        profile.validate().map_err(|source| BenchError::Profile { name: name(), source })?;
        let base = EcuConfig::default();
        let server = ServerTimings {
            p2: part.p2.unwrap_or(base.server.p2),
            p2_star: part.p2_star.unwrap_or(base.server.p2_star),
            s3: part.s3.unwrap_or(base.server.s3),
            security_delay: part.security_delay.unwrap_or(base.server.security_delay),
            ..base.server
        };
        if let Some(code) = part.trouble_codes.iter().find(|code| **code > 0x00FF_FFFF) {
            return Err(BenchError::TroubleCode { name: name(), code: *code });
        }
        let factory_image = match &part.image {
            None => base.factory_image,
            Some(path) => {
                std::fs::read(path).map_err(|source| BenchError::Read { path: path.clone(), source })?
            }
        };
        Ok(EcuConfig {
            profile,
            hardware: part.hardware.as_ref().map_or(base.hardware, |it| it.clone().into_bytes()),
            factory_version: part.version.as_ref().map_or(base.factory_version, |it| it.clone().into_bytes()),
            factory_image,
            bank_size: part.bank_size.map_or(base.bank_size, Size::get),
            max_block_length: part.max_block_length.unwrap_or(base.max_block_length),
            erase_time: part.erase_time.unwrap_or(base.erase_time),
            program_time_per_kib: part.program_time_per_kib.unwrap_or(base.program_time_per_kib),
            boot_time: part.boot_time.unwrap_or(base.boot_time),
            trouble_codes: part.trouble_codes.clone(),
            server,
        })
    }
}

fn node(part: &EcuPart) -> Result<NodeConfig, BenchError> {
    let id = |raw| can_id(raw).map_err(|source| BenchError::Id { name: part.name.clone(), source });
    let (Some(request), Some(response)) = (part.request_id, part.response_id) else {
        return Err(BenchError::NoIds { name: part.name.clone() });
    };
    let ids = CanIds { request: id(request)?, response: id(response)? };
    let functional_id = part.functional_id.map(id).transpose()?;
    let tx_dl = TxDl::new(part.tx_dl.into())
        .ok_or_else(|| BenchError::TxDl { name: part.name.clone(), tx_dl: part.tx_dl })?;
    let link_layer = match part.frames {
        Frames::Fd => LinkLayer::Fd { tx_dl, brs: true },
        Frames::FdWithoutBrs => LinkLayer::Fd { tx_dl, brs: false },
        Frames::Classical => LinkLayer::Classical,
    };
    Ok(NodeConfig { link: LinkConfig { link_layer, ..LinkConfig::ecu(ids) }, functional_id })
}

fn can_id(raw: u32) -> Result<CanId, IdError> {
    match u16::try_from(raw) {
        Ok(raw @ 0..=0x7FF) => CanId::standard(raw),
        _ => CanId::extended(raw),
    }
}

fn optional<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer).map(Some)
}

/// A bench file that cannot be used; whoever wrote it is at fault.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file cannot be read
    #[error("cannot read {path}")]
    Read {
        /// Which
        path: PathBuf,
        /// What the system said
        #[source]
        source: std::io::Error,
    },
    /// Not a bench file
    #[error("{path} is no bench file; `ecu-sim --example` shows one")]
    Syntax {
        /// Which
        path: PathBuf,
        /// Where and why
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Nothing to simulate
    #[error("no [[ecu]] in the bench file")]
    NoEcu,
    /// Nowhere to keep the flash
    #[error("no place for flash images: set flash_dir in the bench file or give --flash-dir")]
    NoFlashDir,
    /// A name that is no folder's
    #[error("`{name}` is no ECU name: letters, digits, `-`, `_` and `.`, not first a `.`")]
    Name {
        /// As written
        name: String,
    },
    /// An ECU without a bus
    #[error("{name} is on no bus: set bus in the bench file or give --bus")]
    NoBus {
        /// Which ECU
        name: String,
    },
    /// An ECU on a bus without its identifiers
    #[error("{name} has no request_id or no response_id; an ECU on Ethernet has a table [ecu.doip]")]
    NoIds {
        /// Which ECU
        name: String,
    },
    /// An ECU on a bus and on Ethernet
    #[error("{name} has a table [ecu.doip]: it needs no bus, request_id or response_id")]
    TwoLinks {
        /// Which ECU
        name: String,
    },
    /// An ECU that cannot be on Ethernet
    #[error("[ecu.doip] of {name} is not usable")]
    Doip {
        /// Which ECU
        name: String,
        /// Why
        #[source]
        source: Box<DoipPartError>,
    },
    /// Two ECUs of one name
    #[error("two ECUs are called {name}")]
    Twice {
        /// The name
        name: String,
    },
    /// Two ends of one identifier
    #[error("id 0x{id:X} of {name} is used twice on its bus")]
    SharedId {
        /// Which ECU
        name: String,
        /// The identifier
        id: u32,
    },
    /// Not an identifier
    #[error("an id of {name} is none")]
    Id {
        /// Which ECU
        name: String,
        /// Why
        #[source]
        source: IdError,
    },
    /// Not a frame length
    #[error("tx_dl = {tx_dl} of {name}: it must be 8, 12, 16, 20, 24, 32, 48 or 64")]
    TxDl {
        /// Which ECU
        name: String,
        /// As written
        tx_dl: u8,
    },
    /// Longer than a trouble code
    #[error("trouble code 0x{code:X} of {name}: they have three bytes")]
    TroubleCode {
        /// Which ECU
        name: String,
        /// As written
        code: u32,
    },
    /// No such dialect
    #[error("{name} speaks `{dialect}`, but there is no [dialect.{dialect}]")]
    Dialect {
        /// Which ECU
        name: String,
        /// As written
        dialect: String,
    },
    /// A dialect that contradicts itself
    #[error("the dialect of {name} is not usable")]
    Profile {
        /// Which ECU
        name: String,
        /// Why
        #[source]
        source: ProfileError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(text: &str) -> Bench {
        toml::from_str(text).unwrap()
    }

    fn refusal(text: &str) -> String {
        bench(text).ecus(None, Some(Path::new("/flash"))).unwrap_err().to_string()
    }

    const ONE: &str = "bus = 'can0'\n[[ecu]]\nname = 'A'\nrequest_id = 0x700\nresponse_id = 0x708\n";

    #[test]
    fn the_example_is_a_bench_of_its_own_defaults() {
        let ecus = bench(EXAMPLE).ecus(None, None).unwrap();
        let (written, default) = (&ecus[0].config, EcuConfig::default());
        assert_eq!(ecus.len(), 2);
        assert_eq!(
            (written.bank_size, written.max_block_length),
            (default.bank_size, default.max_block_length)
        );
        assert_eq!((written.erase_time, written.boot_time), (default.erase_time, default.boot_time));
        assert_eq!(
            (written.program_time_per_kib, written.server),
            (default.program_time_per_kib, default.server)
        );
        assert_eq!(written.profile, default.profile);
        assert_eq!(ecus[1].config.profile.banks.len(), 2);
    }

    #[test]
    fn command_line_goes_before_file_and_flash_lies_in_a_folder_of_the_name() {
        let url: BusUrl = "virtual:/run/bus".parse().unwrap();
        let ecus = bench(ONE).ecus(Some(&url), Some(Path::new("/flash"))).unwrap();
        assert_eq!((ecus[0].link.bus(), ecus[0].flash.as_path()), (Some(&url), Path::new("/flash/A")));
        let ecus = bench(ONE).ecus(None, Some(Path::new("/flash"))).unwrap();
        assert_eq!(ecus[0].link.bus(), Some(&BusUrl::Can("can0".into())));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        let second = "[[ecu]]\nname = 'B'\nrequest_id = 0x708\nresponse_id = 0x709\n";
        assert_eq!(refusal(&format!("{ONE}{second}")), "id 0x708 of B is used twice on its bus");
        let same = "[[ecu]]\nname = 'A'\nrequest_id = 0x710\nresponse_id = 0x718\n";
        assert_eq!(refusal(&format!("{ONE}{same}")), "two ECUs are called A");
        assert_eq!(refusal(&format!("{ONE}dialect = 'x'")), "A speaks `x`, but there is no [dialect.x]");
        assert!(refusal(&format!("{ONE}tx_dl = 63")).starts_with("tx_dl = 63 of A"));
        let code = refusal(&format!("{ONE}trouble_codes = [0xFFFFFF, 0x1000000]"));
        assert!(code.starts_with("trouble code 0x1000000 of A"), "{code}");
        assert!(refusal(&ONE.replace("'A'", "'../A'")).contains("no ECU name"));
        assert!(refusal(&ONE.replace("0x708", "0x20000000")).contains("an id of A"));
        assert!(refusal(&ONE.replace("bus = 'can0'", "")).starts_with("A is on no bus"));
        assert_eq!(
            bench(ONE).ecus(None, None).unwrap_err().to_string(),
            "no place for flash images: set flash_dir in the bench file or give --flash-dir"
        );
    }

    #[test]
    fn an_ecu_is_on_a_bus_or_on_ethernet() {
        let ethernet = "[[ecu]]\nname = 'E'\ndoip = { listen = '127.0.0.1:0', logical_address = 0x1001 }\n";
        let ecus = bench(&format!("{ONE}{ethernet}")).ecus(None, Some(Path::new("/flash"))).unwrap();
        assert!(matches!(&ecus[1].link, BenchLink::Doip(it) if it.server.targets.len() == 1));
        let both = format!("{ethernet}request_id = 0x700\n");
        assert!(refusal(&both).starts_with("E has a table [ecu.doip]"));
        assert!(refusal(&ONE.replace("request_id = 0x700", "")).starts_with("A has no request_id"));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Bench>(&format!("{ONE}colour = 'red'")).is_err());
    }
}
