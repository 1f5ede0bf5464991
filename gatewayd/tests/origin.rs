//! The daemon's way to the origin against the real origin, over both protocols.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_cloud::certs::{self, CertificateFiles};
use gateway_cloud::serve::{Config, Fault, Faults, Limits, Server, Suites};
use gatewayd::config::parts::{CloudPart, Secret, TransportName};
use gatewayd::config::units::{Size, Span};
use gatewayd::gateway::message::{Fetch, FetchError, FetchId, Input};
use gatewayd::io::cloud::Cloud;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// An origin with one file, `image/file`, of 100 000 bytes.
struct Origin {
    directory: TempDir,
    suites: Suites,
    address: SocketAddr,
    faults: Arc<Faults>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const LEN: usize = 100_000;
/// Longer than any answer takes here, short enough to wait for in a test.
const STALL: Duration = Duration::from_millis(700);

fn content() -> Vec<u8> {
    (0..LEN).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

impl Origin {
    async fn start() -> Self {
        Self::with(Suites::International).await
    }

    async fn with(suites: Suites) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("image")).expect("directory");
        std::fs::write(root.join("image/file"), content()).expect("file");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certs_dir = directory.path().join("certs");
        certs::issue(&certs_dir, &names, certs::DEFAULT_VALIDITY).expect("certificates");
        certs::issue_sm(&certs_dir, &names, certs::DEFAULT_VALIDITY).expect("certificates");
        bundle(&certs_dir);
        let files = CertificateFiles::below(&certs_dir);
        let faults = Arc::new(Faults::default());
        let server = Server::bind(Config {
            root,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            suites,
            international: Some(files.into()),
            sm: Some(CertificateFiles::sm_below(&certs_dir).into()),
            limits: Limits::default(),
            faults: Arc::clone(&faults),
        })
        .await
        .expect("binds");
        let address = server.local_addr();
        let task = tokio::spawn(async move { server.run(std::future::pending()).await });
        Self { directory, suites, address, faults, task }
    }

    fn part(&self, port: u16, transports: &[TransportName]) -> CloudPart {
        let files = CertificateFiles::below(&self.directory.path().join("certs"));
        let sm = CertificateFiles::sm_below(&self.directory.path().join("certs"));
        CloudPart {
            url: format!("https://localhost:{port}/"),
            ca: self.directory.path().join("certs/both-ca.pem"),
            certificate: files.gateway,
            key: Secret::File(files.gateway_key).into(),
            suites: self.suites,
            sm_certificate: Some(sm.gateway),
            sm_key: Some(Secret::File(sm.gateway_key)),
            transports: transports.to_vec(),
            connect_timeout: Span(Duration::from_secs(5)),
            stall_timeout: Span(STALL),
            attempts: 3,
            read_ahead: Size(1 << 20),
            poll_interval: Span(Duration::from_secs(3600)),
        }
    }
}

/// Both authorities in one file, which is how a gateway is told to trust either.
fn bundle(certs: &std::path::Path) {
    let read = |files: CertificateFiles| std::fs::read_to_string(files.ca).expect("certificate");
    let both = read(CertificateFiles::below(certs)) + &read(CertificateFiles::sm_below(certs));
    std::fs::write(certs.join("both-ca.pem"), both).expect("file");
}

/// What came of one fetch: the parts' lengths, all bytes, and the end.
struct Outcome {
    parts: Vec<usize>,
    bytes: Vec<u8>,
    result: Result<(), FetchError>,
}

