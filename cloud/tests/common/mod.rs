//! An origin on the loopback and clients for it.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use gateway_cloud::certs::{self, CertificateFiles};
use gateway_cloud::serve::{Config, Faults, Limits, Server, Statistics, Suites};
use http::{HeaderMap, Method, Request, StatusCode, header};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Fails a test that hangs.
pub(crate) async fn deadline(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test ends in time");
}

/// A running origin.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    pub(crate) files: CertificateFiles,
    pub(crate) faults: Arc<Faults>,
    pub(crate) statistics: Arc<Statistics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Origin {
    pub(crate) async fn start(files: &[(&str, &[u8])]) -> Self {
        Self::start_with(files, Limits::default()).await
    }

    pub(crate) async fn start_with(files: &[(&str, &[u8])], limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        for (name, bytes) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        // Beside the root: what traversal would find.
        let files = certs::issue(
            dir.path(),
            &["localhost".to_owned(), "127.0.0.1".to_owned()],
            certs::DEFAULT_VALIDITY,
        )
        .unwrap();
        let faults = Arc::new(Faults::default());
        let server = Server::bind(Config {
            root,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            suites: Suites::International,
            international: Some(files.clone().into()),
            sm: None,
            limits,
            faults: faults.clone(),
        })
        .await
        .unwrap();
        let (stop, stopped) = oneshot::channel();
        let (addr, statistics) = (server.local_addr(), server.statistics());
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { addr, files, faults, statistics, stop, task, _dir: dir }
    }

    /// One client of each protocol, with the gateway's certificate.
    pub(crate) async fn clients(&self) -> [Client; 2] {
        [
            Client::http3(self, Some(&self.files)).await.unwrap(),
            Client::http2(self, Some(&self.files)).await.unwrap(),
        ]
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A client of one protocol.
pub(crate) enum Client {
    Http3 { send: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>, _endpoint: quinn::Endpoint },
    Http2 { send: h2::client::SendRequest<Bytes> },
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http3 { .. } => "HTTP/3",
            Self::Http2 { .. } => "HTTP/2",
        })
    }
}

impl Client {
    /// Connects and makes one request, so that a refused certificate shows (TLS 1.3 tells the client late).
    pub(crate) async fn http3(origin: &Origin, identity: Option<&CertificateFiles>) -> Result<Self, Failure> {
        let tls = client_config(&origin.files.ca, identity, b"h3");
        let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        let connection = endpoint.connect(origin.addr, "localhost")?.await?;
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await?;
        tokio::spawn(async move { driver.wait_idle().await });
        let mut client = Self::Http3 { send, _endpoint: endpoint };
        client.ping().await?;
        Ok(client)
    }

    /// As [`Client::http3`].
    pub(crate) async fn http2(origin: &Origin, identity: Option<&CertificateFiles>) -> Result<Self, Failure> {
        let tls = client_config(&origin.files.ca, identity, b"h2");
        let socket = tokio::net::TcpStream::connect(origin.addr).await?;
        let name = ServerName::try_from("localhost")?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, socket).await?;
        let (send, driver) = h2::client::handshake(stream).await?;
        tokio::spawn(driver);
        let mut client = Self::Http2 { send };
        client.ping().await?;
        Ok(client)
    }

    pub(crate) async fn get(&mut self, path: &str, range: Option<&str>) -> Reply {
        self.request(Method::GET, path, range).await
    }

    pub(crate) async fn request(&mut self, method: Method, path: &str, range: Option<&str>) -> Reply {
        self.try_request(method, path, range, usize::MAX).await.unwrap()
    }

    /// Reads until there are `count` bytes, then leaves the response alone. Returns how many it took, at most `count`.
    pub(crate) async fn read_at_least(&mut self, path: &str, count: usize) -> usize {
        self.try_request(Method::GET, path, None, count).await.unwrap().body.len().min(count)
    }

    async fn ping(&mut self) -> Result<(), Failure> {
        self.try_request(Method::HEAD, "/ping", None, 0).await.map(drop)
    }

    async fn try_request(
        &mut self,
        method: Method,
        path: &str,
        range: Option<&str>,
        enough: usize,
    ) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let request = request.body(())?;
        let mut body = Vec::new();
        match self {
            Self::Http3 { send, .. } => {
                let mut stream = send.send_request(request).await?;
                // The origin may have answered already and read no further (RFC 9114, section 4.1).
                let _ = stream.finish().await;
                let head = stream.recv_response().await?;
                while body.len() < enough {
                    let Some(mut data) = stream.recv_data().await? else { break };
                    body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                }
                let (head, ()) = head.into_parts();
                Ok(Reply { status: head.status, headers: head.headers, body })
            }
            Self::Http2 { send } => {
                let (response, _) = send.clone().ready().await?.send_request(request, true)?;
                let (head, mut stream) = response.await?.into_parts();
                while body.len() < enough {
                    let Some(data) = stream.data().await else { break };
                    let data = data?;
                    stream.flow_control().release_capacity(data.len())?;
                    body.extend_from_slice(&data);
                }
                Ok(Reply { status: head.status, headers: head.headers, body })
            }
        }
    }
}

fn client_config(ca: &Path, identity: Option<&CertificateFiles>, alpn: &[u8]) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(files) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&files.gateway).unwrap()],
                PrivateKeyDer::from_pem_file(&files.gateway_key).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}
