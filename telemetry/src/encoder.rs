//! The sender: windows in, blocks out.

use std::num::NonZeroU32;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::header::{BlockHeader, BootId, DictionaryId, StreamId};
use crate::interner::{Full, Interner};
use crate::limits::MAX_PLAIN_LEN;
use crate::sample::Metrics;
use crate::window::Window;
use crate::wire::{put_len, put_signed, put_varint};

/// Compression level: 3 costs about a megabyte of memory and ten microseconds a block; 19 would cost 85 megabytes.
const LEVEL: i32 = 3;
/// The compressor's window, 32 KiB: as long as most blocks, and it bounds its memory.
const WINDOW_LOG: u32 = 15;
/// A keyframe costs about one kilobyte; every 30 blocks it adds a few per cent and bounds what one loss can hide.
const KEYFRAME_INTERVAL: NonZeroU32 = NonZeroU32::new(30).expect("30 is not zero");

/// How the columns of a metric are written; the shorter one is taken.
pub(crate) const MODE_DELTA: u8 = 0;
pub(crate) const MODE_DELTA_OF_DELTA: u8 = 1;

/// Why a window could not be written. The stream goes on with a keyframe.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// zstd failed, for want of memory.
    #[error("zstd: {0}")]
    Compression(#[from] std::io::Error),
    /// The window does not fit one block. Windows of a [`WindowBuilder`](crate::WindowBuilder) always do.
    #[error("window of {plain_len} bytes, at most {MAX_PLAIN_LEN} fit one block")]
    TooLong {
        /// Length in bytes before compression.
        plain_len: usize,
    },
    /// The window has more distinct entries than a dictionary holds.
    #[error("more threads, frames or stacks than one dictionary holds")]
    DictionaryFull,
}

/// Writes the blocks of one stream. Holds no clock and no socket: [`Encoder::encode`] gives bytes to send in order.
pub struct Encoder {
    boot: BootId,
    stream: StreamId,
    seq: u64,
    keyframe_interval: NonZeroU32,
    /// Blocks since the last keyframe, the keyframe included; `None` when the next block must be one.
    since_keyframe: Option<u32>,
    interner: Interner,
    compressor: Compressor<'static>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("boot", &self.boot)
            .field("stream", &self.stream)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// A stream that starts with block 0. `boot` must differ from that of every earlier start (take it at random).
    ///
    /// # Errors
    /// [`EncodeError::Compression`] when zstd gets no memory.
    pub fn new(boot: BootId, stream: StreamId) -> Result<Self, EncodeError> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        // The block's own header carries the length.
        compressor.set_parameter(CParameter::ContentSizeFlag(false))?;
        Ok(Self {
            boot,
            stream,
            seq: 0,
            keyframe_interval: KEYFRAME_INTERVAL,
            since_keyframe: None,
            interner: Interner::default(),
            compressor,
        })
    }

    /// Sends a keyframe every `blocks` blocks. Defaults to 30, which at a window of ten seconds lets a receiver that
    /// cannot ask for one wait five minutes at most.
    pub fn keyframe_interval(&mut self, blocks: NonZeroU32) -> &mut Self {
        self.keyframe_interval = blocks;
        self
    }

    /// Makes the next block a keyframe: a receiver asked for a rebirth, or blocks were dropped on the way out.
    pub fn request_keyframe(&mut self) {
        self.since_keyframe = None;
    }

    /// Number of the next block.
    pub fn next_seq(&self) -> u64 {
        self.seq
    }

    /// Writes the next block.
    ///
    /// # Errors
    /// [`EncodeError`]; the window is then lost, its number is not used up and the next block is a keyframe.
    pub fn encode(&mut self, window: &Window) -> Result<Vec<u8>, EncodeError> {
        let since = self.since_keyframe.take().filter(|blocks| *blocks < self.keyframe_interval.get());
        let delta = since.and_then(|_| self.body(window).ok());
        let keyframe = delta.is_none();
        let plain = match delta {
            Some(plain) => plain,
            None => {
                // A fresh dictionary: that is what makes the block need no other one, and what forgets the dead.
                self.interner = Interner::default();
                self.body(window).map_err(|Full| EncodeError::DictionaryFull)?
            }
        };
        if plain.len() > MAX_PLAIN_LEN {
            return Err(EncodeError::TooLong { plain_len: plain.len() });
        }
        let frame = self.compressor.compress(&plain)?;
        let header = BlockHeader {
            keyframe,
            boot: self.boot,
            stream: self.stream,
            seq: self.seq,
            dictionary: DictionaryId(0),
            plain_len: plain.len(),
        };
        let mut block = Vec::with_capacity(frame.len() + 40);
        header.put(&mut block);
        block.extend_from_slice(&frame);
        self.seq += 1;
        self.since_keyframe = Some(if keyframe { 1 } else { since.map_or(1, |blocks| blocks + 1) });
        Ok(block)
    }

    fn body(&mut self, window: &Window) -> Result<Vec<u8>, Full> {
        let interner = &mut self.interner;
        let threads =
            window.threads.iter().map(|thread| interner.thread(thread)).collect::<Result<Vec<_>, _>>()?;
        let stacks =
            window.stacks.iter().map(|stack| interner.stack(stack)).collect::<Result<Vec<_>, _>>()?;
        let names = window
            .metrics
            .series
            .iter()
            .map(|series| interner.string(&series.name))
            .collect::<Result<Vec<_>, _>>()?;

        let mut out = Vec::new();
        put_varint(&mut out, window.start_unix_ms);
        put_varint(&mut out, u64::from(window.duration_ms));
        put_varint(&mut out, window.lost);
        interner.put_additions(&mut out);
        put_samples(&mut out, window, &threads, &stacks);
        put_metrics(&mut out, &window.metrics, &names);
        Ok(out)
    }
}

