//! The real binary as a process: real sockets, a timed bus, `kill -9` in the middle of a transfer.

#[path = "common/brake.rs"]
mod brake;
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use canfd::bit_timing::BitTiming;
use canfd::frame::{CanId, CanIds};
use canfd::uds::profile::Profile;
use common::scene::{self, DIALECT, IMAGE_LEN, VIN};
use common::{Daemon, wait_for};
use gateway_sim::bus::BusHub;
use gateway_sim::ecu::{EcuConfig, EcuNode, NodeConfig, SimEcu};
use gateway_sim::origin;
use gatewayd::control::{Answer, Request};

/// Everything around one daemon.
struct Scene {
    // Before the hub, so that the ECU leaves a bus that is still there.
    ecu: EcuNode,
    _hub: BusHub,
    _runtime: tokio::runtime::Runtime,
    image: Vec<u8>,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let dir = directory.path();
        let image = scene::image(dir);
        publish(dir);
        let (runtime, address) = scene::serve(dir);
        let hub = BusHub::start(&dir.join("bus.sock"), Some(BitTiming::FD_500K_2M)).expect("bus");
        let ecu = ecu(dir, &hub);
        std::fs::write(dir.join("gatewayd.toml"), brake::config(dir, address)).expect("configuration");
        Self { ecu, _hub: hub, _runtime: runtime, image, directory }
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("gatewayd.toml")
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.config())
    }

    fn erasures(&self) -> u64 {
        self.ecu.ask(|ecu| ecu.erase_count(0)).expect("the simulator runs")
    }

    fn runs(&self, version: &'static str) -> bool {
        self.ecu
            .ask(move |ecu| ecu.running_version() == Some(version.as_bytes()))
            .expect("the simulator runs")
    }

    fn flash(&self) -> Vec<u8> {
        let path = self.ecu.ask(|ecu| ecu.bank_path(0)).expect("the simulator runs");
        let mut flash = std::fs::read(path).expect("the bank is a file");
        flash.truncate(IMAGE_LEN);
        flash
    }
}

fn publish(dir: &Path) {
    let keys = origin::keys(dir).expect("keys");
    let target = format!(
        "file={},name=brake.bin,ecu_serial=BRAKE-1,hardware_id=brake,version=2.0.0,release_counter=2,cipher=sm4-gcm,hash=sm3",
        dir.join("image.bin").display()
    );
    origin::publish(dir, &keys, VIN, 1, &[target]).expect("published");
}

fn ecu(dir: &Path, hub: &BusHub) -> EcuNode {
    let config = EcuConfig {
        profile: toml::from_str::<Profile>(DIALECT).expect("a dialect"),
        hardware: b"brake".to_vec(),
        factory_version: b"1.0.0".to_vec(),
        factory_image: vec![0x11; 10_000],
        ..EcuConfig::default()
    };
    let ecu = SimEcu::open(Instant::now(), &dir.join("ecu"), Arc::new(config)).expect("ECU");
    let id = |raw| CanId::standard(raw).expect("a CAN id");
    let node = NodeConfig::new(CanIds { request: id(0x731), response: id(0x7B1) }, Some(id(0x7DF)));
    EcuNode::start("BRAKE-1", canfd::bus::open(&hub.url()).expect("bus"), ecu, node).expect("node")
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_a_transfer_goes_on_where_it_was() {
    let scene = Scene::new();
    let mut daemon = scene.start();
    assert_eq!(daemon.ask(&Request::Check), Some(Answer::Ok));
    let half = IMAGE_LEN as u64 / 2;
    daemon.wait_for_ecu("half of the transfer", |it| it.stage == "TRANSFER" && it.done > half);
    daemon.child.kill().expect("it runs");
    daemon.child.wait().expect("it ends");
    drop(daemon);
    assert!(!scene.runs("2.0.0"));

    let daemon = scene.start();
    let resumed = daemon.wait_for_ecu("the transfer to go on", |it| it.stage == "TRANSFER" && it.done > 0);
    assert!(resumed.done >= half, "resumed at {} of {IMAGE_LEN}", resumed.done);
    daemon.wait_for_ecu("the end", |it| it.stage == "DONE");
    assert!(scene.runs("2.0.0"));
    assert_eq!(scene.flash(), scene.image);
    assert_eq!(scene.erasures(), 1);
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn exit_codes_tell_a_wrong_command_line_from_a_wrong_configuration() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let bad = directory.path().join("bad.toml");
    std::fs::write(&bad, "[vehicle]\nvin = \"short\"\n").expect("written");
    let reference = directory.path().join("reference.toml");
    std::fs::write(&reference, gatewayd::config::reference::TEXT).expect("written");
    let run = |args: &[&str], file: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatewayd"));
        command.args(args).args(file).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("the binary is built").code()
    };
    assert_eq!(run(&["fly"], None), Some(64));
    assert_eq!(run(&["run"], None), Some(64));
    assert_eq!(run(&["--version"], None), Some(0));
    assert_eq!(run(&["check", "--config"], Some(&bad)), Some(78));
    assert_eq!(run(&["run", "--config"], Some(&bad)), Some(78));
    assert_eq!(run(&["check", "--config"], Some(&reference)), Some(0));
    // Its certificates are not on this machine.
    assert_eq!(run(&["run", "--config"], Some(&reference)), Some(78));
}

