//! Telemetry through a line that swallows everything, a killed daemon and a killed broker: what the files of the cloud's
//! subscriber hold at the end. Everything is real: `gatewayd` is a process, the broker is one, and the subscriber is the
//! one of `gateway-cloud`, its spool and its drops of duplicates included. This test plays the profiling service.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "blackout/broker.rs"]
mod broker;
#[allow(dead_code, reason = "each test has its own needs of it")]
mod common;
#[path = "blackout/feeder.rs"]
mod feeder;
#[path = "blackout/sink.rs"]
mod sink;

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use broker::{Broker, Kind};
use common::{Daemon, wait_for};
use feeder::Feeder;
use gateway_sim::broker::Line;
use gateway_sim::origin;
use sink::{Sink, Written};

const VIN: &str = "LSVAG2180E2100001";

/// How much at least, and how long the trouble lasts.
struct Plan {
    messages: u64,
    /// Messages per second.
    rate: u32,
    /// Messages from the end of one trouble to the next.
    calm: u64,
    /// How long the line swallows everything.
    blackhole: Duration,
    /// How long the broker stays away.
    away: Duration,
}

const SHORT: Plan = Plan {
    messages: 900,
    rate: 100,
    calm: 50,
    blackhole: Duration::from_secs(3),
    away: Duration::from_millis(300),
};

const WHOLE: Plan = Plan {
    messages: 5_000,
    rate: 100,
    calm: 200,
    blackhole: Duration::from_secs(14),
    away: Duration::from_secs(2),
};

/// A vehicle, a line, a broker and a subscriber behind it.
struct Scene {
    feeder: Feeder,
    daemon: Option<Daemon>,
    line: Line,
    broker: Broker,
    sink: Sink,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new(kind: Kind, program: bool) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        let broker = Broker::start(kind, dir)?;
        let line = Line::to(broker.address()).unwrap();
        trust(dir);
        std::fs::write(dir.join("gatewayd.toml"), config(dir, &line.url())).unwrap();
        let daemon = Daemon::start(&dir.join("gatewayd.toml"));
        wait_for("the broker", || daemon.status()?.broker.connected.then_some(()));
        let sink = Sink::start(dir, broker.address(), program);
        let feeder = Feeder::start(&dir.join("profile.sock"));
        Some(Self { feeder, daemon: Some(daemon), line, broker, sink, directory })
    }

    fn kill_daemon(&mut self) {
        // Dropped is killed.
        self.daemon = None;
    }

    fn start_daemon(&mut self) {
        self.daemon = Some(Daemon::start(&self.directory.path().join("gatewayd.toml")));
    }

    /// How long it takes until all that has left the profiling service so far is written.
    fn recovery(&self) -> Duration {
        let (start, sent) = (Instant::now(), self.feeder.sent());
        wait_for("everything sent until the trouble was over", || {
            (self.sink.written().distinct_below(sent) == sent).then_some(())
        });
        start.elapsed()
    }

    /// Messages flow for a while.
    fn calm(&self, plan: &Plan) {
        self.feeder.wait_for_sent(self.feeder.sent() + plan.calm);
    }

    /// How many messages there were.
    fn play(&mut self, plan: &Plan) -> u64 {
        self.feeder.send(plan.messages, plan.rate);
        self.calm(plan);
        self.line.freeze();
        std::thread::park_timeout(plan.blackhole);
        self.line.thaw();
        figure("recovery_after_blackhole", self.recovery().as_secs_f64(), "s");

        self.calm(plan);
        self.kill_daemon();
        self.start_daemon();
        figure("recovery_after_kill_of_gatewayd", self.recovery().as_secs_f64(), "s");

        self.calm(plan);
        self.broker.kill();
        std::thread::park_timeout(plan.away);
        self.broker.restart();
        figure("recovery_after_kill_of_broker", self.recovery().as_secs_f64(), "s");

        // Broker and daemon, in a blackout.
        self.calm(plan);
        self.line.freeze();
        std::thread::park_timeout(plan.away);
        self.broker.kill();
        self.kill_daemon();
        self.line.thaw();
        self.broker.restart();
        self.start_daemon();
        figure("recovery_after_both", self.recovery().as_secs_f64(), "s");
        self.feeder.wait_for_sent(plan.messages);
        self.feeder.finish()
    }
}

fn figure(name: &str, value: impl Display, unit: &str) {
    println!("figure blackout_{name} {value:.2} {unit}");
}

/// Lets the plan happen, and says what came of it.
fn run(kind: Kind, plan: &Plan, program: bool) {
    println!("blackout: {} messages or more by way of {kind:?}", plan.messages);
    let start = Instant::now();
    let Some(mut scene) = Scene::new(kind, program) else {
        return println!("not checked: {kind:?} is not installed");
    };
    let sent = scene.play(plan);
    wait_for("the last message", || (scene.sink.written().distinct_below(sent) == sent).then_some(()));
    // Time for what should not come.
    std::thread::park_timeout(Duration::from_millis(500));
    let suppressed = scene.sink.stop();
    let Written { lines, distinct, missed } = scene.sink.written().count();
    figure("sent", sent, "messages");
    figure("delivered", distinct, "messages");
    figure("lost", sent - distinct, "messages goal <= 0 messages");
    figure("delivered_twice", lines - distinct, "messages goal <= 0 messages");
    figure("duplicates_suppressed", suppressed, "messages");
    figure("took", start.elapsed().as_secs_f64(), "s");
    assert_eq!((lines, distinct, missed), (sent, sent, 0), "each once");
}

/// Certificates and the first roots, as a vehicle has them from the factory.
fn trust(dir: &Path) {
    let keys = origin::keys(dir).unwrap();
    std::fs::write(dir.join("image.bin"), [0x5A; 1000]).unwrap();
    let target = format!(
        "file={},name=a.bin,ecu_serial=A-1,hardware_id=a,version=2.0.0,release_counter=2,cipher=none,hash=sha256",
        dir.join("image.bin").display()
    );
    origin::publish(dir, &keys, VIN, 1, &[target]).unwrap();
}

fn config(dir: &Path, broker: &str) -> String {
    let dir = dir.display();
    // No origin listens there.
    format!(
        r#"
[vehicle]
vin = "{VIN}"
[cloud]
url = "https://127.0.0.1:1/"
ca = "{dir}/certs/ca.pem"
certificate = "{dir}/certs/gateway.pem"
key = "{dir}/certs/gateway.key"
[uptane]
director_root = "{dir}/www/director/{VIN}/1.root.json"
image_root = "{dir}/www/image/1.root.json"
[mqtt]
url = "{broker}"
keep_alive = "5s"
[state]
directory = "{dir}/state"
quota = "1MiB"
[control]
socket = "{dir}/control.sock"
profile_socket = "{dir}/profile.sock"
"#
    )
}

#[test]
fn a_few_hundred_messages_by_way_of_mosquitto() {
    run(Kind::Mosquitto, &SHORT, false);
}

#[test]
#[ignore = "minutes: make test-blackout"]
fn five_thousand_messages_by_way_of_mosquitto() {
    run(Kind::Mosquitto, &WHOLE, true);
}

#[test]
#[ignore = "minutes: make test-blackout"]
fn five_thousand_messages_by_way_of_rumqttd() {
    run(Kind::Rumqttd, &WHOLE, true);
}

/// What the process of rumqttd runs, which has no program of its own here.
#[test]
#[ignore = "runs until it is killed"]
fn serve_as_rumqttd() {
    broker::serve_as_rumqttd();
}
