//! The way to the origin: HTTP/3 first, HTTP/2 where UDP is blocked.
//!
//! One task owns the connection. Each fetch is a task of its own that feeds the event loop through a bounded channel,
//! so an event loop that is busy slows the origin down through QUIC's flow control instead of growing a queue.

mod http2;
mod http3;
mod request;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::tls::ClientTls;
pub use super::tls::TlsError;
use crate::config::parts::{CloudPart, TransportName};
use crate::gateway::message::{Fetch, FetchError, FetchId, Input};

/// Fetches from the origin on behalf of the event loop.
#[derive(Debug)]
pub struct Cloud {
    origin: Arc<Origin>,
    inputs: mpsc::Sender<Input>,
    tasks: JoinSet<FetchId>,
    running: HashMap<FetchId, tokio::task::AbortHandle>,
}

/// An origin whose certificates have been read.
#[derive(Debug)]
pub struct Prepared(Arc<Origin>);

/// What every fetch task shares.
#[derive(Debug)]
struct Origin {
    url: request::OriginUrl,
    part: CloudPart,
    tls: ClientTls,
    connection: Mutex<Option<Connection>>,
}

/// A connection that stands.
#[derive(Clone, Debug)]
enum Connection {
    Http3(http3::Connection),
    Http2(http2::Connection),
}

impl Cloud {
    /// Reads the certificates; connects to nothing yet. `inputs` is where parts and ends go.
    ///
    /// # Errors
    /// [`TlsError`] where a certificate or key is missing or unusable, or the URL is not one.
    pub fn new(
        part: &CloudPart,
        credentials: Option<&Path>,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self, TlsError> {
        let Prepared(origin) = Self::prepare(part, credentials)?;
        Ok(Self { origin, inputs, tasks: JoinSet::new(), running: HashMap::new() })
    }

    /// Reads the certificates of another origin, or of the same one anew; changes nothing yet.
    ///
    /// # Errors
    /// As [`Cloud::new`].
    pub fn prepare(part: &CloudPart, credentials: Option<&Path>) -> Result<Prepared, TlsError> {
        let url = request::OriginUrl::parse(&part.url).map_err(TlsError::Url)?;
        let tls = ClientTls::for_origin(part, credentials)?;
        Ok(Prepared(Arc::new(Origin { url, part: part.clone(), tls, connection: Mutex::new(None) })))
    }

    /// Fetches from there from now on. Fetches under way end where they began.
    pub fn change(&mut self, Prepared(origin): Prepared) {
        self.origin = origin;
    }

    /// Starts a fetch. Its parts and its end arrive as inputs.
    pub fn start(&mut self, fetch: Fetch) {
        self.reap();
        let (origin, inputs, id) = (Arc::clone(&self.origin), self.inputs.clone(), fetch.id);
        let handle = self.tasks.spawn(async move {
            let result = origin.fetch(&fetch, &inputs).await;
            if let Err(error) = &result {
                tracing::debug!(path = fetch.path, %error, "fetch failed");
            }
            // The receiver is only gone when the daemon stops; then nobody waits for this.
            let _ = inputs.send(Input::FetchEnd { id, result }).await;
            id
        });
        self.running.insert(id, handle);
    }

    /// Stops a fetch. Inputs that are already on their way still arrive.
    pub fn cancel(&mut self, id: FetchId) {
        if let Some(handle) = self.running.remove(&id) {
            handle.abort();
        }
    }

    /// Forgets the tasks that are over.
    fn reap(&mut self) {
        while let Some(done) = self.tasks.try_join_next() {
            if let Ok(id) = done {
                self.running.remove(&id);
            }
        }
    }
}

impl Origin {
    async fn fetch(&self, fetch: &Fetch, inputs: &mpsc::Sender<Input>) -> Result<(), FetchError> {
        let connection = self.connect().await?;
        let result = match &connection {
            Connection::Http3(it) => it.fetch(self, fetch, inputs).await,
            Connection::Http2(it) => it.fetch(self, fetch, inputs).await,
        };
        if matches!(result, Err(FetchError::Unreachable { .. } | FetchError::Stalled { .. })) {
            self.drop_connection(&connection).await;
        }
        result
    }

    /// The standing connection, or a new one over the first transport that answers.
    async fn connect(&self) -> Result<Connection, FetchError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|it| it.is_open()) {
            return Ok(connection.clone());
        }
        let mut last = FetchError::Unreachable { reason: "no transport is configured".to_owned() };
        for transport in &self.part.transports {
            for (family, tls) in &self.tls.attempts {
                let attempt = self.connect_over(*transport, tls);
                match tokio::time::timeout(self.part.connect_timeout.get(), attempt).await {
                    Ok(Ok(connection)) => {
                        tracing::info!(?transport, ?family, url = self.part.url, "connected to the origin");
                        *slot = Some(connection.clone());
                        return Ok(connection);
                    }
                    Ok(Err(reason)) => {
                        tracing::debug!(?transport, ?family, reason, "no connection to the origin");
                        last = FetchError::Unreachable { reason: format!("{transport:?}: {reason}") }
                    }
                    Err(_) => {
                        let reason = format!("{transport:?}: no answer in {}", self.part.connect_timeout);
                        last = FetchError::Unreachable { reason };
                        // An origin that says nothing says nothing to other suites either.
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    async fn connect_over(
        &self,
        transport: TransportName,
        tls: &rustls::ClientConfig,
    ) -> Result<Connection, String> {
        match transport {
            TransportName::Http3 => http3::Connection::open(self, tls).await.map(Connection::Http3),
            TransportName::Http2 => http2::Connection::open(self, tls).await.map(Connection::Http2),
        }
    }

    /// Forgets `connection`, unless somebody has already replaced it.
    async fn drop_connection(&self, connection: &Connection) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|it| it.id() == connection.id()) {
            *slot = None;
        }
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        match self {
            Self::Http3(it) => it.is_open(),
            Self::Http2(it) => it.is_open(),
        }
    }

    fn id(&self) -> u64 {
        match self {
            Self::Http3(it) => it.id,
            Self::Http2(it) => it.id,
        }
    }
}
