//! The emulator behind a Unix socket, in real time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Emulator;
use crate::device::abi::{AbiError, MAX_AUX, MAX_EXTRA};
use crate::device::frames::RequestReader;

/// Why a connection to the emulator ended before the other end closed it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The device has died, as ordered.
    #[error("the device has died, as ordered")]
    Dead,
    /// The other end's fault.
    #[error("not a request: {0}")]
    Request(#[from] AbiError),
    /// The connection broke.
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
}

impl Emulator {
    /// Carries out the requests of one connection, which is a reset of the device, until it ends.
    ///
    /// # Errors
    /// [`ServeError`], after which the connection is of no use.
    pub fn serve(&mut self, mut stream: &UnixStream) -> Result<(), ServeError> {
        self.handle_reset();
        stream.set_nonblocking(true)?;
        let mut reader = RequestReader::new(self.model.max_bytes + MAX_AUX + MAX_EXTRA);
        let mut replies = VecDeque::new();
        let mut space = vec![0; 64 * 1024];
        loop {
            while let Some(bytes) = self.poll_reply(Instant::now()) {
                replies.extend(bytes);
            }
            write_some(stream, &mut replies)?;
            if self.is_dead() {
                return Err(ServeError::Dead);
            }
            match stream.read(&mut space) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let mut bytes = &space[..count];
                    while !bytes.is_empty() {
                        if let Some((request, payload)) = reader.handle_bytes(&mut bytes)? {
                            self.handle_request(Instant::now(), &request, &payload);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(stream, !replies.is_empty(), self.poll_timeout())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn write_some(mut stream: &UnixStream, replies: &mut VecDeque<u8>) -> io::Result<()> {
    while !replies.is_empty() {
        match stream.write(replies.as_slices().0) {
            Ok(written) => drop(replies.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait(stream: &UnixStream, writing: bool, until: Option<Instant>) -> io::Result<()> {
    let events = if writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    // A time that cannot be said is longer than anyone waits.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    poll(&mut [PollFd::new(stream, events)], left.as_ref())?;
    Ok(())
}
