//! Brokers as processes that can be killed and started again at the same address. Neither writes to disk what it holds, so
//! a kill takes sessions, subscriptions and everything that a subscriber has not got yet.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gateway_sim::broker::SimBroker;

use crate::common::wait_for;

/// Tells the process of rumqttd where to listen.
const ADDRESS: &str = "GATEWAYD_TEST_RUMQTTD";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mosquitto,
    Rumqttd,
}

pub(crate) struct Broker {
    kind: Kind,
    address: SocketAddr,
    config: PathBuf,
    child: Child,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Broker {
    /// `None` where it is not installed.
    pub(crate) fn start(kind: Kind, dir: &Path) -> Option<Self> {
        let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let config = dir.join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n",
            address.port()
        );
        std::fs::write(&config, text).unwrap();
        let child = spawn(kind, address, &config)?;
        Some(Self { kind, address, config, child })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.kind, self.address, &self.config).unwrap();
    }
}

fn spawn(kind: Kind, address: SocketAddr, config: &Path) -> Option<Child> {
    let mut command = match kind {
        Kind::Mosquitto => {
            let mut command = Command::new(mosquitto()?);
            command.arg("-c").arg(config);
            command
        }
        Kind::Rumqttd => {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "serve_as_rumqttd", "--ignored", "--nocapture"]);
            command.env(ADDRESS, address.to_string());
            command
        }
    };
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the broker's port", || TcpStream::connect(address).ok());
    Some(child)
}

fn mosquitto() -> Option<&'static str> {
    let there =
        |it: &&str| Command::new(it).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    ["mosquitto", "/usr/sbin/mosquitto"].into_iter().find(there)
}

pub(crate) fn serve_as_rumqttd() {
    // Without an address it was started by somebody who runs all ignored tests.
    let Ok(address) = std::env::var(ADDRESS) else { return };
    SimBroker::start_at(address.parse().unwrap()).unwrap();
    loop {
        std::thread::park();
    }
}
