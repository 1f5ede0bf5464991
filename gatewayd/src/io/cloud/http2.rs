//! HTTP/2 over TLS and TCP (RFC 9113), for networks that block UDP.

use std::sync::Arc;

use bytes::Bytes;
use crypto_offload::tls::Negotiated;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::Origin;
use super::request::{PartWriter, check_status, next_connection_id, within};
use crate::gateway::message::{Fetch, FetchError, Input};

/// Receive window of one stream and of the connection, as for HTTP/3.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// One TCP connection that speaks HTTP/2.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    requests: SendRequest<Bytes>,
    driver: Arc<Driver>,
}

/// The task that moves the connection's frames; it ends with the last user of the connection.
#[derive(Debug)]
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    pub(super) async fn open(origin: &Origin, tls: &rustls::ClientConfig) -> Result<Self, String> {
        let address = origin.url.resolve().await?;
        let tcp = TcpStream::connect(address).await.map_err(|error| format!("TCP: {error}"))?;
        tcp.set_nodelay(true).map_err(|error| format!("TCP: {error}"))?;
        let name = ServerName::try_from(origin.url.host.clone()).map_err(|error| error.to_string())?;
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let stream =
            TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(|error| error.to_string())?;
        let negotiated = Negotiated::of(stream.get_ref().1).ok_or("the handshake did not end")?;
        negotiated.check(origin.tls.suites).map_err(|error| error.to_string())?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(|error| format!("HTTP/2 setup: {error}"))?;
        let driver = tokio::spawn(async move {
            if let Err(reason) = connection.await {
                tracing::debug!(%reason, "HTTP/2 connection closed");
            }
        });
        Ok(Self { id: next_connection_id(), requests, driver: Arc::new(Driver(driver)) })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.driver.0.is_finished()
    }

    pub(super) async fn fetch(
        &self,
        origin: &Origin,
        fetch: &Fetch,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<(), FetchError> {
        let silence = origin.part.stall_timeout.get();
        let request = origin.url.request(fetch)?;
        let requests = self.requests.clone();
        let answer = within(fetch, silence, async {
            let mut ready = requests.ready().await.map_err(|error| error.to_string())?;
            let (answer, _) = ready.send_request(request, true).map_err(|error| error.to_string())?;
            answer.await.map_err(|error| error.to_string())
        })
        .await?;
        check_status(fetch, answer.status().as_u16())?;
        let mut body = answer.into_body();
        let mut writer = PartWriter::new(fetch, inputs);
        loop {
            let data = within(fetch, silence, async {
                body.data().await.transpose().map_err(|error| error.to_string())
            })
            .await?;
            let Some(data) = data else { return writer.finish().await };
            let len = data.len();
            writer.write(data).await?;
            body.flow_control()
                .release_capacity(len)
                .map_err(|error| FetchError::Unreachable { reason: error.to_string() })?;
        }
    }
}
