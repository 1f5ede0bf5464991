//! The task that owns the connection. It only polls and passes on: publishing and acknowledging happen elsewhere,
//! because a task that does both can wait for itself.

use std::time::Duration;

use crypto_offload::tls::tunnel::{Tunnel, TunnelError};
use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Filter, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use telemetry::limits::MAX_BLOCK_LEN;
use telemetry::topics;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::address::{self, Address};
use super::tls::BrokerTls;
use super::{Incoming, Options, QUEUE, SubscribeError};

/// Messages the broker may send ahead of our acknowledgements; far below [`QUEUE`], so that the queue never fills.
const RECEIVE_MAXIMUM: u16 = 256;

/// How long the broker keeps what arrives while we are away, in seconds.
const SESSION_EXPIRY: u32 = 3600;

/// Largest packet accepted, in bytes: the largest telemetry block with its topic.
const MAX_PACKET: usize = MAX_BLOCK_LEN + 4096;

/// Pause before a broken connection is made again, doubled each time up to the second value.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

const ALL_ALERTS: &str = "v1/+/alert";

type Opened = (AsyncClient, mpsc::Receiver<Incoming>, JoinHandle<()>);

/// Starts the task and waits for the first subscription.
pub(crate) async fn open(options: &Options) -> Result<Opened, SubscribeError> {
    let address = address::parse(&options.url)?;
    let tls = address.tls.then(|| BrokerTls::new(options.tls.as_ref())).transpose()?;
    let filters = filters(options.group.as_deref())?;
    let way = Way { client_id: options.client_id.clone(), address, tls };
    let (client, events) = AsyncClient::new(way.options(None), QUEUE);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (ready, mut subscribed) = oneshot::channel();
    let client_of_driver = client.clone();
    let driver =
        Driver { events, way, client: client_of_driver, filters, sender, ready: Some(ready), last: None };
    let (report, mut last_error) = tokio::sync::watch::channel("no answer".to_owned());
    let task = tokio::spawn(driver.run(report));
    match tokio::time::timeout(options.patience, &mut subscribed).await {
        Ok(Ok(())) => Ok((client, receiver, task)),
        Ok(Err(_)) | Err(_) => {
            task.abort();
            Err(SubscribeError::NotConnected {
                url: options.url.clone(),
                patience: options.patience,
                reason: last_error.borrow_and_update().clone(),
            })
        }
    }
}

fn filters(group: Option<&str>) -> Result<Vec<Filter>, SubscribeError> {
    let all = [topics::ALL_OTA_EVENTS, topics::ALL_TELEMETRY, topics::ALL_PRESENCE, ALL_ALERTS];
    let mut filters = Vec::new();
    for path in all {
        let path = match group {
            Some(group) => topics::shared(group, path)
                .map_err(|source| SubscribeError::Group { group: group.to_owned(), source })?,
            None => path.to_owned(),
        };
        filters.push(Filter::new(path, QoS::AtLeastOnce));
    }
    Ok(filters)
}

/// How to reach the broker.
struct Way {
    client_id: String,
    address: Address,
    tls: Option<BrokerTls>,
}

impl Way {
    /// What the client is told, with TLS through a tunnel.
    fn options(&self, tunnel: Option<&Tunnel>) -> MqttOptions {
        let host = tunnel.map_or(self.address.host.as_str(), Tunnel::name);
        let mut mqtt = MqttOptions::new(&self.client_id, host, self.address.port);
        if self.tls.is_some() {
            // The port is not looked at with a Unix socket.
            mqtt.set_transport(Transport::unix());
        }
        let mut properties = ConnectProperties::new();
        properties.session_expiry_interval = Some(SESSION_EXPIRY);
        properties.receive_maximum = Some(RECEIVE_MAXIMUM);
        // Far below 4 GiB.
        properties.max_packet_size = u32::try_from(MAX_PACKET).ok();
        mqtt.set_connect_properties(properties)
            .set_clean_start(false)
            .set_manual_acks(true)
            .set_keep_alive(Duration::from_secs(15));
        mqtt
    }

    async fn tunnel(&self) -> Result<Option<Tunnel>, TunnelError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        Tunnel::open(tls.suites, &tls.attempts, &self.address.host, self.address.port).await.map(Some)
    }
}

struct Driver {
    events: EventLoop,
    way: Way,
    client: AsyncClient,
    filters: Vec<Filter>,
    sender: mpsc::Sender<Incoming>,
    ready: Option<oneshot::Sender<()>>,
    last: Option<String>,
}

impl Driver {
    async fn run(mut self, report: tokio::sync::watch::Sender<String>) {
        let mut pause = PAUSES.0;
        loop {
            let reason = match self.way.tunnel().await {
                Ok(tunnel) => {
                    if let Some(tunnel) = &tunnel {
                        self.events.options = self.way.options(Some(tunnel));
                    }
                    match self.session(&mut pause, &report).await {
                        Some(reason) => reason,
                        None => return,
                    }
                }
                Err(error) => error.to_string(),
            };
            report.send_replace(reason.clone());
            // Told once per reason, and only where there is room: the caller may be busy.
            if self.ready.is_none() && self.last.as_ref() != Some(&reason) {
                let _ = self.sender.try_send(Incoming::Disconnected(reason.clone()));
                self.last = Some(reason);
            }
            if self.sender.is_closed() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// One connection, and why it broke; `None` when nobody wants another.
    async fn session(
        &mut self,
        pause: &mut Duration,
        report: &tokio::sync::watch::Sender<String>,
    ) -> Option<String> {
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(packet)) => {
                    *pause = PAUSES.0;
                    self.handle_packet(packet, report)?;
                }
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return None,
                Ok(Event::Outgoing(_)) => {}
                Err(error) => return Some(error.to_string()),
            }
        }
    }

    /// `None` when nobody listens any more.
    fn handle_packet(&mut self, packet: Packet, report: &tokio::sync::watch::Sender<String>) -> Option<()> {
        match packet {
            Packet::ConnAck(_) => {
                self.last = None;
                // After every connection: a broker that lost the session lost the subscriptions with it.
                let _ = self.client.try_subscribe_many(self.filters.clone());
            }
            Packet::SubAck(ack) => {
                let granted = |it: &SubscribeReasonCode| matches!(it, SubscribeReasonCode::Success(_));
                match ack.return_codes.iter().find(|it| !granted(it)) {
                    Some(refused) => {
                        report.send_replace(format!("the broker refuses the subscription: {refused:?}"));
                    }
                    None => {
                        if let Some(ready) = self.ready.take() {
                            ready.send(()).ok()?;
                        }
                    }
                }
            }
            // The queue is wider than what the broker may send ahead. Should it be full nevertheless, the message is
            // left unacknowledged, and the broker sends it again after the next connection.
            Packet::Publish(publish) => match self.sender.try_send(Incoming::Publish(Box::new(publish))) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    tracing::warn!("queue full, message left to the broker")
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return None,
            },
            _ => {}
        }
        Some(())
    }
}
