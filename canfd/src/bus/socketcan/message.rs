//! One message of a socket, with what the kernel says beside it (recvmsg(2), socket(7)).
//!
//! The safe interfaces pass on one of the two things that we need: rustix the mark of own frames, nix and `socketcan` the
//! time.
#![allow(
    unsafe_code,
    reason = "no safe interface to recvmsg(2) tells both whose a frame is and when it came"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What came, apart from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Bytes written to the buffer.
    pub(super) len: usize,
    /// This very socket has sent it (MSG_CONFIRM).
    pub(super) own: bool,
    /// When the kernel had it from the driver, by the system clock since 1970; asked for with SO_TIMESTAMPNS.
    pub(super) timestamp: Option<Duration>,
}

/// Takes one message without waiting.
///
/// # Errors
/// Those of recvmsg(2): EAGAIN while there is none.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Message> {
    // Room for one timestamp and its header, in words because a header is aligned to one.
    let mut control = [0u64; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: integers and pointers, all of which may be zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: `header` names two buffers of this function with their true lengths; both outlive the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let own = header.msg_flags & libc::MSG_CONFIRM != 0;
    Ok(Message { len, own, timestamp: timestamp(&header) })
}

/// The timestamp among the control messages, of which no other is asked for.
fn timestamp(header: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has set the length of what it wrote to the buffer, which is there as long as `header`'s caller.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    let len = u32::try_from(size_of::<libc::timespec>()).ok()?;
    // SAFETY: arithmetic on a length.
    let whole = unsafe { libc::CMSG_LEN(len) } as usize;
    let kind = (first.cmsg_level, first.cmsg_type);
    if kind != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) || (first.cmsg_len as usize) < whole {
        return None;
    }
    // SAFETY: a message of this kind and length holds a `timespec`, wherever it is aligned.
    let time: libc::timespec = unsafe { libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned() };
    // A clock before 1970 tells no time.
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::{AsFd, RawFd};
    use std::time::SystemTime;

    use socketcan::SocketOptions;

    use super::*;

    /// Some other socket of this kernel, which may have no CAN; the messages are the same.
    struct Udp(UdpSocket);

    impl AsRawFd for Udp {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }

    impl SocketOptions for Udp {}

    /// A datagram from itself to itself, with and without asking for its time.
    fn received(ask: bool, buffer: &mut [u8]) -> Message {
        let socket = Udp(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.set_recv_timestamp(ask).unwrap();
        socket.0.send_to(b"frame", socket.0.local_addr().unwrap()).unwrap();
        receive(socket.0.as_fd(), buffer).unwrap()
    }

    fn since_1970() -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_message_carries_the_time_at_which_the_kernel_had_it() {
        let (before, mut buffer) = (since_1970(), [0; 16]);
        let message = received(true, &mut buffer);
        assert_eq!((message.len, message.own, &buffer[..5]), (5, false, &b"frame"[..]));
        let at = message.timestamp.unwrap();
        assert!((before..=since_1970()).contains(&at), "{at:?}");
    }

    #[test]
    fn a_message_whose_time_nobody_asked_for_has_none() {
        let mut buffer = [0; 16];
        assert_eq!(received(false, &mut buffer).timestamp, None);
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_cut() {
        let mut buffer = [0; 3];
        assert_eq!((received(true, &mut buffer).len, buffer), (3, *b"fra"));
    }

    #[test]
    fn while_there_is_no_message_nothing_waits_for_one() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = receive(socket.as_fd(), &mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
