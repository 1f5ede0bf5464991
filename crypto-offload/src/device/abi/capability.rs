//! `struct sm_crypto_capability`, 128 bytes: what a device can do.

use super::fields::{Reader, Writer};
use super::{
    ALL_CIPHERS, ALL_HASHES, ALL_SCHEMES, AbiError, MAX_DATA, cipher_code, hash_code, mask, scheme_code,
    unmask,
};
use crate::engine::{Capabilities, Kind};

/// Bytes of a capability record.
pub const CAPABILITY_SIZE: usize = 128;
/// The device takes in and hands out midstates in the form that `DEVICE.md` gives.
pub const FLAG_MIDSTATES: u32 = 1;

/// Most requests that we keep in flight, whatever the device offers.
const MAX_DEPTH: u32 = 1024;
/// Most keys that we keep in a device, whatever it offers.
const MAX_KEYS: u32 = 1024;

/// What a device says it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Bit `n`: hash function number `n`.
    pub hashes: u32,
    /// Bit `n`: cipher number `n`.
    pub ciphers: u32,
    /// Bit `n`: signature scheme number `n`.
    pub schemes: u32,
    /// Whether midstates can be taken in and handed out.
    pub midstates: bool,
    /// Requests that may be in flight, 1 to 1024.
    pub depth: u32,
    /// Keys that may rest in the device at once, at most 1024; 0 where each request has to bring its own.
    pub keys: u32,
    /// Most bytes of input of one request, 1 to [`MAX_DATA`].
    pub max_bytes: usize,
    /// Version of the device's firmware, for the log.
    pub firmware: u64,
    /// The device's name: 1 to 32 printable ASCII characters.
    pub name: String,
}

impl Capability {
    /// The record of an engine that keeps no keys. The name is cut to 32 characters.
    pub fn of(name: &str, engine: &Capabilities, depth: u32, max_bytes: usize) -> Self {
        Self {
            hashes: mask(&engine.hashes, hash_code),
            ciphers: mask(&engine.ciphers, cipher_code),
            schemes: mask(&engine.schemes, scheme_code),
            midstates: engine.midstates,
            depth,
            keys: 0,
            max_bytes: max_bytes.min(MAX_DATA),
            firmware: 0,
            name: name.chars().filter(char::is_ascii_graphic).take(32).collect(),
        }
    }

    /// The record.
    pub fn encode(&self) -> [u8; CAPABILITY_SIZE] {
        let mut writer = Writer::<CAPABILITY_SIZE>::new();
        writer.u32(self.hashes);
        writer.u32(self.ciphers);
        writer.u32(self.schemes);
        writer.u32(if self.midstates { FLAG_MIDSTATES } else { 0 });
        writer.u32(self.depth);
        writer.u32(self.keys);
        writer.u64(self.max_bytes as u64);
        writer.u64(self.firmware);
        let mut name = [0; 32];
        for (to, from) in name.iter_mut().zip(self.name.bytes()) {
            *to = from;
        }
        writer.bytes(&name);
        writer.finish()
    }

    /// Reads a record that a device wrote. Algorithms that we do not know are allowed.
    ///
    /// # Errors
    /// [`AbiError`] for anything else that `DEVICE.md` does not allow.
    pub fn decode(bytes: &[u8]) -> Result<Self, AbiError> {
        let mut reader = Reader::<CAPABILITY_SIZE>::new(bytes)?;
        let [hashes, ciphers, schemes, flags, depth, keys] =
            [reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32()];
        let max_bytes = usize::try_from(reader.u64()).map_err(|_| AbiError::Field("max_bytes"))?;
        let firmware = reader.u64();
        let name = read_name(&reader.array::<32>())?;
        reader.finish()?;
        if flags & !FLAG_MIDSTATES != 0 {
            return Err(AbiError::Field("flags"));
        }
        if !(1..=MAX_DEPTH).contains(&depth) {
            return Err(AbiError::Field("depth"));
        }
        if keys > MAX_KEYS {
            return Err(AbiError::Field("keys"));
        }
        if !(1..=MAX_DATA).contains(&max_bytes) {
            return Err(AbiError::Field("max_bytes"));
        }
        let midstates = flags & FLAG_MIDSTATES != 0;
        Ok(Self { hashes, ciphers, schemes, midstates, depth, keys, max_bytes, firmware, name })
    }

    /// The same in the words of the queue.
    pub fn to_capabilities(&self) -> Capabilities {
        Capabilities {
            name: "device",
            kind: Kind::Device,
            hashes: unmask(self.hashes, &ALL_HASHES, hash_code),
            ciphers: unmask(self.ciphers, &ALL_CIPHERS, cipher_code),
            schemes: unmask(self.schemes, &ALL_SCHEMES, scheme_code),
            midstates: self.midstates,
            depth: usize::try_from(self.depth).unwrap_or(1),
            max_bytes: self.max_bytes,
        }
    }
}

/// A name fills its field from the left, with zeros behind it.
fn read_name(field: &[u8; 32]) -> Result<String, AbiError> {
    let len = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let (name, rest) = field.split_at(len);
    let printable = name.iter().all(u8::is_ascii_graphic);
    if name.is_empty() || !printable || rest.iter().any(|&byte| byte != 0) {
        return Err(AbiError::Field("name"));
    }
    Ok(name.iter().copied().map(char::from).collect())
}
