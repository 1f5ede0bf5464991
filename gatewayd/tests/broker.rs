//! The broker link against a real broker, over a line that is cut in the middle.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway_sim::broker::{Line, SimBroker};
use gatewayd::gateway::message::Publish;
use gatewayd::io::mqtt::{Mqtt, MqttConfig, Received, parse_url};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;

const EVENTS: &str = "v1/LSVAG2180E2100001/ota/event";
const PRESENCE: &str = "v1/LSVAG2180E2100001/presence";
const COMMAND: &str = "v1/LSVAG2180E2100001/ota/command";
const REBIRTH: &str = "v1/LSVAG2180E2100001/telemetry/rebirth";
const PATIENCE: Duration = Duration::from_secs(30);

fn config(url: &str) -> MqttConfig {
    let address = parse_url(url).expect("the simulator's URL");
    MqttConfig {
        host: address.host,
        port: address.port,
        tls: None,
        client_id: "gatewayd-test".to_owned(),
        keep_alive: Duration::from_secs(5),
        outbox: 10_000,
        presence_topic: PRESENCE.to_owned(),
        subscriptions: vec![COMMAND.to_owned(), REBIRTH.to_owned()],
        rebirth_topic: REBIRTH.to_owned(),
    }
}

fn event(number: u32) -> Publish {
    Publish {
        topic: EVENTS.to_owned(),
        payload: number.to_be_bytes().to_vec(),
        retain: false,
        droppable: false,
    }
}

/// A backend directly at the broker: hears everything below the vehicle's topic.
struct Backend {
    client: AsyncClient,
    heard: mpsc::Receiver<(String, Vec<u8>)>,
}

impl Backend {
    async fn start(broker: SimBroker) -> Self {
        let address = broker.address();
        let (client, mut events) =
            AsyncClient::new(MqttOptions::new("backend", address.ip().to_string(), address.port()), 64);
        client.subscribe("v1/#", QoS::AtLeastOnce).await.expect("queued");
        let (sender, heard) = mpsc::channel(20_000);
        let (subscribed, ready) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut subscribed = Some(subscribed);
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => {
                        if let Some(subscribed) = subscribed.take() {
                            let _ = subscribed.send(());
                        }
                    }
                    Event::Incoming(Packet::Publish(it)) => {
                        let topic = String::from_utf8_lossy(&it.topic).into_owned();
                        if sender.send((topic, it.payload.to_vec())).await.is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
        tokio::time::timeout(PATIENCE, ready).await.expect("in time").expect("subscribed");
        Self { client, heard }
    }

    /// Event numbers, in the order heard, until `last` is among them.
    async fn events_until(&mut self, last: u32) -> Vec<u32> {
        let mut numbers = Vec::new();
        while !numbers.contains(&last) {
            let (topic, payload) = self.next().await;
            if topic == EVENTS {
                numbers.push(u32::from_be_bytes(payload.try_into().expect("four bytes")));
            }
        }
        numbers
    }

    async fn presence(&mut self) -> String {
        loop {
            let (topic, payload) = self.next().await;
            if topic == PRESENCE {
                return String::from_utf8(payload).expect("text");
            }
        }
    }

    async fn next(&mut self) -> (String, Vec<u8>) {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("in time").expect("the broker lives")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_line_breaks_and_the_order_holds() {
    let broker = SimBroker::start().expect("broker");
    let line = Line::to(broker.address()).expect("line");
    let mut backend = Backend::start(broker).await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let (received, _commands) = mpsc::channel(8);
    let mqtt =
        Mqtt::start(config(&line.url()), &directory.path().join("outbox.redb"), received).expect("starts");

    for number in 0..100 {
        mqtt.publish(event(number));
    }
    let mut heard = backend.events_until(50).await;
    line.cut();
    for number in 100..200 {
        mqtt.publish(event(number));
    }
    line.mend();
    heard.extend(backend.events_until(199).await);

    let distinct: BTreeSet<u32> = heard.iter().copied().collect();
    assert_eq!(distinct, (0..200).collect(), "every event arrives");
    // Duplicates repeat a stretch from its beginning; without them the order is that of publishing.
    let mut first = Vec::new();
    for number in heard {
        if !first.contains(&number) {
            first.push(number);
        }
    }
    assert_eq!(first, (0..200).collect::<Vec<_>>());
    drop(mqtt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_without_a_broker_is_sent_by_the_next_run() {
    let broker = SimBroker::start().expect("broker");
    let mut backend = Backend::start(broker).await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let outbox = directory.path().join("outbox.redb");
    let (received, _commands) = mpsc::channel(8);
    let line = Line::to(broker.address()).expect("line");
    line.cut();
    let offline = Mqtt::start(config(&line.url()), &outbox, received.clone()).expect("starts");
    for number in 0..20 {
        offline.publish(event(number));
    }
    drop(offline);
    let online = Mqtt::start(config(&broker.url()), &outbox, received).expect("starts again");
    let heard = backend.events_until(19).await;
    assert_eq!(heard, (0..20).collect::<Vec<_>>());
    drop(online);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_says_online_then_offline_and_commands_come_in() {
    let broker = SimBroker::start().expect("broker");
    let mut backend = Backend::start(broker).await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let (received, mut commands) = mpsc::channel(8);
    let mqtt =
        Mqtt::start(config(&broker.url()), &directory.path().join("outbox.redb"), received).expect("starts");
    assert_eq!(backend.presence().await, "online");
    // The subscription follows the presence message on the same connection; the broker may still be behind.
    let command = loop {
        backend.client.publish(COMMAND, QoS::AtLeastOnce, false, "look").await.expect("queued");
        match tokio::time::timeout(Duration::from_millis(500), commands.recv()).await {
            Ok(command) => break command,
            Err(_) => continue,
        }
    };
    assert_eq!(command, Some(Received { topic: COMMAND.to_owned(), payload: b"look".to_vec() }));
    let stopped = tokio::task::spawn_blocking(move || drop(mqtt));
    assert_eq!(backend.presence().await, "offline");
    stopped.await.expect("stops");
}
