//! Everything around the daemon: an origin with campaigns, a broker, a bus and two ECUs.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use canfd::bit_timing::BitTiming;
use canfd::frame::{CanId, CanIds};
use canfd::uds::profile::Profile;
use gateway_cloud::publish::KeyRing;
use gateway_sim::broker::SimBroker;
use gateway_sim::bus::BusHub;
use gateway_sim::ecu::{EcuConfig, EcuNode, NodeConfig, SimEcu};
use gateway_sim::origin;

use crate::Outcome;
use crate::host::CONFIG;

const VIN: &str = "LSVAG2180E2100001";
const DIALECT: &str = "resume = { reported_offset = { did = 0xFD01 } }\n";
/// About a second on the bus for both ECUs together.
const IMAGE_LEN: usize = 100_000;
const ECUS: [(&str, u16, u16); 2] = [("BRAKE-1", 0x731, 0x7B1), ("CLUSTER-1", 0x732, 0x7B2)];

/// Under power until dropped.
pub(crate) struct Field {
    // Before the hub, so that the ECUs leave a bus that is still there.
    nodes: Vec<EcuNode>,
    _hub: BusHub,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) broker: SimBroker,
    keys: KeyRing,
    directory: PathBuf,
    /// Campaigns published so far.
    pub(crate) campaigns: u64,
}

