//! A CAN interface of the Linux kernel (SocketCAN, CAN_RAW with CAN FD frames).

mod message;

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use socketcan::{CanFdSocket, CanFilter, Socket, SocketOptions};

use crate::frame::{CANFD_FRAME_LEN, CanId, FdFrame, FrameError};

use super::error_frame::{Reported, STATE_CLASSES, controller_state};
use super::{Bus, BusError, BusUrl, ControllerState, Received, SendOutcome};

/// Size of a classical `struct can_frame`, the first bytes of a `struct canfd_frame` (CAN_MTU).
const CAN_FRAME_LEN: usize = 16;
/// Offset of `flags`, and the flag that says FD there.
const FLAGS: usize = 5;
const CANFD_FDF: u8 = 0x04;
/// Of `linux/can.h`: the identifier's bits and its flags.
const CAN_SFF_MASK: u32 = 0x7FF;
const CAN_EFF_MASK: u32 = 0x1FFF_FFFF;
const CAN_EFF_FLAG: u32 = 0x8000_0000;
const CAN_RTR_FLAG: u32 = 0x4000_0000;
const CAN_ERR_FLAG: u32 = 0x2000_0000;
/// Most filters a socket takes.
const CAN_RAW_FILTER_MAX: usize = 512;

/// One interface. The kernel's queue is the only buffer.
#[derive(Debug)]
pub struct SocketCan {
    socket: CanFdSocket,
    url: String,
    reported: Reported,
}

impl SocketCan {
    /// Opens an interface such as `can0`, non-blocking, with own frames looped back and the kernel's time on each frame.
    ///
    /// # Errors
    /// [`BusError::Open`] where there is no such interface or the kernel has no CAN.
    pub fn open(interface: &str) -> Result<Self, BusError> {
        let url = BusUrl::Can(interface.into()).to_string();
        let open = || {
            let socket = CanFdSocket::open(interface)?;
            socket.set_nonblocking(true)?;
            socket.set_recv_own_msgs(true)?;
            socket.set_recv_timestamp(true)?;
            socket.set_error_filter(STATE_CLASSES)?;
            Ok(socket)
        };
        match open() {
            Ok(socket) => Ok(Self { socket, url, reported: Reported::default() }),
            Err(source) => Err(BusError::Open { url, source }),
        }
    }

    fn failed(&self, source: impl Into<io::Error>) -> BusError {
        BusError::Io { url: self.url.clone(), source: source.into() }
    }
}

impl Bus for SocketCan {
    fn send(&mut self, frame: &FdFrame) -> Result<SendOutcome, BusError> {
        let mut bytes = frame.to_bytes();
        let bytes = if frame.is_fd() {
            &bytes[..]
        } else {
            // What is `flags` in an FD frame is padding here.
            bytes[FLAGS] = 0;
            &bytes[..CAN_FRAME_LEN]
        };
        loop {
            return match rustix::io::write(&self.socket, bytes) {
                Ok(_) => Ok(SendOutcome::Queued),
                Err(Errno::INTR) => continue,
                // The interface's queue is full; it drains as frames are confirmed.
                Err(Errno::NOBUFS | Errno::AGAIN) => Ok(SendOutcome::WouldBlock),
                // The one thing the kernel objects to in a frame that is well formed: the interface is classical.
                Err(Errno::INVAL) if frame.is_fd() => Err(BusError::NoFd { url: self.url.clone() }),
                Err(errno) => Err(self.failed(errno)),
            };
        }
    }

