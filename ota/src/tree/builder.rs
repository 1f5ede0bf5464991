//! The publisher's side: leaves in, tree file out.

use crypto_offload::job::{Digest, Verifier};

use super::{DIGEST_LEN, NODE_LEN, TreeError, TreeShape, node_digest};

/// Builds the tree file of an image from its leaves, in order.
///
/// Holds the tree it has built so far: 32 bytes per chunk and a little more, 2.6 MB for 5 GiB in chunks of 64 KiB.
#[derive(Clone, Debug)]
pub struct TreeBuilder {
    shape: TreeShape,
    leaves: u64,
    /// Per level, level 0 first: the nodes so far, the last one perhaps unfinished.
    levels: Vec<Vec<u8>>,
}

/// A finished tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltTree {
    /// What metadata signs.
    pub root: Digest,
    /// The bytes of the `.tree` file.
    pub file: Vec<u8>,
}

impl TreeBuilder {
    /// A tree without leaves yet.
    pub fn new(shape: TreeShape) -> Self {
        let levels = vec![Vec::new(); usize::from(shape.levels())];
        Self { shape, leaves: 0, levels }
    }

    /// Adds the next chunk's leaf; see [`leaf_digest`](super::leaf_digest).
    pub fn push(&mut self, leaf: &Digest, verifier: &dyn Verifier) -> Result<(), TreeError> {
        if leaf.as_bytes().len() != DIGEST_LEN {
            return Err(TreeError::LeafLength(leaf.as_bytes().len()));
        }
        if self.leaves == self.shape.chunk_count() {
            return Err(TreeError::LeafCount { expected: self.leaves, found: self.leaves.saturating_add(1) });
        }
        self.leaves += 1;
        let mut digest = *leaf;
        for level in 0..self.shape.levels() {
            let Some(nodes) = self.levels.get_mut(usize::from(level)) else { break };
            nodes.extend_from_slice(digest.as_bytes());
            match finished_node(nodes) {
                Some((index, node)) => {
                    digest = node_digest(self.shape.algorithm(), level, index, node, verifier);
                }
                None => break,
            }
        }
        Ok(())
    }

    /// The finished tree. Fails unless every leaf was given.
    pub fn finish(mut self, verifier: &dyn Verifier) -> Result<BuiltTree, TreeError> {
        if self.leaves != self.shape.chunk_count() {
            return Err(TreeError::LeafCount { expected: self.shape.chunk_count(), found: self.leaves });
        }
        let mut from_below: Option<Digest> = None;
        for (level, nodes) in (0..self.shape.levels()).zip(&mut self.levels) {
            // A node that was full when its last digest came has already been passed upwards.
            if let Some(digest) = from_below.take() {
                nodes.extend_from_slice(digest.as_bytes());
            } else if finished_node(nodes).is_some() {
                continue;
            }
            nodes.resize(nodes.len().next_multiple_of(NODE_LEN), 0);
            from_below = finished_node(nodes)
                .map(|(index, node)| node_digest(self.shape.algorithm(), level, index, node, verifier));
        }
        let file: Vec<u8> = self.levels.into_iter().rev().flatten().collect();
        let top = file.get(..NODE_LEN).unwrap_or_default();
        let root = node_digest(self.shape.algorithm(), self.shape.levels() - 1, 0, top, verifier);
        Ok(BuiltTree { root, file })
    }
}

/// The last node of a level and its index, if it is full.
fn finished_node(nodes: &[u8]) -> Option<(u64, &[u8])> {
    if nodes.is_empty() || !nodes.len().is_multiple_of(NODE_LEN) {
        return None;
    }
    let start = nodes.len() - NODE_LEN;
    Some(((start / NODE_LEN) as u64, nodes.get(start..)?))
}
