//! The sender: windows in, blocks out.

use std::num::NonZeroU32;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::decoder::{Malformed, ZSTD_MAGIC};
use crate::header::{BlockHeader, BootId, DictionaryId, Parts, StreamId};
use crate::interner::Interner;
use crate::limits::MAX_PLAIN_LEN;
use crate::rows::Rows;
use crate::window::Window;
use crate::wire::{put_signed, put_varint};
use crate::{additions, io, metrics, trained};

/// Compression level: 3 costs about a megabyte of memory and ten microseconds a block; 19 would cost 85 megabytes.
const LEVEL: i32 = 3;
/// The compressor's window, 32 KiB: as long as most blocks, and it bounds its memory.
const WINDOW_LOG: u32 = 15;
/// A keyframe costs about one kilobyte; every 30 blocks it adds a few per cent and bounds what one loss can hide.
const KEYFRAME_INTERVAL: NonZeroU32 = NonZeroU32::new(30).expect("30 is not zero");

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
    /// The crate brings no trained dictionary of this number.
    #[error("no trained dictionary {0}")]
    UnknownDictionary(u32),
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
    trained: DictionaryId,
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
        Ok(Self {
            boot,
            stream,
            seq: 0,
            keyframe_interval: KEYFRAME_INTERVAL,
            since_keyframe: None,
            interner: Interner::new(),
            trained: DictionaryId::NONE,
            compressor: compressor(&[])?,
        })
    }

    /// Sends a keyframe every `blocks` blocks. Defaults to 30, which at a window of ten seconds lets a receiver that
    /// cannot ask for one wait five minutes at most.
    pub fn keyframe_interval(&mut self, blocks: NonZeroU32) -> &mut Self {
        self.keyframe_interval = blocks;
        self
    }

    /// Compresses with a trained dictionary from the next block on, which becomes a keyframe. A receiver that does not
    /// know it asks for a rebirth without one: give [`DictionaryId::NONE`] then.
    ///
    /// # Errors
    /// [`EncodeError::UnknownDictionary`] for one that this crate does not bring; the stream goes on as before.
    pub fn use_dictionary(&mut self, id: DictionaryId) -> Result<&mut Self, EncodeError> {
        let trained = trained::find(id).ok_or(EncodeError::UnknownDictionary(id.0))?;
        self.compressor = compressor(trained)?;
        self.trained = id;
        self.since_keyframe = None;
        Ok(self)
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
        let (plain, samples) = match delta {
            Some(parts) => parts,
            None => {
                // A fresh dictionary: that is what makes the block need no other one, and what forgets the dead.
                self.interner = Interner::new();
                self.body(window).map_err(|_| EncodeError::DictionaryFull)?
            }
        };
        let plain_len = plain.len() + samples.len();
        if plain_len > MAX_PLAIN_LEN {
            return Err(EncodeError::TooLong { plain_len });
        }
        let frame = self.compressor.compress(&plain)?;
        // The frame's first four bytes say that it is one; the block's head did.
        let frame = frame.strip_prefix(&ZSTD_MAGIC).unwrap_or(&frame);
        let stored = frame.len() >= plain.len();
        let parts = Parts { samples: &samples, body: if stored { &plain } else { frame }, stored };
        let header = BlockHeader {
            keyframe,
            boot: self.boot,
            stream: self.stream,
            seq: self.seq,
            dictionary: self.trained,
            plain_len: plain.len(),
        };
        let mut block = Vec::with_capacity(parts.samples.len() + parts.body.len() + 40);
        header.put(&mut block, &parts);
        self.seq += 1;
        self.since_keyframe = Some(if keyframe { 1 } else { since.map_or(1, |blocks| blocks + 1) });
        Ok(block)
    }

    /// The body, and the samples beside it.
    fn body(&mut self, window: &Window) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let interner = &mut self.interner;
        let mark = interner.dictionary.mark();
        let rows = Rows::intern(window, interner)?;
        let names = (window.metrics.series.iter())
            .map(|series| interner.string(&series.name))
            .collect::<Result<Vec<_>, _>>()?;
        let devices =
            window.io.iter().map(|it| interner.string(&it.device)).collect::<Result<Vec<_>, _>>()?;
        let samples = rows.put(window, &mut interner.dictionary)?;
        let mut dictionary = std::mem::take(&mut interner.dictionary);

        let mut out = Vec::new();
        put_signed(&mut out, window.start_unix_ms.wrapping_sub(dictionary.end_unix_ms).cast_signed());
        put_varint(&mut out, u64::from(window.duration_ms));
        put_varint(&mut out, window.lost);
        additions::put(&mut out, &dictionary, &mark, &|text| interner.known_string(text));
        metrics::put(&mut out, &window.metrics, &names, &mut dictionary);
        io::put(&mut out, &window.io, &devices);
        dictionary.end_unix_ms = window.start_unix_ms.wrapping_add(u64::from(window.duration_ms));
        interner.dictionary = dictionary;
        Ok((out, samples))
    }
}

fn compressor(trained: &[u8]) -> Result<Compressor<'static>, std::io::Error> {
    let mut compressor = Compressor::with_dictionary(LEVEL, trained)?;
    compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    // The block's own header carries the length and the dictionary's number.
    compressor.set_parameter(CParameter::ContentSizeFlag(false))?;
    compressor.set_parameter(CParameter::DictIdFlag(false))?;
    Ok(compressor)
}
