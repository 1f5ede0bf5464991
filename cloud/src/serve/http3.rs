//! HTTP/3 over QUIC.

use std::sync::Arc;

use bytes::Bytes;
use h3::error::Code;
use h3::server::RequestStream;
use http::Response;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::exchange::{self, Gone, Transport};
use super::quic_choice::QuicChoice;
use super::statistics::count;
use super::{Limits, Shared};

/// Largest request head, in bytes (RFC 9114, 4.2.2).
const MAX_HEAD: u64 = 16 * 1024;

/// Streams allowed before the handshake is done: quinn prepares state for every allowed stream at once, so that a
/// generous number would make each handshake dearer.
const EARLY_STREAMS: u32 = 8;

/// The transport's bounds. A client sends heads only, so that what it may send is small.
pub(crate) fn quic_config(tls: QuicChoice, limits: &Limits) -> quinn::ServerConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(EARLY_STREAMS.min(limits.streams).into())
        // Control stream, QPACK encoder and decoder, one to spare for grease (RFC 9114, 6.2).
        .max_concurrent_uni_streams(8u32.into())
        .stream_receive_window(65_536u32.into())
        .receive_window((1u32 << 20).into())
        .send_window(8 << 20)
        .datagram_receive_buffer_size(None)
        // An idle time that QUIC cannot express is longer than any we accept.
        .max_idle_timeout(quinn::IdleTimeout::try_from(limits.idle).ok());
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    config
}

/// Takes connections for as long as the endpoint is open.
pub(crate) async fn accept(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        // Those that are done give their memory back before another one is taken.
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
            count(&shared.statistics.refused, 1);
            incoming.refuse();
            continue;
        };
        let shared = shared.clone();
        tasks.spawn(async move {
            let _permit = permit;
            let handshake = timeout(shared.limits.handshake, async { incoming.accept().ok()?.await.ok() });
            match handshake.await {
                Ok(Some(connection)) => {
                    count(&shared.statistics.connections, 1);
                    serve(connection, shared).await;
                }
                Ok(None) | Err(_) => count(&shared.statistics.handshakes_failed, 1),
            }
        });
    }
}

async fn serve(connection: quinn::Connection, shared: Arc<Shared>) {
    connection.set_max_concurrent_bi_streams(shared.limits.streams.into());
    let mut builder = h3::server::builder();
    let built = builder.max_field_section_size(MAX_HEAD).build(h3_quinn::Connection::new(connection)).await;
    let Ok(mut http) = built else { return };
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        // Ends with the connection: quinn closes one that is idle.
        let Ok(Some(resolver)) = http.accept().await else { break };
        let shared = shared.clone();
        tasks.spawn(async move {
            let head = timeout(shared.limits.progress, resolver.resolve_request()).await;
            if let Ok(Ok((request, stream))) = head {
                exchange::respond(&shared, &request, Http3(stream)).await;
            }
        });
    }
}

struct Http3<S: h3::quic::SendStream<Bytes>>(RequestStream<S, Bytes>);

impl<S: h3::quic::SendStream<Bytes> + Send> Transport for Http3<S> {
    async fn head(&mut self, head: Response<()>, end: bool) -> Result<(), Gone> {
        self.0.send_response(head).await.map_err(|_| Gone)?;
        if end { self.finish().await } else { Ok(()) }
    }

    async fn data(&mut self, data: Bytes) -> Result<(), Gone> {
        self.0.send_data(data).await.map_err(|_| Gone)
    }

    async fn finish(&mut self) -> Result<(), Gone> {
        self.0.finish().await.map_err(|_| Gone)
    }

    fn abort(&mut self) {
        self.0.stop_stream(Code::H3_INTERNAL_ERROR);
    }
}
