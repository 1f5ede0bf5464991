//! Buses: something frames go into and come out of, whatever stands behind it.

pub mod error_frame;
mod record;
#[cfg(target_os = "linux")]
mod socketcan;
#[cfg(target_os = "linux")]
pub mod udp;
mod unix;
mod url;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::frame::{CanId, FdFrame, FrameError};

pub use error_frame::ControllerState;
pub use record::{RECORD_LEN, Record};
#[cfg(target_os = "linux")]
pub use socketcan::SocketCan;
#[cfg(target_os = "linux")]
pub use udp::UdpMulticastBus;
pub use unix::UnixBus;
pub use url::{BusUrl, BusUrlError};

/// A CAN or CAN FD bus that never blocks.
///
/// One turn: `recv` until it has nothing, `send` what is due, `flush`, then wait until [`Self::as_fd`] is readable,
/// or also writable while [`Self::wants_write`]. Own frames come back with `own` set once they are on the wire, in
/// the order they were sent.
pub trait Bus: Send {
    /// Takes a frame to transmit; it may stay in a buffer until [`Self::flush`].
    ///
    /// # Errors
    /// [`BusError`] where the bus is gone. A full queue is an outcome, not an error.
    fn send(&mut self, frame: &FdFrame) -> Result<SendOutcome, BusError>;

    /// The next frame from the bus, `None` while there is none.
    ///
    /// # Errors
    /// [`BusError`] where the bus is gone, or [`BusError::Frame`] for one unusable frame, after which it goes on.
    fn recv(&mut self) -> Result<Option<Received>, BusError>;

    /// Pushes buffered frames out as far as that works without waiting.
    ///
    /// # Errors
    /// [`BusError`] where the bus is gone.
    fn flush(&mut self) -> Result<(), BusError>;

    /// Delivers only frames of these identifiers from now on, own ones among them; all others may be dropped where that
    /// is cheap. A back end that cannot tell them apart goes on delivering everything.
    ///
    /// # Errors
    /// [`BusError::Io`] where the system refuses.
    fn listen_to(&mut self, _ids: &[CanId]) -> Result<(), BusError> {
        Ok(())
    }

    /// What the controller reported of its state and was not asked for yet: bus-off, if it was off since, then the last
    /// state. Ask after every drain of [`Self::recv`], until `None`; always that where no controller stands behind the
    /// bus.
    fn poll_state(&mut self) -> Option<ControllerState> {
        None
    }

    /// What to wait on with poll(2).
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// Whether frames are buffered that only a writable descriptor can take.
    fn wants_write(&self) -> bool;
}

/// What became of a frame to transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// It will go out.
    Queued,
    /// The queue is full: send it again after the next confirmation, or once the descriptor is writable.
    WouldBlock,
}

/// A frame from the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The frame.
    pub frame: FdFrame,
    /// When its end was seen, by the bus's own clock: that of a virtual bus since an arbitrary start, for SocketCAN the
    /// system's since 1970, which may be set meanwhile. `None` where the bus does not tell.
    pub timestamp: Option<Duration>,
    /// It is ours: a transmit confirmation.
    pub own: bool,
}

/// Opens the bus a URL names.
///
/// # Errors
/// [`BusError::Open`] names the URL and what the system said.
pub fn open(url: &BusUrl) -> Result<Box<dyn Bus>, BusError> {
    match url {
        #[cfg(target_os = "linux")]
        BusUrl::Can(interface) => Ok(Box::new(SocketCan::open(interface)?)),
        #[cfg(target_os = "linux")]
        BusUrl::Udp(group) => Ok(Box::new(UdpMulticastBus::open(*group)?)),
        #[cfg(not(target_os = "linux"))]
        BusUrl::Can(_) | BusUrl::Udp(_) => {
            Err(BusError::Open { url: url.to_string(), source: io::Error::from(io::ErrorKind::Unsupported) })
        }
        BusUrl::Virtual(path) => Ok(Box::new(UnixBus::connect(path)?)),
    }
}

/// Why a bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It cannot be opened: the configuration or the machine is at fault.
    #[error("cannot open bus {url}: {hint}", hint = hint(.source))]
    Open {
        /// Which bus.
        url: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The other side of a virtual bus is gone.
    #[error("bus {url} was closed by its hub")]
    Closed {
        /// Which bus.
        url: String,
    },
    /// The interface takes classical frames only: whoever set it up is at fault.
    #[error(
        "bus {url} takes no CAN FD frames; bring the interface up with FD: `ip link set IF type can bitrate .. dbitrate .. \
         fd on`, for a virtual one `ip link set IF mtu 72`"
    )]
    NoFd {
        /// Which bus.
        url: String,
    },
    /// The controller has left the bus and does not come back: wiring, termination or bit rates are at fault.
    #[error(
        "the controller of bus {url} is bus-off and nobody restarts it; `ip link set IF type can restart-ms 100` has the \
         kernel do so"
    )]
    Off {
        /// Which bus.
        url: String,
    },
    /// The system refused to read or write.
    #[error("bus {url} failed: {source}")]
    Io {
        /// Which bus.
        url: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// One frame from the bus is unusable; the bus goes on.
    #[error("unusable frame from bus {url}: {source}")]
    Frame {
        /// Which bus.
        url: String,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// One datagram of a UDP bus is no frame; the bus goes on.
    #[cfg(target_os = "linux")]
    #[error("unusable datagram on bus {url}: {source}")]
    Datagram {
        /// Which bus.
        url: String,
        /// Why.
        #[source]
        source: udp::message::MessageError,
    },
}

impl BusError {
    /// Whether the bus goes on after this.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Frame { .. } => true,
            #[cfg(target_os = "linux")]
            Self::Datagram { .. } => true,
            _ => false,
        }
    }
}

/// EAFNOSUPPORT and ENODEV have one cause each in practice; the system's words do not name it.
fn hint(source: &io::Error) -> String {
    const EAFNOSUPPORT: i32 = 97;
    const ENODEV: i32 = 19;
    match source.raw_os_error() {
        Some(EAFNOSUPPORT) if cfg!(target_os = "linux") => {
            format!("{source}; this kernel has no CAN support")
        }
        Some(ENODEV) => format!("{source}; `ip link show type can` lists the interfaces there are"),
        _ => source.to_string(),
    }
}
