//! `struct sm_crypto_reply`, 64 bytes.

use super::fields::{Reader, Writer};
use super::{AbiError, MAX_DATA, Status};

/// Bytes of a reply.
pub const REPLY_SIZE: usize = 64;
/// The device works, but less well than it should: hot, or a unit of it is lost.
pub const FLAG_DEGRADED: u32 = 1;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's id.
    pub id: u64,
    /// How it ended.
    pub status: Status,
    /// Whether the device says of itself that it is degraded.
    pub degraded: bool,
    /// Bytes of output. 0 unless the status is [`Status::Ok`].
    pub out_len: usize,
    /// The device's own error code, for the log.
    pub detail: u64,
}

impl Reply {
    /// The record.
    pub fn encode(&self) -> [u8; REPLY_SIZE] {
        let mut writer = Writer::<REPLY_SIZE>::new();
        writer.u64(self.id);
        writer.u32(self.status as u32);
        writer.u32(if self.degraded { FLAG_DEGRADED } else { 0 });
        writer.u64(self.out_len as u64);
        writer.u64(self.detail);
        writer.finish()
    }

    /// Reads a record that a device wrote.
    ///
    /// # Errors
    /// [`AbiError`] for anything that `DEVICE.md` does not allow.
    pub fn decode(bytes: &[u8]) -> Result<Self, AbiError> {
        let mut reader = Reader::<REPLY_SIZE>::new(bytes)?;
        let id = reader.u64();
        let status = Status::from_code(reader.u32())?;
        let flags = reader.u32();
        let out_len = usize::try_from(reader.u64()).map_err(|_| AbiError::Field("out_len"))?;
        let detail = reader.u64();
        reader.finish()?;
        if flags & !FLAG_DEGRADED != 0 {
            return Err(AbiError::Field("flags"));
        }
        if out_len > MAX_DATA || (status != Status::Ok && out_len != 0) {
            return Err(AbiError::Field("out_len"));
        }
        Ok(Self { id, status, degraded: flags & FLAG_DEGRADED != 0, out_len, detail })
    }
}
