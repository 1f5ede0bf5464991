//! `struct sm_crypto_request`, 256 bytes.

use std::time::Duration;

use zeroize::Zeroizing;

use super::fields::{Reader, Writer};
use super::{AbiError, Operation};

/// Bytes of a request.
pub const REQUEST_SIZE: usize = 256;
/// Most bytes of aux: additional data, a leaf's prefix, a public key.
pub const MAX_AUX: usize = 64 * 1024;
/// Most bytes of extra: a signature, a midstate.
pub const MAX_EXTRA: usize = 4096;
/// Most bytes of input or output of one request, whatever a device claims.
pub const MAX_DATA: usize = 64 * 1024 * 1024;

/// The key is in the device; `key_handle` names it.
const FLAG_KEY_HANDLE: u32 = 1;
/// Output goes where the input was.
const FLAG_IN_PLACE: u32 = 2;

/// Which key a request uses.
#[derive(Clone, Debug)]
pub enum Key {
    /// None.
    None,
    /// These bytes, at most 64. Wiped when dropped.
    Raw(Zeroizing<Vec<u8>>),
    /// The key in the device of this handle, which is not 0.
    Handle(u64),
}

/// A request without its buffers: what to do, and how long they are.
#[derive(Clone, Debug)]
pub struct Request {
    /// Comes back with the reply. Unique among what is in flight.
    pub id: u64,
    /// What to do.
    pub operation: Operation,
    /// Number of the algorithm, 0 where the operation has none.
    pub algorithm: u32,
    /// Whether the output goes where the input was.
    pub in_place: bool,
    /// Bytes of input, at most [`MAX_DATA`].
    pub in_len: usize,
    /// Bytes of output that must come, at most [`MAX_DATA`].
    pub out_len: usize,
    /// Bytes of aux, at most [`MAX_AUX`].
    pub aux_len: usize,
    /// Bytes of extra, at most [`MAX_EXTRA`].
    pub extra_len: usize,
    /// Bytes hashed before, for [`Operation::HashUpdate`].
    pub position: u64,
    /// How long the device may take from now on; zero means as long as it likes.
    pub time: Duration,
    /// Initialisation vector, at most 16 bytes.
    pub iv: Vec<u8>,
    /// The tag that must match, for [`Operation::Open`].
    pub tag: [u8; 16],
    /// The key.
    pub key: Key,
}

/// Where the buffers lie in the memory of whoever asks. All zero on a socket, where the buffers follow the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::device) struct Addresses {
    pub(in crate::device) input: u64,
    pub(in crate::device) output: u64,
    pub(in crate::device) aux: u64,
    pub(in crate::device) extra: u64,
}

impl Request {
    /// A request of that id for that operation and algorithm, with nothing else in it.
    pub const fn new(id: u64, operation: Operation, algorithm: u32) -> Self {
        Self {
            id,
            operation,
            algorithm,
            in_place: false,
            in_len: 0,
            out_len: 0,
            aux_len: 0,
            extra_len: 0,
            position: 0,
            time: Duration::ZERO,
            iv: Vec::new(),
            tag: [0; 16],
            key: Key::None,
        }
    }

    /// The record, for a transport on which the buffers follow it. It holds the key, and wipes it when dropped.
    ///
    /// # Errors
    /// [`AbiError::Field`] for a length that the record cannot say.
    pub fn encode(&self) -> Result<Zeroizing<[u8; REQUEST_SIZE]>, AbiError> {
        self.encode_at(Addresses::default())
    }

