//! The broker: a thread of its own, an outbox on disk in front of a client that is treated as a dumb pipe.
//!
//! The client is thrown away with its connection. Whatever the outbox still holds is sent again on the next one, in
//! order; receivers drop duplicates. A message that the broker does not take, or takes with the word that nobody listens,
//! stays in the outbox and is tried again; blocks that a receiver asks for are sent once more.

mod address;
mod flight;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crypto_offload::tls::tunnel::{Tunnel, TunnelError};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, Transport};
use telemetry::request::Request;
use telemetry::topics::Topic;
use tokio::sync::mpsc;

pub use self::address::{BrokerAddress, parse_url};
use self::flight::Flight;
use super::outbox::Outbox;
use super::tls::ClientTls;
use crate::gateway::message::Publish;

/// Requests the client may hold: more than the window and the two subscriptions, so that it never makes us wait.
const CLIENT_QUEUE: usize = 64;
/// Messages between the daemon and this thread.
const QUEUE: usize = 1024;
/// Messages written down together.
const BATCH: usize = 256;
/// The largest command that is accepted, in bytes.
const MAX_COMMAND: u32 = 64 * 1024;
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LAST: Duration = Duration::from_secs(30);

/// What the link needs to know.
#[derive(Clone, Debug)]
pub struct MqttConfig {
    /// Host and port of the broker.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS 1.3 to the broker, or clear text.
    pub tls: Option<ClientTls>,
    /// MQTT client id, unique at the broker.
    pub client_id: String,
    /// Keep-alive interval.
    pub keep_alive: Duration,
    /// The most messages the outbox keeps.
    pub outbox: usize,
    /// Topic of the retained presence message; its last will is `offline`.
    pub presence_topic: String,
    /// Topics to listen on.
    pub subscriptions: Vec<String>,
    /// The one of them on which receivers ask for telemetry: requests for blocks are answered here.
    pub rebirth_topic: String,
}

/// Figures that `gatewayctl status` shows.
#[derive(Debug, Default)]
pub struct MqttStatistics {
    /// Whether the broker has us.
    pub connected: AtomicBool,
    /// Messages waiting in the outbox.
    pub waiting: AtomicU64,
    /// Messages of the outbox that the broker has acknowledged since the start.
    pub delivered: AtomicU64,
    /// Messages that did not reach the outbox.
    pub lost: AtomicU64,
    /// Messages that made room in the outbox for others.
    pub evicted: AtomicU64,
}

impl MqttStatistics {
    /// Whether the broker has us, messages waiting, messages dropped for whatever reason.
    pub fn read(&self) -> (bool, u64, u64) {
        let dropped = self.lost.load(Ordering::Relaxed) + self.evicted.load(Ordering::Relaxed);
        (self.connected.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed), dropped)
    }
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Where word is left that one more message was dealt with: it is in the outbox, or counted as lost.
pub type Receipt = mpsc::Sender<()>;

type Queued = (Publish, Option<Receipt>);

/// A handle on the broker's thread. Dropping it says goodbye to the broker.
#[derive(Debug)]
pub struct Mqtt {
    outgoing: Option<mpsc::Sender<Queued>>,
    statistics: Arc<MqttStatistics>,
    thread: Option<JoinHandle<()>>,
}

impl Mqtt {
    /// Opens the outbox and starts the thread; the broker may be absent for now.
    ///
    /// # Errors
    /// A message that names the outbox file, where it cannot be opened, or the system's where no thread can be started.
    pub fn start(
        config: MqttConfig,
        outbox: &Path,
        received: mpsc::Sender<Received>,
    ) -> Result<Self, std::io::Error> {
        let outbox = Outbox::open(outbox, config.outbox).map_err(|error| {
            std::io::Error::other(format!("cannot open the outbox {}: {error}", outbox.display()))
        })?;
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let statistics = Arc::new(MqttStatistics::default());
        let link = Link { config, outbox, queue, received, statistics: Arc::clone(&statistics) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("mqtt".to_owned())
            .spawn(move || runtime.block_on(link.run()))?;
        Ok(Self { outgoing: Some(outgoing), statistics, thread: Some(thread) })
    }

    /// Queues a message for the outbox. When even that queue is full, the message is dropped and counted.
    pub fn publish(&self, message: Publish) {
        self.queue((message, None));
    }

    /// The same, with word when it is on the medium. A receipt without room is not waited for.
    pub fn publish_with_receipt(&self, message: Publish, receipt: Receipt) {
        self.queue((message, Some(receipt)));
    }

    fn queue(&self, queued: Queued) {
        let receipt = queued.1.clone();
        let taken = self.outgoing.as_ref().is_some_and(|it| it.try_send(queued).is_ok());
        if !taken {
            self.statistics.lost.fetch_add(1, Ordering::Relaxed);
            acknowledge(receipt.as_ref());
        }
    }

    /// The link's figures.
    pub fn statistics(&self) -> &MqttStatistics {
        &self.statistics
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        self.outgoing = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been logged by the panic hook; there is nothing to add while stopping.
            let _ = thread.join();
        }
    }
}

