//! One request and its response, over any transport that can send a head and a body.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::timeout;

use super::Shared;
use super::content::{self, Answer, Block};
use super::statistics::count;

/// How long a stalled response stays open: longer than any receiver should wait.
const STALL: Duration = Duration::from_secs(600);

/// The transport failed, or the client gave up; there is nobody left to tell.
#[derive(Debug)]
pub(crate) struct Gone;

/// The sending half of one exchange.
pub(crate) trait Transport: Send {
    /// Sends the head; `end` where no body follows.
    fn head(&mut self, head: Response<()>, end: bool) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Sends a piece of the body, once the client has room for it.
    fn data(&mut self, data: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Ends the body.
    fn finish(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Breaks off, so that the client does not take what it has for the whole.
    fn abort(&mut self);
}

/// Answers one request.
pub(crate) async fn respond(shared: &Shared, request: &Request<()>, mut transport: impl Transport) {
    let answer = content::answer(&shared.root, &shared.faults, request).await;
    let status = answer.head.status();
    count(&shared.statistics.requests, 1);
    if status.is_client_error() || status.is_server_error() {
        count(&shared.statistics.errors, 1);
    }
    tracing::debug!(method = %request.method(), path = request.uri().path(), status = status.as_u16(), "request");
    if send(shared, answer, &mut transport).await.is_err() {
        count(&shared.statistics.aborted, 1);
        transport.abort();
    }
}

async fn send(shared: &Shared, answer: Answer, transport: &mut impl Transport) -> Result<(), Gone> {
    let limit = shared.limits.progress;
    let Some(mut body) = answer.body else {
        return in_time(limit, transport.head(answer.head, true)).await;
    };
    in_time(limit, transport.head(answer.head, false)).await?;
    loop {
        match body.next().await {
            Ok(Block::Data(data)) => {
                let len = data.len() as u64;
                in_time(limit, transport.data(data)).await?;
                count(&shared.statistics.body_bytes, len);
            }
            Ok(Block::End) => return in_time(limit, transport.finish()).await,
            Ok(Block::Stalled) => {
                tokio::time::sleep(STALL).await;
                return Err(Gone);
            }
            Err(error) => {
                tracing::warn!(%error, "file cannot be read to the end its head promised");
                return Err(Gone);
            }
        }
    }
}

async fn in_time(limit: Duration, step: impl Future<Output = Result<(), Gone>>) -> Result<(), Gone> {
    timeout(limit, step).await.unwrap_or(Err(Gone))
}
