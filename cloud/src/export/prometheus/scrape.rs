//! `GET /metrics` over HTTP/1.1, without authentication: for a network where everybody may know.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::registry::Registry;
use super::text::Format;

/// Connections at the same time.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may take for a request's head, and stay in all.
const HEAD: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(120);

/// A running endpoint; closed when dropped.
#[derive(Debug)]
pub struct Scrape {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scrape {
    /// Listens, and answers with what `registry` holds at that moment.
    ///
    /// # Errors
    /// The system's, where the address cannot be had.
    pub async fn bind(address: SocketAddr, registry: Arc<Mutex<Registry>>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(listener, registry)) })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, registry: Arc<Mutex<Registry>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a scrape");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let service = service_fn(|request| std::future::ready(answer(&request, &registry)));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that goes away is not our concern.
            let _ = tokio::time::timeout(WHOLE, connection).await;
            drop(place);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    registry: &Mutex<Registry>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "only /metrics is here\n"));
    }
    if request.method() != Method::GET {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n"));
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let format = Format::for_accept(accept);
    let text = registry.lock().unwrap_or_else(PoisonError::into_inner).render(format, Instant::now());
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let content_type = header::HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
