//! A bus made of UDP multicast datagrams, compatible with python-can's `udp_multicast` interface.
//!
//! For benches and tests: whoever reaches the group may send any frame, nothing arbitrates and nothing is sent again.

pub mod message;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use crate::frame::FdFrame;

use super::{Bus, BusError, BusUrl, Received, SendOutcome};
use message::MAX_LEN;

/// Routers drop datagrams with this time to live: they stay in the local network.
const TTL: u32 = 1;
/// Asked for as the socket's receive buffer, in bytes; the system may give less (`net.core.rmem_max`).
const RECEIVE_BUFFER: usize = 4 << 20;
/// Own frames sent and not yet confirmed to the caller.
const MAX_UNCONFIRMED: usize = 1024;
/// Longer than any datagram of a frame: one that fills the buffer is none.
const READ_LEN: usize = 2 * MAX_LEN;

/// One group. A frame counts as on the wire once the system has taken its datagram.
#[derive(Debug)]
pub struct UdpMulticastBus {
    receiver: UdpSocket,
    sender: UdpSocket,
    /// The address our datagrams come back from.
    own_address: SocketAddr,
    unconfirmed: VecDeque<FdFrame>,
    url: String,
}

impl UdpMulticastBus {
    /// Joins a group on the interface that the routes lead to.
    ///
    /// # Errors
    /// [`BusError::Open`].
    pub fn open(group: SocketAddrV4) -> Result<Self, BusError> {
        let url = BusUrl::Udp(group).to_string();
        let open = || {
            let receiver = receiver(group)?;
            let sender = sender(group)?;
            let own_address = sender.local_addr()?;
            io::Result::Ok((receiver, sender, own_address))
        };
        match open() {
            Ok((receiver, sender, own_address)) => {
                Ok(Self { receiver, sender, own_address, unconfirmed: VecDeque::new(), url })
            }
            Err(source) => Err(BusError::Open { url, source }),
        }
    }

    fn failed(&self, source: io::Error) -> BusError {
        BusError::Io { url: self.url.clone(), source }
    }
}

impl Bus for UdpMulticastBus {
    fn send(&mut self, frame: &FdFrame) -> Result<SendOutcome, BusError> {
        if self.unconfirmed.len() >= MAX_UNCONFIRMED {
            return Ok(SendOutcome::WouldBlock);
        }
        let datagram = message::encode(frame);
        loop {
            match self.sender.send(datagram.as_bytes()) {
                Ok(_) => {
                    self.unconfirmed.push_back(*frame);
                    return Ok(SendOutcome::Queued);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => return Ok(SendOutcome::WouldBlock),
                Err(source) => return Err(self.failed(source)),
            }
        }
    }

    fn recv(&mut self) -> Result<Option<Received>, BusError> {
        // What is sent is confirmed from here, not by its copy: that one may be lost. It still comes and wakes the
        // caller, or others fill the buffer and wake it instead.
        if let Some(frame) = self.unconfirmed.pop_front() {
            return Ok(Some(Received { frame, timestamp: None, own: true }));
        }
        let mut bytes = [0; READ_LEN];
        loop {
            let (len, from) = match self.receiver.recv_from(&mut bytes) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.failed(source)),
            };
            if from == self.own_address {
                continue;
            }
            return match message::decode(bytes.get(..len).unwrap_or_default()) {
                Ok(frame) => Ok(Some(Received { frame, timestamp: None, own: false })),
                Err(source) => Err(BusError::Datagram { url: self.url.clone(), source }),
            };
        }
    }

    fn flush(&mut self) -> Result<(), BusError> {
        Ok(())
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    fn wants_write(&self) -> bool {
        false
    }
}

/// Bound to the group itself, so that datagrams to this host alone do not come in.
fn receiver(group: SocketAddrV4) -> io::Result<UdpSocket> {
    let descriptor = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // Every program of this host that listens to the group has a socket on its port.
    sockopt::set_socket_reuseaddr(&descriptor, true)?;
    sockopt::set_socket_recv_buffer_size(&descriptor, RECEIVE_BUFFER)?;
    bind(&descriptor, &group)?;
    let socket = UdpSocket::from(descriptor);
    socket.join_multicast_v4(group.ip(), &Ipv4Addr::UNSPECIFIED)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket of its own, so that its address tells our datagrams from those of other programs of this host.
fn sender(group: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_multicast_ttl_v4(TTL)?;
    socket.set_multicast_loop_v4(true)?;
    socket.connect(group)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::frame::{CanId, FrameFormat};

    /// A group per test and process, or two runs on one host would hear each other.
    fn group(test: u8) -> SocketAddrV4 {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // Whoever binds a port to no group hears all of them.
        let port = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
        SocketAddrV4::new(Ipv4Addr::new(239, 74 + test, high, low), port)
    }

    fn next(bus: &mut UdpMulticastBus) -> Result<Received, BusError> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(received) = bus.recv()? {
                return Ok(received);
            }
            assert!(Instant::now() < until, "nothing arrives");
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut [PollFd::new(&bus.as_fd(), PollFlags::IN)], Some(&second)).unwrap();
        }
    }

    /// The kernel's own buffer may be full for a moment: the loopback hands datagrams on in its own time.
    fn send(bus: &mut UdpMulticastBus, frame: &FdFrame) {
        let until = Instant::now() + Duration::from_secs(10);
        while bus.send(frame).unwrap() == SendOutcome::WouldBlock {
            assert!(Instant::now() < until, "no room");
            std::thread::yield_now();
        }
    }

    fn frame(tag: u16) -> FdFrame {
        let data = [tag.to_be_bytes(); 32].concat();
        FdFrame::new(CanId::standard(0x123).unwrap(), FrameFormat::Fd { brs: true }, &data).unwrap()
    }

    #[test]
    fn frames_reach_the_other_end_in_order_and_come_back_as_confirmations() {
        let [mut one, mut other] = [(); 2].map(|()| UdpMulticastBus::open(group(0)).unwrap());
        for tag in 0..100 {
            send(&mut one, &frame(tag));
        }
        for tag in 0..100 {
            let expected = Received { frame: frame(tag), timestamp: None, own: true };
            assert_eq!(next(&mut one).unwrap(), expected);
            assert_eq!(next(&mut other).unwrap(), Received { own: false, ..expected });
        }
        assert_eq!(one.recv().unwrap(), None);
    }

    #[test]
    fn frames_that_nobody_takes_back_are_bounded() {
        let mut bus = UdpMulticastBus::open(group(1)).unwrap();
        for tag in 0..1024 {
            send(&mut bus, &frame(tag));
        }
        assert_eq!(bus.send(&frame(0)).unwrap(), SendOutcome::WouldBlock);
        assert!(next(&mut bus).unwrap().own);
        send(&mut bus, &frame(0));
    }

    #[test]
    fn a_datagram_that_is_no_frame_is_reported_and_the_next_one_arrives() {
        let mut bus = UdpMulticastBus::open(group(2)).unwrap();
        let stranger = sender(group(2)).unwrap();
        stranger.send(&[0xFF; 2_000]).unwrap();
        stranger.send(message::encode(&frame(7)).as_bytes()).unwrap();
        let error = next(&mut bus).unwrap_err();
        assert!(matches!(error, BusError::Datagram { .. }) && error.is_transient(), "{error}");
        assert_eq!(next(&mut bus).unwrap().frame, frame(7));
    }
}
