//! TLS to the broker, around the MQTT client instead of inside it.
//!
//! The client (rumqttc) has TLS of its own, on a certificate library of which known vulnerabilities will not be mended,
//! and takes no stream of ours. It does connect to Unix sockets. So each session gets one: a name in Linux's abstract
//! namespace that is random and gone with the session, behind it a task that takes one connection from **this process**
//! (any local process could try the name, and what is behind it speaks with the vehicle's certificate) and carries it
//! to the broker over TLS.

use std::os::linux::net::SocketAddrExt;
use std::time::Duration;

use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::super::tls::{self, ClientTls};

/// How long our own client may take to come through the socket.
const ARRIVE: Duration = Duration::from_secs(5);

/// Why there is no way to the broker.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("broker {0:?} is neither a DNS name nor an address: {1}")]
    Name(String, InvalidDnsNameError),
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("no local socket: {0}")]
    Socket(std::io::Error),
    #[error("broker: {0}")]
    Connect(String),
}

/// One session's way to the broker; closed when dropped.
#[derive(Debug)]
pub(super) struct Tunnel {
    name: String,
    task: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    /// Connects to the broker, checks its certificate and what was agreed on, and opens the socket.
    pub(super) async fn open(tls: &ClientTls, host: &str, port: u16) -> Result<Self, TunnelError> {
        let server = ServerName::try_from(host.to_owned())
            .map_err(|error| TunnelError::Name(host.to_owned(), error))?;
        let broker = tls::connect(tls, &server, host, port).await.map_err(TunnelError::Connect)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = format!("gatewayd-mqtt-{:016x}", u64::from_ne_bytes(random));
        let listener = listen(&name).map_err(TunnelError::Socket)?;
        Ok(Self { name: format!("\0{name}"), task: tokio::spawn(carry(listener, broker)) })
    }

    /// Where the client connects to: a zero byte and the abstract name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn listen(name: &str) -> std::io::Result<UnixListener> {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Carries bytes both ways until either end is through.
async fn carry(listener: UnixListener, mut broker: TlsStream<TcpStream>) {
    let Ok(Some(mut client)) = tokio::time::timeout(ARRIVE, arrival(&listener)).await else { return };
    // Nobody else gets in.
    drop(listener);
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut broker).await {
        tracing::debug!(%error, "TLS to the broker broke");
    }
}

/// The first connection that comes from this process.
async fn arrival(listener: &UnixListener) -> Option<UnixStream> {
    let own = i32::try_from(std::process::id()).ok()?;
    loop {
        let (stream, _) = listener.accept().await.ok()?;
        match stream.peer_cred() {
            Ok(peer) if peer.pid() == Some(own) => return Some(stream),
            _ => tracing::warn!("another process tried the MQTT client's socket and was turned away"),
        }
    }
}
