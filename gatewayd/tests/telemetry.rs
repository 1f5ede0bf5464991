//! Telemetry from end to end: the daemon and its profiling service as processes, a real broker, the parts of
//! `gateway-cloud subscribe` and `gateway-cloud report`, `gatewayctl telemetry`; and blocks of other nodes on a CAN FD bus.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[allow(dead_code, reason = "each test has its own needs of it")]
mod common;
#[allow(dead_code, reason = "each test has its own needs of it")]
#[path = "blackout/feeder.rs"]
mod feeder;
#[allow(dead_code, reason = "each test has its own needs of it")]
#[path = "blackout/sink.rs"]
mod sink;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use canfd::bit_timing::BitTiming;
use canfd::frame::CanId;
use common::scene::{self, VIN};
use common::{Daemon, wait_for};
use feeder::Feeder;
use gateway_cloud::report;
use gateway_sim::broker::SimBroker;
use gateway_sim::bus::BusHub;
use gateway_sim::ecu::telemetry::TelemetryNode;
use gateway_sim::origin;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use sink::Sink;
use telemetry::BlockHeader;
use telemetry::fragment::Reassembler;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Certificates, the first roots, and a configuration with these lines at its end.
fn prepare(dir: &Path, broker: SocketAddr, lines: &str) -> PathBuf {
    let keys = origin::keys(dir).unwrap();
    std::fs::write(dir.join("image.bin"), [0x5A; 1000]).unwrap();
    let target = format!(
        "file={},name=a.bin,ecu_serial=A-1,hardware_id=a,version=2.0.0,release_counter=2,cipher=none,hash=sha256",
        dir.join("image.bin").display()
    );
    origin::publish(dir, &keys, VIN, 1, &[target]).unwrap();
    // No origin listens there.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let text = scene::config(dir, nowhere, lines).replace("mqtt://127.0.0.1:1", &format!("mqtt://{broker}"));
    let path = dir.join("gatewayd.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn lines_of(dir: &Path, file: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join("out").join(file)).unwrap_or_default();
    // The last line may be half written.
    text.lines().filter_map(|it| serde_json::from_str(it).ok()).collect()
}

#[test]
fn what_the_profiling_service_measures_is_in_the_clouds_files_and_report() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let broker = SimBroker::start().unwrap();
    let config = prepare(dir, broker.address(), "[profile]\nbackend = \"procfs\"\nwindow = \"1s\"\n");
    let daemon = Daemon::start(&config);
    let mut sink = Sink::start(dir, broker.address(), false);
    let service = Command::new(env!("CARGO_BIN_EXE_gatewayd"))
        .args(["profile", "--config"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _service = Killed(service);
    wait_for("three windows of metrics", || {
        let metrics = lines_of(dir, "metrics.jsonl");
        let of_process = metrics.iter().filter(|it| it["name"] == "process_rss_bytes" && it["vin"] == VIN);
        (of_process.count() >= 3).then_some(())
    });
    wait_for("a profile of the daemon's threads", || {
        // An answer is work that shows.
        daemon.status()?;
        let profiles = lines_of(dir, "profiles.jsonl");
        profiles.iter().any(|it| it["stacks"].as_object().is_some_and(|it| !it.is_empty())).then_some(())
    });

    let output = Command::new(env!("CARGO_BIN_EXE_gatewayctl"))
        .arg("--socket")
        .arg(&daemon.socket)
        .arg("telemetry")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in ["back end: procfs", "profiling service connected, ", "broker connected, ", "own cost: "] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }

    sink.stop();
    let page = std::fs::read_to_string(report::write(&dir.join("out"), None).unwrap()).unwrap();
    for wanted in [VIN, "process_rss_bytes", "gatewayd"] {
        assert!(page.contains(wanted), "{wanted} is in the report");
    }
}

#[test]
fn blocks_from_the_bus_go_to_the_broker_and_our_own_go_to_the_bus() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let broker = SimBroker::start().unwrap();
    let hub = BusHub::start(&dir.join("bus.sock"), Some(BitTiming::FD_500K_2M)).unwrap();
    let bus = format!(
        r#"
[[bus]]
name = "chassis"
url = "{}"
nominal_bit_rate = 500000
data_bit_rate = 2000000
telemetry = {{ send = 0x7F0, receive = [{{ name = "BRAKE-1", id = 0x6F1, ask = 0x6F9 }}] }}
"#,
        hub.url()
    );
    let config = prepare(dir, broker.address(), &bus);
    let _daemon = Daemon::start(&config);
    let ids = "0x6F1/0x6F9".parse().unwrap();
    let interval = Duration::from_millis(50);
    let _ecu = TelemetryNode::start(canfd::bus::open(&hub.url()).unwrap(), ids, interval).unwrap();
    // The subscriber comes after the sender's first keyframe: it has to ask for the next.
    std::thread::park_timeout(interval * 5);
    let mut sink = Sink::start(dir, broker.address(), false);
    let of_ecu = |name: &str| {
        let metrics = lines_of(dir, "metrics.jsonl");
        let its = metrics.iter().filter(|it| it["stream"] == "ecu/BRAKE-1" && it["name"] == name);
        its.map(|it| it["value"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let seen = wait_for("windows of the ECU", || Some(of_ecu("window_count")).filter(|it| it.len() >= 20));
    assert!(seen.windows(2).all(|two| two[0] < two[1]), "in order, none twice: {seen:?}");

    let mut listener = canfd::bus::open(&hub.url()).unwrap();
    let own = CanId::standard(0x7F0).unwrap();
    let feeder = Feeder::start(&dir.join("profile.sock"));
    feeder.send(5, 20);
    let (mut reassembler, mut numbers) = (Reassembler::new(), Vec::new());
    wait_for("our own blocks on the bus", || {
        while let Ok(Some(received)) = listener.recv() {
            if received.frame.id() != own {
                continue;
            }
            if let Some(block) = reassembler.handle_frame(received.frame.data()).unwrap() {
                numbers.push(BlockHeader::parse(&block).unwrap().seq);
            }
        }
        (numbers.len() >= 5).then_some(())
    });
    assert_eq!(numbers[..5], [0, 1, 2, 3, 4]);
    feeder.finish();
    sink.stop();
}

#[test]
fn a_request_for_an_ecus_keyframe_reaches_it() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let broker = SimBroker::start().unwrap();
    let hub = BusHub::start(&dir.join("bus.sock"), None).unwrap();
    let bus = format!(
        r#"
[[bus]]
name = "chassis"
url = "{}"
nominal_bit_rate = 500000
data_bit_rate = 2000000
telemetry = {{ receive = [{{ name = "BRAKE-1", id = 0x6F1, ask = 0x6F9 }}] }}
"#,
        hub.url()
    );
    let daemon = Daemon::start(&prepare(dir, broker.address(), &bus));
    wait_for("the broker", || daemon.status()?.broker.connected.then_some(()));
    let mut listener = canfd::bus::open(&hub.url()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = broker.address();
    let (client, mut events) =
        AsyncClient::new(MqttOptions::new("backend", address.ip().to_string(), address.port()), 8);
    runtime.spawn(async move { while events.poll().await.is_ok() {} });
    let topic = format!("v1/{VIN}/telemetry/rebirth");
    let ask = CanId::standard(0x6F9).unwrap();
    wait_for("the request on the bus", || {
        // The daemon's subscription may still be under way.
        client.try_publish(&topic, QoS::AtLeastOnce, false, "ecu/BRAKE-1").unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
        while let Ok(Some(received)) = listener.recv() {
            if received.frame.id() == ask {
                return telemetry::fragment::parse_rebirth(received.frame.data());
            }
        }
        None
    });
}
