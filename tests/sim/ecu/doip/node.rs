//! The thread of an ECU on Ethernet, with its sockets.

use super::super::thread::{NodeThread, ask};
use super::super::{NodeError, SimEcu};
use super::port::DoipPort;
use canfd::doip::server::{ServerConfig, SocketId};
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// Messages that may wait for one tester; one that does not read is cut off.
const WAITING: usize = 1024;
/// Chunks and commands that may wait for the ECU.
const INBOX: usize = 64;
/// How long a tester may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Where an ECU listens; port 0 is any free one.
#[derive(Debug, Clone)]
pub struct DoipNodeConfig {
    /// Who it is.
    pub server: ServerConfig,
    /// TCP without TLS.
    pub listen: SocketAddr,
    /// UDP, for discovery. Port 0 is that of `listen`, as a tester that searches takes them for one.
    pub discovery: Option<SocketAddr>,
    /// TCP with TLS.
    pub tls: Option<DoipTls>,
    /// From a reset until somebody can connect again.
    pub boot_time: Duration,
}

/// An ECU's TLS.
#[derive(Debug, Clone)]
pub struct DoipTls {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it shows.
    pub config: Arc<rustls::ServerConfig>,
}

/// Where an ECU listens in truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoipAddresses {
    /// TCP without TLS.
    pub tcp: SocketAddr,
    /// UDP.
    pub udp: Option<SocketAddr>,
    /// TCP with TLS.
    pub tls: Option<SocketAddr>,
}

type Command = Box<dyn FnOnce(&mut DoipPort) + Send>;
type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A simulated ECU in a thread of its own. Dropping it is a power cut.
#[derive(Debug)]
pub struct DoipNode {
    commands: Option<mpsc::Sender<Command>>,
    thread: NodeThread,
    addresses: DoipAddresses,
}

impl DoipNode {
    /// Opens the sockets of `config` for `ecu`.
    ///
    /// # Errors
    /// The system's, above all for a port that is taken.
    pub fn start(name: &str, ecu: SimEcu, config: DoipNodeConfig) -> Result<Self, NodeError> {
        let tcp = listen(config.listen)?;
        let port = tcp.local_addr()?.port();
        let same = |it: SocketAddr| SocketAddr::new(it.ip(), if it.port() == 0 { port } else { it.port() });
        let udp = config.discovery.map(same).map(bind).transpose()?;
        let tls = config.tls.as_ref().map(|it| listen(it.listen)).transpose()?;
        let addresses = DoipAddresses {
            tcp: tcp.local_addr()?,
            udp: udp.as_ref().map(std::net::UdpSocket::local_addr).transpose()?,
            tls: tls.as_ref().map(std::net::TcpListener::local_addr).transpose()?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, inbox) = mpsc::channel(INBOX);
        let port = DoipPort::new(ecu, config.server, config.boot_time);
        let acceptor = config.tls.map(|it| TlsAcceptor::from(it.config));
        let thread = NodeThread::spawn(name, move || {
            runtime.block_on(async {
                let sockets = Sockets {
                    tcp: TcpListener::from_std(tcp)?,
                    udp: udp.map(UdpSocket::from_std).transpose()?,
                    tls: tls.map(TcpListener::from_std).transpose()?,
                };
                Runner::new(port, acceptor).run(sockets, inbox).await
            })
        })?;
        Ok(Self { commands: Some(commands), thread, addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> DoipAddresses {
        self.addresses
    }

    /// Asks the ECU in its thread, between two messages.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] if the thread has ended; [`Self::stop`] says why.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut SimEcu) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        self.ask_port(|port| question(port.ecu_mut()))
    }

    /// The same of the ECU with its connections.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] if the thread has ended; [`Self::stop`] says why.
    pub fn ask_port<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut DoipPort) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        let commands = self.commands.as_ref().ok_or(NodeError::Stopped)?;
        ask(question, |command| commands.blocking_send(command).map_err(|_| NodeError::Stopped))
    }

    /// Whether the thread has ended; [`Self::stop`] says why.
    pub fn has_ended(&self) -> bool {
        self.thread.has_ended()
    }

    /// Cuts the power and says how the thread ended.
    ///
    /// # Errors
    /// What ended the thread before its time.
    pub fn stop(mut self) -> Result<(), NodeError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), NodeError> {
        self.commands = None;
        self.thread.join()
    }
}

