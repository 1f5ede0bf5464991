//! The daemon's end of the socket to the profiling service. A service that is absent or dead costs telemetry, nothing
//! else.

use std::path::Path;
use std::sync::{Arc, Mutex};

use telemetry::BlockHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::mqtt::Receipt;
use super::socket::Listening;
use crate::profiler::link::{FrameReader, REBIRTH, TAKEN};
use crate::profiler::state::ProfilerState;
use crate::systemd::Passed;

/// Connections that may wait for a daemon that starts: the service has one at a time.
const EARLY: usize = 64;

/// Blocks on their way into the outbox: more than the channels on that way hold.
const RECEIPTS: usize = 2048;

/// A telemetry block from the service, and where to say that it is in the outbox.
#[derive(Debug)]
pub struct Block {
    /// The block.
    pub bytes: Vec<u8>,
    /// Tells the service, which until then keeps the block.
    pub receipt: Receipt,
}

/// The listening socket.
#[derive(Debug)]
pub struct ProfileLink {
    _listening: Listening,
    task: tokio::task::JoinHandle<()>,
    rebirth: watch::Sender<u64>,
    state: Arc<Mutex<State>>,
}

/// What is known of the service.
#[derive(Debug, Default)]
struct State {
    line: String,
    profiler: Option<ProfilerState>,
}

impl ProfileLink {
    /// Listens on the socket that the service manager passed as `profile`, else at `path`. Blocks go to `blocks`; while
    /// that is full the service waits, and what it cannot keep shows in its sequence numbers.
    ///
    /// # Errors
    /// The system's, with the path, where it cannot.
    pub fn bind(path: &Path, passed: &mut Passed, blocks: mpsc::Sender<Block>) -> std::io::Result<Self> {
        let (listening, listener) = Listening::open("profile", path, passed)?;
        turn_away_early(&listener);
        let (rebirth, wishes) = watch::channel(0);
        let state = Arc::new(Mutex::new(State { line: "not connected".to_owned(), profiler: None }));
        let task = tokio::spawn(serve(listener, blocks, wishes, Arc::clone(&state)));
        Ok(Self { _listening: listening, task, rebirth, state })
    }

    /// A receiver wants a keyframe.
    pub fn rebirth(&self) {
        self.rebirth.send_modify(|count| *count += 1);
    }

    /// One line for `gatewayctl`.
    pub fn status(&self) -> String {
        self.state.lock().map(|it| it.line.clone()).unwrap_or_default()
    }

    /// What the service last said of itself; `None` while it is away.
    pub fn profiler(&self) -> Option<ProfilerState> {
        self.state.lock().ok()?.profiler.clone()
    }
}

impl Drop for ProfileLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Closes what connected before this process listened: the service samples the process that the kernel names at the other
/// end, which then is an earlier one. It connects again within a fraction of a second, its blocks in hand.
fn turn_away_early(listener: &UnixListener) {
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    for _ in 0..EARLY {
        let std::task::Poll::Ready(Ok(_)) = listener.poll_accept(&mut context) else { return };
    }
}

/// One service at a time: a second one waits until the first has gone.
async fn serve(
    listener: UnixListener,
    blocks: mpsc::Sender<Block>,
    mut wishes: watch::Receiver<u64>,
    state: Arc<Mutex<State>>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the profile socket cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        tell(&state, "connected, no block yet".to_owned());
        if let Err(error) = receive(stream, &blocks, &mut wishes, &state).await {
            tracing::debug!(%error, "the profiling service has gone");
        }
        tell(&state, "not connected".to_owned());
    }
}

async fn receive(
    mut stream: UnixStream,
    blocks: &mpsc::Sender<Block>,
    wishes: &mut watch::Receiver<u64>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let mut reader = FrameReader::new();
    let mut buffer = vec![0; 16 * 1024];
    let (receipt, mut taken) = mpsc::channel(RECEIPTS);
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => {
                let len = read?;
                if len == 0 {
                    return Ok(());
                }
                reader.handle_bytes(buffer.get(..len).unwrap_or_default());
                while let Some(block) = reader.poll_block().map_err(std::io::Error::other)? {
                    if let Some(profiler) = ProfilerState::from_frame(&block) {
                        if let Ok(mut state) = state.lock() {
                            state.profiler = Some(profiler);
                        }
                    } else if let Ok(header) = BlockHeader::parse(&block) {
                        tell(state, format!("connected, {} blocks", header.seq + 1));
                        let block = Block { bytes: block, receipt: receipt.clone() };
                        if blocks.send(block).await.is_err() {
                            return Ok(());
                        }
                    } else {
                        tracing::debug!(len = block.len(), "the profiling service sent something else");
                        stream.write_all(&[TAKEN]).await?;
                    }
                }
            }
            Some(()) = taken.recv() => stream.write_all(&[TAKEN]).await?,
            changed = wishes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                stream.write_all(&[REBIRTH]).await?;
            }
        }
    }
}

fn tell(state: &Mutex<State>, text: String) {
    if let Ok(mut state) = state.lock() {
        if !text.starts_with("connected") {
            state.profiler = None;
        }
        state.line = text;
    }
}
