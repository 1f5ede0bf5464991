//! Sockets of one algorithm (Linux, Documentation/crypto/userspace-if.rst).

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{AlgSetAeadAuthSize, AlgSetKey};
use nix::sys::socket::{
    AddressFamily, AlgAddr, ControlMessage, MsgFlags, SockFlag, SockType, bind, sendmsg, setsockopt, socket,
};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_send_buffer_size, socket_recv_buffer_size,
    socket_send_buffer_size,
};
use rustix::net::{SendFlags, accept, send};

/// The kernel rounds its limits down to whole pages.
const PAGE: usize = 4096;

/// An algorithm of the kernel: a socket that is bound to its name. Each operation has a socket of its own, so that nothing
/// of one that failed is left for the next.
#[derive(Debug)]
pub(super) struct Transform(OwnedFd);

/// Whether there are such sockets at all.
pub(super) fn probe() -> io::Result<()> {
    unbound().map(drop)
}

fn unbound() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Alg, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

impl Transform {
    /// The algorithm `name` of that kind: `hash` or `aead`.
    pub(super) fn bind(kind: &str, name: &str) -> io::Result<Self> {
        let socket = unbound()?;
        bind(socket.as_raw_fd(), &AlgAddr::new(kind, name))?;
        Ok(Self(socket))
    }

    pub(super) fn set_tag_len(&self, bytes: usize) -> io::Result<()> {
        Ok(setsockopt(&self.0, AlgSetAeadAuthSize, &bytes)?)
    }

    pub(super) fn set_key(&self, key: &[u8]) -> io::Result<()> {
        Ok(setsockopt(&self.0, AlgSetKey::default(), &key)?)
    }

    /// Bytes that one operation may take in, additional data included, of `wanted`.
    pub(super) fn room(&self, wanted: usize) -> io::Result<usize> {
        let operation = self.operation(wanted)?;
        let granted = socket_send_buffer_size(&operation)?.min(socket_recv_buffer_size(&operation)?);
        Ok((granted / PAGE * PAGE).saturating_sub(2 * PAGE))
    }

    /// Hashes `parts` one after the other.
    pub(super) fn hash(&self, parts: &[&[u8]], output: &mut [u8]) -> io::Result<()> {
        let operation = accept(&self.0)?;
        for part in parts {
            let mut left = *part;
            while !left.is_empty() {
                let sent = send(&operation, left, SendFlags::MORE)?;
                left = left.get(sent..).unwrap_or_default();
            }
        }
        let read = rustix::io::read(&operation, &mut *output)?;
        if read == output.len() { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// Opens `sealed` (ciphertext, then tag) into `output`, which is as long as that without its tag. `false` where the
    /// tag is wrong.
    pub(super) fn open(&self, iv: &[u8], aad: &[u8], sealed: &[u8], output: &mut [u8]) -> io::Result<bool> {
        let operation = self.operation(aad.len() + sealed.len())?;
        let aad_len = u32::try_from(aad.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let decrypt = nix::libc::ALG_OP_DECRYPT;
        let control = [
            ControlMessage::AlgSetOp(&decrypt),
            ControlMessage::AlgSetIv(iv),
            ControlMessage::AlgSetAeadAssoclen(&aad_len),
        ];
        // What does not fit would wait for a reader, and there is none: it fails instead.
        let sent = sendmsg::<AlgAddr>(
            operation.as_raw_fd(),
            &[IoSlice::new(aad), IoSlice::new(sealed)],
            &control,
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        if sent != aad.len() + sealed.len() {
            return Err(ErrorKind::WriteZero.into());
        }
        // The additional data come out again in front. The kernel waits for more data where more room is left than they
        // fill, and does not even begin, nor looks at the tag, where nothing at all is asked for.
        let (mut echo, mut beyond) = (vec![0; aad.len()], [0]);
        let expected = echo.len() + output.len();
        let beyond = &mut beyond[..usize::from(expected == 0)];
        let mut into = [IoSliceMut::new(&mut echo), IoSliceMut::new(&mut *output), IoSliceMut::new(beyond)];
        match rustix::io::readv(&operation, &mut into) {
            Ok(read) if read == expected => Ok(true),
            Ok(_) => Err(ErrorKind::UnexpectedEof.into()),
            Err(rustix::io::Errno::BADMSG) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A socket for one operation on `bytes`.
    fn operation(&self, bytes: usize) -> io::Result<OwnedFd> {
        let operation = accept(&self.0)?;
        // The kernel doubles what is asked for and grants what its limits allow.
        set_socket_send_buffer_size(&operation, bytes + 2 * PAGE)?;
        set_socket_recv_buffer_size(&operation, bytes + 2 * PAGE)?;
        Ok(operation)
    }
}
