//! The daemon's HTTP/3 client against GmSSL's QUIC server, the other implementation of QUIC with TLS_SM4_GCM_SM3.
//!
//! The environment variable `GATEWAYD_GMSSL` names its command; without it the test says `not checked`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crypto_offload::certificate::{self, Issuer, Template, Usage, to_pem};
use crypto_offload::job::{PublicKey, SignatureScheme};
use crypto_offload::signing::SigningKey;
use crypto_offload::tls::Suites;
use gateway_cloud::certs::{self, CertificateFiles};
use gatewayd::config::parts::{CloudPart, Secret, TransportName};
use gatewayd::config::units::{Size, Span};
use gatewayd::gateway::message::{Fetch, FetchId, Input};
use gatewayd::io::cloud::Cloud;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A key in the one form that GmSSL reads, with a certificate for it, and the authority's.
fn identity(gmssl: &Path, directory: &Path) -> PathBuf {
    let made = Command::new(gmssl)
        .args(["sm2keygen", "-pass", "demo", "-out", "server.key", "-pubout", "server.pub"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("gmssl runs").success());
    let text = std::fs::read_to_string(directory.join("server.pub")).expect("public key");
    let key = PublicKey::from_tuf(SignatureScheme::Sm2Sm3, text.trim_end()).expect("an SM2 key");
    let ca_key = SigningKey::generate(SignatureScheme::Sm2Sm3).expect("key");
    let issuer = Issuer { common_name: "authority", key: &ca_key };
    let issue = |common_name: &str, usage, key: &PublicKey| {
        let (not_before, not_after) = certificate::validity_from_now(Duration::from_secs(86_400));
        let template = Template { common_name: common_name.to_owned(), not_before, not_after, usage };
        to_pem(&certificate::issue(&template, key, &issuer).expect("certificate"))
    };
    let ca = issue("authority", Usage::Authority, &ca_key.public().expect("public key"));
    let leaf = issue("origin", Usage::Server(vec!["localhost".to_owned()]), &key);
    std::fs::write(directory.join("ca.pem"), &ca).expect("file");
    std::fs::write(directory.join("chain.pem"), leaf + &ca).expect("file");
    directory.join("ca.pem")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_fetches_from_gmssls_quic_server() {
    let Some(gmssl) = std::env::var_os("GATEWAYD_GMSSL").map(PathBuf::from) else {
        println!("not checked: GATEWAYD_GMSSL does not name a GmSSL command");
        return;
    };
    let directory = tempfile::tempdir().expect("temporary directory");
    let ca = identity(&gmssl, directory.path());
    certs::issue_sm(directory.path(), &["unused".to_owned()], certs::DEFAULT_VALIDITY).expect("certificates");
    let own = CertificateFiles::sm_below(directory.path());
    let port =
        std::net::UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let server = Command::new(&gmssl)
        .args(["quic_server", "-port", &port.to_string(), "-cert", "chain.pem", "-key", "server.key"])
        .args(["-pass", "demo", "-cipher_suite", "TLS_SM4_GCM_SM3", "-supported_group", "sm2p256v1"])
        .args(["-sig_alg", "sm2sig_sm3"])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .spawn();
    let _server = Running(server.expect("gmssl runs"));
    let part = CloudPart {
        url: format!("https://localhost:{port}/"),
        ca,
        certificate: own.gateway,
        key: Secret::File(own.gateway_key).into(),
        suites: Suites::SmOnly,
        sm_certificate: None,
        sm_key: None,
        transports: vec![TransportName::Http3],
        connect_timeout: Span(PATIENCE),
        stall_timeout: Span(PATIENCE),
        attempts: 1,
        read_ahead: Size(1 << 20),
        poll_interval: Span(PATIENCE),
    };
    let (sender, mut inputs) = mpsc::channel(4);
    let mut cloud = Cloud::new(&part, None, sender).expect("certificates are there");
    let fetch = Fetch {
        id: FetchId(1),
        path: String::new(),
        range: None,
        part_len: 1 << 20,
        max_len: 1 << 20,
        traceparent: None,
    };
    cloud.start(fetch);
    let mut bytes = Vec::new();
    loop {
        let input = tokio::time::timeout(PATIENCE, inputs.recv()).await;
        match input.expect("every fetch ends").expect("the cloud holds a sender") {
            Input::FetchPart { data, .. } => bytes.extend_from_slice(&data),
            Input::FetchEnd { result, .. } => {
                assert_eq!(result, Ok(()));
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(!bytes.is_empty());
    println!("{}", String::from_utf8_lossy(&bytes));
}
