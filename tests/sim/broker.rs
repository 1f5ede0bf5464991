//! A real MQTT 5 broker in this process, and a line to it that can be cut.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The largest message, in bytes.
const MAX_PAYLOAD: usize = 2 << 20;

/// A broker on threads of its own, which end with the process: the library has no way to stop it.
#[derive(Clone, Copy, Debug)]
pub struct SimBroker {
    address: SocketAddr,
}

impl SimBroker {
    /// Starts a broker on a free port of 127.0.0.1 and waits until it listens.
    ///
    /// # Errors
    /// The system's, where no port is free or the broker does not come up within ten seconds.
    pub fn start() -> io::Result<Self> {
        // Let go before the broker takes it.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        Self::start_at(address)
    }

    /// Starts a broker at `address` and waits until it listens.
    ///
    /// # Errors
    /// As [`SimBroker::start`].
    pub fn start_at(address: SocketAddr) -> io::Result<Self> {
        let mut broker = rumqttd::Broker::new(config(address));
        std::thread::Builder::new().name("broker".to_owned()).spawn(move || {
            // A broker that ends is noticed by those who talk to it.
            let _ = broker.start();
        })?;
        for _ in 0..1000 {
            if TcpStream::connect(address).is_ok() {
                return Ok(Self { address });
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the broker did not come up"))
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `mqtt://host:port`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}

fn config(listen: SocketAddr) -> rumqttd::Config {
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: MAX_PAYLOAD,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "v5".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 4 << 20,
            max_segment_count: 4,
            ..rumqttd::RouterConfig::default()
        },
        v5: Some(HashMap::from([("1".to_owned(), server)])),
        ..rumqttd::Config::default()
    }
}

/// A line to a server that can be cut, so that TCP connections through it break and new ones are refused, and frozen, so
/// that nothing comes through and nobody is told.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    thawed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    frozen: bool,
    open: Vec<TcpStream>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the line is frozen.
    fn pass(&self) {
        drop(self.thawed.wait_while(self.lock(), |state| state.frozen));
    }
}

impl Line {
    /// A line to `server`.
    ///
    /// # Errors
    /// The system's, where no port is free.
    pub fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let sharing = Arc::clone(&shared);
        std::thread::Builder::new().name("line".to_owned()).spawn(move || {
            for client in listener.incoming().flatten() {
                // A pair that cannot be set up is closed, which is what a bad line does.
                let _ = join(&sharing, client, server);
            }
        })?;
        Ok(Self { address, shared })
    }

    /// `mqtt://host:port` of this end.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Breaks what is connected and refuses what comes.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.cut = true;
        for stream in state.open.drain(..) {
            // A stream that is closed already is what we want.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.shared.lock().cut = false;
    }

    /// Swallows what is sent either way, on connections that are open and on new ones. They stay open.
    pub fn freeze(&self) {
        self.shared.lock().frozen = true;
    }

    /// Lets through what was held up and what comes, as TCP does once its retransmissions arrive again.
    pub fn thaw(&self) {
        self.shared.lock().frozen = false;
        self.shared.thawed.notify_all();
    }
}

fn join(shared: &Arc<Shared>, client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut state = shared.lock();
    if state.cut {
        return client.shutdown(Shutdown::Both);
    }
    let server = TcpStream::connect(server)?;
    state.open.extend([client.try_clone()?, server.try_clone()?]);
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                shared.pass();
                if to.write_all(buffer.get(..len).unwrap_or_default()).is_err() {
                    break;
                }
            }
            shared.pass();
            // Either side may have hung up already.
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