async fn fetch(part: &CloudPart, path: &str, range: Option<std::ops::Range<u64>>, max_len: u64) -> Outcome {
    let (sender, mut inputs) = mpsc::channel(4);
    let mut cloud = Cloud::new(part, None, sender).expect("certificates are there");
    let part_len = if range.is_some() { 16_384 } else { usize::MAX };
    cloud.start(Fetch { id: FetchId(1), path: path.to_owned(), range, part_len, max_len, traceparent: None });
    let mut outcome = Outcome { parts: Vec::new(), bytes: Vec::new(), result: Ok(()) };
    loop {
        let input = tokio::time::timeout(Duration::from_secs(20), inputs.recv()).await;
        match input.expect("every fetch ends").expect("the cloud holds a sender") {
            Input::FetchPart { data, .. } => {
                outcome.parts.push(data.len());
                outcome.bytes.extend_from_slice(&data);
            }
            Input::FetchEnd { result, .. } => {
                outcome.result = result;
                return outcome;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

const BOTH: [TransportName; 2] = [TransportName::Http3, TransportName::Http2];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_and_a_range_of_it_arrive_over_either_protocol() {
    let origin = Origin::start().await;
    for transport in BOTH {
        let part = origin.part(origin.address.port(), &[transport]);
        let whole = fetch(&part, "image/file", None, LEN as u64).await;
        assert_eq!(whole.result, Ok(()), "{transport:?}");
        assert_eq!((whole.parts.len(), whole.bytes), (1, content()), "{transport:?}");
        let range = fetch(&part, "image/file", Some(1000..51_000), 50_000).await;
        assert_eq!(range.parts, [16_384, 16_384, 16_384, 848], "{transport:?}");
        assert_eq!(range.bytes, content()[1000..51_000], "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_share_a_family_meet_and_others_do_not() {
    for of_origin in Suites::ALL {
        let origin = Origin::with(of_origin).await;
        for of_gateway in Suites::ALL {
            let meet = of_origin.families().iter().any(|it| of_gateway.families().contains(it));
            for transport in BOTH {
                let mut part = origin.part(origin.address.port(), &[transport]);
                part.suites = of_gateway;
                let outcome = fetch(&part, "image/file", Some(0..100_000), 100_000).await;
                let row =
                    format!("origin {of_origin}, gateway {of_gateway}, {transport:?}: {:?}", outcome.result);
                assert_eq!(outcome.result.is_ok(), meet, "{row}");
                assert_eq!(outcome.bytes == content(), meet, "{row}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_certificate_for_its_policy_does_not_start() {
    let origin = Origin::with(Suites::SmOnly).await;
    let mut part = origin.part(origin.address.port(), &BOTH);
    (part.sm_certificate, part.sm_key) = (None, None);
    let (sender, _inputs) = mpsc::channel(4);
    let error = Cloud::new(&part, None, sender).expect_err("must be refused").to_string();
    assert!(error.contains("sm-only") && error.contains("SM2 key"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_there_is_named() {
    let origin = Origin::start().await;
    for transport in BOTH {
        let part = origin.part(origin.address.port(), &[transport]);
        let outcome = fetch(&part, "image/other", None, 100).await;
        assert_eq!(
            outcome.result,
            Err(FetchError::NotFound { path: "image/other".to_owned() }),
            "{transport:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_stalls_is_given_up_after_the_configured_silence() {
    let origin = Origin::start().await;
    origin.faults.add(Fault::Stall { path: "image/file".to_owned(), after: 20_000 });
    for transport in BOTH {
        let part = origin.part(origin.address.port(), &[transport]);
        let outcome = fetch(&part, "image/file", Some(0..65_536), 65_536).await;
        let stalled = FetchError::Stalled { path: "image/file".to_owned(), silence: STALL };
        assert_eq!(outcome.result, Err(stalled), "{transport:?}");
        assert_eq!(outcome.bytes, content()[..outcome.bytes.len()], "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_never_stops_sending_is_cut_off_at_the_limit() {
    let origin = Origin::start().await;
    origin.faults.add(Fault::Endless { path: "image/file".to_owned() });
    for transport in BOTH {
        let part = origin.part(origin.address.port(), &[transport]);
        let outcome = fetch(&part, "image/file", None, LEN as u64).await;
        let limit = LEN as u64;
        assert_eq!(
            outcome.result,
            Err(FetchError::TooLong { path: "image/file".to_owned(), limit }),
            "{transport:?}"
        );
        assert!(outcome.bytes.len() <= LEN, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_file_is_told_from_a_broken_connection() {
    let origin = Origin::start().await;
    origin.faults.add(Fault::Truncate { path: "image/file".to_owned(), len: 30_000 });
    for transport in BOTH {
        let part = origin.part(origin.address.port(), &[transport]);
        for range in [0..65_536, 40_000..65_536] {
            let outcome = fetch(&part, "image/file", Some(range.clone()), 65_536).await;
            assert!(
                matches!(outcome.result, Err(FetchError::Truncated { .. })),
                "{transport:?} {range:?}: {:?}",
                outcome.result
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_is_blocked_the_gateway_falls_back_to_tcp() {
    let origin = Origin::start().await;
    // A forwarder for TCP alone: whatever goes to this port over UDP is lost.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let to = origin.address;
    let forwarder = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await.expect("the origin listens");
                // Either side may hang up at any time.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let mut part = origin.part(port, &BOTH);
    part.connect_timeout = Span(Duration::from_millis(500));
    let outcome = fetch(&part, "image/file", Some(0..65_536), 65_536).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(outcome.bytes, content()[..65_536]);
    forwarder.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_with_a_foreign_certificate_is_refused() {
    let origin = Origin::start().await;
    let stranger = tempfile::tempdir().expect("temporary directory");
    certs::issue(stranger.path(), &["localhost".to_owned()], certs::DEFAULT_VALIDITY).expect("certificates");
    for transport in BOTH {
        let mut part = origin.part(origin.address.port(), &[transport]);
        part.ca = CertificateFiles::below(stranger.path()).ca;
        let outcome = fetch(&part, "image/file", None, LEN as u64).await;
        assert!(
            matches!(outcome.result, Err(FetchError::Unreachable { .. })),
            "{transport:?}: {:?}",
            outcome.result
        );
        assert!(outcome.bytes.is_empty());
    }
}

#[tokio::test]
async fn a_missing_key_file_stops_the_start_and_is_named() {
    let origin = Origin::start().await;
    let mut part = origin.part(origin.address.port(), &BOTH);
    part.key = Secret::File(PathBuf::from("/nonexistent/gateway.key")).into();
    let (sender, _inputs) = mpsc::channel(4);
    let error = Cloud::new(&part, None, sender).expect_err("must be refused").to_string();
    assert!(error.contains("/nonexistent/gateway.key"), "{error}");
}
