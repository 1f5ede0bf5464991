//! The broker link over TLS: both families of suites, who is trusted, and a real broker.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crypto_offload::tls::{Family, Suites};
use gateway_cloud::certs::{self, CertificateFiles};
use gateway_sim::broker::SimBroker;
use gatewayd::config::parts::{CloudPart, MqttPart, Secret, TransportName};
use gatewayd::config::units::{Size, Span};
use gatewayd::gateway::message::Publish;
use gatewayd::io::mqtt::{Mqtt, MqttConfig, parse_url};
use gatewayd::io::tls::ClientTls;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: u32 = 20;

/// Certificates of both kinds for `name`, and what `[cloud]` and `[mqtt]` say of them.
struct Vehicle {
    directory: TempDir,
    cloud: CloudPart,
    mqtt: MqttPart,
}

impl Vehicle {
    fn new(suites: Suites, name: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let names = [name.to_owned()];
        certs::issue(directory.path(), &names, certs::DEFAULT_VALIDITY).expect("certificates");
        certs::issue_sm(directory.path(), &names, certs::DEFAULT_VALIDITY).expect("certificates");
        let (files, sm) =
            (CertificateFiles::below(directory.path()), CertificateFiles::sm_below(directory.path()));
        let read = |path: &Path| std::fs::read_to_string(path).expect("certificate");
        let ca = directory.path().join("both-ca.pem");
        std::fs::write(&ca, read(&files.ca) + &read(&sm.ca)).expect("file");
        let cloud = CloudPart {
            url: "https://localhost/".to_owned(),
            ca,
            certificate: files.gateway,
            key: Secret::File(files.gateway_key).into(),
            suites,
            sm_certificate: Some(sm.gateway),
            sm_key: Some(Secret::File(sm.gateway_key)),
            transports: vec![TransportName::Http3],
            connect_timeout: Span(PATIENCE),
            stall_timeout: Span(PATIENCE),
            attempts: 1,
            read_ahead: Size(1 << 20),
            poll_interval: Span(PATIENCE),
        };
        let mqtt = MqttPart {
            url: String::new(),
            ca: None,
            certificate: None,
            key: None,
            keep_alive: Span(Duration::from_secs(5)),
            outbox: 100,
        };
        Self { directory, cloud, mqtt }
    }

    /// Starts the link and gives it some events to deliver.
    fn connect(&self, port: u16) -> Mqtt {
        let address = parse_url(&format!("mqtts://localhost:{port}")).expect("is a URL");
        assert!(address.tls);
        let config = MqttConfig {
            host: address.host,
            port: address.port,
            tls: Some(ClientTls::for_broker(&self.mqtt, &self.cloud, None).expect("certificates")),
            client_id: "gatewayd-test".to_owned(),
            keep_alive: Duration::from_secs(5),
            outbox: 100,
            presence_topic: "v1/vin/presence".to_owned(),
            subscriptions: vec!["v1/vin/ota/command".to_owned()],
            rebirth_topic: "v1/vin/telemetry/rebirth".to_owned(),
        };
        let (received, _) = mpsc::channel(8);
        let mqtt = Mqtt::start(config, &self.directory.path().join("outbox.redb"), received).expect("starts");
        for number in 0..EVENTS {
            let payload = number.to_be_bytes().to_vec();
            mqtt.publish(Publish {
                topic: "v1/vin/ota/event".to_owned(),
                payload,
                retain: false,
                droppable: false,
            });
        }
        mqtt
    }
}

/// Whether every event was acknowledged by a broker within the patience of this test.
async fn delivered(mqtt: &Mqtt) -> bool {
    let all = async {
        // Counted, not seen: the outbox may fill and empty between two looks at it.
        while mqtt.statistics().delivered.load(Ordering::Relaxed) < u64::from(EVENTS) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
    let (_, _, dropped) = mqtt.statistics().read();
    assert_eq!(dropped, 0);
    in_time
}

/// TLS in front of a broker that has none; tells how each handshake ended.
async fn terminator(config: ServerConfig, broker: SocketAddr) -> (u16, mpsc::Receiver<Result<(), String>>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let (sender, outcomes) = mpsc::channel(64);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                match acceptor.accept(socket).await {
                    Ok(mut client) => {
                        let _ = sender.send(Ok(())).await;
                        let mut server =
                            tokio::net::TcpStream::connect(broker).await.expect("the broker listens");
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                    Err(error) => drop(sender.send(Err(error.to_string())).await),
                }
            });
        }
    });
    (port, outcomes)
}