fn gatewayctl_drift(daemon: &Daemon) -> (Option<i32>, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_gatewayctl"))
        .arg("--socket")
        .arg(&daemon.socket)
        .args(["--json", "drift"])
        .output()
        .expect("the binary is built");
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// Units belong to the machine that runs the test.
fn drifted(answer: &serde_json::Value) -> Vec<String> {
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let whats = items.iter().filter_map(|it| it["what"].as_str()).filter(|it| !it.starts_with("unit "));
    whats.map(ToOwned::to_owned).collect()
}

#[test]
fn what_is_changed_under_a_running_daemon_is_drift() {
    let scene = Scene::new();
    let dir = scene.directory.path();
    let units = dir.join("units");
    std::fs::create_dir(&units).expect("folder");
    let review = gatewayd::policy::review(
        &scene.config(),
        &gatewayd::policy::Options { units: vec![units], ..Default::default() },
    );
    let errors: Vec<_> = review.expect("no rules of users").findings;
    // Where temporary files are kept in memory the bench's state is too.
    let errors: Vec<_> = errors
        .iter()
        .filter(|it| it.severity == gatewayd::config::Severity::Error && it.rule != "STO-101")
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");

    let daemon = scene.start();
    // It answers before the last of its threads is up.
    wait_for("threads that run where they were put", || {
        let (_, answer) = gatewayctl_drift(&daemon);
        (answer["items"].is_array() && drifted(&answer).is_empty()).then_some(())
    });

    let text = std::fs::read_to_string(scene.config()).expect("it is there");
    std::fs::write(scene.config(), text.replace("[mqtt]", "[mqtt]\noutbox = 512")).expect("written");
    let ca = dir.join("certs/ca.pem");
    let anchor = std::fs::read_to_string(&ca).expect("it is there");
    std::fs::write(&ca, format!("{anchor}\n")).expect("written");
    let (code, after) = gatewayctl_drift(&daemon);
    assert_eq!(code, Some(1));
    let whats = drifted(&after);
    assert_eq!(whats.len(), 2, "{after:#}");
    assert_eq!(whats[0], "configuration mqtt.outbox");
    assert!(whats[1].starts_with("file cloud.ca "), "{whats:?}");
    assert_eq!(daemon.terminate(), Some(0));

    let nobody = Daemon { child: Command::new("true").spawn().expect("true"), socket: dir.join("none.sock") };
    assert_eq!(gatewayctl_drift(&nobody).0, Some(69));
}
