//! The command line.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Parser;
use gatewayd::config::units::Size;

use crate::failure::{Failure, Outcome};
use crate::vehicle::ECUS;

/// The largest image there is metadata for.
const MAX_SIZE: u64 = ota::image::MAX_PLAIN_SIZE;

/// A whole campaign in one terminal: cloud, broker, CAN FD buses and ECUs in this process, the real gatewayd beside it.
#[derive(Debug, Parser)]
#[command(name = "demo")]
pub(crate) struct Args {
    /// A file to publish instead of binaries built here; up to three, for BRAKE, CLUSTER and LAMP in this order
    #[arg(long = "package", value_name = "FILE")]
    pub(crate) packages: Vec<PathBuf>,
    /// Where keys, repository, gateway state, ECU flash and logs live
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    pub(crate) dir: PathBuf,
    /// Begin again, even where a campaign is unfinished
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Flip one bit of one chunk of BRAKE's image on the server: BRAKE must keep its old software
    #[arg(long)]
    pub(crate) tamper: bool,
    /// The same with CLUSTER's image, which is streamed into its second bank
    #[arg(long)]
    pub(crate) tamper_bank2: bool,
    /// Buses and flash memory that take no time
    #[arg(long)]
    pub(crate) untimed: bool,
    /// Use this MQTT 5 broker instead of the embedded one: mqtt://host[:port]
    #[arg(long, value_name = "URL")]
    pub(crate) broker: Option<String>,
    /// Make a package of this size for BRAKE: bytes, or a number with KiB, MiB, GiB; sparse, for measurements
    #[arg(long, value_name = "SIZE", conflicts_with = "packages", value_parser = size)]
    pub(crate) size: Option<u64>,
}

impl Args {
    /// What can be said before anything is touched.
    pub(crate) fn check(&self) -> Outcome<()> {
        if self.packages.len() > ECUS.len() {
            return Err(Failure::usage(format!(
                "{} packages given, there are {} ECUs; leave some out",
                self.packages.len(),
                ECUS.len()
            )));
        }
        if let Some(url) = &self.broker
            && !url.starts_with("mqtt://")
        {
            return Err(Failure::usage(format!("broker {url:?}: write mqtt://host or mqtt://host:port")));
        }
        if self.dir.exists() && !self.dir.is_dir() {
            return Err(Failure::usage(format!("--dir {} is not a directory", self.dir.display())));
        }
        self.packages.iter().try_for_each(|it| check_package(it).map(drop))
    }

    /// The ECUs, by place, whose images the server is to spoil.
    pub(crate) fn tampered(&self) -> Vec<usize> {
        [self.tamper, self.tamper_bank2].iter().enumerate().filter(|it| *it.1).map(|it| it.0).collect()
    }
}

/// The length of a file that can be published.
pub(crate) fn check_package(path: &Path) -> Outcome<u64> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        Failure::input(format!("package {shown} cannot be read: {error}; check the path"))
    })?;
    if metadata.is_dir() {
        return Err(Failure::input(format!("package {shown} is a directory; pack it into one file first")));
    }
    if !metadata.is_file() {
        return Err(Failure::input(format!("package {shown} is not a regular file; publish a copy of it")));
    }
    if metadata.len() == 0 {
        return Err(Failure::input(format!("package {shown} is empty; was its build cut short?")));
    }
    if metadata.len() > MAX_SIZE {
        return Err(Failure::input(format!("package {shown} is larger than a TiB; split it")));
    }
    File::open(path).map_err(|error| {
        Failure::input(format!("package {shown} cannot be opened: {error}; check its permissions"))
    })?;
    Ok(metadata.len())
}

fn size(text: &str) -> Result<u64, String> {
    let size = text.parse().ok().or_else(|| Size::parse(text).map(Size::get));
    size.filter(|it| (1..=MAX_SIZE).contains(it))
        .ok_or_else(|| "expected 1 byte to 1 TiB, such as 1000000, 64MiB or 5GiB".to_owned())
}
