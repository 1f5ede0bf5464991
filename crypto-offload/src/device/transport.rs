//! The way to a coprocessor and back.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use super::abi::{AbiError, Reply, Request};

/// The memory of one request. A transport owns it from [`Transport::submit`] until it gives it back in an [`Answer`],
/// or until a [`Transport::reset`] has made sure that the device no longer touches it.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Additional data, a leaf's prefix, or a public key.
    pub aux: Vec<u8>,
    /// A signature, or a midstate.
    pub extra: Vec<u8>,
    /// Begins with the input, and takes the output of a request that is in place.
    pub data: Vec<u8>,
    /// Takes the output of any other request; exactly as long as that.
    pub output: Vec<u8>,
}

impl Buffers {
    /// Where the output of `request` goes. Empty when the buffers do not fit the request.
    pub(super) fn output_of(&mut self, in_place: bool, out_len: usize) -> &mut [u8] {
        let all = if in_place { &mut self.data } else { &mut self.output };
        all.get_mut(..out_len).unwrap_or_default()
    }

    /// Whether the buffers are as long as the request says.
    pub(super) fn fit(&self, request: &Request) -> bool {
        let room = if request.in_place { self.data.len() } else { self.output.len() };
        self.aux.len() == request.aux_len
            && self.extra.len() == request.extra_len
            && self.data.len() >= request.in_len
            && room >= request.out_len
    }
}

/// A reply that fits its request, and the request's memory.
#[derive(Debug)]
pub struct Answer {
    /// The reply; its output is as long as the request asked for.
    pub reply: Reply,
    /// The request's memory, back.
    pub buffers: Buffers,
}

/// Carries requests to a device and replies back. Nothing here waits.
///
/// After an error from [`Transport::poll`] or a [`TransportError`] other than [`TransportError::Busy`] from
/// [`Transport::submit`], only [`Transport::reset`] makes sense.
pub trait Transport: fmt::Debug + Send {
    /// Sends a request off.
    ///
    /// # Errors
    /// The buffers, untouched, and the reason.
    fn submit(&mut self, request: &Request, buffers: Buffers) -> Result<(), (Buffers, TransportError)>;

    /// Moves bytes along and gives out one answer, or `None` when none has come.
    ///
    /// # Errors
    /// [`TransportError`] when the device is gone or breaks the interface.
    fn poll(&mut self) -> Result<Option<Answer>, TransportError>;

    /// Forgets all requests, after making sure that the device no longer touches their memory, and begins anew.
    ///
    /// # Errors
    /// [`TransportError`] when there is no device. Memory that it might still touch is kept until a later reset.
    fn reset(&mut self) -> Result<(), TransportError>;

    /// What becomes readable when there is something to poll.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Whether requests are still to be written, so that [`Transport::fd`] is to be watched for that too.
    fn wants_write(&self) -> bool {
        false
    }
}

impl Transport for Box<dyn Transport> {
    fn submit(&mut self, request: &Request, buffers: Buffers) -> Result<(), (Buffers, TransportError)> {
        (**self).submit(request, buffers)
    }

    fn poll(&mut self) -> Result<Option<Answer>, TransportError> {
        (**self).poll()
    }

    fn reset(&mut self) -> Result<(), TransportError> {
        (**self).reset()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).fd()
    }

    fn wants_write(&self) -> bool {
        (**self).wants_write()
    }
}

/// Why a request or a reply did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The device takes no more at present. It is as it should be.
    #[error("device is busy")]
    Busy,
    /// The asker's fault: the request contradicts its buffers, or another one of its id is in flight.
    #[error("request does not fit its buffers")]
    Request,
    /// The device is not there any more, or never was.
    #[error("device is gone ({0})")]
    Gone(io::ErrorKind),
    /// The device's fault: a record that is none.
    #[error("device breaks the interface: {0}")]
    Protocol(#[from] AbiError),
    /// The device's fault: a reply to no request.
    #[error("device answers request {0}, which it does not have")]
    Unasked(u64),
    /// The device's fault: more or less output than was asked for.
    #[error("device puts out {found} bytes instead of {expected}")]
    OutputLength {
        /// Bytes asked for.
        expected: usize,
        /// Bytes that came, or were announced.
        found: usize,
    },
}

impl TransportError {
    /// A few words for a log line that cannot carry data.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Busy => "device is busy",
            Self::Request => "request does not fit its buffers",
            Self::Gone(_) => "device is gone",
            Self::Protocol(_) => "device breaks the interface",
            Self::Unasked(_) => "device answers what it was not asked",
            Self::OutputLength { .. } => "device puts out a wrong number of bytes",
        }
    }
}
