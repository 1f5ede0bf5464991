//! The receiver: blocks in, windows out, whatever the blocks are.

use std::collections::HashMap;

use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use crate::encoder::{MODE_DELTA, MODE_DELTA_OF_DELTA};
use crate::header::{BlockHeader, BootId, StreamId};
use crate::limits::{
    MAX_BLOCK_LEN, MAX_METRIC_SERIES, MAX_METRIC_VALUES, MAX_WINDOW_FRAMES, MAX_WINDOW_SAMPLES,
    MAX_WINDOW_THREADS,
};
use crate::sample::{Metrics, Sample, Series, StackIndex, ThreadIndex};
use crate::table::Table;
use crate::window::Window;
use crate::wire::Reader;

/// First bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// What is wrong inside a block. The sender's fault, or the journey's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An index points at nothing.
    #[error("{field} {value} of {len}")]
    Index {
        /// What the index names.
        field: &'static str,
        /// The index.
        value: u64,
        /// How many there are.
        len: usize,
    },
    /// Bytes are left over behind the body or the zstd frame.
    #[error("{0} bytes left over")]
    LeftOver(usize),
    /// The body's length is not what the header says.
    #[error("body of {found} bytes, header says {expected}")]
    Length {
        /// By the header.
        expected: usize,
        /// By the zstd frame.
        found: usize,
    },
    /// A number is past its limit.
    #[error("{field} {value}, at most {limit}")]
    TooLarge {
        /// What the number means.
        field: &'static str,
        /// The number.
        value: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// The block ends in the middle.
    #[error("truncated")]
    Truncated,
    /// A string is not UTF-8.
    #[error("string is not utf-8")]
    Utf8,
    /// A varint is longer than 64 bits or not in its shortest form.
    #[error("varint out of form")]
    Varint,
    /// zstd refuses the frame.
    #[error("zstd frame: {0}")]
    Zstd(String),
}

/// Why a block gave no window. The decoder stays as it was before the block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The sender used a trained dictionary that this receiver does not have.
    #[error("unknown dictionary {0}")]
    Dictionary(u32),
    /// A flag of a later version is set.
    #[error("unknown flags {0:#04x}")]
    Flags(u8),
    /// Blocks are missing before this one: ask the sender for a rebirth. Until the keyframe comes, every block says
    /// so again (unless the missing one still arrives).
    #[error("block {found} before block {}", expected.map_or("any keyframe".to_owned(), |seq| seq.to_string()))]
    Gap {
        /// The block that should have come; `None` when no keyframe of this boot was seen yet.
        expected: Option<u64>,
        /// The block that came.
        found: u64,
    },
    /// The block breaks a rule of the format.
    #[error("malformed block: {0}")]
    Malformed(#[from] Malformed),
    /// The receiver itself has no memory for zstd.
    #[error("no memory for zstd: {0}")]
    NoMemory(String),
    /// Not a telemetry block at all.
    #[error("not a telemetry block")]
    NotABlock,
    /// A block of another stream than this decoder follows.
    #[error("block of stream {}, this is stream {}", found.0, expected.0)]
    Stream {
        /// The decoder's stream.
        expected: StreamId,
        /// The block's.
        found: StreamId,
    },
    /// Longer than any block may be.
    #[error("block of {0} bytes, at most {MAX_BLOCK_LEN}")]
    TooLong(usize),
    /// A later version of the format.
    #[error("version {0} of the block format")]
    Version(u8),
}

impl DecodeError {
    /// True when a keyframe would help, so the receiver should publish a rebirth request.
    pub fn wants_rebirth(&self) -> bool {
        matches!(self, Self::Gap { .. })
    }
}

/// What a block was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// It was seen before (delivery at least once); drop it.
    Duplicate {
        /// Its number.
        seq: u64,
    },
    /// A new window.
    Window {
        /// The block's head.
        header: BlockHeader,
        /// Blocks of this boot that never came between the last window and this keyframe.
        missed: u64,
        /// The measurements.
        window: Window,
    },
}

/// Reads the blocks of one stream of one vehicle. Memory is bounded by [`limits`](crate::limits), whatever comes.
#[derive(Debug, Default)]
pub struct Decoder {
    state: Option<State>,
}

