//! The transport to an emulator: a Unix stream socket with the same records, the buffers copied behind them.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::abi::Request;
use super::frames::ReplyReader;
use super::transport::{Answer, Buffers, Transport, TransportError};

/// An emulated device. No memory is shared, so a reset frees everything at once.
#[derive(Debug)]
pub struct SocketDevice {
    path: PathBuf,
    /// `None` after a failure.
    stream: Option<UnixStream>,
    frames: ReplyReader,
}

impl SocketDevice {
    /// Connects to the emulator that listens on `path`.
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = connect(path)?;
        Ok(Self { path: path.to_owned(), stream: Some(stream), frames: ReplyReader::default() })
    }

    /// Writes what can be written.
    fn flush(&mut self) -> Result<(), TransportError> {
        let mut stream = self.stream.as_ref().ok_or(TransportError::Gone(io::ErrorKind::NotConnected))?;
        self.frames.write_to(&mut |bytes| stream.write(bytes))
    }

    fn receive(&mut self) -> Result<Option<Answer>, TransportError> {
        let mut stream = self.stream.as_ref().ok_or(TransportError::Gone(io::ErrorKind::NotConnected))?;
        self.frames.read_from(&mut |space| stream.read(space))
    }
}

impl Transport for SocketDevice {
    fn submit(&mut self, request: &Request, buffers: Buffers) -> Result<(), (Buffers, TransportError)> {
        if self.stream.is_none() {
            return Err((buffers, TransportError::Gone(io::ErrorKind::NotConnected)));
        }
        self.frames.push(request, buffers)?;
        // What fails here fails again in `poll`, which can say so.
        let _ = self.flush();
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Answer>, TransportError> {
        let answer = self.flush().and_then(|()| self.receive());
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn reset(&mut self) -> Result<(), TransportError> {
        self.stream = None;
        self.frames = ReplyReader::default();
        self.stream = Some(connect(&self.path).map_err(|error| TransportError::Gone(error.kind()))?);
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    fn wants_write(&self) -> bool {
        self.frames.wants_write()
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    // Connecting to a Unix socket does not wait for the other end, except for room in its backlog.
    let stream = UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
