//! Keys that rest in the device: loaded once, used by handle, dropped when nobody has them any more.

use std::sync::{Arc, Weak};

use crate::job::{Cipher, SecretKey};

/// Which keys the device has. It forgets all of them with a reset.
#[derive(Debug)]
pub(super) struct KeyTable {
    /// Keys that the device has room for.
    room: usize,
    entries: Vec<Entry>,
    /// Handles of keys that nobody has any more, to be dropped.
    unused: Vec<u64>,
    /// Keys that the device has been told to drop and has not yet.
    dropping: usize,
}

#[derive(Debug)]
struct Entry {
    /// A key is the same where it is at the same place in memory, which this keeps from being used again.
    key: Weak<SecretKey>,
    /// A device prepares a key for one cipher.
    cipher: Cipher,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Loading,
    Loaded(u64),
    /// The device had no room for it after all: it goes along with each request.
    Refused,
}

/// How a request comes by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyWay {
    /// The device has it.
    Handle(u64),
    /// It goes along.
    Raw,
    /// It is to be loaded first.
    Load,
    /// It is being loaded.
    Wait,
}

impl KeyTable {
    pub(super) const fn new(room: usize) -> Self {
        Self { room, entries: Vec::new(), unused: Vec::new(), dropping: 0 }
    }

    /// How a request is to come by `key`. After [`KeyWay::Load`], [`KeyTable::handle_loaded`] or
    /// [`KeyTable::forget`] follows.
    pub(super) fn way(&mut self, key: &Arc<SecretKey>, cipher: Cipher) -> KeyWay {
        self.collect();
        match self.find(key, cipher).map(|entry| entry.state) {
            Some(State::Loaded(handle)) => KeyWay::Handle(handle),
            Some(State::Refused) => KeyWay::Raw,
            Some(State::Loading) => KeyWay::Wait,
            None if self.entries.len() + self.unused.len() + self.dropping >= self.room => KeyWay::Raw,
            None => {
                self.entries.push(Entry { key: Arc::downgrade(key), cipher, state: State::Loading });
                KeyWay::Load
            }
        }
    }

    /// The device has taken the key in, or (`None`) has no room for it.
    pub(super) fn handle_loaded(&mut self, key: &Arc<SecretKey>, cipher: Cipher, handle: Option<u64>) {
        if let Some(entry) = self.find(key, cipher) {
            entry.state = handle.map_or(State::Refused, State::Loaded);
        }
    }

    /// The device does not have the key.
    pub(super) fn forget(&mut self, key: &Arc<SecretKey>, cipher: Cipher) {
        self.entries.retain(|entry| !entry.is(key, cipher));
    }

    /// The handle of a key to be dropped; [`KeyTable::handle_dropped`] or [`KeyTable::put_back`] follows.
    pub(super) fn take_unused(&mut self) -> Option<u64> {
        self.collect();
        let handle = self.unused.pop()?;
        self.dropping += 1;
        Some(handle)
    }

    /// The device could not be told to drop that key.
    pub(super) fn put_back(&mut self, handle: u64) {
        self.dropping = self.dropping.saturating_sub(1);
        self.unused.push(handle);
    }

    /// The device has dropped a key.
    pub(super) const fn handle_dropped(&mut self) {
        self.dropping = self.dropping.saturating_sub(1);
    }

    /// The device has forgotten everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.room);
    }

    fn find(&mut self, key: &Arc<SecretKey>, cipher: Cipher) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.is(key, cipher))
    }

    /// Finds out which keys nobody has any more. One that is being loaded is had by the job that waits for it.
    fn collect(&mut self) {
        let unused = &mut self.unused;
        self.entries.retain(|entry| {
            let wanted = entry.key.strong_count() > 0;
            if let (false, State::Loaded(handle)) = (wanted, entry.state) {
                unused.push(handle);
            }
            wanted
        });
    }
}

impl Entry {
    fn is(&self, key: &Arc<SecretKey>, cipher: Cipher) -> bool {
        self.cipher == cipher && Weak::as_ptr(&self.key) == Arc::as_ptr(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SM4: Cipher = Cipher::Sm4Gcm;

    fn key() -> Arc<SecretKey> {
        Arc::new(SecretKey::new(vec![7; 16]))
    }

    #[test]
    fn a_key_is_loaded_once_and_dropped_with_its_last_owner() {
        let mut table = KeyTable::new(2);
        let (first, same_bytes) = (key(), key());
        assert_eq!(table.way(&first, SM4), KeyWay::Load);
        assert_eq!(table.way(&first, SM4), KeyWay::Wait);
        table.handle_loaded(&first, SM4, Some(9));
        let another_owner = Arc::clone(&first);
        assert_eq!(table.way(&another_owner, SM4), KeyWay::Handle(9));
        assert_eq!(table.way(&same_bytes, SM4), KeyWay::Load);
        drop(first);
        assert_eq!(table.take_unused(), None);
        drop(another_owner);
        assert_eq!(table.take_unused(), Some(9));
        assert_eq!(table.take_unused(), None);
    }

    #[test]
    fn what_the_device_has_no_room_for_goes_along() {
        let mut table = KeyTable::new(2);
        let keys = [key(), key(), key()];
        assert_eq!(table.way(&keys[0], SM4), KeyWay::Load);
        table.handle_loaded(&keys[0], SM4, None);
        assert_eq!(table.way(&keys[0], SM4), KeyWay::Raw);
        assert_eq!(table.way(&keys[1], SM4), KeyWay::Load);
        table.handle_loaded(&keys[1], SM4, Some(1));
        assert_eq!(table.way(&keys[2], SM4), KeyWay::Raw);
        assert_eq!(KeyTable::new(0).way(&keys[0], SM4), KeyWay::Raw);
        // Its place is free when the device has let it go, and not before.
        let [_, dropped, third] = keys;
        drop(dropped);
        assert_eq!(table.take_unused(), Some(1));
        assert_eq!(table.way(&third, SM4), KeyWay::Raw);
        table.handle_dropped();
        assert_eq!(table.way(&third, SM4), KeyWay::Load);
    }

    #[test]
    fn one_key_for_two_ciphers_is_two() {
        let mut table = KeyTable::new(4);
        let key = key();
        assert_eq!(table.way(&key, SM4), KeyWay::Load);
        assert_eq!(table.way(&key, Cipher::Aes128Gcm), KeyWay::Load);
        table.handle_loaded(&key, SM4, Some(3));
        assert_eq!(table.way(&key, SM4), KeyWay::Handle(3));
        table.forget(&key, SM4);
        assert_eq!(table.way(&key, SM4), KeyWay::Load);
        table.clear();
        assert_eq!(table.way(&key, SM4), KeyWay::Load);
    }
}
