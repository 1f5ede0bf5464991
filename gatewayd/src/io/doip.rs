//! One thread per DoIP entity: its TCP connection, with or without TLS, and the timers of the ECUs behind it.

mod search;

use std::future::{Future, pending};
use std::io;
use std::pin::Pin as Pinned;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use canfd::doip::DoipUrl;
use crypto_offload::tls::tunnel;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::mpsc;

use super::tls::ClientTls;
use crate::bus::EcuOrder;
use crate::doip::{ConnectionOrder, DoipMaster};
use crate::gateway::message::{EcuIndex, Input};
use crate::runtime::Pin;

/// Orders that may wait for the thread. The brain has a few per ECU at most.
const QUEUE: usize = 1024;
/// How long the entity may take for TCP; TLS has its own bound behind it.
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes taken from the connection at a time.
const BUFFER: usize = 64 << 10;

/// A handle on an entity's thread. Dropping it stops the thread; sessions that are open end by the ECUs' own timers.
#[derive(Debug)]
pub struct DoipWorker {
    orders: Option<mpsc::Sender<(EcuIndex, EcuOrder)>>,
    thread: Option<JoinHandle<()>>,
    cpus: Arc<Mutex<String>>,
}

impl DoipWorker {
    /// Starts the thread. The entity may be absent: it is called when there is something to say.
    ///
    /// # Errors
    /// The system's, where no thread or no poller can be had.
    pub fn start(
        name: &str,
        url: DoipUrl,
        tls: Option<ClientTls>,
        master: DoipMaster,
        pin: Pin,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let cpus = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&cpus);
        let (orders, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name(format!("bus-{name}")).spawn(move || {
            let given = pin.apply();
            if let Ok(mut told) = told.lock() {
                *told = given;
            }
            let way = Arc::new(Way { url, tls });
            runtime.block_on(DoipLoop { way, master, inputs, link: Link::default() }.run(queue));
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread), cpus })
    }

    /// Hands an order to the thread.
    ///
    /// # Errors
    /// The order, where the queue is full or the thread gone.
    pub fn order(&self, ecu: EcuIndex, order: EcuOrder) -> Result<(), EcuOrder> {
        let Some(orders) = &self.orders else { return Err(order) };
        orders.try_send((ecu, order)).map_err(|error| error.into_inner().1)
    }

    /// The CPUs the kernel gave the thread, as a cpulist.
    pub fn cpus(&self) -> String {
        self.cpus.lock().map(|it| it.clone()).unwrap_or_default()
    }
}

impl Drop for DoipWorker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been logged by the panic hook; there is nothing to add while stopping.
            let _ = thread.join();
        }
    }
}

/// Where the entity is and what it takes to get there.
#[derive(Debug)]
struct Way {
    url: DoipUrl,
    tls: Option<ClientTls>,
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

type Stream = Pinned<Box<dyn Duplex>>;
type Opening = Pinned<Box<dyn Future<Output = Result<Stream, String>> + Send>>;

/// The connection as it is now.
#[derive(Default)]
struct Link {
    opening: Option<Opening>,
    reader: Option<ReadHalf<Stream>>,
    writer: Option<WriteHalf<Stream>>,
    /// What the connection has not taken yet, one message.
    out: Vec<u8>,
    written: usize,
    /// Bytes that TLS may still hold.
    unflushed: bool,
}

/// What happened next.
enum Happening {
    Order(Option<(EcuIndex, EcuOrder)>),
    Opened(Result<Stream, String>),
    Read(io::Result<usize>),
    Written(io::Result<()>),
    Due,
}

struct DoipLoop {
    way: Arc<Way>,
    master: DoipMaster,
    inputs: mpsc::Sender<Input>,
    link: Link,
}

impl DoipLoop {
    async fn run(mut self, mut queue: mpsc::Receiver<(EcuIndex, EcuOrder)>) {
        let mut buffer = vec![0; BUFFER];
        loop {
            if !self.drain().await {
                return;
            }
            let due = self.master.poll_timeout();
            let Link { opening, reader, writer, out, written, unflushed } = &mut self.link;
            // Nothing below loses anything when another branch is first.
            let happening = tokio::select! {
                order = queue.recv() => Happening::Order(order),
                opened = opened(opening) => Happening::Opened(opened),
                read = read(reader, &mut buffer) => Happening::Read(read),
                result = write(writer, out, written, unflushed) => Happening::Written(result),
                () = sleep(due) => Happening::Due,
            };
            let now = Instant::now();
            match happening {
                Happening::Order(None) => return,
                Happening::Order(Some((ecu, order))) => self.master.handle_order(now, ecu, order),
                Happening::Opened(Ok(stream)) => {
                    tracing::info!(entity = %self.way.url, "DoIP connection open");
                    let (reader, writer) = split(stream);
                    self.link = Link { reader: Some(reader), writer: Some(writer), ..Link::default() };
                    self.master.handle_connected(now);
                }
                Happening::Opened(Err(reason)) => self.lose(now, &reason),
                Happening::Read(Ok(0)) => self.lose(now, "the DoIP entity closed the connection"),
                Happening::Read(Ok(len)) => {
                    self.master.handle_bytes(now, buffer.get(..len).unwrap_or_default());
                }
                Happening::Read(Err(error)) | Happening::Written(Err(error)) => {
                    self.lose(now, &error.to_string());
                }
                Happening::Written(Ok(())) => {}
                Happening::Due => self.master.handle_timeout(now),
            }
        }
    }

