//! What the origin answers, whichever protocol asked.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::faults::{Faults, FileFaults};
use super::path;
use super::range::{self, Selection};

/// Bytes read and sent at a time; the memory one response needs, whatever the size of the file.
pub(crate) const BLOCK: usize = 64 * 1024;

/// Head and body of one answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    /// `None`: the head is all there is.
    pub(crate) body: Option<Body>,
}

/// What to send next.
#[derive(Debug)]
pub(crate) enum Block {
    /// These bytes.
    Data(Bytes),
    /// Nothing, with the response left open.
    Stalled,
    /// The end.
    End,
}

/// The selected bytes of one file.
#[derive(Debug)]
pub(crate) struct Body {
    file: File,
    offset: u64,
    remaining: u64,
    faults: FileFaults,
}

/// Answers one request from the files below `root`, which must be canonical.
pub(crate) async fn answer(root: &Path, faults: &Faults, request: &Request<()>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED);
        answer.head.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let Some(relative) = path::relative(request.uri().path()) else {
        return refusal(StatusCode::NOT_FOUND);
    };
    let Some(path) = path::below(root, &relative) else {
        return refusal(StatusCode::NOT_FOUND);
    };
    match open(&path).await {
        Ok(Some((file, len, etag))) => {
            let faults = faults.of(&relative);
            let len = faults.len.map_or(len, |it| it.min(len));
            represent(request, file, len, &etag, content_type(&relative), faults).await
        }
        Ok(None) => refusal(StatusCode::NOT_FOUND),
        Err(error) if error.kind() == io::ErrorKind::NotFound => refusal(StatusCode::NOT_FOUND),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refusal(StatusCode::FORBIDDEN),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// An answer without a body.
pub(crate) fn refusal(status: StatusCode) -> Answer {
    let mut head = Response::new(());
    *head.status_mut() = status;
    head.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Answer { head, body: None }
}

impl Body {
    /// The next block.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter than the answer's head says.
    pub(crate) async fn next(&mut self) -> io::Result<Block> {
        if self.faults.stall.is_some_and(|it| self.offset >= it) {
            return Ok(Block::Stalled);
        }
        if self.remaining == 0 {
            return Ok(if self.faults.endless {
                Block::Data(Bytes::from_static(&[0; BLOCK]))
            } else {
                Block::End
            });
        }
        let before_stall = self.faults.stall.map_or(u64::MAX, |it| it - self.offset);
        let want = usize::try_from(self.remaining.min(before_stall)).unwrap_or(BLOCK).min(BLOCK);
        let mut block = vec![0; want];
        self.file.read_exact(&mut block).await?;
        self.faults.flip(self.offset, &mut block);
        self.offset += want as u64;
        self.remaining -= want as u64;
        Ok(Block::Data(block.into()))
    }
}

async fn open(path: &Path) -> io::Result<Option<(File, u64, String)>> {
    // Asked before the file is opened: opening a FIFO would wait for its other end.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Ok(None);
    }
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some((file, metadata.len(), format!("\"{:x}-{:x}\"", metadata.len(), modified.as_nanos()))))
}

async fn represent(
    request: &Request<()>,
    mut file: File,
    len: u64,
    etag: &str,
    content_type: &'static str,
    faults: FileFaults,
) -> Answer {
    let mut answer = refusal(StatusCode::OK);
    let headers = answer.head.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    insert(headers, header::ETAG, etag);

    if names_tag(request.headers().get(header::IF_NONE_MATCH), etag) {
        *answer.head.status_mut() = StatusCode::NOT_MODIFIED;
        answer.head.headers_mut().remove(header::CONTENT_LENGTH);
        return answer;
    }
    // A range has a meaning for GET alone (RFC 9110, 14.2), and only while the file is the one the client knows.
    let same = request.headers().get(header::IF_RANGE).is_none_or(|it| it.as_bytes() == etag.as_bytes());
    let wanted = request.headers().get(header::RANGE).filter(|_| same && request.method() == Method::GET);
    let part = match range::select(wanted.map(HeaderValue::as_bytes), len) {
        Selection::Whole => 0..len,
        Selection::Part(part) => {
            *answer.head.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {}-{}/{len}", part.start, part.end - 1);
            insert(answer.head.headers_mut(), header::CONTENT_RANGE, &value);
            part
        }
        Selection::Unsatisfiable => {
            *answer.head.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert(answer.head.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{len}"));
            return answer;
        }
    };
    let remaining = part.end - part.start;
    if faults.endless {
        answer.head.headers_mut().remove(header::CONTENT_LENGTH);
    } else {
        insert(answer.head.headers_mut(), header::CONTENT_LENGTH, &remaining.to_string());
    }
    if request.method() == Method::HEAD {
        return answer;
    }
    if file.seek(SeekFrom::Start(part.start)).await.is_err() {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR);
    }
    answer.body = Some(Body { file, offset: part.start, remaining, faults });
    answer
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // Our values are made of digits, ASCII letters and quotes; one that were not is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn names_tag(header: Option<&HeaderValue>, etag: &str) -> bool {
    let Some(list) = header.and_then(|it| it.to_str().ok()) else { return false };
    list.split(',').map(str::trim).any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag)
}

