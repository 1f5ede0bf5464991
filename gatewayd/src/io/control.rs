//! The control socket: many short conversations, each with a deadline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::socket::Listening;
use crate::control::{Answer, MAX_REQUEST, Request};
use crate::systemd::Passed;

/// Conversations at a time.
const CONVERSATIONS: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question for the event loop and the way its answer goes back.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// The listening socket.
#[derive(Debug)]
pub struct ControlSocket {
    _listening: Listening,
    close: Arc<Notify>,
    task: JoinHandle<()>,
}

impl ControlSocket {
    /// Listens for the daemon's user and group only: on the socket that the service manager passed as `control`, else at
    /// `path`.
    ///
    /// # Errors
    /// The system's, with the path, where it cannot.
    pub fn bind(
        path: &Path,
        passed: &mut Passed,
        questions: mpsc::Sender<Question>,
    ) -> std::io::Result<Self> {
        let (listening, listener) = Listening::open("control", path, passed)?;
        let close = Arc::new(Notify::new());
        let task = tokio::spawn(listen(listener, questions, Arc::clone(&close)));
        Ok(Self { _listening: listening, close, task })
    }

    /// Takes no further conversation, and returns when those under way are over. Who connects from now on is answered by
    /// the next process, where the service manager keeps the socket. Cancel-safe; the caller sets the deadline.
    pub async fn finish(&mut self) {
        self.close.notify_one();
        // A panic there has been logged by the panic hook.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: UnixListener, questions: mpsc::Sender<Question>, close: Arc<Notify>) {
    let mut conversations = JoinSet::new();
    loop {
        while conversations.len() >= CONVERSATIONS {
            conversations.join_next().await;
        }
        let accepted = tokio::select! {
            biased;
            () = close.notified() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let questions = questions.clone();
                conversations.spawn(async move {
                    if tokio::time::timeout(PATIENCE, converse(stream, questions)).await.is_err() {
                        tracing::debug!("a control conversation took too long");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while conversations.try_join_next().is_some() {}
    }
    drop(listener);
    while conversations.join_next().await.is_some() {}
}

async fn converse(stream: UnixStream, questions: mpsc::Sender<Question>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST as u64 + 1));
    if reader.read_until(b'\n', &mut line).await.is_err() {
        return;
    }
    let answer = match Request::parse(&line) {
        Err(message) => Answer::Error { message },
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            let asked = questions.send(Question { request, answer: sender }).await;
            match (asked, receiver.await) {
                (Ok(()), Ok(answer)) => answer,
                _ => Answer::Error { message: "the daemon is stopping".to_owned() },
            }
        }
    };
    if let Ok(mut text) = serde_json::to_vec(&answer) {
        text.push(b'\n');
        // An asker that has left needs no answer.
        let _ = writer.write_all(&text).await;
    }
}
