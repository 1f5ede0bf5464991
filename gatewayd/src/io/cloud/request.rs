//! What HTTP/3 and HTTP/2 have in common: the request, and how a body becomes parts.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Buf;
use http::{Request, Uri};
use tokio::sync::mpsc;

use crate::gateway::message::{Fetch, FetchError, FetchId, Input};

/// How long the preferred address family is alone (RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// A checked `https://host:port/base/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OriginUrl {
    pub(super) host: String,
    pub(super) port: u16,
    base: String,
}

impl OriginUrl {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("`{text}` is not an https URL"));
        }
        let host = uri.host().ok_or_else(|| format!("`{text}` names no host"))?;
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port: uri.port_u16().unwrap_or(443), base })
    }

    /// The address that the resolver puts first, and the first one of the other family if there is one.
    pub(super) async fn resolve(&self) -> Result<(SocketAddr, Option<SocketAddr>), String> {
        let mut found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| format!("cannot resolve {}: {error}", self.host))?;
        let first = found.next().ok_or_else(|| format!("{} has no address", self.host))?;
        Ok((first, found.find(|it| it.is_ipv6() != first.is_ipv6())))
    }

    pub(super) fn request(&self, fetch: &Fetch) -> Result<Request<()>, FetchError> {
        let authority = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let uri = format!("https://{authority}:{}{}/{}", self.port, self.base, fetch.path);
        let mut builder = Request::get(uri);
        if let Some(range) = &fetch.range {
            builder =
                builder.header("range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        if let Some(traceparent) = &fetch.traceparent {
            builder = builder.header("traceparent", traceparent);
        }
        builder
            .body(())
            .map_err(|error| FetchError::Unreachable { reason: format!("{}: {error}", fetch.path) })
    }
}

/// The first of two ways that leads somewhere, in the manner of RFC 8305: a network may announce IPv6 and carry none of it,
/// or the other way round. The second starts when the first has failed or had its head start.
pub(super) async fn either<T>(
    first: impl Future<Output = Result<T, String>>,
    second: Option<impl Future<Output = Result<T, String>>>,
) -> Result<T, String> {
    let Some(second) = second else { return first.await };
    let (mut first, mut second) = (pin!(first), pin!(second));
    let both = |one: String, other: String| format!("{one}; {other}");
    match tokio::time::timeout(HEAD_START, &mut first).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(reason)) => return second.await.map_err(|it| both(reason, it)),
        Err(_) => {}
    }
    tokio::select! {
        outcome = &mut first => match outcome {
            Ok(connection) => Ok(connection),
            Err(reason) => second.await.map_err(|it| both(reason, it)),
        },
        outcome = &mut second => match outcome {
            Ok(connection) => Ok(connection),
            Err(reason) => first.await.map_err(|it| both(reason, it)),
        },
    }
}

/// A new connection's number, unique in this process.
pub(super) fn next_connection_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether an answer's status promises the bytes asked for.
pub(super) fn check_status(fetch: &Fetch, status: u16) -> Result<(), FetchError> {
    let wanted = if fetch.range.is_some() { 206 } else { 200 };
    match status {
        _ if status == wanted => Ok(()),
        // Range Not Satisfiable: the file ends before the bytes that metadata promises (RFC 9110, section 15.5.17).
        416 => Err(FetchError::Truncated {
            path: fetch.path.clone(),
            found: 0,
            expected: fetch.range.as_ref().map_or(0, |range| range.end - range.start),
        }),
        404 | 410 => Err(FetchError::NotFound { path: fetch.path.clone() }),
        _ => Err(FetchError::Refused { status, path: fetch.path.clone() }),
    }
}

/// Cuts a body into parts and hands each on as it fills up: the one copy of the package path.
#[derive(Debug)]
pub(super) struct PartWriter<'a> {
    fetch: &'a Fetch,
    inputs: &'a mpsc::Sender<Input>,
    part: Vec<u8>,
    received: u64,
}

impl<'a> PartWriter<'a> {
    pub(super) fn new(fetch: &'a Fetch, inputs: &'a mpsc::Sender<Input>) -> Self {
        Self { fetch, inputs, part: Vec::new(), received: 0 }
    }

