//! TLS to a broker, around the MQTT client instead of inside it.
//!
//! The client of both ends (rumqttc) has TLS of its own, on a certificate library of which known vulnerabilities will not be mended,
//! and takes no stream of ours. It does connect to Unix sockets. So each session gets one: a name in Linux's abstract
//! namespace that is random and gone with the session, behind it a task that takes one connection from **this process**
//! (any local process could try the name, and what is behind it speaks with our certificate) and carries it
//! to the broker over TLS.

use std::os::linux::net::SocketAddrExt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Family, Negotiated, Suites};

/// How long a server may take for TCP and TLS, for each family of suites.
const CONNECT: Duration = Duration::from_secs(5);
/// How long our own client may take to come through the socket.
const ARRIVE: Duration = Duration::from_secs(5);

/// Why there is no way to the broker.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The caller's fault: no name that a certificate could bear.
    #[error("broker {0:?} is neither a DNS name nor an address: {1}")]
    Name(String, InvalidDnsNameError),
    /// The system's.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The system's.
    #[error("no local socket: {0}")]
    Socket(std::io::Error),
    /// The broker does not answer, or not with what we take.
    #[error("broker: {0}")]
    Connect(String),
}

/// One session's way to the broker; closed when dropped.
#[derive(Debug)]
pub struct Tunnel {
    name: String,
    task: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    /// Connects to the broker with one of `attempts` after the other, checks its certificate and what was agreed on
    /// (`suites`), and opens the socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`TunnelError`]; within five seconds for each attempt.
    pub async fn open(
        suites: Suites,
        attempts: &[(Family, Arc<ClientConfig>)],
        host: &str,
        port: u16,
    ) -> Result<Self, TunnelError> {
        let server = ServerName::try_from(host.to_owned())
            .map_err(|error| TunnelError::Name(host.to_owned(), error))?;
        let broker = connect(suites, attempts, &server, host, port).await.map_err(TunnelError::Connect)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = format!("gatewayd-mqtt-{:016x}", u64::from_ne_bytes(random));
        let listener = listen(&name).map_err(TunnelError::Socket)?;
        Ok(Self { name: format!("\0{name}"), task: tokio::spawn(carry(listener, broker)) })
    }

    /// Where the client connects to: a zero byte and the abstract name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn listen(name: &str) -> std::io::Result<UnixListener> {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// TLS 1.3 over TCP with the first of `attempts` that the server agrees to, within the policy `suites`. Each may take five
/// seconds.
///
/// # Errors
/// What went wrong in the last attempt, in words for the log.
pub async fn connect(
    suites: Suites,
    attempts: &[(Family, Arc<ClientConfig>)],
    server: &ServerName<'static>,
    host: &str,
    port: u16,
) -> Result<TlsStream<TcpStream>, String> {
    let mut last = "no suites are configured".to_owned();
    for (family, config) in attempts {
        let attempt = async {
            let tcp = TcpStream::connect((host, port)).await.map_err(|error| format!("TCP: {error}"))?;
            tcp.set_nodelay(true).map_err(|error| format!("TCP: {error}"))?;
            let stream = TlsConnector::from(config.clone()).connect(server.clone(), tcp).await;
            let stream = stream.map_err(|error| format!("TLS: {error}"))?;
            let negotiated = Negotiated::of(stream.get_ref().1).ok_or("TLS: the handshake did not end")?;
            negotiated.check(suites).map_err(|error| error.to_string())?;
            Ok::<_, String>(stream)
        };
        match tokio::time::timeout(CONNECT, attempt).await {
            Ok(Ok(stream)) => {
                tracing::debug!(?family, host, port, "TLS stands");
                return Ok(stream);
            }
            Ok(Err(reason)) => last = format!("{family:?}: {reason}"),
            Err(_) => last = format!("{family:?}: no answer in {CONNECT:?}"),
        }
    }
    Err(last)
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
