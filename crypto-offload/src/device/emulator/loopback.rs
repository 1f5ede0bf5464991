//! A transport to an emulator in the same process, on simulated time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Emulator;
use crate::device::abi::{MAX_AUX, MAX_EXTRA, Request};
use crate::device::frames::{ReplyReader, RequestReader};
use crate::device::transport::{Answer, Buffers, Transport, TransportError};

/// A stream to an [`Emulator`], made of the same bytes as one over a socket.
#[derive(Debug)]
pub struct Loopback {
    shared: Control,
    frames: ReplyReader,
    /// `None` after the device has died.
    device: Option<RequestReader>,
    replies: VecDeque<u8>,
}

/// The test's end: the device, and the time that it sees.
#[derive(Clone, Debug)]
pub struct Control(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    emulator: Emulator,
    now: Instant,
    /// Whether a device that has died answers again after a reset.
    repaired: bool,
}

impl Loopback {
    /// A transport to `emulator`, and the control over both.
    pub fn new(emulator: Emulator, now: Instant) -> (Self, Control) {
        let device = Some(request_reader(&emulator));
        let shared = Control(Arc::new(Mutex::new(Shared { emulator, now, repaired: true })));
        let control = shared.clone();
        (Self { shared, frames: ReplyReader::default(), device, replies: VecDeque::new() }, control)
    }

    /// Has the device take in what is written and put out what is due.
    fn exchange(&mut self) -> Result<(), TransportError> {
        let mut shared = self.shared.lock();
        let now = shared.now;
        let Some(device) = &mut self.device else { return Ok(()) };
        let mut requests = Vec::new();
        let mut broken = false;
        self.frames.write_to(&mut |mut bytes| {
            let len = bytes.len();
            while !bytes.is_empty() && !broken {
                match device.handle_bytes(&mut bytes) {
                    Ok(request) => requests.extend(request),
                    Err(_) => broken = true,
                }
            }
            Ok(len)
        })?;
        for (request, payload) in requests {
            shared.emulator.handle_request(now, &request, &payload);
        }
        while let Some(bytes) = shared.emulator.poll_reply(now) {
            self.replies.extend(bytes);
        }
        if broken || shared.emulator.is_dead() {
            self.device = None;
        }
        Ok(())
    }
}

impl Transport for Loopback {
    fn submit(&mut self, request: &Request, buffers: Buffers) -> Result<(), (Buffers, TransportError)> {
        if self.device.is_none() {
            return Err((buffers, TransportError::Gone(io::ErrorKind::BrokenPipe)));
        }
        self.frames.push(request, buffers)
    }

    fn poll(&mut self) -> Result<Option<Answer>, TransportError> {
        self.exchange()?;
        let dead = self.device.is_none();
        let replies = &mut self.replies;
        self.frames.read_from(&mut |space| match io::Read::read(replies, space)? {
            0 if !dead => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        })
    }

    fn reset(&mut self) -> Result<(), TransportError> {
        let mut shared = self.shared.lock();
        self.frames = ReplyReader::default();
        self.replies.clear();
        self.device = None;
        if !shared.repaired {
            return Err(TransportError::Gone(io::ErrorKind::ConnectionRefused));
        }
        shared.emulator.handle_reset();
        self.device = Some(request_reader(&shared.emulator));
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Control {
    /// Changes the device: orders a fault, say.
    pub fn change<R>(&self, change: impl FnOnce(&mut Emulator) -> R) -> R {
        change(&mut self.lock().emulator)
    }

    /// Whether a device that dies can be reset.
    pub fn set_repaired(&self, repaired: bool) {
        self.lock().repaired = repaired;
    }

    /// The time that the device sees.
    pub fn now(&self) -> Instant {
        self.lock().now
    }

    /// Moves the device's time on to `now`, unless it is there already.
    pub fn advance_to(&self, now: Instant) {
        let mut shared = self.lock();
        shared.now = shared.now.max(now);
    }

    /// Moves the device's time on to when it has something to say, or by `otherwise`.
    pub fn advance(&self, otherwise: Duration) {
        let mut shared = self.lock();
        let next = shared.emulator.poll_timeout();
        shared.now = next.filter(|&next| next > shared.now).unwrap_or(shared.now + otherwise);
    }

    /// A test that panicked elsewhere leaves nothing half done in here.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request_reader(emulator: &Emulator) -> RequestReader {
    RequestReader::new(emulator.model.max_bytes + MAX_AUX + MAX_EXTRA)
}