    pub(super) async fn write(&mut self, mut body: impl Buf) -> Result<(), FetchError> {
        while body.has_remaining() {
            let slice = body.chunk();
            let take = slice.len().min(self.fetch.part_len - self.part.len());
            self.received += take as u64;
            if self.received > self.limit() {
                return Err(FetchError::TooLong { path: self.fetch.path.clone(), limit: self.limit() });
            }
            if self.part.capacity() == 0 {
                self.part.reserve_exact(self.expected_part());
            }
            self.part.extend_from_slice(&slice[..take]);
            body.advance(take);
            if self.part.len() == self.fetch.part_len {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// The body is over: the rest goes out, and its length is judged.
    pub(super) async fn finish(mut self) -> Result<(), FetchError> {
        if let Some(range) = &self.fetch.range {
            let expected = range.end - range.start;
            if self.received < expected {
                return Err(FetchError::Truncated {
                    path: self.fetch.path.clone(),
                    found: self.received,
                    expected,
                });
            }
        }
        if !self.part.is_empty() || self.received == 0 {
            self.flush().await?;
        }
        Ok(())
    }

    fn limit(&self) -> u64 {
        self.fetch
            .range
            .as_ref()
            .map_or(self.fetch.max_len, |range| (range.end - range.start).min(self.fetch.max_len))
    }

    /// How much to reserve for the next part: never more than can still come.
    fn expected_part(&self) -> usize {
        let left = self.limit().saturating_sub(self.received);
        usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1500).min(self.fetch.part_len).min(1 << 20)
    }

    async fn flush(&mut self) -> Result<(), FetchError> {
        let data = std::mem::take(&mut self.part);
        send_part(self.inputs, self.fetch.id, data).await
    }
}

async fn send_part(inputs: &mpsc::Sender<Input>, id: FetchId, data: Vec<u8>) -> Result<(), FetchError> {
    inputs
        .send(Input::FetchPart { id, data })
        .await
        .map_err(|_| FetchError::Unreachable { reason: "the daemon is stopping".to_owned() })
}

/// Bounds one wait on the origin.
pub(super) async fn within<T>(
    fetch: &Fetch,
    silence: Duration,
    wait: impl Future<Output = Result<T, String>>,
) -> Result<T, FetchError> {
    match tokio::time::timeout(silence, wait).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(reason)) => Err(FetchError::Unreachable { reason }),
        Err(_) => Err(FetchError::Stalled { path: fetch.path.clone(), silence }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(range: Option<std::ops::Range<u64>>, part_len: usize, max_len: u64) -> Fetch {
        Fetch { id: FetchId(1), path: "image/x".to_owned(), range, part_len, max_len, traceparent: None }
    }

    async fn parts(fetch: &Fetch, bodies: &[&[u8]]) -> (Vec<usize>, Result<(), FetchError>) {
        let (sender, mut receiver) = mpsc::channel(64);
        let mut writer = PartWriter::new(fetch, &sender);
        let mut result = Ok(());
        for body in bodies {
            result = result.and(writer.write(*body).await);
        }
        if result.is_ok() {
            result = writer.finish().await;
        }
        drop(sender);
        let mut lens = Vec::new();
        while let Some(Input::FetchPart { data, .. }) = receiver.recv().await {
            lens.push(data.len());
        }
        (lens, result)
    }

    #[tokio::test]
    async fn a_body_is_cut_at_part_boundaries_whatever_its_own_pieces_are() {
        let fetch = fetch(Some(10..35), 10, 100);
        let (lens, result) = parts(&fetch, &[&[0; 3], &[0; 21], &[0; 1]]).await;
        assert_eq!((lens, result), (vec![10, 10, 5], Ok(())));
    }

    #[tokio::test]
    async fn one_byte_too_many_is_endless_data() {
        let fetch = fetch(None, 10, 20);
        assert_eq!(parts(&fetch, &[&[0; 20]]).await.1, Ok(()));
        let (_, result) = parts(&fetch, &[&[0; 21]]).await;
        assert_eq!(result, Err(FetchError::TooLong { path: "image/x".to_owned(), limit: 20 }));
    }

    #[tokio::test]
    async fn one_byte_too_few_is_a_truncated_file() {
        let fetch = fetch(Some(0..20), 10, 20);
        let (_, result) = parts(&fetch, &[&[0; 19]]).await;
        assert_eq!(
            result,
            Err(FetchError::Truncated { path: "image/x".to_owned(), found: 19, expected: 20 })
        );
    }

    #[tokio::test]
    async fn an_address_family_that_fails_or_says_nothing_gives_way_to_the_other() {
        let silent = std::future::pending::<Result<u8, String>>;
        let well = |it: u8| std::future::ready(Ok::<_, String>(it));
        let refused = |it: &str| std::future::ready(Err::<u8, _>(it.to_owned()));
        assert_eq!(either(well(6), Some(well(4))).await, Ok(6));
        assert_eq!(either(refused("no route"), Some(well(4))).await, Ok(4));
        assert_eq!(either(silent(), Some(well(4))).await, Ok(4));
        assert_eq!(either(refused("six"), Some(refused("four"))).await, Err("six; four".to_owned()));
        assert_eq!(either(refused("six"), None::<std::future::Ready<_>>).await, Err("six".to_owned()));
    }

    #[test]
    fn a_request_names_the_range_inclusively() {
        let url = OriginUrl::parse("https://[::1]:4433/fleet/").expect("is a URL");
        let request = url.request(&fetch(Some(0..65536), 1, 1)).expect("is a request");
        assert_eq!(request.uri().to_string(), "https://[::1]:4433/fleet/image/x");
        assert_eq!(request.headers()["range"], "bytes=0-65535");
    }
}
