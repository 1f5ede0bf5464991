//! The thread that a simulated ECU lives in.

use super::NodeError;
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A running ECU, until it is joined.
#[derive(Debug)]
pub(super) struct NodeThread(Option<JoinHandle<Result<(), NodeError>>>);

impl NodeThread {
    /// Starts it.
    pub(super) fn spawn(
        name: &str,
        run: impl FnOnce() -> Result<(), NodeError> + Send + 'static,
    ) -> io::Result<Self> {
        Ok(Self(Some(std::thread::Builder::new().name(name.to_owned()).spawn(run)?)))
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end and says how that came, the first time it is asked.
    pub(super) fn join(&mut self) -> Result<(), NodeError> {
        self.0.take().map_or(Ok(()), |it| it.join().unwrap_or(Err(NodeError::Panicked)))
    }
}

/// A question to what lives in a thread, and its answer: hands the question over by `send`, and waits.
pub(super) fn ask<P: ?Sized, T: Send + 'static>(
    question: impl FnOnce(&mut P) -> T + Send + 'static,
    send: impl FnOnce(Box<dyn FnOnce(&mut P) + Send>) -> Result<(), NodeError>,
) -> Result<T, NodeError> {
    let (answer, answered) = mpsc::sync_channel(1);
    send(Box::new(move |port| {
        // Nobody waits for the answer if the asker is gone.
        let _ = answer.send(question(port));
    }))?;
    answered.recv().map_err(|_| NodeError::Stopped)
}
