//! Campaigns to an ECU on Ethernet: the real binary, a simulated ECU behind real TCP on loopback.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canfd::doip::server::{ServerConfig, TlsPolicy};
use canfd::doip::{Eid, LogicalAddress};
use canfd::uds::profile::Profile;
use common::Daemon;
use common::scene::{self, DIALECT, IMAGE_LEN, VIN};
use gateway_sim::ecu::doip::{DoipFault, DoipNode, DoipNodeConfig, DoipTls, tls};
use gateway_sim::ecu::{EcuConfig, SimEcu};
use gateway_sim::origin;
use gatewayd::control::{Answer, Request};

/// Diagnostic messages after which about half of the image is in the ECU: blocks have 4095 bytes.
const HALFWAY: u32 = 45;
const EID: Eid = Eid([0x02, 0, 0, 0, 0, 0x2A]);

/// Everything around one daemon.
struct Scene {
    ecu: DoipNode,
    image: Vec<u8>,
    origin: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new(secure: bool) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let dir = directory.path();
        let image = scene::image(dir);
        let keys = origin::keys(dir).expect("keys");
        let target = format!(
            "file={},name=camera.bin,ecu_serial=CAMERA-1,hardware_id=camera,version=2.0.0,release_counter=2,cipher=sm4-gcm,hash=sm3",
            dir.join("image.bin").display()
        );
        origin::publish(dir, &keys, VIN, 1, &[target]).expect("published");
        let (runtime, address) = scene::serve(dir);
        let ecu = ecu(dir, secure);
        let scene = Self { ecu, image, origin: address, _runtime: runtime, directory };
        let url = match scene.ecu.addresses().tls {
            Some(address) => format!("doips://{address}"),
            None => format!("doip://{}", scene.ecu.addresses().tcp),
        };
        scene.configure(address, &url);
        scene
    }

    fn configure(&self, origin: SocketAddr, url: &str) {
        let text = config(self.directory.path(), origin, url);
        std::fs::write(self.directory.path().join("gatewayd.toml"), text).expect("configuration");
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.directory.path().join("gatewayd.toml"))
    }

    /// Runs the daemon until its campaign is over and looks at the ECU.
    fn program(&self) -> Daemon {
        let daemon = self.start();
        assert_eq!(daemon.ask(&Request::Check), Some(Answer::Ok));
        daemon.wait_for_ecu("the end", |it| it.stage == "DONE");
        self.assert_programmed();
        daemon
    }

    fn inject(&self, fault: DoipFault) {
        self.ecu.ask_port(move |port| port.inject(fault)).expect("the simulator runs");
    }

    fn erasures(&self) -> u64 {
        self.ecu.ask(|ecu| ecu.erase_count(0)).expect("the simulator runs")
    }

    /// Whether the ECU runs the image, byte for byte.
    fn assert_programmed(&self) {
        let (version, path) = self
            .ecu
            .ask(|ecu| (ecu.running_version().map(<[u8]>::to_vec), ecu.bank_path(0)))
            .expect("the simulator runs");
        assert_eq!(version.as_deref(), Some(&b"2.0.0"[..]));
        let mut flash = std::fs::read(path).expect("the bank is a file");
        flash.truncate(IMAGE_LEN);
        assert!(flash == self.image);
    }
}

fn ecu(dir: &Path, secure: bool) -> DoipNode {
    let config = EcuConfig {
        profile: toml::from_str::<Profile>(DIALECT).expect("a dialect"),
        hardware: b"camera".to_vec(),
        factory_version: b"1.0.0".to_vec(),
        factory_image: vec![0x11; 10_000],
        erase_time: Duration::from_millis(50),
        boot_time: Duration::from_millis(300),
        ..EcuConfig::default()
    };
    let boot_time = config.boot_time;
    let ecu = SimEcu::open(Instant::now(), &dir.join("ecu"), Arc::new(config)).expect("ECU");
    // Not where everybody else's sockets are: the port that is free for TCP is to be free for UDP.
    let loopback: SocketAddr = ([127, 13, 40, 0], 0).into();
    let mut server = ServerConfig::new(LogicalAddress(0x1001));
    server.identity.eid = EID;
    let certs = dir.join("certs");
    let tls = secure.then(|| {
        server.tls = TlsPolicy::Required;
        let ca = certs.join("ca.pem");
        let config = tls::server_config(&certs.join("server.pem"), &certs.join("server.key"), Some(&ca));
        // Its certificate is for this address.
        DoipTls { listen: ([127, 0, 0, 1], 0).into(), config: config.expect("certificates") }
    });
    let node = DoipNodeConfig { server, listen: loopback, discovery: Some(loopback), tls, boot_time };
    DoipNode::start("CAMERA-1", ecu, node).expect("node")
}

fn config(dir: &Path, origin: SocketAddr, url: &str) -> String {
    let ecus = format!(
        r#"
[[bus]]
name = "camera"
url = "{url}"
source_address = 0x0F10
[[ecu]]
serial = "CAMERA-1"
hardware_id = "camera"
bus = "camera"
logical_address = 0x1001
dialect = "plain""#
    );
    scene::config(dir, origin, &ecus)
}

#[test]
fn an_ecu_on_ethernet_is_programmed_and_restarts_with_its_connection() {
    let scene = Scene::new(false);
    let daemon = scene.program();
    assert_eq!(scene.erasures(), 1);
    let status = daemon.status().expect("it runs");
    assert!(status.workers.iter().any(|it| it.name == "bus-camera" && !it.cpus.is_empty()), "{status:?}");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn an_ecu_whose_address_nobody_wrote_down_is_found_by_its_identity_and_programmed() {
    let scene = Scene::new(false);
    let entity = scene.ecu.addresses().udp.expect("it answers searches");
    scene.configure(scene.origin, &format!("doip://{entity}?eid={EID}"));
    let daemon = scene.program();
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn an_ecu_that_wants_tls_and_our_certificate_gets_both() {
    let scene = Scene::new(true);
    let daemon = scene.program();
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_connection_that_breaks_in_the_transfer_is_opened_again_and_nothing_is_sent_twice() {
    let scene = Scene::new(false);
    scene.inject(DoipFault::Disconnect { after: HALFWAY });
    let _daemon = scene.program();
    assert_eq!(scene.erasures(), 1, "it went on where it was");
}

#[test]
fn a_cable_that_is_pulled_in_the_transfer_is_waited_for_and_the_campaign_ends_when_it_is_back() {
    let scene = Scene::new(false);
    scene.inject(DoipFault::Unplug { after: HALFWAY });
    let daemon = scene.start();
    assert_eq!(daemon.ask(&Request::Check), Some(Answer::Ok));
    // Nobody gives up an ECU that has lost its software; it is asked for again and again.
    let waiting = daemon.wait_for_ecu("the end of the attempt", |it| it.stage == "PRE_CHECK" && it.done > 0);
    assert!(waiting.done < IMAGE_LEN as u64, "{waiting:?}");
    let version = scene.ecu.ask(|ecu| ecu.running_version().map(<[u8]>::to_vec));
    assert_eq!(version.expect("the simulator runs"), None, "half an image is none");
    scene.ecu.ask_port(gateway_sim::ecu::doip::DoipPort::clear_faults).expect("the simulator runs");
    daemon.wait_for_ecu("the end", |it| it.stage == "DONE");
    scene.assert_programmed();
    assert_eq!(scene.erasures(), 1, "it went on where it was");
}
