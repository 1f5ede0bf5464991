//! HTTP/3 over QUIC (RFC 9114, RFC 9000).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crypto_offload::tls::{CURVE_SM2, Family, initial_suite};
use h3::client::SendRequest;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Origin;
use super::request::{PartWriter, check_status, next_connection_id, within};
use crate::gateway::message::{Fetch, FetchError, Input};

/// Receive window of one stream. It must fit the cache: 4 MiB costs a fifth more CPU per byte than 1 MiB.
const STREAM_WINDOW: u32 = 1 << 20;
/// Receive window of the whole connection.
const CONNECTION_WINDOW: u32 = 2 << 20;
/// A connection with nothing to do lives this long.
const IDLE: Duration = Duration::from_secs(30);

/// One QUIC connection that speaks HTTP/3.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) id: u64,
    quic: quinn::Connection,
    requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
    _driver: Arc<AbortOnDrop>,
}

/// The task that moves HTTP/3's own streams; it ends with the last user of the connection.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http3Connection").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) async fn open(origin: &Origin, tls: &rustls::ClientConfig) -> Result<Self, String> {
        let address = origin.url.resolve().await?;
        let local = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let endpoint =
            quinn::Endpoint::client(local).map_err(|error| format!("cannot open a UDP socket: {error}"))?;
        let quic = endpoint
            .connect_with(client_config(tls)?, address, &origin.url.host)
            .map_err(|error| error.to_string())?
            .await
            .map_err(|error| error.to_string())?;
        check_identity(&quic, tls)?;
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic.clone()))
            .await
            .map_err(|error| format!("HTTP/3 setup: {error}"))?;
        let driver = tokio::spawn(async move {
            let reason = std::future::poll_fn(|context| driver.poll_close(context)).await;
            tracing::debug!(%reason, "HTTP/3 connection closed");
        });
        let driver = Arc::new(AbortOnDrop(driver.abort_handle()));
        Ok(Self { id: next_connection_id(), quic, requests, _driver: driver })
    }

    pub(super) fn is_open(&self) -> bool {
        self.quic.close_reason().is_none()
    }

    pub(super) async fn fetch(
        &self,
        origin: &Origin,
        fetch: &Fetch,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<(), FetchError> {
        let silence = origin.part.stall_timeout.get();
        let request = origin.url.request(fetch)?;
        let mut requests = self.requests.clone();
        let mut stream = within(fetch, silence, async {
            let mut stream = requests.send_request(request).await.map_err(|error| error.to_string())?;
            // An origin may answer before it has seen the end of a request that has no body, and then says that it
            // reads no further (RFC 9114, section 4.1). A connection that is gone shows in the answer.
            let _ = stream.finish().await;
            Ok(stream)
        })
        .await?;
        let answer =
            within(fetch, silence, async { stream.recv_response().await.map_err(|error| error.to_string()) })
                .await?;
        check_status(fetch, answer.status().as_u16())?;
        let mut writer = PartWriter::new(fetch, inputs);
        loop {
            let body =
                within(fetch, silence, async { stream.recv_data().await.map_err(|error| error.to_string()) })
                    .await?;
            match body {
                Some(body) => writer.write(body).await?,
                None => return writer.finish().await,
            }
        }
    }
}

/// A provider of one family offers suites and groups of that family only; quinn shows neither, so the certificate is what
/// is left to look at.
fn check_identity(quic: &quinn::Connection, tls: &rustls::ClientConfig) -> Result<(), String> {
    let offered = tls.crypto_provider().kx_groups.iter().any(|it| it.name() == CURVE_SM2);
    let offered = if offered { Family::Sm } else { Family::International };
    let chain = quic.peer_identity().and_then(|it| it.downcast::<Vec<CertificateDer<'static>>>().ok());
    match chain.as_deref().and_then(|chain| chain.first()).and_then(Family::of_certificate) {
        Some(shown) if shown == offered => Ok(()),
        shown => Err(format!("the origin shows a key of {shown:?} in {offered:?} suites")),
    }
}

/// The first packets are AES-128-GCM's whatever suites the handshake offers.
fn client_config(tls: &rustls::ClientConfig) -> Result<quinn::ClientConfig, String> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let initial = initial_suite().ok_or("the cryptographic library has no AES-128-GCM")?;
    let crypto = QuicClientConfig::with_initial(Arc::new(tls), initial).map_err(|error| error.to_string())?;
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(STREAM_WINDOW.into());
    transport.receive_window(CONNECTION_WINDOW.into());
    transport.max_idle_timeout(IDLE.try_into().ok());
    transport.keep_alive_interval(Some(IDLE / 3));
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}
