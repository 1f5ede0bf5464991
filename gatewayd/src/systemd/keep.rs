//! What one process of the daemon leaves to the next in memory: a memfd in the service manager's fd store.
//!
//! It survives a restart, a crash and a watchdog kill, not a stop nor a power cut; what must survive those is in the
//! journal. Two slots are written in turn, each with a sequence number and a checksum, so that a process that is killed
//! while it writes leaves the older slot whole.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use super::{Passed, ServiceManager};

/// The descriptor's name in the store.
const NAME: &str = "state";
/// Bytes of one slot, header included.
const SLOT: usize = 192 << 10;
/// Sequence number, length and CRC-32, little endian.
const HEADER: usize = 16;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Processes of this service so far, this one included.
    pub generation: u64,
    /// Whether the process that wrote this still had work to do; false once it had stopped in good order.
    pub running: bool,
    /// The configuration text it ran on.
    pub configuration: Option<String>,
    /// A look at the Director that was promised to somebody and not finished.
    pub wish: Option<KeptWish>,
    /// When the Director is asked next without being told to: milliseconds of CLOCK_MONOTONIC.
    pub next_poll_ms: Option<u64>,
}

/// A look at the Director that somebody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWish {
    /// The `ota_trace_id` it was asked for with.
    pub trace: Option<String>,
}

/// The memory.
#[derive(Debug)]
pub struct Keep {
    file: Option<File>,
    seq: u64,
    now: Kept,
    earlier: Kept,
}

impl Keep {
    /// Takes over the memory of the process before this one, or begins with an empty one and puts it into the store.
    /// Where there is no service manager or no memory, nothing is kept and everything else works.
    pub fn open(passed: &mut Passed) -> Self {
        let inherited =
            passed.take(NAME).map(File::from).filter(|it| it.metadata().is_ok_and(|it| it.len() == LEN));
        let found = inherited.as_ref().and_then(newest);
        if inherited.is_some() && found.is_none() {
            tracing::warn!("what the process before left behind cannot be read; starting anew");
        }
        let (seq, earlier) = found.unwrap_or_default();
        let file = inherited.or_else(|| match create() {
            Ok(file) => {
                ServiceManager::store(NAME, file.as_fd());
                Some(file)
            }
            Err(error) => {
                tracing::warn!(%error, "nothing is kept over a restart");
                None
            }
        });
        let now = Kept { generation: earlier.generation + 1, ..earlier.clone() };
        Self { file, seq, now, earlier }
    }

    /// What the process before this one left behind.
    pub const fn earlier(&self) -> &Kept {
        &self.earlier
    }

    /// The configuration of the process before this one, if that ended without having been told to.
    pub fn after_crash(&self) -> Option<&str> {
        self.earlier.configuration.as_deref().filter(|_| self.earlier.running)
    }

    /// What this one leaves behind as things are.
    pub const fn now(&self) -> &Kept {
        &self.now
    }

    /// Changes what is left behind. A configuration too large for a slot is left out; everything else always fits.
    pub fn update(&mut self, change: impl FnOnce(&mut Kept)) {
        let mut next = self.now.clone();
        change(&mut next);
        if next == self.now && self.seq > 0 {
            return;
        }
        self.now = next;
        let Some(file) = &self.file else { return };
        let mut written = encode(self.seq + 1, &self.now);
        if written.is_none() {
            written = encode(self.seq + 1, &Kept { configuration: None, ..self.now.clone() });
        }
        let Some(bytes) = written else { return };
        self.seq += 1;
        if let Err(error) = file.write_all_at(&bytes, offset(self.seq)) {
            tracing::warn!(%error, "what a restart would keep cannot be written");
        }
    }
}

const LEN: u64 = 2 * SLOT as u64;

const fn offset(seq: u64) -> u64 {
    (seq % 2) * SLOT as u64
}

fn create() -> io::Result<File> {
    let fd = rustix::fs::memfd_create("gatewayd-state", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, LEN)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd.into())
}

/// One slot; `None` where it would not fit.
fn encode(seq: u64, kept: &Kept) -> Option<Vec<u8>> {
    let body = serde_json::to_vec(kept).ok().filter(|it| it.len() <= SLOT - HEADER)?;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&checksum(seq, &body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

fn decode(slot: &[u8]) -> Option<(u64, Kept)> {
    let (seq, rest) = slot.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let seq = u64::from_le_bytes(*seq);
    let body = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    if seq == 0 || checksum(seq, body) != u32::from_le_bytes(*sum) {
        return None;
    }
    Some((seq, serde_json::from_slice(body).ok()?))
}

fn checksum(seq: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn newest(file: &File) -> Option<(u64, Kept)> {
    let mut slot = vec![0; SLOT];
    let mut read = |at| file.read_exact_at(&mut slot, at).ok().and_then(|()| decode(&slot));
    let (one, other) = (read(offset(0)), read(offset(1)));
    one.into_iter().chain(other).max_by_key(|(seq, _)| *seq)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A keep on memory of its own, and the same memory as the next process would get it.
    fn keep() -> (Keep, File) {
        let file = create().expect("memory");
        let again = file.try_clone().expect("a descriptor");
        (Keep { file: Some(file), seq: 0, now: Kept::default(), earlier: Kept::default() }, again)
    }

    #[test]
    fn the_next_process_reads_what_was_written_last() {
        let (mut keep, memory) = keep();
        assert_eq!(newest(&memory), None);
        for generation in 1..=5 {
            keep.update(|it| it.generation = generation);
            assert_eq!(newest(&memory).map(|(_, it)| it.generation), Some(generation));
        }
        keep.update(|_| {});
        assert_eq!(newest(&memory).map(|(seq, _)| seq), Some(5), "what has not changed is not written");
    }

    #[test]
    fn a_process_killed_while_it_writes_leaves_the_older_slot() {
        let (mut keep, memory) = keep();
        keep.update(|it| it.configuration = Some("old".to_owned()));
        let newer =
            encode(2, &Kept { configuration: Some("new".to_owned()), ..Kept::default() }).expect("fits");
        for cut in 0..newer.len() {
            memory.write_all_at(&newer[..cut], offset(2)).expect("written");
            let found = newest(&memory).and_then(|(_, it)| it.configuration);
            assert_eq!(found.as_deref(), Some("old"), "cut at {cut}");
        }
        memory.write_all_at(&newer, offset(2)).expect("written");
        assert_eq!(newest(&memory).and_then(|(_, it)| it.configuration).as_deref(), Some("new"));
    }

    #[test]
    fn the_largest_configuration_is_kept_and_one_byte_more_is_left_out_without_the_rest() {
        let (mut keep, memory) = keep();
        keep.update(|it| *it = Kept { generation: 7, configuration: Some(String::new()), ..Kept::default() });
        let overhead = serde_json::to_vec(keep.now()).expect("encodes").len();
        let room = SLOT - HEADER - overhead;
        for (len, kept) in [(room, true), (room + 1, false)] {
            keep.update(|it| it.configuration = Some("x".repeat(len)));
            let (_, found) = newest(&memory).expect("readable");
            assert_eq!((found.generation, found.configuration.is_some()), (7, kept), "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