/// The thread's state.
struct Link {
    config: MqttConfig,
    outbox: Outbox,
    queue: mpsc::Receiver<Queued>,
    received: mpsc::Sender<Received>,
    statistics: Arc<MqttStatistics>,
}

/// Why a session ended.
enum End {
    /// The daemon stops.
    Stop,
    /// The connection broke, or never stood.
    Lost,
}

impl Link {
    async fn run(mut self) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let (end, stood) = self.session().await;
            self.statistics.connected.store(false, Ordering::Relaxed);
            if matches!(end, End::Stop) {
                return;
            }
            if stood {
                backoff = BACKOFF_FIRST;
            }
            if !self.wait(backoff).await {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
    }

    /// Fills the outbox while there is no connection. False when the daemon stops.
    async fn wait(&mut self, span: Duration) -> bool {
        let sleep = tokio::time::sleep(span);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return true,
                message = self.queue.recv() => match message {
                    Some(message) => self.keep(message),
                    None => return false,
                },
            }
        }
    }

    /// One connection, from CONNECT to its end, and whether the broker ever accepted it.
    async fn session(&mut self) -> (End, bool) {
        let (options, _tunnel) = match self.way().await {
            Ok(found) => found,
            Err(end) => return (end, false),
        };
        let (client, event_loop) = AsyncClient::new(options, CLIENT_QUEUE);
        let (sender, mut events) = mpsc::channel(64);
        let poller = tokio::spawn(poll(event_loop, sender));
        let mut flight = Flight::default();
        let mut stood = false;
        let end = loop {
            let retry = flight.poll_timeout();
            tokio::select! {
                event = events.recv() => match event {
                    Some(Ok(event)) => stood |= self.handle_event(&client, &mut flight, event).await,
                    Some(Err(error)) => {
                        tracing::debug!(%error, "broker connection lost");
                        break End::Lost;
                    }
                    None => break End::Lost,
                },
                message = self.queue.recv() => match message {
                    Some(message) => self.keep(message),
                    None => {
                        self.goodbye(&client, &mut events, &mut flight, stood).await;
                        break End::Stop;
                    }
                },
                () = until(retry) => flight.handle_timeout(Instant::now()),
            }
            if stood {
                self.fill_window(&client, &mut flight);
            }
        };
        poller.abort();
        (end, stood)
    }

    /// How to connect. Fills the outbox while TLS to the broker comes about.
    async fn way(&mut self) -> Result<(MqttOptions, Option<Tunnel>), End> {
        let config = self.config.clone();
        let opening = options(&config);
        tokio::pin!(opening);
        loop {
            tokio::select! {
                found = &mut opening => return found.map_err(|error| {
                    tracing::debug!(%error, "no way to the broker");
                    End::Lost
                }),
                message = self.queue.recv() => match message {
                    Some(message) => self.keep(message),
                    None => return Err(End::Stop),
                },
            }
        }
    }

    /// True when the broker has just accepted us.
    async fn handle_event(&mut self, client: &AsyncClient, flight: &mut Flight, event: Event) -> bool {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                self.greet(client, flight);
                self.statistics.connected.store(true, Ordering::Relaxed);
                return true;
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                if self.send_again(flight, &topic, &publish.payload) {
                    return false;
                }
                let message = Received { topic, payload: publish.payload.to_vec() };
                // The receiver is only gone when the daemon stops.
                let _ = self.received.send(message).await;
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                if let Some(seq) = flight.handle_answer(ack.pkid) {
                    self.settle(flight, seq, ack.reason);
                }
            }
            Event::Outgoing(Outgoing::Publish(pkid)) => flight.handle_number(pkid),
            _ => {}
        }
        false
    }

    fn greet(&self, client: &AsyncClient, flight: &mut Flight) {
        let presence =
            client.try_publish(&self.config.presence_topic, QoS::AtLeastOnce, true, b"online".to_vec());
        if presence.is_ok() {
            flight.handle_unlisted();
        }
        for topic in &self.config.subscriptions {
            if let Err(error) = client.try_subscribe(topic, QoS::AtLeastOnce) {
                tracing::warn!(topic, %error, "cannot subscribe");
            }
        }
        tracing::info!(host = self.config.host, port = self.config.port, "connected to the broker");
    }

    fn fill_window(&self, client: &AsyncClient, flight: &mut Flight) {
        while flight.has_room() {
            let (seq, message) = match flight.choose(&self.outbox) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read");
                    return;
                }
            };
            if client.try_publish(&message.topic, QoS::AtLeastOnce, message.retain, message.payload).is_err()
            {
                return;
            }
            flight.handle_sent(seq);
        }
    }

    /// Only success deletes. A broker that has just lost its sessions takes messages of which it knows that nobody gets
    /// them, and one that refuses now may take them later.
    fn settle(&mut self, flight: &mut Flight, seq: u64, reason: PubAckReason) {
        if reason == PubAckReason::Success {
            flight.handle_taken(seq);
            self.forget(seq);
        } else {
            tracing::debug!(seq, ?reason, "the broker has not passed a message on; it stays in the outbox");
            flight.handle_refused(Instant::now(), seq);
        }
    }

    /// Answers a request for blocks; false for anything else. What is not here any more the receiver does not get: it
    /// asks for a keyframe next.
    fn send_again(&self, flight: &mut Flight, topic: &str, payload: &[u8]) -> bool {
        if topic != self.config.rebirth_topic {
            return false;
        }
        let request = std::str::from_utf8(payload).ok().and_then(|it| it.parse::<Request>().ok());
        let Some(Request { stream, missing: Some(missing) }) = request else { return false };
        let Ok((vin, _)) = Topic::parse(topic) else { return false };
        match self.outbox.kept(&Topic::Telemetry(stream).of(&vin), &missing) {
            Ok(found) => {
                tracing::info!(request = %String::from_utf8_lossy(payload), found = found.len(), "blocks are asked for again");
                flight.handle_wanted(found);
            }
            Err(error) => tracing::error!(%error, "the outbox cannot be read"),
        }
        true
    }

    /// Gives what is on its way a moment to be acknowledged, then disconnects cleanly.
    async fn goodbye(
        &mut self,
        client: &AsyncClient,
        events: &mut mpsc::Receiver<Result<Event, ConnectionError>>,
        flight: &mut Flight,
        stood: bool,
    ) {
        if !stood {
            return;
        }
        let drain = async {
            self.fill_window(client, flight);
            while !flight.is_empty() {
                let Some(Ok(event)) = events.recv().await else { return };
                self.handle_event(client, flight, event).await;
                self.fill_window(client, flight);
            }
            let farewell =
                client.try_publish(&self.config.presence_topic, QoS::AtLeastOnce, true, b"offline".to_vec());
            if farewell.is_err() || client.try_disconnect().is_err() {
                return;
            }
            while let Some(Ok(_)) = events.recv().await {}
        };
        if tokio::time::timeout(Duration::from_secs(2), drain).await.is_err() {
            tracing::debug!("the broker did not take the last messages in time; they stay in the outbox");
        }
    }

    /// Writes a message down, and in the same stroke those that wait behind it.
    fn keep(&mut self, first: Queued) {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = self.queue.try_recv()
        {
            batch.push(next);
        }
        if let Err(error) = self.outbox.push(batch.iter().map(|(message, _)| message)) {
            self.statistics.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
            tracing::error!(%error, "the outbox refuses messages; check the disk under state.directory");
        }
        for (_, receipt) in &batch {
            acknowledge(receipt.as_ref());
        }
        self.count();
    }

    fn forget(&mut self, seq: u64) {
        if let Err(error) = self.outbox.acknowledge(seq) {
            tracing::error!(%error, "the outbox cannot forget a message");
        }
        self.statistics.delivered.fetch_add(1, Ordering::Relaxed);
        self.count();
    }

    fn count(&self) {
        self.statistics.waiting.store(self.outbox.len() as u64, Ordering::Relaxed);
        self.statistics.evicted.store(self.outbox.dropped(), Ordering::Relaxed);
    }
}

