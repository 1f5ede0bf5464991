//! The configuration file that the real gatewayd is given.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gateway_cloud::fsio::{self, Access};

use crate::cloud::Paths;
use crate::failure::{Failure, Outcome};
use crate::state::State;
use crate::vehicle::{BUSES, ECUS, FUNCTIONAL_ID, VIN};

/// Longest path of a Unix socket that every system takes, in bytes.
const MAX_SOCKET_PATH: usize = 100;

/// What of the configuration differs from run to run.
#[derive(Debug)]
pub(crate) struct Wiring<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) sockets: &'a Sockets,
    pub(crate) origin: &'a str,
    pub(crate) broker: &'a str,
}

/// Unix sockets of one run.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    pub(crate) control: PathBuf,
    pub(crate) profile: PathBuf,
    pub(crate) buses: Vec<PathBuf>,
}

impl Sockets {
    /// Below the demo's directory, or in a directory for temporary files where that path would be too long.
    pub(crate) fn below(dir: &Path) -> Outcome<Self> {
        let mut run = dir.join("run");
        if run.join("control-with-room.sock").as_os_str().len() > MAX_SOCKET_PATH {
            run = std::env::temp_dir().join(format!("gatewayd-demo-{}", std::process::id()));
        }
        fsio::create_dir(&run).map_err(Failure::of("sockets"))?;
        let buses = BUSES.iter().map(|name| run.join(format!("{name}.sock"))).collect();
        Ok(Self { control: run.join("control.sock"), profile: run.join("profile.sock"), buses })
    }
}

/// Writes `gatewayd.toml` and returns its path.
pub(crate) fn write(wiring: &Wiring<'_>, state: &State) -> Outcome<PathBuf> {
    let path = wiring.dir.join("gatewayd.toml");
    let text = text(wiring, state);
    // Checked here, so that a mistake is ours to explain and not the child's.
    gatewayd::config::Config::parse(&text, &path).map_err(Failure::of("the demo's own configuration"))?;
    fsio::write_atomically(&path, text.as_bytes(), Access::Public).map_err(Failure::of("configuration"))?;
    Ok(path)
}

fn text(wiring: &Wiring<'_>, state: &State) -> String {
    let paths = Paths::below(wiring.dir);
    let quoted = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
    let largest = state.packages.iter().map(|it| it.len).max().unwrap_or(0);
    let director_root = paths.repository.join("director").join(VIN).join("1.root.json");
    let mut text = format!(
        "# Written by the demo; every key is explained in the reference configuration.\n\
         [vehicle]\nvin = \"{VIN}\"\n\n\
         [cloud]\nurl = \"{}\"\nca = {}\ncertificate = {}\nkey = {}\npoll_interval = \"1h\"\n\n\
         [uptane]\ndirector_root = {}\nimage_root = {}\n\n",
        wiring.origin,
        quoted(&paths.certs.ca),
        quoted(&paths.certs.gateway),
        quoted(&paths.certs.gateway_key),
        quoted(&director_root),
        quoted(&paths.repository.join("image/1.root.json")),
    );
    for (id, cipher) in [("kek-sm4", "sm4-gcm"), ("kek-aes", "aes-256-gcm")] {
        let key = quoted(&paths.keys.join(format!("{id}.key")));
        // Writing to a string does not fail, here and below.
        let _ = write!(
            text,
            "[[uptane.key_encryption_key]]\nid = \"{id}\"\ncipher = \"{cipher}\"\nkey = {key}\n\n"
        );
    }
    let _ = write!(
        text,
        "[mqtt]\nurl = \"{}\"\n\n\
         [state]\ndirectory = {}\nquota = \"{}MiB\"\n\n\
         [control]\nsocket = {}\nprofile_socket = {}\n\n\
         [log]\nfilter = \"info\"\n\n\
         [profile]\nwindow = \"2s\"\nbase = \"10ms\"\nloaded = \"50ms\"\nbudget = \"2%\"\n\n",
        wiring.broker,
        quoted(&wiring.dir.join("gateway")),
        1024 + (largest >> 20) * 2,
        quoted(&wiring.sockets.control),
        quoted(&wiring.sockets.profile),
    );
    for (name, socket) in BUSES.iter().zip(&wiring.sockets.buses) {
        let url = toml::Value::from(format!("virtual:{}", socket.display()));
        let _ = write!(
            text,
            "[[bus]]\nname = \"{name}\"\nurl = {url}\nnominal_bit_rate = 500000\ndata_bit_rate = 2000000\n\n"
        );
    }
    for ecu in ECUS {
        let _ = write!(
            text,
            "[[ecu]]\nserial = \"{}\"\nhardware_id = \"{}\"\nbus = \"{}\"\nrequest_id = {:#05x}\n\
             response_id = {:#05x}\nfunctional_id = {FUNCTIONAL_ID:#05x}\nbanks = {}\ndialect = \"{}\"\n\n",
            ecu.serial,
            ecu.hardware_id,
            BUSES.get(ecu.bus).copied().unwrap_or_default(),
            ecu.request_id,
            ecu.response_id,
            ecu.banks,
            ecu.dialect_name(),
        );
    }
    for (ecu, package) in ECUS.iter().zip(&state.packages) {
        let _ =
            write!(text, "[dialect.{}]\n{}\n", ecu.dialect_name(), ecu.dialect(package.len, state.untimed));
    }
    text
}