fn content_type(path: &str) -> &'static str {
    if path.ends_with(".json") { "application/json" } else { "application/octet-stream" }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: &mut Body, at_most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < at_most {
            match body.next().await.unwrap() {
                Block::Data(data) => all.extend_from_slice(&data),
                Block::Stalled | Block::End => break,
            }
        }
        all
    }

    fn get(path: &str, range: Option<&str>) -> Request<()> {
        let mut request = Request::get(format!("https://localhost/{path}"));
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        request.body(()).unwrap()
    }

    fn root_with(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let root = dir.path().canonicalize().unwrap();
        (dir, root)
    }

    #[tokio::test]
    async fn each_fault_does_what_it_says_and_nothing_to_other_files() {
        let (_dir, root) = root_with("a", &[7; 100]);
        std::fs::write(root.join("b"), [7; 100]).unwrap();
        let faults = Faults::default();
        use super::super::Fault;
        faults.add(Fault::FlipBit { path: "a".into(), offset: 50, bit: 0 });
        let mut body = answer(&root, &faults, &get("a", Some("bytes=49-51"))).await.body.unwrap();
        assert_eq!(read(&mut body, 100).await, [7, 6, 7]);

        faults.add(Fault::Truncate { path: "a".into(), len: 50 });
        let short = answer(&root, &faults, &get("a", Some("bytes=40-59"))).await;
        assert_eq!(short.head.headers()[header::CONTENT_RANGE], "bytes 40-49/50");
        let gone = answer(&root, &faults, &get("a", Some("bytes=50-59"))).await;
        assert_eq!(gone.head.status(), StatusCode::RANGE_NOT_SATISFIABLE);

        faults.clear();
        faults.add(Fault::Stall { path: "a".into(), after: 30 });
        let mut body = answer(&root, &faults, &get("a", None)).await.body.unwrap();
        assert_eq!(read(&mut body, 100).await.len(), 30);
        assert!(matches!(body.next().await.unwrap(), Block::Stalled));

        faults.clear();
        faults.add(Fault::Endless { path: "a".into() });
        let endless = answer(&root, &faults, &get("a", None)).await;
        assert!(!endless.head.headers().contains_key(header::CONTENT_LENGTH));
        assert!(read(&mut endless.body.unwrap(), 1_000_000).await.len() >= 1_000_000);

        let whole = answer(&root, &faults, &get("b", None)).await;
        assert_eq!(read(&mut whole.body.unwrap(), 1000).await, [7; 100]);
    }

    #[tokio::test]
    async fn a_known_tag_is_not_sent_again_and_a_stale_range_gets_everything() {
        let (_dir, root) = root_with("a", &[7; 10]);
        let faults = Faults::default();
        let first = answer(&root, &faults, &get("a", None)).await;
        let etag = first.head.headers()[header::ETAG].clone();
        let mut again = get("a", None);
        again.headers_mut().insert(header::IF_NONE_MATCH, etag.clone());
        assert_eq!(answer(&root, &faults, &again).await.head.status(), StatusCode::NOT_MODIFIED);
        let mut resume = get("a", Some("bytes=5-"));
        resume.headers_mut().insert(header::IF_RANGE, etag);
        assert_eq!(answer(&root, &faults, &resume).await.head.status(), StatusCode::PARTIAL_CONTENT);
        resume.headers_mut().insert(header::IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(answer(&root, &faults, &resume).await.head.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn directories_and_pipes_are_not_found() {
        let (_dir, root) = root_with("a", &[]);
        std::fs::create_dir(root.join("sub")).unwrap();
        let status = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
        assert!(status.success());
        for path in ["sub", "pipe", "absent"] {
            let answer = answer(&root, &Faults::default(), &get(path, None)).await;
            assert_eq!(answer.head.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
