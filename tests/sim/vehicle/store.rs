//! The image store of a simulated gateway, in memory: what was not synced may be gone after a power cut.

use std::collections::BTreeMap;

use gatewayd::gateway::message::{StoreError, StoreName, StoreOperation, StoreRequest};

use crate::random::Random;

/// See the module's documentation.
#[derive(Debug)]
pub struct SimStore {
    files: BTreeMap<StoreName, File>,
    /// Bytes it may hold.
    pub quota: u64,
    /// Operations that go well before the medium fails for good.
    pub fails_after: Option<u64>,
    operations: u64,
}

#[derive(Debug, Default)]
struct File {
    data: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl SimStore {
    pub(super) const fn new(quota: u64) -> Self {
        Self { files: BTreeMap::new(), quota, fails_after: None, operations: 0 }
    }

    /// Turns one bit of the stored file of an ECU with that ending (`img`, `tree`). False where there is none.
    pub fn damage(&mut self, serial: &str, ending: &str, offset: usize) -> bool {
        let is = |name: &StoreName| name.0.starts_with(serial) && name.0.ends_with(ending);
        let found = self.files.iter_mut().find(|(name, _)| is(name));
        let Some((_, file)) = found else { return false };
        let Some(byte) = file.data.get_mut(offset) else { return false };
        *byte ^= 0x04;
        file.durable.clone_from(&file.data);
        file.unsynced.clear();
        true
    }

    /// Bytes reserved and not given back.
    pub fn used(&self) -> u64 {
        self.files.values().map(|file| file.data.len() as u64).sum()
    }

    pub(super) fn run(&mut self, request: &StoreRequest) -> Result<Vec<u8>, StoreError> {
        self.operations += 1;
        if self.fails_after.is_some_and(|limit| self.operations > limit) {
            return Err(medium("input/output error"));
        }
        let name = &request.name;
        match &request.operation {
            StoreOperation::Reserve { len } => self.reserve(name, *len),
            StoreOperation::Write { offset, data, sync } => {
                let file = self.files.entry(name.clone()).or_default();
                let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                write(&mut file.data, offset, data);
                file.unsynced.push((offset, data.clone()));
                if *sync {
                    file.sync();
                }
                Ok(data.clone())
            }
            StoreOperation::Read { offset, len } => {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                let file = self.files.get(name).ok_or_else(|| medium("no such file"))?;
                let end = start.checked_add(*len).ok_or_else(|| medium("no such offset"))?;
                file.data.get(start..end).map(<[u8]>::to_vec).ok_or_else(|| medium("unexpected end of file"))
            }
            StoreOperation::Remove => {
                self.files.remove(name);
                Ok(Vec::new())
            }
        }
    }

    /// Of what was not synced, every write is kept or lost by itself.
    pub(super) fn power_cut(&mut self, random: &mut Random) {
        for file in self.files.values_mut() {
            for (offset, data) in std::mem::take(&mut file.unsynced) {
                if random.coin() {
                    write(&mut file.durable, offset, &data);
                }
            }
            file.data.clone_from(&file.durable);
        }
    }

    fn reserve(&mut self, name: &StoreName, len: u64) -> Result<Vec<u8>, StoreError> {
        let own = self.files.get(name).map_or(0, |file| file.data.len() as u64);
        let used = self.used() - own;
        if used + len > self.quota {
            return Err(StoreError::Quota { quota: self.quota, used, wanted: len });
        }
        let file = self.files.entry(name.clone()).or_default();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        file.data.resize(len.max(file.data.len()), 0);
        file.sync();
        Ok(Vec::new())
    }
}

impl File {
    fn sync(&mut self) {
        self.durable.clone_from(&self.data);
        self.unsynced.clear();
    }
}

fn write(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(offset..end) {
        place.copy_from_slice(data);
    }
}

fn medium(reason: &str) -> StoreError {
    StoreError::Medium { reason: reason.to_owned() }
}
