//! The service's end of the socket: connects, waits longer after each failure, and keeps a few blocks for a daemon that
//! is slow or away. A block is kept until the daemon says that it is on disk; one that dies before gets it again.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::link::{FrameWriter, REBIRTH, TAKEN};

/// Blocks that are kept: with windows of ten seconds almost three minutes.
const MAX_QUEUED: usize = 16;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// What one look at the socket brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The daemon asks for a keyframe.
    pub(super) rebirth: bool,
    /// A connection was made just now.
    pub(super) connected: bool,
}

#[derive(Debug)]
pub(super) struct Uplink {
    path: PathBuf,
    stream: Option<UnixStream>,
    retry_at: Option<Instant>,
    backoff: Duration,
    queue: VecDeque<Queued>,
    /// So many at the front of the queue are with the daemon, which has not said yet that it took them.
    sent: usize,
}

#[derive(Debug)]
struct Queued {
    writer: FrameWriter,
    samples: u64,
    /// Nobody waits for word on it.
    note: bool,
}

impl Uplink {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stream: None, retry_at: None, backoff: FIRST_BACKOFF, queue: VecDeque::new(), sent: 0 }
    }

    /// Process id of the daemon at the other end.
    pub(super) fn peer(&self) -> Option<u32> {
        let credentials = rustix::net::sockopt::socket_peercred(self.stream.as_ref()?).ok()?;
        u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
    }

    /// Takes a block of `samples` samples; if another was dropped to make room, gives back how many samples it had.
    pub(super) fn push(&mut self, writer: FrameWriter, samples: u64) -> Option<u64> {
        let mut dropped = None;
        if self.queue.len() >= MAX_QUEUED && self.sent > 0 {
            // The daemon most likely has it, and is one that does not say so.
            self.queue.pop_front();
            self.sent -= 1;
        } else if self.queue.len() >= MAX_QUEUED {
            // The oldest that is not halfway out: the daemon could not tell where the next one begins.
            let oldest = usize::from(self.queue.front().is_some_and(|first| first.writer.is_started()));
            dropped = self.queue.remove(oldest).map(|queued| queued.samples);
        }
        self.queue.push_back(Queued { writer, samples, note: false });
        dropped
    }

    /// Takes a note that is of use only while it is new: without a connection, or behind others, it is left out.
    pub(super) fn push_note(&mut self, writer: FrameWriter) {
        if self.stream.is_some() && self.queue.len() - self.sent < MAX_QUEUED / 2 {
            self.queue.push_back(Queued { writer, samples: 0, note: true });
        }
    }

    /// Connects when it is time to, sends what the socket takes, and reads what the daemon says.
    pub(super) fn handle_io(&mut self, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        if self.stream.is_none() && self.retry_at.is_none_or(|at| at <= now) {
            match connect(&self.path) {
                Ok(stream) => {
                    info!(socket = %self.path.display(), "connected to the daemon");
                    self.stream = Some(stream);
                    self.backoff = FIRST_BACKOFF;
                    outcome.connected = true;
                }
                Err(error) => {
                    debug!(socket = %self.path.display(), %error, "daemon not reached");
                    self.retry_at = Some(now + self.backoff);
                    self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
        let Some(stream) = &mut self.stream else { return outcome };
        let done = receive(stream).and_then(|heard| {
            outcome.rebirth = heard.rebirth;
            let taken = heard.taken.min(self.sent);
            self.queue.drain(..taken);
            self.sent -= taken;
            send(stream, &mut self.queue, &mut self.sent)
        });
        if let Err(error) = done {
            info!(%error, "connection to the daemon lost");
            self.stream = None;
            self.retry_at = Some(now + self.backoff);
            self.sent = 0;
            for queued in &mut self.queue {
                queued.writer.rewind();
            }
        }
        outcome
    }
}

fn connect(path: &PathBuf) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What the daemon has said.
struct Heard {
    /// A keyframe was asked for.
    rebirth: bool,
    /// So many blocks are on disk.
    taken: usize,
}

/// Reads what is there.
fn receive(stream: &mut UnixStream) -> io::Result<Heard> {
    let mut bytes = [0; 64];
    match stream.read(&mut bytes) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(len) => {
            let read = bytes.get(..len).unwrap_or_default();
            let taken = read.iter().filter(|it| **it == TAKEN).count();
            Ok(Heard { rebirth: read.contains(&REBIRTH), taken })
        }
        Err(error) if is_later(&error) => Ok(Heard { rebirth: false, taken: 0 }),
        Err(error) => Err(error),
    }
}

/// Writes what the socket takes of those behind the first `sent`.
fn send(stream: &mut UnixStream, queue: &mut VecDeque<Queued>, sent: &mut usize) -> io::Result<()> {
    while let Some(next) = queue.get_mut(*sent) {
        let rest = next.writer.poll_transmit();
        if rest.is_empty() {
            if next.note {
                queue.remove(*sent);
            } else {
                *sent += 1;
            }
            continue;
        }
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => next.writer.handle_written(len),
            Err(error) if is_later(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::link::FrameReader;
    use super::*;

    fn block(byte: u8) -> FrameWriter {
        FrameWriter::new(&[byte]).unwrap()
    }

    fn received(stream: &mut UnixStream) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let len = stream.read(&mut bytes).unwrap();
        let mut reader = FrameReader::new();
        reader.handle_bytes(&bytes[..len]);
        std::iter::from_fn(|| reader.poll_block().unwrap()).flatten().collect()
    }

    #[test]
    fn blocks_made_while_the_daemon_is_away_arrive_when_it_comes_the_oldest_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (mut uplink, now) = (Uplink::new(path.clone()), Instant::now());
        assert_eq!(uplink.handle_io(now), Outcome::default());
        for number in 0..MAX_QUEUED {
            assert_eq!(uplink.push(block(u8::try_from(number).unwrap()), 5), None);
        }
        assert_eq!(uplink.push(block(99), 5), Some(5), "the oldest block's samples");

        let listener = UnixListener::bind(&path).unwrap();
        assert!(!uplink.handle_io(now).connected, "before the backoff is over");
        assert!(uplink.handle_io(now + FIRST_BACKOFF).connected);
        let (mut stream, _) = listener.accept().unwrap();
        let expected: Vec<u8> = (1..16).chain([99]).collect();
        assert_eq!(received(&mut stream), expected);
        assert_eq!(uplink.peer(), Some(std::process::id()));
    }

    #[test]
    fn a_block_that_the_daemon_has_not_taken_when_it_dies_is_sent_to_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut uplink, now) = (Uplink::new(path), Instant::now());
        uplink.handle_io(now);
        for number in 0..3 {
            uplink.push(block(number), 5);
            uplink.push_note(block(100 + number));
        }
        uplink.handle_io(now);
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(received(&mut stream), [0, 100, 1, 101, 2, 102]);
        stream.write_all(&[TAKEN]).unwrap();
        uplink.handle_io(now);
        drop(stream);
        uplink.handle_io(now);
        assert!(uplink.handle_io(now + FIRST_BACKOFF).connected);
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(received(&mut stream), [1, 2]);
    }

    #[test]
    fn a_daemon_that_never_says_what_it_took_gets_every_block_and_every_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut uplink, now) = (Uplink::new(path), Instant::now());
        uplink.handle_io(now);
        let (mut stream, _) = listener.accept().unwrap();
        for number in 0..40 {
            assert_eq!(uplink.push(block(number), 5), None, "none is lost");
            uplink.push_note(block(100));
            uplink.handle_io(now);
            assert_eq!(received(&mut stream), [number, 100]);
        }
    }

    #[test]
    fn a_rebirth_request_is_heard_and_a_lost_connection_survived() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut uplink, now) = (Uplink::new(path), Instant::now());
        assert!(uplink.handle_io(now).connected);
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[REBIRTH]).unwrap();
        assert!(uplink.handle_io(now).rebirth);
        drop(stream);
        assert_eq!(uplink.handle_io(now), Outcome::default());
        assert!(uplink.peer().is_none());
        assert!(uplink.handle_io(now + FIRST_BACKOFF).connected);
    }

    #[test]
    fn waiting_doubles_up_to_five_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let (mut uplink, mut now) = (Uplink::new(dir.path().join("none")), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..8 {
            uplink.handle_io(now);
            let at = uplink.retry_at.unwrap();
            waits.push((at - now).as_millis());
            now = at;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }
}