    fn lose(&mut self, now: Instant, reason: &str) {
        tracing::debug!(entity = %self.way.url, reason, "no DoIP connection");
        self.link = Link::default();
        self.master.handle_disconnected(now, &format!("{}: {reason}", self.way.url));
    }

    /// Carries out what the master wants. False when nobody listens to its reports any more.
    async fn drain(&mut self) -> bool {
        while let Some(order) = self.master.poll_connection() {
            self.link = Link::default();
            if order == ConnectionOrder::Open {
                self.link.opening = Some(Box::pin(open(Arc::clone(&self.way))));
            }
        }
        if self.link.out.is_empty()
            && self.link.writer.is_some()
            && let Some(bytes) = self.master.poll_transmit(Instant::now())
        {
            self.link.out = bytes;
            self.link.written = 0;
        }
        while let Some((ecu, report)) = self.master.poll_report() {
            if self.inputs.send(Input::Ecu { ecu, report }).await.is_err() {
                return false;
            }
        }
        true
    }
}

async fn open(way: Arc<Way>) -> Result<Stream, String> {
    let (host, port) = (way.url.host.as_str(), way.url.port);
    if let Some(query) = way.url.search {
        let entity = search::find(host, port, query).await?;
        return Ok(Box::pin(connect((entity.ip(), port)).await?));
    }
    if let Some(tls) = &way.tls {
        let server = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        return Ok(Box::pin(tunnel::connect(tls.suites, &tls.attempts, &server, host, port).await?));
    }
    Ok(Box::pin(connect((host, port)).await?))
}

async fn connect(address: impl ToSocketAddrs) -> Result<TcpStream, String> {
    let attempt = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(stream)
    };
    match tokio::time::timeout(CONNECT, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {CONNECT:?}")),
    }
}

async fn opened(opening: &mut Option<Opening>) -> Result<Stream, String> {
    let Some(future) = opening else { return pending().await };
    let result = future.await;
    *opening = None;
    result
}

async fn read(reader: &mut Option<ReadHalf<Stream>>, buffer: &mut [u8]) -> io::Result<usize> {
    match reader {
        Some(reader) => reader.read(buffer).await,
        None => pending().await,
    }
}

/// Some more of what is to be written, and out of TLS with it at the end.
async fn write(
    writer: &mut Option<WriteHalf<Stream>>,
    out: &mut Vec<u8>,
    written: &mut usize,
    unflushed: &mut bool,
) -> io::Result<()> {
    let Some(writer) = writer else { return pending().await };
    if let Some(rest) = out.get(*written..).filter(|rest| !rest.is_empty()) {
        let len = writer.write(rest).await?;
        if len == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *written += len;
        *unflushed = true;
        if *written >= out.len() {
            out.clear();
            *written = 0;
        }
    } else if *unflushed {
        writer.flush().await?;
        *unflushed = false;
    } else {
        return pending().await;
    }
    Ok(())
}

async fn sleep(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
