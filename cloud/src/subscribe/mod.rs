//! What vehicles say, from any MQTT 5 broker: stage events, telemetry, presence, alerts, as typed messages.
//!
//! Delivery is at least once up to the caller: a message is settled only when the next one is asked for. What comes
//! twice is dropped by (vin, boot, stream, seq). Members of a group share a spool directory: blocks of one stream reach
//! different members, and none of them alone could read it.

mod address;
mod connection;
mod decode;
mod output;
mod seen;
mod spool;
mod tls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ota::stage::StageEvent;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::v5::Publish;
use telemetry::topics::Stream;
use telemetry::{BlockHeader, Window};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use address::AddressError;
pub use decode::Receiver;
pub use output::{Format, Output};
pub use tls::{BrokerTlsError, TlsFiles};

use crate::fsio::FileError;

/// Messages that may wait between the connection and the caller. The broker keeps the rest.
pub(crate) const QUEUE: usize = 1024;

/// Where to listen, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// `mqtt://host[:port]`, or `mqtts://host[:port]` for TLS.
    pub url: String,
    /// Whom to trust and what to show; needed for `mqtts`.
    pub tls: Option<TlsFiles>,
    /// Names the session on the broker: what arrives while we are away waits for the same name.
    pub client_id: String,
    /// Members of one group share the messages between them; `None` gets all.
    pub group: Option<String>,
    /// Where blocks are kept until they are read, over restarts and for all members of a group, which have to name the
    /// same directory. `None`: in memory.
    pub spool: Option<PathBuf>,
    /// How long a block may be missing before the vehicle is asked. In a group it may be with another
    /// member meanwhile: 3 s there unless set, nothing otherwise.
    pub grace: Option<Duration>,
    /// How long to wait for the first subscription. Defaults to 10 s.
    pub patience: Duration,
}

impl Options {
    /// A subscriber of its own at `url`.
    pub fn new(url: &str, client_id: &str) -> Self {
        Self {
            url: url.to_owned(),
            tls: None,
            client_id: client_id.to_owned(),
            group: None,
            spool: None,
            grace: None,
            patience: Duration::from_secs(10),
        }
    }
}

/// Why a subscription did not come about.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The caller's fault: not a broker's address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The caller's fault: TLS cannot be set up as told.
    #[error(transparent)]
    Tls(#[from] BrokerTlsError),
    /// The caller's fault: members without a common spool could read nothing.
    #[error("the members of group {0:?} need a common directory for blocks (--spool)")]
    GroupWithoutSpool(String),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] FileError),
    /// The caller's fault: not a group's name.
    #[error("group {group:?} cannot be shared: {source}")]
    Group {
        /// The name given.
        group: String,
        /// Why not.
        source: telemetry::topics::TopicError,
    },
    /// The broker does not answer, or refuses.
    #[error("no subscription at {url} within {} s: {reason} (is the broker running?)", patience.as_secs())]
    NotConnected {
        /// The broker.
        url: String,
        /// How long we tried.
        patience: Duration,
        /// The last failure.
        reason: String,
    },
}

/// Something a vehicle said, or that happened to the connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Message {
    /// A campaign's stage changed.
    Event(Box<StageEvent>),
    /// A window of telemetry.
    Window(Box<ReceivedWindow>),
    /// The vehicle came or went; the payload as it was sent.
    Presence {
        /// The vehicle.
        vin: String,
        /// The payload, with what is not UTF-8 replaced.
        payload: String,
    },
    /// Something a person should see; the payload as it was sent.
    Alert {
        /// The vehicle.
        vin: String,
        /// The payload, with what is not UTF-8 replaced.
        payload: String,
    },
    /// A message that could not be read. Its sender is at fault.
    Refused {
        /// Its topic.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Blocks are missing; the vehicle was asked for them, or for a keyframe.
    Gap {
        /// The vehicle.
        vin: String,
        /// The stream.
        stream: Stream,
    },
    /// The spool cannot be read or written: what came stays with the broker. Nothing more will come.
    Failed {
        /// Which file, and what the system said.
        reason: String,
    },
    /// The connection to the broker broke; it is being made again.
    Disconnected {
        /// Why.
        reason: String,
    },
}

