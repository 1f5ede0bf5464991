//! The transport to a real coprocessor: `SM_IOC_CRYPTO` on its character device.
#![allow(unsafe_code, reason = "an ioctl whose record holds addresses is beyond what safe code can say")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};

use super::abi::{Addresses, REPLY_SIZE, REQUEST_SIZE, Reply, Request};
use super::frames::check_output;
use super::transport::{Answer, Buffers, Transport, TransportError};

/// `SM_IOC_CRYPTO`, `_IOWR('S', 0x40, struct sm_crypto_request)`: takes a request in.
const SUBMIT: Opcode = opcode::read_write::<[u8; REQUEST_SIZE]>(b'S', 0x40);
/// `SM_IOC_RESET`, `_IO('S', 0x41)`: forgets all requests of this open file; returns when no memory is touched any more.
const RESET: Opcode = opcode::none(b'S', 0x41);

/// A coprocessor. It reads and writes the memory of its requests until their replies, so that memory is neither moved
/// nor freed before: it rests in here.
#[derive(Debug)]
pub struct CharacterDevice {
    path: PathBuf,
    file: File,
    in_flight: BTreeMap<u64, InFlight>,
}

#[derive(Debug)]
struct InFlight {
    in_place: bool,
    out_len: usize,
    buffers: Buffers,
}

impl CharacterDevice {
    /// Opens the device at `path`.
    ///
    /// # Errors
    /// As `open`; [`io::ErrorKind::InvalidInput`] for what is no character device.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, in_flight: BTreeMap::new() })
    }

    fn reset_device(&self) -> rustix::io::Result<()> {
        // SAFETY: the driver takes no argument with this number and touches no memory of ours in it.
        unsafe { rustix::ioctl::ioctl(&self.file, rustix::ioctl::NoArg::<RESET>::new()) }
    }
}

fn open(path: &Path) -> io::Result<File> {
    const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK).open(path)?;
    if !file.metadata()?.file_type().is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a character device"));
    }
    Ok(file)
}

impl Transport for CharacterDevice {
    fn submit(&mut self, request: &Request, mut buffers: Buffers) -> Result<(), (Buffers, TransportError)> {
        if !buffers.fit(request) || self.in_flight.contains_key(&request.id) {
            return Err((buffers, TransportError::Request));
        }
        let address = |bytes: &[u8]| if bytes.is_empty() { 0 } else { bytes.as_ptr() as u64 };
        // Taken mutably, since the device writes through these.
        let output = buffers.output_of(request.in_place, request.out_len).as_mut_ptr() as u64;
        let addresses = Addresses {
            input: if request.in_place { output } else { address(&buffers.data[..request.in_len]) },
            output: if request.out_len == 0 { 0 } else { output },
            aux: address(&buffers.aux),
            extra: address(&buffers.extra),
        };
        let Ok(mut record) = request.encode_at(addresses) else {
            return Err((buffers, TransportError::Request));
        };
        // SAFETY: the record is what the driver expects under this number, and lives until the call returns. The
        // memory at its addresses is as long as it says ([`Buffers::fit`]), and rests in `in_flight`, whose vectors
        // are not touched, until the reply has come or a reset has ended the device's access.
        let taken = unsafe { rustix::ioctl::ioctl(&self.file, Submit(&mut record)) };
        match taken {
            Ok(()) => {
                let Request { in_place, out_len, .. } = *request;
                self.in_flight.insert(request.id, InFlight { in_place, out_len, buffers });
                Ok(())
            }
            Err(rustix::io::Errno::AGAIN) => Err((buffers, TransportError::Busy)),
            Err(error) => Err((buffers, TransportError::Gone(io::Error::from(error).kind()))),
        }
    }

    fn poll(&mut self) -> Result<Option<Answer>, TransportError> {
        let mut record = [0; REPLY_SIZE];
        let found = match (&self.file).read(&mut record) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(TransportError::Gone(error.kind())),
        };
        if found == 0 {
            return Err(TransportError::Gone(io::ErrorKind::UnexpectedEof));
        }
        let reply = Reply::decode(&record[..found])?;
        let flight = self.in_flight.get(&reply.id).ok_or(TransportError::Unasked(reply.id))?;
        check_output(&reply, flight.out_len)?;
        let flight = self.in_flight.remove(&reply.id).ok_or(TransportError::Unasked(reply.id))?;
        debug_assert!(flight.in_place || flight.buffers.output.len() >= reply.out_len, "checked by `fit`");
        Ok(Some(Answer { reply, buffers: flight.buffers }))
    }

    fn reset(&mut self) -> Result<(), TransportError> {
        match self.reset_device() {
            Ok(()) => self.in_flight.clear(),
            // Gone for good, and its driver touches nothing any more; another one may stand in its place.
            Err(rustix::io::Errno::NODEV) => {
                self.in_flight.clear();
                self.file = open(&self.path).map_err(|error| TransportError::Gone(error.kind()))?;
            }
            Err(error) => return Err(TransportError::Gone(io::Error::from(error).kind())),
        }
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

impl Drop for CharacterDevice {
    fn drop(&mut self) {
        if self.reset_device().is_err_and(|error| error != rustix::io::Errno::NODEV) {
            // Nobody can say whether the device still writes there. Memory lost is the lesser evil, and the queue's
            // bound is the most it can be.
            std::mem::forget(std::mem::take(&mut self.in_flight));
        }
    }
}

/// `SM_IOC_CRYPTO` on a record.
struct Submit<'a>(&'a mut [u8; REQUEST_SIZE]);

// SAFETY: the number names a record of this size that the driver reads and may write, which the pointer leads to; what
// is in the record is the caller's to answer for.
unsafe impl Ioctl for Submit<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        SUBMIT
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    // SAFETY: nothing is read through the pointers.
    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<Self::Output> {
        Ok(())
    }
}
