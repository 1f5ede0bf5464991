//! A subscriber at a real broker, which a vehicle talks to.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use gateway_cloud::subscribe::{Message, Options, Output, SubscribeError, Subscriber};
use gateway_sim::broker::SimBroker;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use telemetry::{BootId, Encoder, Frame, SchedulingClass, StreamId, ThreadInfo, WindowBuilder};
use tokio::sync::mpsc;

const VIN: &str = "WVWZZZ1JZXW000001";

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn broker() -> String {
    SimBroker::start().unwrap().url()
}

/// A vehicle: publishes at once, and hands over what is published to it.
struct Vehicle {
    client: AsyncClient,
    received: mpsc::Receiver<(String, String)>,
}

impl Vehicle {
    fn new(url: &str) -> Self {
        let addr: SocketAddr = url.strip_prefix("mqtt://").unwrap().parse().unwrap();
        let options = MqttOptions::new("vehicle", addr.ip().to_string(), addr.port());
        let (client, mut events) = AsyncClient::new(options, 64);
        let (sender, received) = mpsc::channel(64);
        client.try_subscribe(format!("v1/{VIN}/telemetry/rebirth"), QoS::AtLeastOnce).unwrap();
        tokio::spawn(async move {
            loop {
                if let Ok(Event::Incoming(Packet::Publish(it))) = events.poll().await {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    if sender.send((text(&it.topic), text(&it.payload))).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self { client, received }
    }

    async fn say(&self, topic: &str, payload: impl Into<bytes::Bytes>) {
        let topic = format!("v1/{VIN}/{topic}");
        self.client.publish_bytes(topic, QoS::AtLeastOnce, false, payload.into()).await.unwrap();
    }
}

fn event(seq: u64) -> String {
    format!(
        r#"{{"vin":"{VIN}","stage_code":"VERIFY","status":"ok","span_duration_ms":5,"thread_name":"bus",
        "boot":"b1","seq":{seq},"at":1}}"#
    )
}

fn blocks() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(BootId(1), StreamId::PROFILE).unwrap();
    let thread = ThreadInfo { pid: 1, tid: 1, name: "bus".into(), class: SchedulingClass::default() };
    (0..4)
        .map(|index| {
            let mut builder = WindowBuilder::new(index * 1000);
            builder.push(1, &thread, &[Frame::Symbol("poll".into())], 10).unwrap();
            if index == 3 {
                encoder.request_keyframe();
            }
            encoder.encode(&builder.finish(1000)).unwrap()
        })
        .collect()
}

/// The broker's thread may not listen yet when the first connection is tried; that is what the patience is for.
async fn subscriber(url: &str) -> Subscriber {
    Subscriber::connect(Options::new(url, "subscriber")).await.unwrap()
}

async fn deadline<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("the test ends in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_and_windows_arrive_once_and_a_gap_asks_the_vehicle() {
    deadline(async {
        let url = broker();
        let mut subscriber = subscriber(&url).await;
        let mut vehicle = Vehicle::new(&url);
        let dir = tempfile::tempdir().unwrap();
        let mut output = Output::open(dir.path()).unwrap();

        vehicle.say("ota/event", event(0)).await;
        vehicle.say("ota/event", event(0)).await;
        vehicle.say("alert", "hot").await;
        let first = subscriber.recv().await.unwrap();
        assert!(matches!(&first, Message::Event(it) if it.seq == 0), "{first:?}");
        output.write(&first).unwrap();
        let second = subscriber.recv().await.unwrap();
        assert!(matches!(&second, Message::Alert { payload, .. } if payload == "hot"), "{second:?}");

        let blocks = blocks();
        for index in [0, 0, 2] {
            vehicle.say("telemetry/profile", blocks[index].clone()).await;
        }
        let window = subscriber.recv().await.unwrap();
        assert!(matches!(&window, Message::Window(it) if it.header.seq == 0 && it.missed == 0), "{window:?}");
        output.write(&window).unwrap();
        let gap = subscriber.recv().await.unwrap();
        assert!(matches!(gap, Message::Gap { .. }), "{gap:?}");
        let asked = vehicle.received.recv().await.unwrap();
        // By number, of the start of the service that numbers them.
        assert_eq!(asked, (format!("v1/{VIN}/telemetry/rebirth"), "profile 0000000000000001 1".to_owned()));
        vehicle.say("telemetry/profile", blocks[3].clone()).await;
        let window = subscriber.recv().await.unwrap();
        assert!(matches!(&window, Message::Window(it) if it.header.seq == 3 && it.missed > 0), "{window:?}");
        output.write(&window).unwrap();
        output.flush().unwrap();

        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("events.jsonl").lines().count(), 1);
        assert_eq!(read("profile.folded"), format!("{VIN};bus;poll 20\n"));
        subscriber.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_group_share_the_messages() {
    deadline(async {
        let url = broker();
        let spool = tempfile::tempdir().unwrap();
        let member = async |name: &str| {
            let mut options = Options::new(&url, name);
            options.group = Some("backend".to_owned());
            options.spool = Some(spool.path().to_owned());
            Subscriber::connect(options).await.unwrap()
        };
        let (mut one, mut two) = (member("one").await, member("two").await);
        let vehicle = Vehicle::new(&url);
        for seq in 0..8 {
            vehicle.say("ota/event", event(seq)).await;
        }
        let mut seen = Vec::new();
        while seen.len() < 8 {
            let message = tokio::select! { it = one.recv() => it, it = two.recv() => it };
            match message.unwrap() {
                Message::Event(event) => seen.push(event.seq),
                other => panic!("{other:?}"),
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_group_without_a_common_spool_is_refused() {
    let mut options = Options::new("mqtt://127.0.0.1", "member");
    options.group = Some("backend".to_owned());
    let error = Subscriber::connect(options).await.unwrap_err();
    assert!(matches!(error, SubscribeError::GroupWithoutSpool(_)), "{error}");
}

#[tokio::test]
async fn mqtts_without_an_authority_is_refused() {
    let error = Subscriber::connect(Options::new("mqtts://127.0.0.1", "member")).await.unwrap_err();
    assert!(matches!(error, SubscribeError::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_an_error_in_time() {
    let url = format!("mqtt://{}", free_address());
    let mut options = Options::new(&url, "subscriber");
    options.patience = Duration::from_millis(300);
    let error = deadline(Subscriber::connect(options)).await.unwrap_err();
    assert!(matches!(error, SubscribeError::NotConnected { .. }), "{error}");
    assert!(error.to_string().contains(&url), "{error}");
}