/// A window of telemetry and where it came from.
#[derive(Clone, Debug)]
pub struct ReceivedWindow {
    /// The vehicle.
    pub vin: String,
    /// The stream.
    pub stream: Stream,
    /// The head of its block: boot, seq.
    pub header: BlockHeader,
    /// Blocks that never came before it.
    pub missed: u64,
    /// The measurements.
    pub window: Window,
}

/// What the connection hands over.
#[derive(Debug)]
pub(crate) enum Incoming {
    Publish(Box<Publish>),
    Disconnected(String),
}

/// A live subscription.
#[derive(Debug)]
pub struct Subscriber {
    client: AsyncClient,
    incoming: mpsc::Receiver<Incoming>,
    connection: JoinHandle<()>,
    receiver: Receiver,
    unacknowledged: Option<Box<Publish>>,
    /// Fetched, and not handed over because the future was dropped.
    pending: Option<Message>,
    failed: bool,
}

/// How long a block of a group's may be missing before the vehicle is asked.
const GROUP_GRACE: Duration = Duration::from_secs(3);

impl Subscriber {
    /// Connects and subscribes; returns once the broker has confirmed. Broken connections are made again, for as long
    /// as the subscriber lives. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SubscribeError`], after [`Options::patience`] at the latest.
    pub async fn connect(options: Options) -> Result<Self, SubscribeError> {
        let grace = if options.group.is_some() { GROUP_GRACE } else { Duration::ZERO };
        if let (None, Some(group)) = (&options.spool, &options.group) {
            return Err(SubscribeError::GroupWithoutSpool(group.clone()));
        }
        let receiver = Receiver::new(options.spool.as_deref(), options.grace.unwrap_or(grace))?;
        let (client, incoming, connection) = connection::open(&options).await?;
        Ok(Self {
            client,
            incoming,
            connection,
            receiver,
            unacknowledged: None,
            pending: None,
            failed: false,
        })
    }

    /// The next message; `None` when the connection's task has ended. Asking for it settles the one before.
    ///
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<Message> {
        if self.failed {
            return None;
        }
        match self.next().await {
            Ok(message) => message,
            Err(error) => {
                // Not acknowledged: the broker gives it to whoever comes next.
                self.unacknowledged = None;
                self.failed = true;
                Some(Message::Failed { reason: error.to_string() })
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Message>, FileError> {
        loop {
            if self.pending.is_none() {
                self.pending = self.receiver.poll_message(Instant::now())?;
            }
            if self.pending.is_none() {
                // All that was given out is settled.
                self.acknowledge().await;
            }
            if let Some((topic, payload)) = self.receiver.poll_request() {
                // Never waits: a request that finds the queue full is made again with the next gap.
                let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
                let _ = self.client.try_publish(topic, qos, false, payload);
            }
            if let Some(message) = self.pending.take() {
                return Ok(Some(message));
            }
            let wakeup = self.receiver.next_wakeup();
            let incoming = tokio::select! {
                incoming = self.incoming.recv() => incoming,
                () = until(wakeup) => continue,
            };
            let publish = match incoming {
                None => return Ok(None),
                Some(Incoming::Disconnected(reason)) => return Ok(Some(Message::Disconnected { reason })),
                Some(Incoming::Publish(publish)) => publish,
            };
            let topic = String::from_utf8_lossy(&publish.topic).into_owned();
            let message = self.receiver.handle_publish(&topic, &publish.payload)?;
            self.unacknowledged = Some(publish);
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Telemetry blocks that came once more and were dropped, since the start.
    pub fn duplicates(&self) -> u64 {
        self.receiver.duplicates()
    }

    /// Acknowledges the last message and says good-bye to the broker.
    pub async fn close(mut self) {
        // Settles the last message; what else lies in the spool is for the next process.
        let settled = !self.failed && self.pending.is_none();
        if settled && matches!(self.receiver.poll_message(Instant::now()), Ok(None)) {
            self.acknowledge().await;
        }
        let _ = self.client.disconnect().await;
        // The connection's task sees the good-bye off; a broker that does not let go is left after a second.
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut self.connection).await;
    }

    async fn acknowledge(&mut self) {
        if let Some(publish) = &self.unacknowledged {
            let _ = self.client.ack(publish).await;
            self.unacknowledged = None;
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