#[derive(Debug)]
struct State {
    boot: BootId,
    stream: StreamId,
    expected: u64,
    table: Table,
}

impl Decoder {
    /// A receiver that waits for a keyframe and then follows that stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one block.
    ///
    /// # Errors
    /// [`DecodeError`]; where [`DecodeError::wants_rebirth`], ask the sender for a keyframe.
    pub fn decode(&mut self, block: &[u8]) -> Result<Decoded, DecodeError> {
        if block.len() > MAX_BLOCK_LEN {
            return Err(DecodeError::TooLong(block.len()));
        }
        let (header, frame) = BlockHeader::split(block)?;
        if header.dictionary.0 != 0 {
            return Err(DecodeError::Dictionary(header.dictionary.0));
        }
        if let Some(state) = &self.state
            && state.stream != header.stream
        {
            return Err(DecodeError::Stream { expected: state.stream, found: header.stream });
        }
        let same_boot = self.state.as_ref().filter(|state| state.boot == header.boot);
        let expected = same_boot.map(|state| state.expected);
        if expected.is_some_and(|expected| header.seq < expected) {
            return Ok(Decoded::Duplicate { seq: header.seq });
        }
        if !header.keyframe && expected != Some(header.seq) {
            return Err(DecodeError::Gap { expected, found: header.seq });
        }
        let plain = decompress(frame, header.plain_len)?;
        let window = match &mut self.state {
            Some(state) if !header.keyframe => {
                let mark = state.table.mark();
                let window = read_body(&mut state.table, &plain).inspect_err(|_| state.table.rewind(mark))?;
                state.expected = header.seq + 1;
                window
            }
            state => {
                let mut table = Table::default();
                let window = read_body(&mut table, &plain)?;
                let (boot, stream) = (header.boot, header.stream);
                *state = Some(State { boot, stream, expected: header.seq + 1, table });
                window
            }
        };
        let missed = expected.map_or(0, |expected| header.seq - expected);
        Ok(Decoded::Window { header, missed, window })
    }
}

/// Exactly one frame of exactly the promised length: the memory is what the header said, which is within the limit,
/// whatever the frame claims about itself.
fn decompress(frame: &[u8], plain_len: usize) -> Result<Vec<u8>, DecodeError> {
    let bad = |code| DecodeError::Malformed(Malformed::Zstd(zstd_safe::get_error_name(code).to_owned()));
    if !frame.starts_with(&ZSTD_MAGIC) {
        return Err(Malformed::Zstd("no frame".to_owned()).into());
    }
    let frame_len = zstd_safe::find_frame_compressed_size(frame).map_err(bad)?;
    if frame_len < frame.len() {
        return Err(Malformed::LeftOver(frame.len() - frame_len).into());
    }
    let mut decompressor = Decompressor::new().map_err(|error| DecodeError::NoMemory(error.to_string()))?;
    let plain =
        decompressor.decompress(frame, plain_len).map_err(|error| Malformed::Zstd(error.to_string()))?;
    if plain.len() == plain_len {
        Ok(plain)
    } else {
        Err(Malformed::Length { expected: plain_len, found: plain.len() }.into())
    }
}

fn read_body(table: &mut Table, plain: &[u8]) -> Result<Window, Malformed> {
    let mut reader = Reader::new(plain);
    let start_unix_ms = reader.varint()?;
    let duration_ms = reader.u32("duration")?;
    let lost = reader.varint()?;
    table.read_additions(&mut reader)?;
    let mut window = Window {
        start_unix_ms,
        duration_ms,
        lost,
        threads: Vec::new(),
        stacks: Vec::new(),
        samples: Vec::new(),
        metrics: Metrics::default(),
    };
    read_samples(table, &mut reader, &mut window)?;
    window.metrics = read_metrics(table, &mut reader)?;
    match reader.rest().len() {
        0 => Ok(window),
        left => Err(Malformed::LeftOver(left)),
    }
}

