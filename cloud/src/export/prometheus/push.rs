//! Remote write: each window's metrics, pushed in order, with the vehicle's times.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use telemetry::Window;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::registry::Registry;
use super::write_request::write_request;

/// Requests that wait for the receiver, and their bytes; of more the oldest are dropped.
const MAX_WAITING: usize = 4096;
const MAX_BYTES: usize = 64 << 20;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause before a request is tried again, doubled each time up to the second value.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// How much of a refusal is read, in bytes.
const MAX_REFUSAL: usize = 2048;

/// Why an address cannot be pushed to. The caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL.
    #[error("{url:?} is not a URL: {reason}")]
    Form {
        /// What was given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// Another scheme than `http`.
    #[error("{0:?}: only http:// is spoken to remote write; put a proxy that speaks TLS beside this program")]
    Scheme(String),
}

/// Where to push to: `http://host[:port]/path`.
#[derive(Clone, Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct PushStatistics {
    /// Accepted by the receiver.
    pub accepted: AtomicU64,
    /// Refused for good, such as samples older than those the receiver has.
    pub refused: AtomicU64,
    /// Dropped because the receiver was away for too long.
    pub dropped: AtomicU64,
}

/// A running pusher.
#[derive(Debug)]
pub struct RemoteWrite {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
    emptied: Notify,
    statistics: PushStatistics,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
}

impl Endpoint {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let form = |reason: &str| EndpointError::Form { url: url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| form(&error.to_string()))?;
        if uri.scheme_str() != Some("http") {
            return Err(EndpointError::Scheme(url.to_owned()));
        }
        let authority = uri.authority().ok_or_else(|| form("no host"))?;
        if authority.as_str().contains('@') {
            return Err(form("no user may stand in it"));
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

impl Drop for RemoteWrite {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RemoteWrite {
    /// Starts pushing; must be called within a tokio runtime.
    pub fn start(endpoint: Endpoint) -> Self {
        let shared = Arc::new(Shared::default());
        Self { task: tokio::spawn(run(endpoint, Arc::clone(&shared))), shared }
    }

    /// Queues what a window says; `registry` has taken it in already. Never waits.
    pub fn add(&self, registry: &Registry, vin: &str, stream: &str, window: &Window) {
        let Some(request) = write_request(registry, vin, stream, window) else { return };
        let mut queue = self.shared.queue();
        queue.bytes += request.len();
        queue.waiting.push_back(request.into());
        while queue.waiting.len() > MAX_WAITING || queue.bytes > MAX_BYTES {
            queue.pop();
            self.shared.statistics.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// What became of the requests so far.
    pub fn statistics(&self) -> &PushStatistics {
        &self.shared.statistics
    }

    /// Waits until everything is pushed, at most for `patience`.
    pub async fn finish(self, patience: Duration) {
        let all = async {
            loop {
                let emptied = self.shared.emptied.notified();
                if self.shared.queue().waiting.is_empty() {
                    return;
                }
                emptied.await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("remote write: what was not pushed yet is dropped");
        }
    }
}

impl Shared {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop(&mut self) {
        if let Some(request) = self.waiting.pop_front() {
            self.bytes -= request.len();
        }
    }
}

async fn run(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut pause = PAUSES.0;
    loop {
        let filled = shared.filled.notified();
        // Stays in the queue until it is settled.
        let next = shared.queue().waiting.front().cloned();
        let Some(request) = next else {
            shared.emptied.notify_waiters();
            filled.await;
            continue;
        };
        let outcome = tokio::time::timeout(PATIENCE, post(&endpoint, request.clone())).await;
        let settled = match outcome.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}"))) {
            Ok((status, _)) if status.is_success() => {
                shared.statistics.accepted.fetch_add(1, Ordering::Relaxed);
                true
            }
            Ok((status, text)) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                let refused = shared.statistics.refused.fetch_add(1, Ordering::Relaxed);
                if refused.is_power_of_two() || refused == 0 {
                    tracing::warn!(%status, reason = text.trim(), "remote write refuses a request for good");
                }
                true
            }
            Ok((status, text)) => {
                tracing::warn!(%status, reason = text.trim(), "remote write asks to try again");
                false
            }
            Err(reason) => {
                tracing::warn!(reason, "remote write does not work, trying again");
                false
            }
        };
        if settled {
            pause = PAUSES.0;
            let mut queue = shared.queue();
            // Unless it was dropped meanwhile.
            if queue.waiting.front().is_some_and(|it| it.as_ptr() == request.as_ptr()) {
                queue.pop();
            }
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// One request on a connection of its own: a window comes every few seconds.
async fn post(endpoint: &Endpoint, body: Bytes) -> Result<(StatusCode, String), String> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let stream = TokioIo::new(stream.map_err(|error| error.to_string())?);
    let handshake = hyper::client::conn::http1::handshake(stream).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::post(&endpoint.path)
        .header(header::HOST, &endpoint.authority)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONTENT_ENCODING, "snappy")
        .header(header::USER_AGENT, concat!("gateway-cloud/", env!("CARGO_PKG_VERSION")))
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    let text = Limited::new(body, MAX_REFUSAL).collect().await.map(|it| it.to_bytes()).unwrap_or_default();
    connection.abort();
    Ok((head.status, String::from_utf8_lossy(&text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_and_others_are_refused() {
        let endpoint = Endpoint::parse("http://[::1]:9090/api/v1/write?x=1").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 9090));
        assert_eq!(endpoint.path, "/api/v1/write?x=1");
        assert_eq!(Endpoint::parse("http://prometheus").unwrap().port, 80);
        assert!(matches!(Endpoint::parse("https://h/"), Err(EndpointError::Scheme(_))));
        assert!(matches!(Endpoint::parse("http://a@h/"), Err(EndpointError::Form { .. })));
        assert!(Endpoint::parse("").is_err());
    }
}
