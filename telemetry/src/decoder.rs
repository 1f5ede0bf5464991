//! The receiver: blocks in, windows out, whatever the blocks are.

use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use crate::dictionary::Dictionary;
use crate::header::{BlockHeader, BootId, Parts, StreamId};
use crate::limits::MAX_BLOCK_LEN;
use crate::window::Window;
use crate::wire::Reader;
use crate::{additions, io, metrics, rows, trained};

/// First bytes of a zstd frame (RFC 8878, section 3.1.1), which a block leaves out.
pub(crate) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

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
    /// Entries are not in their order, or one comes twice.
    #[error("{0} out of order")]
    Order(&'static str),
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
    /// True when a keyframe would help, so the receiver should publish a rebirth request; an unknown dictionary
    /// will come again until the sender is told to use none.
    pub fn wants_rebirth(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::Dictionary(_))
    }
}

/// What a block was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "taken apart at once, and almost always the large one")]
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
    dictionary: Dictionary,
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
        let (header, parts) = BlockHeader::split(block)?;
        let trained = trained::find(header.dictionary).ok_or(DecodeError::Dictionary(header.dictionary.0))?;
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
        let plain = if parts.stored {
            as_long_as_promised(parts.body.to_vec(), header.plain_len)?
        } else {
            decompress(parts.body, header.plain_len, trained)?
        };
        let window = match &mut self.state {
            Some(state) if !header.keyframe => {
                let dictionary = &mut state.dictionary;
                let mark = dictionary.mark();
                let window =
                    read_body(dictionary, &plain, &parts).inspect_err(|_| dictionary.rewind(mark))?;
                state.expected = header.seq + 1;
                window
            }
            state => {
                let mut dictionary = Dictionary::default();
                let window = read_body(&mut dictionary, &plain, &parts)?;
                let (boot, stream) = (header.boot, header.stream);
                *state = Some(State { boot, stream, expected: header.seq + 1, dictionary });
                window
            }
        };
        let missed = expected.map_or(0, |expected| header.seq - expected);
        Ok(Decoded::Window { header, missed, window })
    }
}

/// Exactly one frame of exactly the promised length: the memory is what the header said, which is within the limit,
/// whatever the frame claims about itself.
fn decompress(headless: &[u8], plain_len: usize, trained: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let bad = |code| DecodeError::Malformed(Malformed::Zstd(zstd_safe::get_error_name(code).to_owned()));
    let frame = &[&ZSTD_MAGIC, headless].concat()[..];
    let frame_len = zstd_safe::find_frame_compressed_size(frame).map_err(bad)?;
    if frame_len < frame.len() {
        return Err(Malformed::LeftOver(frame.len() - frame_len).into());
    }
    let mut decompressor =
        Decompressor::with_dictionary(trained).map_err(|error| DecodeError::NoMemory(error.to_string()))?;
    let plain =
        decompressor.decompress(frame, plain_len).map_err(|error| Malformed::Zstd(error.to_string()))?;
    as_long_as_promised(plain, plain_len)
}

fn as_long_as_promised(plain: Vec<u8>, plain_len: usize) -> Result<Vec<u8>, DecodeError> {
    if plain.len() == plain_len {
        Ok(plain)
    } else {
        Err(Malformed::Length { expected: plain_len, found: plain.len() }.into())
    }
}

/// Reads a block's body. What the dictionary learns is settled only when all of it is good; additions are the caller's
/// to rewind.
fn read_body(dictionary: &mut Dictionary, plain: &[u8], parts: &Parts<'_>) -> Result<Window, Malformed> {
    let mut reader = Reader::new(plain);
    let mut window = Window::new(dictionary.end_unix_ms.wrapping_add(reader.signed()?.cast_unsigned()));
    window.duration_ms = reader.u32("duration")?;
    window.lost = reader.varint()?;
    additions::read(&mut reader, dictionary)?;
    let (metrics, trends) = metrics::read(&mut reader, dictionary)?;
    window.metrics = metrics;
    window.io = io::read(&mut reader, dictionary)?;
    if !reader.rest().is_empty() {
        return Err(Malformed::LeftOver(reader.rest().len()));
    }
    // Changed as it is read, so on a copy: for most streams some hundred kilobytes.
    let mut stacks = dictionary.stacks.clone();
    rows::read(parts.samples, dictionary, &mut stacks, &mut window)?;
    dictionary.stacks = stacks;
    dictionary.trends.extend(trends);
    dictionary.end_unix_ms = window.start_unix_ms.wrapping_add(u64::from(window.duration_ms));
    Ok(window.into_canonical())
}