/// A broker's TLS with client certificates, from the files `publish keys` makes.
fn server(family: Family, directory: &Path) -> ServerConfig {
    let files = match family {
        Family::Sm => CertificateFiles::sm_below(directory),
        Family::International => CertificateFiles::below(directory),
    };
    let provider = family.provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).expect("certificate")).expect("authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(verifier.build().expect("verifier"))
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&files.server).expect("certificate")],
            PrivateKeyDer::from_pem_file(&files.server_key).expect("key"),
        )
        .expect("configuration")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_reach_a_broker_whose_suites_the_policy_allows() {
    let broker = SimBroker::start().expect("broker");
    for family in [Family::Sm, Family::International] {
        for suites in Suites::ALL {
            let vehicle = Vehicle::new(suites, "localhost");
            let (port, mut outcomes) =
                terminator(server(family, vehicle.directory.path()), broker.address()).await;
            let mqtt = vehicle.connect(port);
            if suites.families().contains(&family) {
                assert!(delivered(&mqtt).await, "{family:?} broker, {suites}");
            } else {
                let outcome = tokio::time::timeout(PATIENCE, outcomes.recv()).await.expect("in time");
                assert!(matches!(outcome, Some(Err(_))), "{family:?} broker, {suites}: {outcome:?}");
                assert!(!mqtt.statistics().read().0);
            }
            tokio::task::spawn_blocking(move || drop(mqtt)).await.expect("stops");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_another_name_or_authority_gets_nothing() {
    let broker = SimBroker::start().expect("broker");
    for family in [Family::Sm, Family::International] {
        let elsewhere = Vehicle::new(Suites::SmPreferred, "other.example.com");
        let stranger = Vehicle::new(Suites::SmPreferred, "localhost");
        let mut fooled = Vehicle::new(Suites::SmPreferred, "localhost");
        fooled.mqtt.ca = Some(fooled.cloud.ca.clone());
        for (vehicle, directory) in [(&elsewhere, &elsewhere.directory), (&fooled, &stranger.directory)] {
            let (port, mut outcomes) = terminator(server(family, directory.path()), broker.address()).await;
            let mqtt = vehicle.connect(port);
            // Both families are tried; neither comes through.
            for _ in 0..2 {
                let outcome = tokio::time::timeout(PATIENCE, outcomes.recv()).await.expect("in time");
                assert!(matches!(outcome, Some(Err(_))), "{family:?}: {outcome:?}");
            }
            assert!(!mqtt.statistics().read().0);
            tokio::task::spawn_blocking(move || drop(mqtt)).await.expect("stops");
        }
    }
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Subscribes to everything: what nobody listens to, a broker says so of, and the gateway keeps.
async fn listen(port: u16) {
    let (client, mut events) = AsyncClient::new(MqttOptions::new("listener", "127.0.0.1", port), 16);
    client.subscribe("#", QoS::AtLeastOnce).await.expect("there is room");
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::SubAck(_))) => break,
            Ok(_) => {}
            // It is still starting.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_takes_events_over_mutual_tls() {
    let mosquitto = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(mosquitto) = mosquitto else {
        println!("not checked: mosquitto is not installed");
        return;
    };
    // With both kinds of suites: mosquitto's library has no SM ones, so this is the second attempt.
    let vehicle = Vehicle::new(Suites::SmPreferred, "localhost");
    let files = CertificateFiles::below(vehicle.directory.path());
    let [port, inside] = [(), ()].map(|()| {
        TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr()).expect("a free port").port()
    });
    let configuration = vehicle.directory.path().join("mosquitto.conf");
    let text = format!(
        "user root\nallow_anonymous true\nlistener {inside} 127.0.0.1\nlistener {port} 127.0.0.1\n\
         require_certificate true\ntls_version tlsv1.3\ncafile {}\ncertfile {}\nkeyfile {}\n",
        files.ca.display(),
        files.server.display(),
        files.server_key.display()
    );
    std::fs::write(&configuration, text).expect("file");
    let broker = Command::new(mosquitto).arg("-c").arg(&configuration).stderr(Stdio::null()).spawn();
    let _broker = Running(broker.expect("mosquitto starts"));
    tokio::time::timeout(PATIENCE, listen(inside)).await.expect("somebody listens");
    let mqtt = vehicle.connect(port);
    assert!(delivered(&mqtt).await);
    tokio::task::spawn_blocking(move || drop(mqtt)).await.expect("stops");
}