    fn recv(&mut self) -> Result<Option<Received>, BusError> {
        loop {
            let mut bytes = [0; CANFD_FRAME_LEN];
            let message = match message::receive(self.socket.as_fd(), &mut bytes) {
                Ok(message) => message,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.failed(error)),
            };
            if let Some(report) = error_report(&bytes) {
                if let Some(state) = report {
                    self.reported.push(state);
                }
                continue;
            }
            return match parse(bytes, message.len) {
                Ok(frame) => Ok(Some(Received { frame, timestamp: message.timestamp, own: message.own })),
                Err(source) => Err(BusError::Frame { url: self.url.clone(), source }),
            };
        }
    }

    fn poll_state(&mut self) -> Option<ControllerState> {
        self.reported.pop()
    }

    fn flush(&mut self) -> Result<(), BusError> {
        Ok(())
    }

    fn listen_to(&mut self, ids: &[CanId]) -> Result<(), BusError> {
        if ids.len() > CAN_RAW_FILTER_MAX {
            return Ok(());
        }
        // Standard and extended identifiers of one number are different frames; a remote frame is nobody's.
        let filter = |id: &CanId| match id {
            CanId::Standard(_) => CanFilter::new(id.to_can_id(), CAN_SFF_MASK | CAN_EFF_FLAG | CAN_RTR_FLAG),
            CanId::Extended(_) => CanFilter::new(id.to_can_id(), CAN_EFF_MASK | CAN_EFF_FLAG | CAN_RTR_FLAG),
        };
        let filters: Vec<_> = ids.iter().map(filter).collect();
        self.socket.set_filters(&filters).map_err(|error| self.failed(error))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn wants_write(&self) -> bool {
        false
    }
}

/// What an error frame says of the controller's state; the outer `None` where these are the bytes of another frame.
fn error_report(bytes: &[u8; CANFD_FRAME_LEN]) -> Option<Option<ControllerState>> {
    let [a, b, c, d, _, _, _, _, data @ ..] = bytes;
    let id = u32::from_ne_bytes([*a, *b, *c, *d]);
    let data = data.first_chunk()?;
    (id & CAN_ERR_FLAG != 0).then(|| controller_state(id & CAN_EFF_MASK, data))
}

/// The size of the read tells the format; older kernels leave the FD flag out.
fn parse(mut bytes: [u8; CANFD_FRAME_LEN], count: usize) -> Result<FdFrame, FrameError> {
    if count == CANFD_FRAME_LEN {
        bytes[FLAGS] |= CANFD_FDF;
    } else {
        bytes[FLAGS] = 0;
    }
    FdFrame::from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CanId, FrameFormat};

    #[test]
    fn the_size_of_the_read_tells_the_format() {
        let id = CanId::standard(0x1).unwrap();
        let fd = FdFrame::new(id, FrameFormat::Fd { brs: true }, &[1; 8]).unwrap();
        let classical = FdFrame::new(id, FrameFormat::Classical, &[1; 8]).unwrap();
        let mut bytes = fd.to_bytes();
        bytes[FLAGS] = 0x01;
        assert_eq!(parse(bytes, CANFD_FRAME_LEN), Ok(fd));
        // Whatever stands in the padding of a classical frame.
        bytes[FLAGS] = 0xFF;
        assert_eq!(parse(bytes, CAN_FRAME_LEN), Ok(classical));
    }

    #[test]
    fn an_error_frame_is_a_report_and_a_data_frame_is_none() {
        let id = CanId::standard(0x40).unwrap();
        let mut bytes =
            FdFrame::new(id, FrameFormat::Classical, &[0, 0x20, 0, 0, 0, 0, 0, 0]).unwrap().to_bytes();
        assert_eq!(error_report(&bytes), None);
        bytes[..4].copy_from_slice(&(CAN_ERR_FLAG | 0x04).to_ne_bytes());
        assert_eq!(error_report(&bytes), Some(Some(ControllerState::ErrorPassive)));
        bytes[..4].copy_from_slice(&(CAN_ERR_FLAG | 0x40).to_ne_bytes());
        assert_eq!(error_report(&bytes), Some(Some(ControllerState::BusOff)));
        bytes[..4].copy_from_slice(&(CAN_ERR_FLAG | 0x02).to_ne_bytes());
        assert_eq!(error_report(&bytes), Some(None));
    }

    #[test]
    fn a_kernel_without_can_or_without_the_interface_says_which_bus_cannot_be_opened() {
        // Where the kernel has CAN, there is still no interface of this name.
        let error = SocketCan::open("nosuchcan9").unwrap_err();
        let BusError::Open { url, source } = &error else { panic!("{error}") };
        assert_eq!(url, "can:nosuchcan9");
        if source.raw_os_error() == Some(97) {
            assert!(error.to_string().contains("this kernel has no CAN support"), "{error}");
        }
    }
}
