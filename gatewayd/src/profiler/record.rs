//! Takes the records of a ring apart (`perf_event_open(2)`). Whatever the words are, nothing here panics.

use perf_event_open_sys::bindings;

/// Something read from a ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// The kernel dropped this many records, because the ring was full.
    Lost(u64),
    /// An event.
    Sample(Sample<'a>),
    /// A process mapped code.
    Mapped(Mapped<'a>),
    /// A thread took another name; `exec` when by running another program.
    Renamed {
        /// Process and thread.
        pid: u32,
        /// The thread.
        tid: u32,
        /// Its mappings are no more.
        exec: bool,
    },
    /// A thread ended.
    Ended {
        /// Its process.
        pid: u32,
        /// The thread.
        tid: u32,
    },
}

/// One event with what the kernel tells of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sample<'a> {
    /// Which event.
    pub(super) event: u64,
    /// Process of the thread that ran.
    pub(super) pid: u32,
    /// The thread that ran; 0 for an idle CPU.
    pub(super) tid: u32,
    /// Nanoseconds of the event's clock.
    pub(super) ns: u64,
    /// True when the CPU was in the kernel.
    pub(super) in_kernel: bool,
    /// Instruction pointers and context marks, innermost first.
    pub(super) callchain: &'a [u64],
    /// A tracepoint's fields.
    pub(super) raw: Raw<'a>,
}

/// New code of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped<'a> {
    pub(super) pid: u32,
    pub(super) start: u64,
    pub(super) len: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// The file's build id, where the kernel knows it.
    pub(super) build_id: [u8; 20],
    /// How many bytes of it count.
    pub(super) build_id_len: usize,
    /// The file's name, padded with zero bytes.
    pub(super) name: &'a [u64],
}

/// A tracepoint's fields: bytes that begin in the middle of a word, behind their own length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a>(&'a [u64]);

impl Raw<'_> {
    /// A field of 1 to 8 bytes; `None` beyond the record.
    pub(super) fn number(self, offset: usize, size: usize) -> Option<u64> {
        if !(1..=8).contains(&size) {
            return None;
        }
        let mut bytes = [0; 8];
        for (at, byte) in bytes.iter_mut().take(size).enumerate() {
            *byte = self.byte(offset.checked_add(at)?)?;
        }
        // Every CPU the product supports is little endian.
        Some(u64::from_le_bytes(bytes))
    }

    /// One byte of the fields.
    pub(super) fn byte(self, offset: usize) -> Option<u8> {
        let at = offset.checked_add(4)?;
        self.0.get(at / 8)?.to_ne_bytes().get(at % 8).copied()
    }
}

/// From here up an entry of a call chain is a mark, not an address (`PERF_CONTEXT_MAX`).
pub(super) const FIRST_MARK: u64 = u64::MAX - 4094;
/// The mark before the addresses in the program (`PERF_CONTEXT_USER`).
pub(super) const USER_MARK: u64 = u64::MAX - 511;

/// Splits a call chain into its addresses in the kernel and those in the program. Other marks are left in.
pub(super) fn split(callchain: &[u64]) -> (&[u64], &[u64]) {
    let at = callchain.iter().position(|it| *it == USER_MARK).unwrap_or(callchain.len());
    (callchain.get(..at).unwrap_or_default(), callchain.get(at + 1..).unwrap_or_default())
}

/// Takes a record apart: the header's word, then by its type. `has_stack` says of an event whether its samples carry a
/// call chain; `None` for an event that is not ours.
pub(super) fn parse(words: &[u64], has_stack: impl FnOnce(u64) -> Option<bool>) -> Option<Record<'_>> {
    let [a, b, c, d, e, f, ..] = words.first()?.to_ne_bytes();
    let kind = u32::from_ne_bytes([a, b, c, d]);
    let misc = u32::from(u16::from_ne_bytes([e, f]));
    let body = words.get(1..)?;
    match kind {
        bindings::PERF_RECORD_SAMPLE => sample(body, misc, has_stack).map(Record::Sample),
        bindings::PERF_RECORD_LOST => Some(Record::Lost(*body.get(1)?)),
        bindings::PERF_RECORD_MMAP2 => mapped(body, misc).map(Record::Mapped),
        bindings::PERF_RECORD_COMM => {
            let (pid, tid) = halves(*body.first()?);
            Some(Record::Renamed { pid, tid, exec: misc & bindings::PERF_RECORD_MISC_COMM_EXEC != 0 })
        }
        bindings::PERF_RECORD_EXIT => {
            let ((pid, _), (tid, _)) = (halves(*body.first()?), halves(*body.get(1)?));
            Some(Record::Ended { pid, tid })
        }
        _ => None,
    }
}

/// In the kernel's order: identifier, process and thread, time, call chain with its length, raw data with theirs.
fn sample(body: &[u64], misc: u32, has_stack: impl FnOnce(u64) -> Option<bool>) -> Option<Sample<'_>> {
    let event = *body.first()?;
    let (pid, tid) = halves(*body.get(1)?);
    let (mut callchain, mut rest): (&[u64], _) = (&[], body.get(3..)?);
    if has_stack(event)? {
        let len = usize::try_from(*rest.first()?).ok()?;
        callchain = rest.get(1..)?.get(..len)?;
        rest = rest.get(1 + len..)?;
    }
    Some(Sample {
        event,
        pid,
        tid,
        ns: *body.get(2)?,
        in_kernel: misc & bindings::PERF_RECORD_MISC_CPUMODE_MASK == bindings::PERF_RECORD_MISC_KERNEL,
        callchain,
        raw: Raw(rest),
    })
}