/// What an ECU is, seen from inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) version: String,
    pub(crate) flash: Vec<u8>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Field {
    /// Builds it all below `directory`, and the daemon's configuration and credentials in `/etc/gatewayd`.
    pub(crate) fn start(directory: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(directory).map_err(text)?;
        let keys = origin::keys(directory).map_err(text)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(text)?;
        let hub = BusHub::start(&directory.join("bus.sock"), Some(BitTiming::FD_500K_2M)).map_err(text)?;
        // The daemon is another user.
        std::fs::set_permissions(directory.join("bus.sock"), std::fs::Permissions::from_mode(0o666))
            .map_err(text)?;
        let nodes = ECUS.iter().map(|it| ecu(directory, &hub, *it)).collect::<Outcome<_>>()?;
        let broker = SimBroker::start().map_err(text)?;
        let mut field =
            Self { nodes, _hub: hub, runtime, broker, keys, directory: directory.to_owned(), campaigns: 0 };
        field.publish()?;
        let origin = field.runtime.block_on(origin::serve(directory)).map_err(text)?;
        field.install(origin)?;
        Ok(field)
    }

    /// Publishes the next campaign, which brings both ECUs to the next version.
    pub(crate) fn publish(&mut self) -> Outcome<()> {
        self.campaigns += 1;
        let number = self.campaigns;
        let mut targets = Vec::new();
        for (serial, ..) in ECUS {
            let file = self.directory.join(format!("{serial}.bin"));
            std::fs::write(&file, image(serial, number)).map_err(text)?;
            let target = format!(
                "file={},name={serial}.bin,ecu_serial={serial},hardware_id=hw,version={number}.0.0,\
                 release_counter={number},cipher=sm4-gcm,hash=sm3",
                file.display()
            );
            targets.push(target);
        }
        origin::publish(&self.directory, &self.keys, VIN, number, &targets).map_err(text)
    }

    /// What the ECUs are.
    pub(crate) fn truths(&self) -> Outcome<Vec<Truth>> {
        let mut truths = Vec::new();
        for node in &self.nodes {
            let (version, path) = node
                .ask(|ecu| (ecu.running_version().map(<[u8]>::to_vec), ecu.bank_path(0)))
                .map_err(text)?;
            let mut flash = std::fs::read(path).map_err(text)?;
            flash.truncate(IMAGE_LEN);
            let version = version.map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default();
            truths.push(Truth { version, flash });
        }
        Ok(truths)
    }

    /// How often an ECU has been erased in its life.
    pub(crate) fn erasures(&self, serial: &str) -> Outcome<u64> {
        let at = ECUS.iter().position(|it| it.0 == serial).and_then(|at| self.nodes.get(at));
        at.ok_or("no such ECU")?.ask(|ecu| ecu.erase_count(0)).map_err(text)
    }

    /// Serials of the ECUs.
    pub(crate) fn serials() -> impl Iterator<Item = &'static str> {
        ECUS.iter().map(|it| it.0)
    }

    /// What they are to be after the last campaign.
    pub(crate) fn expected(&self) -> Vec<Truth> {
        let truth = |(serial, ..): &(&str, u16, u16)| Truth {
            version: format!("{}.0.0", self.campaigns),
            flash: image(serial, self.campaigns),
        };
        ECUS.iter().map(truth).collect()
    }

    /// Puts configuration, certificates and credentials where the units look for them.
    fn install(&self, origin: SocketAddr) -> Outcome<()> {
        let etc = Path::new(CONFIG).parent().ok_or("no folder")?;
        let credentials = etc.join("credentials");
        let copy = |from: &str, to: PathBuf| {
            std::fs::copy(self.directory.join(from), &to).map_err(|error| format!("{from}: {error}"))?;
            // Configuration is for the group to read; credentials are read by the service manager alone.
            let mode = if to.starts_with(&credentials) { 0o600 } else { 0o644 };
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode)).map_err(text)
        };
        for (from, to) in [
            ("certs/ca.pem".to_owned(), "ca.pem"),
            ("certs/gateway.pem".to_owned(), "gateway.pem"),
            (format!("www/director/{VIN}/1.root.json"), "director-root.json"),
            ("www/image/1.root.json".to_owned(), "image-root.json"),
        ] {
            copy(&from, etc.join(to))?;
        }
        copy("certs/gateway.key", credentials.join("gateway-key"))?;
        copy("keys/kek-sm4.key", credentials.join("kek-sm4"))?;
        std::fs::write(CONFIG, self.config(origin)).map_err(text)
    }

    fn config(&self, origin: SocketAddr) -> String {
        let ecu = |(serial, request, response): &(&str, u16, u16)| {
            format!(
                "[[ecu]]\nserial = \"{serial}\"\nhardware_id = \"hw\"\nbus = \"chassis\"\nrequest_id = {request}\n\
                 response_id = {response}\nfunctional_id = 0x7DF\ndialect = \"plain\"\n"
            )
        };
        format!(
            r#"
[vehicle]
vin = "{VIN}"
[cloud]
url = "https://{origin}/"
ca = "/etc/gatewayd/ca.pem"
certificate = "/etc/gatewayd/gateway.pem"
key = "credential:gatewayd_gateway-key"
poll_interval = "1h"
[uptane]
director_root = "/etc/gatewayd/director-root.json"
image_root = "/etc/gatewayd/image-root.json"
[[uptane.key_encryption_key]]
id = "kek-sm4"
cipher = "sm4-gcm"
key = "credential:gatewayd_kek-sm4"
[mqtt]
url = "{}"
[state]
directory = "/var/lib/gatewayd"
quota = "64MiB"
[profile]
window = "1s"
backend = "procfs"
[log]
filter = "info"
[[bus]]
name = "chassis"
url = "virtual:{}/bus.sock"
nominal_bit_rate = 500000
data_bit_rate = 2000000
{}[dialect.plain]
{DIALECT}"#,
            self.broker.url(),
            self.directory.display(),
            ECUS.iter().map(ecu).collect::<String>(),
        )
    }
}

fn image(serial: &str, number: u64) -> Vec<u8> {
    let seed = serial.bytes().fold(number, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let words = (seed..).map(|it| it.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31));
    words.flat_map(u64::to_le_bytes).take(IMAGE_LEN).collect()
}

fn ecu(directory: &Path, hub: &BusHub, (serial, request, response): (&str, u16, u16)) -> Outcome<EcuNode> {
    let config = EcuConfig {
        profile: toml::from_str::<Profile>(DIALECT).map_err(text)?,
        hardware: b"hw".to_vec(),
        factory_version: b"0.0.0".to_vec(),
        factory_image: vec![0x11; 10_000],
        ..EcuConfig::default()
    };
    let ecu = SimEcu::open(Instant::now(), &directory.join(serial), Arc::new(config)).map_err(text)?;
    let id = |raw| CanId::standard(raw).map_err(text);
    let ids = CanIds { request: id(request)?, response: id(response)? };
    let node = NodeConfig::new(ids, Some(id(0x7DF)?));
    EcuNode::start(serial, canfd::bus::open(&hub.url()).map_err(text)?, ecu, node).map_err(text)
}