    /// The record, for a transport on which the device finds the buffers at `addresses`.
    pub(in crate::device) fn encode_at(
        &self,
        addresses: Addresses,
    ) -> Result<Zeroizing<[u8; REQUEST_SIZE]>, AbiError> {
        let bounded = |name, len: usize, most: usize| match u32::try_from(len) {
            Ok(value) if len <= most => Ok(value),
            _ => Err(AbiError::Field(name)),
        };
        let aux_len = bounded("aux_len", self.aux_len, MAX_AUX)?;
        let extra_len = bounded("extra_len", self.extra_len, MAX_EXTRA)?;
        let in_len = bounded("in_len", self.in_len, MAX_DATA)?;
        let out_len = bounded("out_len", self.out_len, MAX_DATA)?;
        let iv_len = bounded("iv_len", self.iv.len(), 16)?;
        let (key_flag, handle, raw) = match &self.key {
            Key::None => (0, 0, &[][..]),
            Key::Raw(bytes) => (0, 0, &bytes[..]),
            Key::Handle(handle) => (FLAG_KEY_HANDLE, *handle, &[][..]),
        };
        let key_len = bounded("key_len", raw.len(), 64)?;
        let mut writer = Writer::<REQUEST_SIZE>::new();
        writer.u64(self.id);
        writer.u32(self.operation as u32);
        writer.u32(self.algorithm);
        writer.u32(key_flag | if self.in_place { FLAG_IN_PLACE } else { 0 });
        writer.u32(key_len);
        writer.u64(in_len.into());
        writer.u64(out_len.into());
        writer.u64(addresses.input);
        writer.u64(addresses.output);
        writer.u64(addresses.aux);
        writer.u64(addresses.extra);
        writer.u32(aux_len);
        writer.u32(extra_len);
        writer.u64(handle);
        writer.u64(u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX));
        writer.u64(self.position);
        writer.u32(iv_len);
        writer.u32(0);
        writer.bytes(&padded::<16>(&self.iv));
        writer.bytes(&self.tag);
        writer.bytes(&*Zeroizing::new(padded::<64>(raw)));
        Ok(Zeroizing::new(writer.finish()))
    }

    /// Reads a record that came over a socket: the device's side of [`Request::encode`].
    ///
    /// # Errors
    /// [`AbiError`] for anything that [`Request::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, AbiError> {
        let mut reader = Reader::<REQUEST_SIZE>::new(bytes)?;
        let id = reader.u64();
        let operation = Operation::from_code(reader.u32())?;
        let algorithm = reader.u32();
        let flags = reader.u32();
        let key_len = at_most("key_len", reader.u32().into(), 64)?;
        let in_len = at_most("in_len", reader.u64(), MAX_DATA)?;
        let out_len = at_most("out_len", reader.u64(), MAX_DATA)?;
        if [reader.u64(), reader.u64(), reader.u64(), reader.u64()] != [0; 4] {
            return Err(AbiError::Field("address"));
        }
        let aux_len = at_most("aux_len", reader.u32().into(), MAX_AUX)?;
        let extra_len = at_most("extra_len", reader.u32().into(), MAX_EXTRA)?;
        let handle = reader.u64();
        let time = Duration::from_nanos(reader.u64());
        let position = reader.u64();
        let iv_len = at_most("iv_len", reader.u32().into(), 16)?;
        if reader.u32() != 0 {
            return Err(AbiError::Reserved);
        }
        let iv = unpadded("iv", &reader.array::<16>(), iv_len)?;
        let tag = reader.array();
        let raw = Zeroizing::new(unpadded("key", &*Zeroizing::new(reader.array::<64>()), key_len)?);
        reader.finish()?;
        if flags & !(FLAG_KEY_HANDLE | FLAG_IN_PLACE) != 0 {
            return Err(AbiError::Field("flags"));
        }
        let key = match (flags & FLAG_KEY_HANDLE != 0, handle, raw.is_empty()) {
            (true, 1.., true) => Key::Handle(handle),
            (false, 0, false) => Key::Raw(raw),
            (false, 0, true) => Key::None,
            _ => return Err(AbiError::Field("key_handle")),
        };
        let in_place = flags & FLAG_IN_PLACE != 0;
        Ok(Self {
            id,
            operation,
            algorithm,
            in_place,
            in_len,
            out_len,
            aux_len,
            extra_len,
            position,
            time,
            iv,
            tag,
            key,
        })
    }

    /// Bytes that follow the record on a socket: aux, extra, input.
    pub const fn payload_len(&self) -> usize {
        self.aux_len + self.extra_len + self.in_len
    }
}

fn at_most(name: &'static str, value: u64, most: usize) -> Result<usize, AbiError> {
    usize::try_from(value).ok().filter(|&value| value <= most).ok_or(AbiError::Field(name))
}

/// `bytes` and zeros behind them. Callers have checked that they fit.
fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut all = [0; N];
    all[..bytes.len()].copy_from_slice(bytes);
    all
}

fn unpadded(name: &'static str, bytes: &[u8], len: usize) -> Result<Vec<u8>, AbiError> {
    let (bytes, rest) = bytes.split_at(len);
    if rest.iter().any(|&byte| byte != 0) {
        return Err(AbiError::Field(name));
    }
    Ok(bytes.to_vec())
}