fn put_samples(out: &mut Vec<u8>, window: &Window, threads: &[u32], stacks: &[u32]) {
    // A window's indexes are in range by construction.
    let id = |ids: &[u32], index: u32| u64::from(ids.get(index as usize).copied().unwrap_or_default());
    put_len(out, window.samples.len());
    let mut previous = 0;
    for sample in &window.samples {
        put_varint(out, u64::from(sample.at_ms - previous));
        previous = sample.at_ms;
    }
    for sample in &window.samples {
        put_varint(out, id(threads, sample.thread.0));
    }
    for sample in &window.samples {
        put_varint(out, id(stacks, sample.stack.0));
    }
    let mut previous = 0_u64;
    for sample in &window.samples {
        put_signed(out, sample.weight_ns.wrapping_sub(previous).cast_signed());
        previous = sample.weight_ns;
    }
}

fn put_metrics(out: &mut Vec<u8>, metrics: &Metrics, names: &[u32]) {
    put_len(out, metrics.series.len());
    if metrics.series.is_empty() {
        return;
    }
    put_len(out, metrics.at_ms.len());
    let mut previous = 0;
    for at_ms in &metrics.at_ms {
        put_varint(out, u64::from(at_ms - previous));
        previous = *at_ms;
    }
    for (series, name) in metrics.series.iter().zip(names) {
        put_varint(out, u64::from(*name));
        let delta = column(&series.values, MODE_DELTA);
        let delta_of_delta = column(&series.values, MODE_DELTA_OF_DELTA);
        let (mode, column) = if delta_of_delta.len() < delta.len() {
            (MODE_DELTA_OF_DELTA, delta_of_delta)
        } else {
            (MODE_DELTA, delta)
        };
        out.push(mode);
        out.extend_from_slice(&column);
    }
}

fn column(values: &[i64], mode: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut value_before, mut delta_before) = (0_i64, 0_i64);
    for value in values {
        let delta = value.wrapping_sub(value_before);
        let written = if mode == MODE_DELTA { delta } else { delta.wrapping_sub(delta_before) };
        put_signed(&mut out, written);
        value_before = *value;
        delta_before = delta;
    }
    out
}