fn acknowledge(receipt: Option<&Receipt>) {
    if let Some(receipt) = receipt {
        // Who has gone, or has no room, does not wait for it.
        let _ = receipt.try_send(());
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// What the client is told, and with TLS the tunnel it goes through, which ends when it is dropped.
async fn options(config: &MqttConfig) -> Result<(MqttOptions, Option<Tunnel>), TunnelError> {
    let MqttConfig { client_id, host, port, tls, .. } = config;
    let (mut options, tunnel) = match tls {
        None => (MqttOptions::new(client_id, host, *port), None),
        Some(tls) => {
            let tunnel = Tunnel::open(tls.suites, &tls.attempts, host, *port).await?;
            // The port is not looked at with a Unix socket.
            let mut options = MqttOptions::new(client_id, tunnel.name(), *port);
            options.set_transport(Transport::unix());
            (options, Some(tunnel))
        }
    };
    options.set_keep_alive(config.keep_alive);
    options.set_clean_start(true);
    options.set_max_packet_size(Some(MAX_COMMAND));
    let will = LastWill::new(&config.presence_topic, "offline", QoS::AtLeastOnce, true, None);
    options.set_last_will(will);
    Ok((options, tunnel))
}

/// Moves the client's bytes in a task of its own: a client that is polled and published to from one task freezes.
async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = event_loop.poll().await;
        let over = event.is_err();
        if events.send(event).await.is_err() || over {
            return;
        }
    }
}
