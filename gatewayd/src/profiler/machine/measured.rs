//! What the pairing of events yields: an amount in one dimension at one place.

use std::collections::HashMap;
use std::sync::Arc;

use telemetry::Dimension;

/// Most threads, locks or requests that are followed at once; what comes beyond is counted as lost.
pub(super) const MAX_OPEN: usize = 2_048;

/// Where a thread was: addresses as the kernel saw them, to be named only if they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) pid: u32,
    pub(super) tid: u32,
    /// Kernel and user part, with their marks.
    pub(super) chain: Box<[u64]>,
}

/// What exactly was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Detail {
    /// Nothing to add.
    None,
    /// The system call, to be found in the chain.
    Syscall,
    /// A kind of lock.
    Symbol(&'static str),
    /// A block device, by the kernel's number.
    Device(u32),
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) dimension: Dimension,
    pub(super) detail: Detail,
    pub(super) place: Arc<Place>,
    /// Nanoseconds or bytes.
    pub(super) amount: u64,
    /// How long it took to be seen, from its first event to its last, in nanoseconds: what must fit between two gaps.
    pub(super) span_ns: u64,
}

/// Beginnings that wait for their ends, by some key. Bounded; what finds no room is counted.
#[derive(Debug)]
pub(super) struct Open<K, V> {
    entries: HashMap<K, V>,
    refused: u64,
}

impl<K, V> Default for Open<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), refused: 0 }
    }
}

impl<K: std::hash::Hash + Eq, V> Open<K, V> {
    /// Takes a beginning; one of the same key is replaced.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.entries.len() < MAX_OPEN || self.entries.contains_key(&key) {
            self.entries.insert(key, value);
        } else {
            self.refused += 1;
        }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    /// Forgets all: the ends were missed.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Beginnings that found no room since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A place of thread `tid`.
    pub(in super::super) fn place(tid: u32) -> Arc<Place> {
        Arc::new(Place { pid: tid, tid, chain: Box::new([u64::from(tid)]) })
    }
}
