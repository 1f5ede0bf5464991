//! The broker: a thread of its own, an outbox on disk in front of a client that is treated as a dumb pipe.
//!
//! The client is thrown away with its connection. Whatever the outbox still holds is sent again on the next one, in
//! order; receivers drop duplicates.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, Transport};
use tokio::sync::mpsc;

use super::outbox::Outbox;
use super::tls::ClientTls;
use crate::gateway::message::Publish;

mod tunnel;

use self::tunnel::{Tunnel, TunnelError};

/// Messages sent and not yet acknowledged.
const WINDOW: usize = 16;
/// Requests the client may hold: more than the window and the two subscriptions, so that it never makes us wait.
const CLIENT_QUEUE: usize = 64;
/// Messages between the daemon and this thread.
const QUEUE: usize = 1024;
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

/// A handle on the broker's thread. Dropping it says goodbye to the broker.
#[derive(Debug)]
pub struct Mqtt {
    outgoing: Option<mpsc::Sender<Publish>>,
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
        let taken = self.outgoing.as_ref().is_some_and(|it| it.try_send(message).is_ok());
        if !taken {
            self.statistics.lost.fetch_add(1, Ordering::Relaxed);
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
    queue: mpsc::Receiver<Publish>,
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

/// What is on its way in one session.
#[derive(Default)]
struct Flight {
    /// Given to the client, in order, not yet numbered by it.
    handed: VecDeque<u64>,
    /// Numbered by the client, not yet acknowledged by the broker.
    numbered: HashMap<u16, u64>,
    /// The last message handed over.
    last: Option<u64>,
    /// Publishes of the presence message, which is not in the outbox.
    unlisted: usize,
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
                    Some(message) => self.keep(&message),
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
                    Some(message) => self.keep(&message),
                    None => {
                        self.goodbye(&client, &mut events, &mut flight, stood).await;
                        break End::Stop;
                    }
                },
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
                    Some(message) => self.keep(&message),
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
                let message = Received { topic, payload: publish.payload.to_vec() };
                // The receiver is only gone when the daemon stops.
                let _ = self.received.send(message).await;
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                if let Some(seq) = flight.numbered.remove(&ack.pkid) {
                    self.forget(seq);
                }
            }
            Event::Outgoing(Outgoing::Publish(pkid)) => {
                if flight.unlisted > 0 {
                    flight.unlisted -= 1;
                } else if let Some(seq) = flight.handed.pop_front() {
                    flight.numbered.insert(pkid, seq);
                }
            }
            _ => {}
        }
        false
    }

    fn greet(&self, client: &AsyncClient, flight: &mut Flight) {
        let presence =
            client.try_publish(&self.config.presence_topic, QoS::AtLeastOnce, true, b"online".to_vec());
        if presence.is_ok() {
            flight.unlisted += 1;
        }
        for topic in &self.config.subscriptions {
            if let Err(error) = client.try_subscribe(topic, QoS::AtLeastOnce) {
                tracing::warn!(topic, %error, "cannot subscribe");
            }
        }
        tracing::info!(host = self.config.host, port = self.config.port, "connected to the broker");
    }

    fn fill_window(&self, client: &AsyncClient, flight: &mut Flight) {
        while flight.handed.len() + flight.numbered.len() < WINDOW {
            let (seq, message) = match self.outbox.next_after(flight.last) {
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
            flight.handed.push_back(seq);
            flight.last = Some(seq);
        }
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
            while !(flight.handed.is_empty() && flight.numbered.is_empty()) {
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

    fn keep(&mut self, message: &Publish) {
        if let Err(error) = self.outbox.push(message) {
            self.statistics.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "the outbox refuses a message; check the disk under state.directory");
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

/// What the client is told, and with TLS the tunnel it goes through, which ends when it is dropped.
async fn options(config: &MqttConfig) -> Result<(MqttOptions, Option<Tunnel>), TunnelError> {
    let MqttConfig { client_id, host, port, tls, .. } = config;
    let (mut options, tunnel) = match tls {
        None => (MqttOptions::new(client_id, host, *port), None),
        Some(tls) => {
            let tunnel = Tunnel::open(tls, host, *port).await?;
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

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// DNS name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the scheme asks for TLS.
    pub tls: bool,
}

/// Splits `mqtt://host:port` and `mqtts://host:port`; the ports default to 1883 and 8883.
///
/// # Errors
/// A message that says how it is written.
pub fn parse_url(url: &str) -> Result<BrokerAddress, String> {
    let form = || format!("`{url}`: write mqtt://host:port or mqtts://host:port");
    let (tls, rest) = match url.strip_prefix("mqtts://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("mqtt://").ok_or_else(form)?),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(address) => address.ok_or_else(form)?,
        None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| format!("`{url}`: {port} is not a port"))?,
        None if port.is_empty() => {
            if tls {
                8883
            } else {
                1883
            }
        }
        None => return Err(form()),
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(form());
    }
    Ok(BrokerAddress { host: host.to_owned(), port, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_found_and_anything_else_is_refused() {
        let ok = |url: &str| parse_url(url).map(|it| (it.host, it.port, it.tls)).ok();
        let found = |host: &str, port, tls| Some((host.to_owned(), port, tls));
        assert_eq!(ok("mqtt://broker"), found("broker", 1883, false));
        assert_eq!(ok("mqtts://broker"), found("broker", 8883, true));
        assert_eq!(ok("mqtts://broker:65535/"), found("broker", 65_535, true));
        assert_eq!(ok("mqtt://[::1]:1"), found("::1", 1, false));
        assert_eq!(ok("mqtts://[::1]"), found("::1", 8883, true));
        for bad in [
            "",
            "broker",
            "http://broker",
            "mqtts://",
            "mqtt://:1883",
            "mqtt://b:65536",
            "mqtt://b:x",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://user@b",
            "mqtt://b/path",
        ] {
            assert_eq!(ok(bad), None, "{bad}");
        }
    }
}
