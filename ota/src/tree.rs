//! The hash tree over an image's stored chunks: its shape, its builder, and the cursor that checks one path at a time.
//!
//! Level 0 is made of the nodes that hold leaves; the level above holds their digests, and so on to the one node of
//! the top level, whose digest metadata signs. The file holds the levels from the top down.

use std::ops::Range;

use crypto_offload::job::{Digest, HashAlgorithm, Verifier};

mod builder;
mod cursor;

pub use builder::{BuiltTree, TreeBuilder};
pub use cursor::{NodeRequest, TreeCursor};

/// Bytes of every node.
pub const NODE_LEN: usize = 4096;
/// Digests in a full node.
pub const FANOUT: u64 = 128;

/// Bytes of a digest in a node.
const DIGEST_LEN: usize = 32;
/// Most chunks of an image: a TiB in the smallest chunks.
const MAX_CHUNKS: u64 = crate::image::MAX_PLAIN_SIZE / crate::image::MIN_CHUNK_SIZE as u64;

/// What is wrong with a tree, or with its use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The caller's or the publisher's fault: no chunks, or more than any image has.
    #[error("a tree stands over 1 to {MAX_CHUNKS} chunks, not {0}")]
    ChunkCount(u64),
    /// The publisher's fault: nodes hold 32-byte digests.
    #[error("a chunk tree cannot use {}", .0.name())]
    Algorithm(HashAlgorithm),
    /// The server's fault: a node of the wrong length.
    #[error("node {index} of level {level} has {found} bytes instead of {NODE_LEN}")]
    NodeLength {
        /// The node's level.
        level: u8,
        /// The node's index in its level.
        index: u64,
        /// Bytes received.
        found: usize,
    },
    /// The server's fault: the node is not the one that was signed.
    #[error("node {index} of level {level} hashes to {found}, which is not what the signed tree says")]
    NodeMismatch {
        /// The node's level.
        level: u8,
        /// The node's index in its level.
        index: u64,
        /// What the received bytes hash to.
        found: Digest,
    },
    /// The caller's fault: a node was handed in that nobody asked for.
    #[error("no node was asked for")]
    NotAskedFor,
    /// The caller's fault: more or fewer leaves than the shape has.
    #[error("the tree stands over {expected} chunks, {found} leaves were given")]
    LeafCount {
        /// Leaves of the shape.
        expected: u64,
        /// Leaves given.
        found: u64,
    },
    /// The caller's fault: a leaf that is not as long as the tree's digests.
    #[error("a leaf has {0} bytes instead of {DIGEST_LEN}")]
    LeafLength(usize),
}

/// How many levels and nodes a tree has, and where they lie in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeShape {
    chunk_count: u64,
    algorithm: HashAlgorithm,
    /// Nodes per level, level 0 first, one node last.
    nodes: Vec<u64>,
}

impl TreeShape {
    /// The shape of the tree over that many chunks, 1 or more. `algorithm` must have 32-byte digests.
    pub fn new(chunk_count: u64, algorithm: HashAlgorithm) -> Result<Self, TreeError> {
        if chunk_count == 0 || chunk_count > MAX_CHUNKS {
            return Err(TreeError::ChunkCount(chunk_count));
        }
        if algorithm.digest_len() != DIGEST_LEN {
            return Err(TreeError::Algorithm(algorithm));
        }
        let mut count = chunk_count;
        let mut nodes = Vec::new();
        loop {
            count = count.div_ceil(FANOUT);
            nodes.push(count);
            if count == 1 {
                return Ok(Self { chunk_count, algorithm, nodes });
            }
        }
    }

    /// Leaves of the tree.
    pub const fn chunk_count(&self) -> u64 {
        self.chunk_count
    }

    /// The hash function of leaves and nodes.
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// Number of levels, 1 to 4.
    pub fn levels(&self) -> u8 {
        // `MAX_CHUNKS` is 128^4.
        u8::try_from(self.nodes.len()).unwrap_or(u8::MAX)
    }