fn read_samples(table: &Table, reader: &mut Reader<'_>, window: &mut Window) -> Result<(), Malformed> {
    let count = reader.count("samples", MAX_WINDOW_SAMPLES)?;
    let at_ms = read_moments(reader, count)?;
    let mut threads = Local::new("threads of a window", MAX_WINDOW_THREADS);
    let mut thread_index = Vec::with_capacity(count);
    for _ in 0..count {
        let id = reader.index("thread", table.threads().len())?;
        let (index, new) = threads.index(id)?;
        if new {
            window.threads.extend(table.threads().get(id as usize).cloned());
        }
        thread_index.push(ThreadIndex(index));
    }
    let mut stacks = Local::new("stacks of a window", MAX_WINDOW_SAMPLES);
    let mut stack_index = Vec::with_capacity(count);
    let mut frames = 0;
    for _ in 0..count {
        let id = reader.index("stack", table.stack_ids())?;
        let (index, new) = stacks.index(id)?;
        if new {
            frames += table.depth(id);
            at_most("frames of a window", frames, MAX_WINDOW_FRAMES)?;
            window.stacks.push(table.stack(id)?);
        }
        stack_index.push(StackIndex(index));
    }
    let mut weight_ns = 0_u64;
    window.samples.reserve_exact(count);
    for ((at_ms, thread), stack) in at_ms.into_iter().zip(thread_index).zip(stack_index) {
        weight_ns = weight_ns.wrapping_add(reader.signed()?.cast_unsigned());
        window.samples.push(Sample { at_ms, thread, stack, weight_ns });
    }
    Ok(())
}

fn read_metrics(table: &Table, reader: &mut Reader<'_>) -> Result<Metrics, Malformed> {
    let columns = reader.count("metrics", MAX_METRIC_SERIES)?;
    if columns == 0 {
        return Ok(Metrics::default());
    }
    let rows = reader.count("rows of metrics", MAX_METRIC_VALUES / columns)?;
    let at_ms = read_moments(reader, rows)?;
    let mut series = Vec::with_capacity(columns);
    for _ in 0..columns {
        let name = table.string(reader)?;
        let mode = reader.byte()?;
        if mode > MODE_DELTA_OF_DELTA {
            let (value, limit) = (u64::from(mode), u64::from(MODE_DELTA_OF_DELTA));
            return Err(Malformed::TooLarge { field: "column mode", value, limit });
        }
        let (mut value, mut delta) = (0_i64, 0_i64);
        let mut values = Vec::with_capacity(rows);
        for _ in 0..rows {
            let read = reader.signed()?;
            delta = if mode == MODE_DELTA { read } else { delta.wrapping_add(read) };
            value = value.wrapping_add(delta);
            values.push(value);
        }
        series.push(Series { name, values });
    }
    Ok(Metrics { at_ms, series })
}

/// An ascending column of milliseconds, written as differences.
fn read_moments(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, Malformed> {
    let mut at_ms = 0_u32;
    let mut moments = Vec::with_capacity(count);
    for _ in 0..count {
        let step = reader.u32("time step")?;
        at_ms = at_ms.checked_add(step).ok_or_else(|| Malformed::TooLarge {
            field: "time in the window",
            value: u64::from(at_ms) + u64::from(step),
            limit: u64::from(u32::MAX),
        })?;
        moments.push(at_ms);
    }
    Ok(moments)
}

fn at_most(field: &'static str, value: usize, limit: usize) -> Result<(), Malformed> {
    if value > limit {
        return Err(Malformed::TooLarge { field, value: value as u64, limit: limit as u64 });
    }
    Ok(())
}

/// Numbers dictionary ids in order of first use in one window.
struct Local {
    field: &'static str,
    limit: usize,
    ids: HashMap<u32, u32>,
}

impl Local {
    fn new(field: &'static str, limit: usize) -> Self {
        Self { field, limit, ids: HashMap::new() }
    }

    /// The id's number, and whether it is new.
    fn index(&mut self, id: u32) -> Result<(u32, bool), Malformed> {
        if let Some(index) = self.ids.get(&id) {
            return Ok((*index, false));
        }
        at_most(self.field, self.ids.len() + 1, self.limit)?;
        // Within the limit, so far below 2^32.
        let index = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        self.ids.insert(id, index);
        Ok((index, true))
    }
}