impl Drop for DoipNode {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `stop`.
        let _ = self.join();
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Sockets {
    tcp: TcpListener,
    udp: Option<UdpSocket>,
    tls: Option<TcpListener>,
}

/// What the connections' tasks tell.
enum Heard {
    /// A TLS handshake is done
    Arrived(Stream),
    /// Bytes; none at the end of the connection
    Bytes(SocketId, Vec<u8>),
}

struct Runner {
    port: DoipPort,
    acceptor: Option<TlsAcceptor>,
    connections: HashMap<SocketId, mpsc::Sender<Vec<u8>>>,
    tell: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
}

impl Runner {
    fn new(port: DoipPort, acceptor: Option<TlsAcceptor>) -> Self {
        let (tell, heard) = mpsc::channel(INBOX);
        Self { port, acceptor, connections: HashMap::new(), tell, heard }
    }

    async fn run(mut self, sockets: Sockets, mut inbox: mpsc::Receiver<Command>) -> Result<(), NodeError> {
        let mut datagram = vec![0; 2048];
        loop {
            self.drain();
            let due = self.port.poll_timeout();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => command(&mut self.port),
                    None => return Ok(()),
                },
                accepted = sockets.tcp.accept() => self.arrive(Box::new(accepted?.0), false),
                accepted = accept(sockets.tls.as_ref()) => self.shake_hands(accepted?),
                received = receive(sockets.udp.as_ref(), &mut datagram) => {
                    let (len, from) = received?;
                    let answer = datagram.get(..len).and_then(|it| self.port.handle_datagram(Instant::now(), it));
                    if let (Some(answer), Some(udp)) = (answer, &sockets.udp) {
                        // The asker may be gone; that is no matter of the ECU's.
                        let _ = udp.send_to(&answer, from).await;
                    }
                }
                heard = self.heard.recv() => match heard {
                    Some(Heard::Arrived(stream)) => self.arrive(stream, true),
                    Some(Heard::Bytes(id, bytes)) if bytes.is_empty() => {
                        self.connections.remove(&id);
                        self.port.handle_closed(Instant::now(), id);
                    }
                    Some(Heard::Bytes(id, bytes)) => self.port.handle_bytes(Instant::now(), id, &bytes),
                    // One sender is ours.
                    None => return Ok(()),
                },
                () = sleep(due) => self.port.handle_timeout(Instant::now()),
            }
        }
    }

    fn drain(&mut self) {
        while let Some((id, bytes)) = self.port.poll_transmit() {
            let full = self.connections.get(&id).is_some_and(|it| it.try_send(bytes).is_err());
            if full {
                self.connections.remove(&id);
            }
        }
        while let Some(id) = self.port.poll_close() {
            // Its task sends what is left, then closes.
            self.connections.remove(&id);
        }
    }

    fn arrive(&mut self, stream: Stream, tls: bool) {
        let now = Instant::now();
        if !self.port.is_reachable(now) {
            return;
        }
        let Ok(id) = self.port.handle_connected(now, tls) else { return };
        let (says, to_say) = mpsc::channel(WAITING);
        self.connections.insert(id, says);
        tokio::spawn(carry(id, stream, to_say, self.tell.clone()));
    }

    fn shake_hands(&self, stream: TcpStream) {
        let (Some(acceptor), tell) = (self.acceptor.clone(), self.tell.clone()) else { return };
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // The ECU may be switched off by now.
                let _ = tell.send(Heard::Arrived(Box::new(stream))).await;
            }
        });
    }
}

/// One connection, until either end is through.
async fn carry(
    id: SocketId,
    mut stream: Stream,
    mut to_say: mpsc::Receiver<Vec<u8>>,
    tell: mpsc::Sender<Heard>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        tokio::select! {
            biased;
            bytes = to_say.recv() => {
                let Some(bytes) = bytes else { break };
                let written = async {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                };
                if written.await.is_err() {
                    break;
                }
            }
            read = stream.read(&mut buffer) => {
                let bytes = buffer.get(..read.unwrap_or(0)).unwrap_or_default().to_vec();
                let end = bytes.is_empty();
                if tell.send(Heard::Bytes(id, bytes)).await.is_err() || end {
                    return;
                }
            }
        }
    }
    // Whether the tester still hears the goodbye is its matter.
    let _ = stream.shutdown().await;
    let _ = tell.send(Heard::Bytes(id, Vec::new())).await;
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => pending().await,
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => pending().await,
    }
}

async fn sleep(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