    /// Nodes of a level; 0 for a level the tree does not have.
    pub fn node_count(&self, level: u8) -> u64 {
        self.nodes.get(usize::from(level)).copied().unwrap_or(0)
    }

    /// Where a node lies in the tree file; `None` for a node the tree does not have.
    pub fn node_range(&self, level: u8, index: u64) -> Option<Range<u64>> {
        if index >= self.node_count(level) {
            return None;
        }
        let above: u64 = self.nodes.iter().skip(usize::from(level) + 1).sum();
        let start = (above + index) * NODE_LEN as u64;
        Some(start..start + NODE_LEN as u64)
    }

    /// Bytes of the tree file.
    pub fn file_len(&self) -> u64 {
        self.nodes.iter().sum::<u64>() * NODE_LEN as u64
    }

    /// The index, in its level, of the node on the path to a chunk.
    fn path_index(level: u8, chunk: u64) -> u64 {
        chunk / FANOUT.pow(u32::from(level) + 1)
    }
}

/// What is hashed before a stored chunk to make its leaf.
pub fn leaf_prefix(chunk: u64) -> [u8; 9] {
    let mut prefix = [0; 9];
    prefix[1..].copy_from_slice(&chunk.to_be_bytes());
    prefix
}

/// What is hashed before a node to make its digest.
pub fn node_prefix(level: u8, index: u64) -> [u8; 10] {
    let mut prefix = [0; 10];
    prefix[0] = 1;
    prefix[1] = level;
    prefix[2..].copy_from_slice(&index.to_be_bytes());
    prefix
}

/// The leaf of a stored chunk.
pub fn leaf_digest(algorithm: HashAlgorithm, chunk: u64, stored: &[u8], verifier: &dyn Verifier) -> Digest {
    verifier.digest(algorithm, &[&leaf_prefix(chunk), stored])
}

fn node_digest(
    algorithm: HashAlgorithm,
    level: u8,
    index: u64,
    node: &[u8],
    verifier: &dyn Verifier,
) -> Digest {
    verifier.digest(algorithm, &[&node_prefix(level, index), node])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_appear_one_chunk_past_a_full_one() {
        for (chunks, levels, nodes) in [
            (1, 1, 1),
            (128, 1, 1),
            (129, 2, 3),
            (128 * 128, 2, 129),
            (128 * 128 + 1, 3, 132),
            (MAX_CHUNKS, 4, (1 << 21) + (1 << 14) + 129),
        ] {
            let shape = TreeShape::new(chunks, HashAlgorithm::Sm3).unwrap();
            assert_eq!((shape.levels(), shape.file_len()), (levels, nodes * 4096), "{chunks} chunks");
        }
    }

    #[test]
    fn a_tree_over_nothing_or_over_too_much_is_refused() {
        for chunks in [0, MAX_CHUNKS + 1, u64::MAX] {
            assert_eq!(TreeShape::new(chunks, HashAlgorithm::Sha256), Err(TreeError::ChunkCount(chunks)));
        }
        assert_eq!(
            TreeShape::new(1, HashAlgorithm::Sha512),
            Err(TreeError::Algorithm(HashAlgorithm::Sha512))
        );
    }

    #[test]
    fn the_file_holds_the_top_level_first() {
        let shape = TreeShape::new(128 * 128 + 1, HashAlgorithm::Sha256).unwrap();
        assert_eq!(shape.node_range(2, 0), Some(0..4096));
        assert_eq!(shape.node_range(1, 1), Some(8192..12288));
        assert_eq!(shape.node_range(0, 0), Some(12288..16384));
        assert_eq!(shape.node_range(0, 128).map(|range| range.end), Some(shape.file_len()));
        assert_eq!(shape.node_range(0, 129), None);
        assert_eq!(shape.node_range(3, 0), None);
    }

    #[test]
    fn prefixes_are_those_of_the_format() {
        assert_eq!(leaf_prefix(0x0102), [0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(node_prefix(3, 0x0102), [1, 3, 0, 0, 0, 0, 0, 0, 1, 2]);
    }
}
