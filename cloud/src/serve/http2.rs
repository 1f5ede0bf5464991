//! HTTP/2 over TCP and TLS.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crypto_offload::tls::Negotiated;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::Shared;
use super::exchange::{self, Gone, Transport};
use super::statistics::count;
use super::tls::Choice;

/// Largest request head, in bytes, uncompressed.
const MAX_HEAD: u32 = 16 * 1024;

/// After a failed accept, for example because all file descriptors are in use.
const PAUSE: Duration = Duration::from_millis(50);

/// A TLS configuration for each family of suites.
type Tls = Choice<Arc<rustls::ServerConfig>>;

/// Takes connections for as long as the task lives.
pub(crate) async fn accept(listener: TcpListener, tls: Arc<Tls>, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        // Those that are done give their memory back before another one is taken.
        while tasks.try_join_next().is_some() {}
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
            count(&shared.statistics.refused, 1);
            continue;
        };
        let (tls, shared) = (tls.clone(), shared.clone());
        tasks.spawn(async move {
            let _permit = permit;
            match timeout(shared.limits.handshake, handshake(&tls, socket, &shared)).await {
                Ok(Some(connection)) => {
                    count(&shared.statistics.connections, 1);
                    serve(connection, shared).await;
                }
                Ok(None) | Err(_) => count(&shared.statistics.handshakes_failed, 1),
            }
        });
    }
}

type Connection = h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>;

async fn handshake(tls: &Tls, socket: TcpStream, shared: &Shared) -> Option<Connection> {
    socket.set_nodelay(true).ok()?;
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await.ok()?;
    let config = tls.for_hello(&start.client_hello())?.clone();
    let stream = start.into_stream(config).await.ok()?;
    if let Err(violation) = Negotiated::of(stream.get_ref().1)?.check(tls.suites) {
        tracing::warn!(%violation, "a gateway's handshake mixes suites");
        return None;
    }
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(shared.limits.streams)
        .max_header_list_size(MAX_HEAD)
        // Blocks of the body wait here until the client has room; two keep the connection busy.
        .max_send_buffer_size(2 * super::content::BLOCK);
    builder.handshake(stream).await.ok()
}

async fn serve(mut connection: Connection, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        match timeout(shared.limits.idle, connection.accept()).await {
            Ok(Some(Ok((request, reply)))) => {
                let shared = shared.clone();
                tasks.spawn(async move {
                    // The body of a request, which none of ours has, is dropped with it.
                    let request = request.map(drop);
                    exchange::respond(&shared, &request, Http2 { reply, body: None }).await;
                });
            }
            Ok(Some(Err(_)) | None) => break,
            Err(_) if connection.has_streams() => {}
            Err(_) => {
                connection.graceful_shutdown();
                let _ = timeout(shared.limits.progress, poll_fn(|cx| connection.poll_closed(cx))).await;
                break;
            }
        }
    }
}

struct Http2 {
    reply: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
}

impl Transport for Http2 {
    async fn head(&mut self, head: Response<()>, end: bool) -> Result<(), Gone> {
        self.body = Some(self.reply.send_response(head, end).map_err(|_| Gone)?);
        Ok(())
    }

    async fn data(&mut self, mut data: Bytes) -> Result<(), Gone> {
        let body = self.body.as_mut().ok_or(Gone)?;
        while !data.is_empty() {
            body.reserve_capacity(data.len());
            let room = poll_fn(|cx| body.poll_capacity(cx)).await.ok_or(Gone)?.map_err(|_| Gone)?;
            let piece = data.split_to(room.min(data.len()));
            body.send_data(piece, false).map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Gone> {
        self.body.as_mut().ok_or(Gone)?.send_data(Bytes::new(), true).map_err(|_| Gone)
    }

    fn abort(&mut self) {
        self.reply.send_reset(Reason::INTERNAL_ERROR);
    }
}
