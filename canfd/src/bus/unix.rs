//! The client of a `virtual:` bus: records over a Unix stream socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::frame::FdFrame;

use super::{Bus, BusError, BusUrl, RECORD_LEN, Received, Record, SendOutcome};

/// Records per buffer. 400 are 32 KiB, what a Unix socket moves in one piece.
const BUFFERED: usize = 400;

/// A node on a virtual bus. Many records go through one system call, in both directions.
#[derive(Debug)]
pub struct UnixBus {
    stream: UnixStream,
    url: String,
    rx: Box<[u8]>,
    /// What of `rx` is filled and not yet handed out.
    rx_unread: std::ops::Range<usize>,
    /// The last read left the socket empty, so the next would be for nothing.
    rx_drained: bool,
    tx: Vec<u8>,
    tx_written: usize,
}

impl UnixBus {
    /// Connects to the hub that listens at `path`.
    ///
    /// # Errors
    /// [`BusError::Open`].
    pub fn connect(path: &Path) -> Result<Self, BusError> {
        let url = BusUrl::Virtual(path.into()).to_string();
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self {
                stream,
                url,
                rx: vec![0; BUFFERED * RECORD_LEN].into_boxed_slice(),
                rx_unread: 0..0,
                rx_drained: false,
                tx: Vec::with_capacity(BUFFERED * RECORD_LEN),
                tx_written: 0,
            }),
            Err(source) => Err(BusError::Open { url, source }),
        }
    }

    fn next_record(&mut self) -> Option<Result<Record, BusError>> {
        let unread = self.rx.get(self.rx_unread.clone())?;
        let bytes = unread.first_chunk::<RECORD_LEN>()?;
        let record = Record::from_bytes(bytes);
        self.rx_unread.start += RECORD_LEN;
        Some(record.map_err(|source| BusError::Frame { url: self.url.clone(), source }))
    }

    /// Reads once; true where that brought anything.
    fn fill(&mut self) -> Result<bool, BusError> {
        if std::mem::take(&mut self.rx_drained) {
            return Ok(false);
        }
        // Less than one record is left, or nobody would ask for more.
        self.rx.copy_within(self.rx_unread.clone(), 0);
        self.rx_unread = 0..self.rx_unread.len();
        let free = self.rx.get_mut(self.rx_unread.end..).unwrap_or_default();
        let room = free.len();
        match retry(|| self.stream.read(free)) {
            Ok(0) => Err(BusError::Closed { url: self.url.clone() }),
            Ok(count) => {
                self.rx_unread.end += count;
                self.rx_drained = count < room;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> BusError {
        match source.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => BusError::Closed { url: self.url.clone() },
            _ => BusError::Io { url: self.url.clone(), source },
        }
    }
}

impl Bus for UnixBus {
    fn send(&mut self, frame: &FdFrame) -> Result<SendOutcome, BusError> {
        if self.tx.len() + RECORD_LEN > self.tx.capacity() {
            self.flush()?;
            if self.tx.len() + RECORD_LEN > self.tx.capacity() {
                return Ok(SendOutcome::WouldBlock);
            }
        }
        self.tx.extend_from_slice(&Record::request(*frame).to_bytes());
        Ok(SendOutcome::Queued)
    }

    fn recv(&mut self) -> Result<Option<Received>, BusError> {
        loop {
            if let Some(record) = self.next_record() {
                return record.map(|it| Some(*it.received()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn flush(&mut self) -> Result<(), BusError> {
        while let Some(rest @ [_, ..]) = self.tx.get(self.tx_written..) {
            match retry(|| self.stream.write(rest)) {
                Ok(count) => self.tx_written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(source) => return Err(self.failed(source)),
            }
        }
        self.tx.drain(..self.tx_written.min(self.tx.len()));
        self.tx_written = 0;
        Ok(())
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn wants_write(&self) -> bool {
        !self.tx.is_empty()
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::frame::{CanId, FrameFormat};

    fn pair(name: &str) -> (UnixBus, UnixStream) {
        let path = std::env::temp_dir().join(format!("canfd-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let bus = UnixBus::connect(&path).unwrap();
        let (hub, _) = listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        (bus, hub)
    }

    fn frame(tag: u16) -> FdFrame {
        let data = [tag.to_be_bytes(); 32].concat();
        FdFrame::new(CanId::standard(0x123).unwrap(), FrameFormat::Fd { brs: true }, &data).unwrap()
    }

    #[test]
    fn records_cut_anywhere_arrive_whole_and_in_order() {
        let (mut bus, mut hub) = pair("cut");
        let at = Duration::from_nanos(77);
        let bytes: Vec<u8> =
            (0..900).flat_map(|tag| Record::delivery(frame(tag), at, tag % 2 == 0).to_bytes()).collect();
        let mut seen = 0;
        for piece in bytes.chunks(1_237) {
            hub.write_all(piece).unwrap();
            while let Some(received) = bus.recv().unwrap() {
                assert_eq!(
                    received,
                    Received { frame: frame(seen), timestamp: Some(at), own: seen % 2 == 0 }
                );
                seen += 1;
            }
        }
        assert_eq!(seen, 900);
    }

    #[test]
    fn a_hub_that_does_not_read_ends_in_would_block_and_loses_nothing() {
        let (mut bus, mut hub) = pair("full");
        let mut sent = 0u16;
        while bus.send(&frame(sent)).unwrap() == SendOutcome::Queued {
            sent += 1;
            assert!(sent < 60_000, "the buffers have no bound");
        }
        assert!(bus.wants_write());
        let mut record = [0; RECORD_LEN];
        for tag in 0..sent {
            bus.flush().unwrap();
            hub.read_exact(&mut record).unwrap();
            assert_eq!(Record::from_bytes(&record).unwrap().received().frame, frame(tag));
        }
        assert!(!bus.wants_write());
        assert_eq!(bus.send(&frame(0)).unwrap(), SendOutcome::Queued);
    }

    #[test]
    fn a_hub_that_goes_away_is_said_to_be_closed() {
        let (mut bus, hub) = pair("gone");
        drop(hub);
        assert!(matches!(bus.recv(), Err(BusError::Closed { .. })));
    }

    #[test]
    fn an_unusable_record_is_reported_and_the_next_one_arrives() {
        let (mut bus, mut hub) = pair("bad");
        let mut bad = Record::request(frame(1)).to_bytes();
        bad[4] = 63;
        hub.write_all(&bad).unwrap();
        hub.write_all(&Record::request(frame(2)).to_bytes()).unwrap();
        assert!(bus.recv().unwrap_err().is_transient());
        assert_eq!(bus.recv().unwrap().unwrap().frame, frame(2));
    }

    #[test]
    fn nobody_listening_is_an_error_that_names_the_bus() {
        let error = UnixBus::connect(Path::new("/nonexistent/bus")).unwrap_err().to_string();
        assert!(error.contains("virtual:/nonexistent/bus"), "{error}");
    }
}
