//! What one block, one window and one dictionary may hold. Both ends keep to the same numbers, so that a block that
//! an [`Encoder`](crate::Encoder) made is never refused, and a hostile one never costs more memory than these say.

/// Longest block in bytes, header included: the plain limit, plus what zstd may add to bytes it cannot shrink.
pub const MAX_BLOCK_LEN: usize = MAX_PLAIN_LEN + (MAX_PLAIN_LEN >> 8) + 128;

/// Longest block body in bytes before compression.
pub const MAX_PLAIN_LEN: usize = 1 << 20;

/// Longest string in bytes: a thread's name, a symbol, a path, a metric's name.
pub const MAX_STRING_LEN: usize = 1024;

/// Longest build id in bytes (GNU ld writes 8 to 20, other hashes up to 32).
pub const MAX_BUILD_ID_LEN: usize = 32;

/// Deepest stack in frames; the kernel's own default is 127.
pub const MAX_STACK_DEPTH: usize = 128;

/// Most samples in one window.
pub const MAX_WINDOW_SAMPLES: usize = 16_384;

/// Most distinct threads in one window.
pub const MAX_WINDOW_THREADS: usize = 4_096;

/// Most frames in one window, summed over its distinct stacks: the memory a receiver spends on spelling them out.
pub const MAX_WINDOW_FRAMES: usize = 65_536;

/// Most metrics (columns) in one window.
pub const MAX_METRIC_SERIES: usize = 256;

/// Most metric values (columns times rows) in one window.
pub const MAX_METRIC_VALUES: usize = 16_384;

/// Most strings in a dictionary.
pub const MAX_STRINGS: usize = 65_536;

/// Most bytes of strings in a dictionary.
pub const MAX_STRING_BYTES: usize = 2 << 20;

/// Most mappings (executable files) in a dictionary.
pub const MAX_MAPPINGS: usize = 32_768;

/// Most stack trie nodes in a dictionary, the root not counted.
pub const MAX_NODES: usize = 131_072;

/// Most threads in a dictionary.
pub const MAX_THREADS: usize = 8_192;

/// Most cells (a thread on a stack) in a dictionary.
pub const MAX_CELLS: usize = 65_536;

/// Most histograms of block input and output in one window.
pub const MAX_IO_HISTOGRAMS: usize = 256;

/// What a [`Decoder`](crate::Decoder) holds and takes at most, in bytes, whatever comes: the full tables, each grown to
/// twice its need; a copy of stacks, cells and contexts; and one block, its body and its window besides.
pub const DECODER_MEMORY: usize = 2
    * (MAX_STRING_BYTES
        + MAX_STRINGS * (16 + 16)
        + MAX_STRINGS * (4 + 16 + 8)
        + MAX_MAPPINGS * (8 + 16 + 40 + MAX_BUILD_ID_LEN)
        + MAX_THREADS * 32)
    + 3 * (MAX_NODES * 40 + MAX_CELLS * 32 + (4 << 16))
    + MAX_BLOCK_LEN
    + MAX_PLAIN_LEN
    + 2 * (MAX_WINDOW_FRAMES * 24 + MAX_WINDOW_SAMPLES * (32 + 16 + 16 + 8 + 16) + MAX_WINDOW_THREADS * 32)
    + MAX_METRIC_VALUES * 8
    + MAX_IO_HISTOGRAMS * 560
    + (1 << 20);
