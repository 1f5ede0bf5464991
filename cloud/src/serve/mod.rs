//! The development origin: files below one directory over HTTP/3 (RFC 9114) and HTTP/2 (RFC 9113), on the same port
//! number, to clients that show a certificate.
//!
//! It serves what any static file server could; a real fleet uses one of those. What it has that they lack are
//! [`Faults`], so that a test can let one bit tip over.

mod content;
mod exchange;
mod faults;
mod http2;
mod http3;
mod path;
mod quic_choice;
mod range;
mod statistics;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crypto_offload::tls::Suites;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use faults::{Fault, Faults};
pub use statistics::{Snapshot, Statistics};
use tls::Choice;
pub(crate) use tls::certificates;
pub use tls::{Credentials, Identity, TlsError};

/// How many ports are tried when the system chooses one that is free for TCP but not for UDP.
const PORT_ATTEMPTS: usize = 16;

/// What the origin serves, where and to whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory whose files are served.
    pub root: PathBuf,
    /// Address for both protocols; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Which suites gateways may come with.
    pub suites: Suites,
    /// Certificates for international suites; needed unless the policy is SM only.
    pub international: Option<Credentials>,
    /// Certificates for SM suites; needed unless the policy is international.
    pub sm: Option<Credentials>,
    /// How much one origin takes on.
    pub limits: Limits,
    /// Faults in force.
    pub faults: Arc<Faults>,
}

/// How much one origin takes on, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, both protocols together; more are refused. Defaults to 256.
    pub connections: usize,
    /// Requests at a time on one connection. Defaults to 64.
    pub streams: u32,
    /// For a TLS handshake. Defaults to 10 s.
    pub handshake: Duration,
    /// For a request's head, and for the client to take one block of 64 KiB. Defaults to 30 s.
    pub progress: Duration,
    /// Without a request under way, before the connection is closed. Defaults to 60 s.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 64,
            handshake: Duration::from_secs(10),
            progress: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// Why the origin did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The root is missing, unreadable or not a directory.
    #[error("cannot serve {}: {source} (gateway-cloud publish campaign fills such a directory)", root.display())]
    Root {
        /// The directory given.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Certificates or keys are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// QUIC cannot use the TLS configuration.
    #[error("certificates cannot be used for QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The cryptographic library has no AES-128-GCM, with which every QUIC connection begins.
    #[error("QUIC needs AES-128-GCM for its first packets, and there is none")]
    NoInitialSuite,
    /// The address is taken or not ours.
    #[error("cannot listen on {addr} for {protocol}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// An origin that holds its port and has not yet begun to answer.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    listener: TcpListener,
    tls: Arc<Choice<Arc<rustls::ServerConfig>>>,
    endpoint: quinn::Endpoint,
    shared: Arc<Shared>,
}

/// What all connections know.
#[derive(Debug)]
pub(crate) struct Shared {
    root: PathBuf,
    limits: Limits,
    faults: Arc<Faults>,
    statistics: Arc<Statistics>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// Reads the certificates and takes the port, for TCP and UDP. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] names the file or address at fault.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let root_error = |source| BindError::Root { root: config.root.clone(), source };
        let root = config.root.canonicalize().map_err(root_error)?;
        if !root.is_dir() {
            return Err(root_error(io::ErrorKind::NotADirectory.into()));
        }
        std::fs::read_dir(&root).map_err(root_error)?;
        let tls = tls::server_configs(&config, b"h2")?;
        let quic = quic_choice::QuicChoice::new(&tls::server_configs(&config, b"h3")?)?;
        let quic = http3::quic_config(quic, &config.limits);
        let (listener, socket, addr) = take_port(config.addr).await?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(quic), socket, runtime)
            .map_err(|source| BindError::Listen { addr, protocol: "UDP", source })?;
        let shared = Arc::new(Shared {
            root,
            limits: config.limits,
            faults: config.faults,
            statistics: Arc::default(),
            connections: Arc::new(Semaphore::new(config.limits.connections)),
        });
        Ok(Self { addr, listener, tls: Arc::new(tls), endpoint, shared })
    }

    /// Where it listens, with the port that the system chose.
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Counters, which go on counting while the server runs.
    pub fn statistics(&self) -> Arc<Statistics> {
        self.shared.statistics.clone()
    }

    /// Answers until `shutdown` is done, then closes all connections.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(http2::accept(self.listener, self.tls, self.shared.clone()));
        tasks.spawn(http3::accept(self.endpoint.clone(), self.shared));
        shutdown.await;
        // Dropping a task set ends its tasks, and theirs with it.
        tasks.shutdown().await;
        self.endpoint.close(quinn::VarInt::from_u32(0x100), b"origin stops");
        // One second is plenty for the closing packets; the peers time out without them.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

async fn take_port(addr: SocketAddr) -> Result<(TcpListener, std::net::UdpSocket, SocketAddr), BindError> {
    let mut attempt = 1;
    loop {
        let listener = TcpListener::bind(addr).await.map_err(|source| BindError::Listen {
            addr,
            protocol: "TCP",
            source,
        })?;
        let chosen =
            listener.local_addr().map_err(|source| BindError::Listen { addr, protocol: "TCP", source })?;
        match std::net::UdpSocket::bind(chosen) {
            Ok(socket) => return Ok((listener, socket, chosen)),
            Err(_) if addr.port() == 0 && attempt < PORT_ATTEMPTS => attempt += 1,
            Err(source) => return Err(BindError::Listen { addr: chosen, protocol: "UDP", source }),
        }
    }
}