fn mapped(body: &[u64], misc: u32) -> Option<Mapped<'_>> {
    let (pid, _) = halves(*body.first()?);
    let (mut build_id, mut build_id_len) = ([0; 20], 0);
    if misc & bindings::PERF_RECORD_MISC_MMAP_BUILD_ID != 0 {
        // Length, three bytes of nothing, then at most twenty bytes.
        let mut bytes = body.get(4..7)?.iter().flat_map(|word| word.to_ne_bytes());
        build_id_len = usize::from(bytes.next()?).min(build_id.len());
        for (to, from) in build_id.iter_mut().zip(bytes.skip(3)) {
            *to = from;
        }
    }
    Some(Mapped {
        pid,
        start: *body.get(1)?,
        len: *body.get(2)?,
        offset: *body.get(3)?,
        build_id,
        build_id_len,
        // One word with rights and flags stands before the name.
        name: body.get(8..)?,
    })
}

fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: u32, misc: u16, words: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[4..6].copy_from_slice(&misc.to_ne_bytes());
        bytes[6..].copy_from_slice(&u16::try_from(words * 8).unwrap().to_ne_bytes());
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn a_sample_gives_thread_time_mode_chain_and_fields() {
        // Raw data: length 12, then the bytes 1, 0, 0, 0, 2, 0, 0, 0, ...
        let raw = [12 | 1 << 32, 2];
        let words =
            [header(bindings::PERF_RECORD_SAMPLE, 1, 9), 77, 8 << 32 | 7, 99, 2, 0xA, 0xB, raw[0], raw[1]];
        let Some(Record::Sample(sample)) = parse(&words, |event| (event == 77).then_some(true)) else {
            panic!()
        };
        assert_eq!((sample.pid, sample.tid, sample.ns, sample.in_kernel), (7, 8, 99, true));
        assert_eq!(sample.callchain, [0xA, 0xB]);
        assert_eq!((sample.raw.number(0, 4), sample.raw.number(4, 8)), (Some(1), Some(2)));
        assert_eq!(
            (sample.raw.number(5, 8), sample.raw.number(0, 9)),
            (None, None),
            "beyond the record, too long"
        );
    }

    #[test]
    fn a_chain_longer_than_its_record_and_an_unknown_event_are_no_samples() {
        let words = [header(bindings::PERF_RECORD_SAMPLE, 2, 7), 77, 0, 99, 3, 0xA, 0xB];
        assert_eq!(parse(&words, |_| Some(true)), None);
        assert_eq!(parse(&words, |_| None), None);
        assert!(parse(&words, |_| Some(false)).is_some(), "the same without a chain");
    }

    #[test]
    fn a_loss_gives_its_number() {
        let words = [header(bindings::PERF_RECORD_LOST, 0, 3), 1, 17];
        assert_eq!(parse(&words, |_| None), Some(Record::Lost(17)));
    }

    #[test]
    fn a_mapping_gives_its_place_and_build_id() {
        let id = [20 | 0xAA << 32 | 0xBB << 40, 0, 0xCC << 56];
        let name = u64::from_ne_bytes(*b"/bin/cat");
        let misc = u16::try_from(bindings::PERF_RECORD_MISC_MMAP_BUILD_ID).unwrap();
        let words = [
            header(bindings::PERF_RECORD_MMAP2, misc, 10),
            8 << 32 | 7,
            0x1000,
            0x2000,
            0x400,
            id[0],
            id[1],
            id[2],
            0,
            name,
        ];
        let Some(Record::Mapped(mapped)) = parse(&words, |_| None) else { panic!() };
        assert_eq!((mapped.pid, mapped.start, mapped.len, mapped.offset), (7, 0x1000, 0x2000, 0x400));
        assert_eq!((mapped.build_id[0], mapped.build_id[1], mapped.build_id[19]), (0xAA, 0xBB, 0xCC));
        assert_eq!((mapped.build_id_len, mapped.name), (20, &[name][..]));
    }

    #[test]
    fn the_kernels_part_of_a_chain_ends_at_the_users_mark() {
        let kernel = u64::MAX - 127;
        assert_eq!(split(&[kernel, 1, USER_MARK, 2]), (&[kernel, 1][..], &[2][..]));
        assert_eq!(split(&[USER_MARK, 2]), (&[][..], &[2][..]));
        assert_eq!(split(&[kernel, 1]), (&[kernel, 1][..], &[][..]));
    }

    proptest! {
        #[test]
        fn no_words_make_the_parser_panic(
            kind in 0_u32..20, misc in any::<u16>(), words in prop::collection::vec(any::<u64>(), 0..30), stack in any::<bool>(),
        ) {
            let mut record = vec![header(kind, misc, words.len() + 1)];
            record.extend(words);
            if let Some(Record::Sample(sample)) = parse(&record, |_| Some(stack)) {
                let _ = sample.raw.number(40, 8);
            }
        }
    }
}
