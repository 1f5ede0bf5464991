//! Members of a group at mosquitto: blocks are split between them, none is lost, none is read twice; and TLS to it.
//! `not checked` where mosquitto is not installed.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod windows;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::tls::{Family, Suites};
use gateway_cloud::certs::{self, CertificateFiles};
use gateway_cloud::subscribe::{Message, Options, SubscribeError, Subscriber, TlsFiles};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use telemetry::{BootId, Encoder, StreamId};

const PATIENCE: Duration = Duration::from_secs(120);

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// mosquitto with `lines` in its configuration; `None` where it is not installed.
fn mosquitto(dir: &Path, lines: &str) -> Option<(Killed, u16)> {
    let program = ["mosquitto", "/usr/sbin/mosquitto"]
        .into_iter()
        .find(|it| Command::new(it).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok())?;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = dir.join("mosquitto.conf");
    let text =
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n{lines}");
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(dir.join("mosquitto.log")).unwrap();
    let child =
        Command::new(program).arg("-c").arg(&config).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let child = Killed(child);
    for _ in 0..500 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some((child, port));
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("mosquitto does not listen: {}", std::fs::read_to_string(dir.join("mosquitto.log")).unwrap());
}

fn member(dir: &Path, name: &str, port: u16) -> Killed {
    let child = Command::new(env!("CARGO_BIN_EXE_gateway-cloud"))
        .args(["subscribe", "--group", "backend", "--client-id", name])
        .args(["--broker", &format!("mqtt://127.0.0.1:{port}")])
        .arg("--out")
        .arg(dir.join(name))
        .arg("--spool")
        .arg(dir.join("spool"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}

/// Waits until the member's session stands: its files are there once it is subscribed and has flushed.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// How often each window (vehicle, block) stands in the members' files, and how many are in each member's.
fn written(dir: &Path, names: &[&str]) -> (BTreeMap<(String, u64), usize>, Vec<usize>) {
    let (mut windows, mut shares) = (BTreeMap::new(), Vec::new());
    for name in names {
        let text = std::fs::read_to_string(dir.join(name).join("profiles.jsonl")).unwrap_or_default();
        let mut share = 0;
        for line in text.lines() {
            // The last line may be half written while the member runs.
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            if line["dimension"] == "cpu" {
                let key = (line["vin"].as_str().unwrap().to_owned(), line["seq"].as_u64().unwrap());
                *windows.entry(key).or_default() += 1;
                share += 1;
            }
        }
        shares.push(share);
    }
    (windows, shares)
}

const VEHICLES: u64 = 4;
const BLOCKS: u64 = 50;

async fn publish(port: u16, from: u64, to: u64, encoders: &mut [Encoder]) {
    let (client, mut events) =
        AsyncClient::new(MqttOptions::new(format!("fleet-{from}"), "127.0.0.1", port), 64);
    let wanted = (to - from) * VEHICLES + (from..to).filter(|it| it % 10 == 0).count() as u64 * VEHICLES;
    let acknowledged = tokio::spawn(async move {
        let mut count = 0;
        while count < wanted {
            let event = events.poll().await.unwrap();
            if matches!(event, rumqttc::v5::Event::Incoming(rumqttc::v5::mqttbytes::v5::Packet::PubAck(_))) {
                count += 1;
            }
        }
    });
    for index in from..to {
        for (vehicle, encoder) in encoders.iter_mut().enumerate() {
            let block = encoder.encode(&windows::window(index, false)).unwrap();
            // Every tenth is delivered twice, as an outbox does after a broken connection.
            for _ in 0..if index % 10 == 0 { 2 } else { 1 } {
                let topic = format!("v1/VEHICLE{vehicle:010}/telemetry/profile");
                client.publish(topic, QoS::AtLeastOnce, false, block.clone()).await.unwrap();
            }
        }
    }
    tokio::time::timeout(PATIENCE, acknowledged).await.unwrap().unwrap();
}

fn encoders() -> Vec<Encoder> {
    (0..VEHICLES).map(|it| Encoder::new(BootId(it + 1), StreamId::PROFILE).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_split_the_blocks_lose_none_and_read_none_twice() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_broker, port)) = mosquitto(dir.path(), "") else {
        return println!("not checked: mosquitto is not installed");
    };
    let members = ["one", "two"].map(|it| member(dir.path(), it, port));
    wait_for("both subscriptions", || {
        ["one", "two"].iter().all(|it| dir.path().join(it).join("metrics.prom").exists())
    });
    publish(port, 0, BLOCKS, &mut encoders()).await;
    let all = usize::try_from(VEHICLES * BLOCKS).unwrap();
    wait_for("every window", || written(dir.path(), &["one", "two"]).0.len() == all);
    // Time for what should not come.
    std::thread::park_timeout(Duration::from_millis(500));
    let (windows, shares) = written(dir.path(), &["one", "two"]);
    assert_eq!(windows.values().sum::<usize>(), all, "{windows:?}");
    assert!(shares.iter().all(|it| *it > all / 20), "one member did all the work: {shares:?}");
    println!("{all} windows once each; shares {shares:?}");
    for mut member in members {
        // A clean stop: the signal that a service manager sends.
        let status = Command::new("kill").arg(member.0.id().to_string()).status().unwrap();
        assert!(status.success());
        assert!(member.0.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_killed_and_started_again_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_broker, port)) = mosquitto(dir.path(), "") else {
        return println!("not checked: mosquitto is not installed");
    };
    let names = ["one", "two"];
    let one = member(dir.path(), "one", port);
    let _two = member(dir.path(), "two", port);
    wait_for("both subscriptions", || {
        names.iter().all(|it| dir.path().join(it).join("metrics.prom").exists())
    });
    let mut encoders = encoders();
    publish(port, 0, BLOCKS / 2, &mut encoders).await;
    // In the middle of it, as far as the machine's load lets it be.
    drop(one);
    publish(port, BLOCKS / 2, BLOCKS, &mut encoders).await;
    let _one = member(dir.path(), "one", port);
    let all = usize::try_from(VEHICLES * BLOCKS).unwrap();
    wait_for("every window", || written(dir.path(), &names).0.len() == all);
    let (windows, _) = written(dir.path(), &names);
    let twice = windows.values().sum::<usize>() - all;
    // The window that the killed member had written and not settled, if there was one.
    assert!(twice <= 1, "{twice} windows twice");
}

fn identity(files: &CertificateFiles, suites: Suites) -> TlsFiles {
    let identities = vec![(files.gateway.clone(), files.gateway_key.clone())];
    TlsFiles { ca: files.ca.clone(), identities, suites }
}

/// Says one thing through mosquitto and hears it over TLS.
async fn hear(url: &str, tls: TlsFiles, plain_port: u16) {
    let mut options = Options::new(url, "listener");
    options.tls = Some(tls);
    options.patience = Duration::from_secs(30);
    let mut subscriber = Subscriber::connect(options).await.unwrap();
    let (client, mut events) = AsyncClient::new(MqttOptions::new("vehicle", "127.0.0.1", plain_port), 8);
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    client.publish("v1/VEHICLE1/alert", QoS::AtLeastOnce, false, "hot").await.unwrap();
    let message = tokio::time::timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap();
    assert!(matches!(&message, Message::Alert { payload, .. } if payload == "hot"), "{message:?}");
    subscriber.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_over_tls_with_client_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let files = certs::issue(dir.path(), &["localhost".to_owned()], certs::DEFAULT_VALIDITY).unwrap();
    let tls_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lines = format!(
        "listener {tls_port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        files.ca.display(),
        files.server.display(),
        files.server_key.display()
    );
    let Some((_broker, port)) = mosquitto(dir.path(), &lines) else {
        return println!("not checked: mosquitto is not installed");
    };
    let url = format!("mqtts://localhost:{tls_port}");
    hear(&url, identity(&files, Suites::International), port).await;
    // Another authority's broker gets nothing.
    let other = tempfile::tempdir().unwrap();
    let stranger = certs::issue(other.path(), &["localhost".to_owned()], certs::DEFAULT_VALIDITY).unwrap();
    let mut options = Options::new(&url, "stranger");
    options.tls = Some(identity(&stranger, Suites::International));
    options.patience = Duration::from_secs(2);
    let error = Subscriber::connect(options).await.unwrap_err();
    let told = matches!(&error, SubscribeError::NotConnected { reason, .. } if reason.contains("TLS"));
    assert!(told, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_behind_sm_suites() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_broker, port)) = mosquitto(dir.path(), "") else {
        return println!("not checked: mosquitto is not installed");
    };
    let files = certs::issue_sm(dir.path(), &["localhost".to_owned()], certs::DEFAULT_VALIDITY).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls_port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(sm_server(&files)));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(socket).await else { return };
                let mut broker = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
            });
        }
    });
    hear(&format!("mqtts://localhost:{tls_port}"), identity(&files, Suites::SmOnly), port).await;
}

fn sm_server(files: &CertificateFiles) -> ServerConfig {
    let provider = Family::Sm.provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&files.server).unwrap()],
            PrivateKeyDer::from_pem_file(&files.server_key).unwrap(),
        )
        .unwrap()
}
