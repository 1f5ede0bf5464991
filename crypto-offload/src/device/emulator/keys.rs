//! Keys that rest in the emulated device.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::device::abi::{Key, Status};
use crate::job::{Cipher, SecretKey};

#[derive(Debug, Default)]
pub(super) struct Keys {
    by_handle: BTreeMap<u64, (Cipher, Arc<SecretKey>)>,
    /// Handles are not used again before a reset.
    last: u64,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.by_handle.len()
    }

    /// Takes a key in, as one of at most `room`, and gives its handle.
    pub(super) fn load(&mut self, room: u32, cipher: Cipher, key: &Key) -> Result<u64, Status> {
        let key = raw(cipher, key)?;
        match usize::try_from(room) {
            Ok(0) => Err(Status::Unsupported),
            Ok(room) if self.by_handle.len() < room => {
                self.last += 1;
                self.by_handle.insert(self.last, (cipher, key));
                Ok(self.last)
            }
            _ => Err(Status::NoRoom),
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Result<(), Status> {
        let Key::Handle(handle) = key else { return Err(Status::BadRequest) };
        self.by_handle.remove(handle).map(drop).ok_or(Status::NoKey)
    }

    /// The key that a request brings or names.
    pub(super) fn get(&self, cipher: Cipher, key: &Key) -> Result<Arc<SecretKey>, Status> {
        let Key::Handle(handle) = key else { return raw(cipher, key) };
        let (made_for, key) = self.by_handle.get(handle).ok_or(Status::NoKey)?;
        if *made_for == cipher { Ok(Arc::clone(key)) } else { Err(Status::BadRequest) }
    }
}

fn raw(cipher: Cipher, key: &Key) -> Result<Arc<SecretKey>, Status> {
    match key {
        Key::Raw(bytes) if bytes.len() == cipher.key_len() => Ok(Arc::new(SecretKey::new(bytes.to_vec()))),
        _ => Err(Status::BadRequest),
    }
}
