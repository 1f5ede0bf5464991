//! The two ways to the running daemon beside its events: commands over MQTT, and its control socket.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatewayd::control::{Answer, Request, Status};
use ota::stage::TraceId;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use telemetry::topics::{Topic, TopicError, VinSegment};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::failure::{Failure, Outcome};
use crate::vehicle::VIN;

/// How often the daemon is asked how it is.
pub(crate) const POLL: Duration = Duration::from_millis(250);
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// Pause before a broken connection to the broker is made again.
const RECONNECT: Duration = Duration::from_millis(500);

/// Tells the vehicle what to do, and counts the bytes of telemetry that come from it.
#[derive(Debug)]
pub(crate) struct Commander {
    client: AsyncClient,
    topic: String,
    telemetry_bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Commander {
    /// Connects to the broker, and again whenever the connection breaks.
    pub(crate) fn start(url: &str) -> Outcome<Self> {
        let rest = url.trim_start_matches("mqtt://").trim_end_matches('/');
        let with_port = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:1883") };
        let addresses = with_port.to_socket_addrs().map_err(Failure::of(format!("broker {url}")))?;
        let address =
            addresses.into_iter().next().ok_or_else(|| Failure::new(format!("broker {url}: no address")))?;
        let mut options = MqttOptions::new(
            format!("gatewayd-demo-{}-command", std::process::id()),
            address.ip().to_string(),
            address.port(),
        );
        options.set_keep_alive(Duration::from_secs(15));
        let (client, mut events) = AsyncClient::new(options, 64);
        let vin = VinSegment::new(VIN).map_err(|error: TopicError| Failure::new(error.to_string()))?;
        let telemetry_bytes = Arc::new(AtomicU64::new(0));
        let (counter, subscriber) = (Arc::clone(&telemetry_bytes), client.clone());
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        // The queue has room: at most one command waits in it.
                        let _ = subscriber.try_subscribe(format!("v1/{VIN}/telemetry/#"), QoS::AtMostOnce);
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        counter.fetch_add(publish.payload.len() as u64, Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(RECONNECT).await,
                }
            }
        });
        Ok(Self { client, topic: Topic::OtaCommand.of(&vin), telemetry_bytes, task })
    }

    /// Tells the vehicle that there is a campaign.
    pub(crate) fn announce(&self, trace: TraceId) {
        let command = serde_json::json!({ "command": "campaign", "ota_trace_id": trace.to_string() });
        // A full queue means that earlier announcements have not even left; they say the same.
        let _ =
            self.client.try_publish(&self.topic, QoS::AtLeastOnce, false, command.to_string().into_bytes());
    }

    /// Bytes of telemetry that came over the air so far.
    pub(crate) fn telemetry_bytes(&self) -> u64 {
        self.telemetry_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Commander {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the daemon last said of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// `None` while it does not answer.
    pub(crate) status: Option<Status>,
    /// The most memory it has held so far, over all its starts, in bytes (VmHWM of proc(5)).
    pub(crate) peak_memory: u64,
}

/// Asks the daemon again and again. The task ends with the receiver.
pub(crate) fn poll_status(socket: PathBuf) -> watch::Receiver<Heard> {
    let (sender, receiver) = watch::channel(Heard::default());
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(POLL);
        let mut peak_memory = 0;
        while !sender.is_closed() {
            tick.tick().await;
            let status = tokio::time::timeout(PATIENCE, ask(&socket)).await.ok().flatten();
            if let Some(status) = &status {
                peak_memory = peak_memory.max(high_water(status.pid));
            }
            sender.send_replace(Heard { status, peak_memory });
        }
    });
    receiver
}

async fn ask(socket: &PathBuf) -> Option<Status> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    let mut line = serde_json::to_vec(&Request::Status).ok()?;
    line.push(b'\n');
    stream.write_all(&line).await.ok()?;
    let mut text = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut text).await.ok()?;
    match serde_json::from_slice(&text).ok()? {
        Answer::Status(status) => Some(*status),
        Answer::Ok | Answer::Running(_) | Answer::Error { .. } => None,
    }
}

fn high_water(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let kib = line.and_then(|it| it.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
