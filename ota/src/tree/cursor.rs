//! The vehicle's side: one authenticated path, from the signed root to the leaf of one chunk.

use crypto_offload::job::{Digest, Verifier};

use super::{DIGEST_LEN, FANOUT, NODE_LEN, TreeError, TreeShape, node_digest};

/// A part of the tree file that is needed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRequest {
    /// The node's level, 0 for the nodes that hold leaves.
    pub level: u8,
    /// The node's index in its level.
    pub index: u64,
    /// Where it begins in the tree file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: usize,
}

/// Hands out authenticated leaves, and holds one node per level, whatever the size of the image.
///
/// For each chunk: while [`poll_node`](Self::poll_node) wants a node, fetch it and give it to
/// [`handle_node`](Self::handle_node); then [`leaf`](Self::leaf) is the chunk's.
#[derive(Clone, Debug)]
pub struct TreeCursor {
    shape: TreeShape,
    root: Digest,
    /// Per level, level 0 first: an authenticated node.
    path: Vec<Option<Node>>,
    asked: Option<Wanted>,
}

#[derive(Clone, Debug)]
struct Node {
    index: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    level: u8,
    index: u64,
    expected: Digest,
}

impl TreeCursor {
    /// A cursor that knows nothing but the signed root.
    pub fn new(shape: TreeShape, root: Digest) -> Self {
        let path = vec![None; usize::from(shape.levels())];
        Self { shape, root, path, asked: None }
    }

    /// The tree's shape.
    pub const fn shape(&self) -> &TreeShape {
        &self.shape
    }

    /// The next node needed for that chunk's leaf; `None` when the leaf is there or no such chunk exists.
    ///
    /// Asking again, for this chunk or another, forgets what was asked before.
    pub fn poll_node(&mut self, chunk: u64) -> Option<NodeRequest> {
        self.asked = None;
        if chunk >= self.shape.chunk_count() {
            return None;
        }
        let mut expected = self.root;
        for level in (0..self.shape.levels()).rev() {
            let index = TreeShape::path_index(level, chunk);
            let held = self.path.get(usize::from(level))?.as_ref().filter(|node| node.index == index);
            let Some(node) = held else {
                let range = self.shape.node_range(level, index)?;
                self.asked = Some(Wanted { level, index, expected });
                return Some(NodeRequest { level, index, offset: range.start, len: NODE_LEN });
            };
            if level > 0 {
                expected = node.digest(TreeShape::path_index(level - 1, chunk))?;
            }
        }
        None
    }

    /// Takes the node that was asked for last. A node that does not match is not kept, and may be asked for again.
    pub fn handle_node(&mut self, bytes: &[u8], verifier: &dyn Verifier) -> Result<(), TreeError> {
        let Wanted { level, index, expected } = self.asked.take().ok_or(TreeError::NotAskedFor)?;
        if bytes.len() != NODE_LEN {
            return Err(TreeError::NodeLength { level, index, found: bytes.len() });
        }
        let found = node_digest(self.shape.algorithm(), level, index, bytes, verifier);
        if found != expected {
            return Err(TreeError::NodeMismatch { level, index, found });
        }
        if let Some(slot) = self.path.get_mut(usize::from(level)) {
            *slot = Some(Node { index, bytes: bytes.to_vec() });
        }
        Ok(())
    }

    /// The authenticated leaf of that chunk, if its node is held.
    pub fn leaf(&self, chunk: u64) -> Option<Digest> {
        if chunk >= self.shape.chunk_count() {
            return None;
        }
        let node = self.path.first()?.as_ref().filter(|node| node.index == chunk / FANOUT)?;
        node.digest(chunk)
    }
}

impl Node {
    /// The digest this node holds for a child, by the child's index in its level.
    fn digest(&self, child: u64) -> Option<Digest> {
        // Below 128, so it fits every `usize`.
        let slot = usize::try_from(child % FANOUT).ok()?;
        Digest::new(self.bytes.get(slot * DIGEST_LEN..(slot + 1) * DIGEST_LEN)?)
    }
}

#[cfg(test)]
mod tests {
    use crypto_offload::job::HashAlgorithm;
    use crypto_offload::software::SoftwareVerifier;
    use proptest::prelude::*;

    use super::super::{BuiltTree, TreeBuilder, leaf_digest};
    use super::*;

    fn stored(chunk: u64) -> Vec<u8> {
        format!("stored chunk {chunk}").into_bytes()
    }

    fn build(chunks: u64) -> (TreeShape, BuiltTree) {
        let shape = TreeShape::new(chunks, HashAlgorithm::Sm3).unwrap();
        let mut builder = TreeBuilder::new(shape.clone());
        for chunk in 0..chunks {
            let leaf = leaf_digest(HashAlgorithm::Sm3, chunk, &stored(chunk), &SoftwareVerifier);
            builder.push(&leaf, &SoftwareVerifier).unwrap();
        }
        (shape, builder.finish(&SoftwareVerifier).unwrap())
    }

    fn node(file: &[u8], request: NodeRequest) -> &[u8] {
        let start = usize::try_from(request.offset).unwrap();
        &file[start..start + request.len]
    }

    /// Fetches what the cursor wants for a chunk; the number of nodes it took.
    fn seek(cursor: &mut TreeCursor, file: &[u8], chunk: u64) -> Result<usize, TreeError> {
        let mut fetched = 0;
        while let Some(request) = cursor.poll_node(chunk) {
            cursor.handle_node(node(file, request), &SoftwareVerifier)?;
            fetched += 1;
        }
        Ok(fetched)
    }

    #[test]
    fn every_leaf_of_trees_around_a_full_node_is_found() {
        for chunks in [1, 2, 127, 128, 129, 128 * 128, 128 * 128 + 1] {
            let (shape, tree) = build(chunks);
            assert_eq!(tree.file.len() as u64, shape.file_len());
            let mut cursor = TreeCursor::new(shape.clone(), tree.root);
            let mut fetched = 0;
            for chunk in 0..chunks {
                fetched += seek(&mut cursor, &tree.file, chunk).unwrap();
                let leaf = leaf_digest(HashAlgorithm::Sm3, chunk, &stored(chunk), &SoftwareVerifier);
                assert_eq!(cursor.leaf(chunk), Some(leaf), "chunk {chunk} of {chunks}");
            }
            // Read in order, every node is fetched exactly once.
            assert_eq!(fetched as u64 * 4096, shape.file_len());
            assert_eq!((cursor.poll_node(chunks), cursor.leaf(chunks)), (None, None));
        }
    }

    #[test]
    fn a_node_tampered_with_at_any_level_is_found_and_can_be_asked_for_again() {
        let (shape, tree) = build(128 * 128 + 1);
        for level in 0..shape.levels() {
            let mut file = tree.file.clone();
            let start = usize::try_from(shape.node_range(level, 0).unwrap().start).unwrap();
            // The last byte of the node: padding on the upper levels, which is authenticated as well.
            file[start + 4095] ^= 1;
            let mut cursor = TreeCursor::new(shape.clone(), tree.root);
            let error = seek(&mut cursor, &file, 5).unwrap_err();
            assert!(
                matches!(error, TreeError::NodeMismatch { level: at, index: 0, .. } if at == level),
                "{error}"
            );
            assert_eq!(cursor.leaf(5), None);
            seek(&mut cursor, &tree.file, 5).unwrap();
            assert!(cursor.leaf(5).is_some());
        }
    }

    #[test]
    fn a_leaf_of_one_place_is_no_leaf_of_another() {
        let (shape, tree) = build(129);
        let mut cursor = TreeCursor::new(shape, tree.root);
        seek(&mut cursor, &tree.file, 7).unwrap();
        let moved = leaf_digest(HashAlgorithm::Sm3, 8, &stored(7), &SoftwareVerifier);
        assert_ne!(cursor.leaf(7), Some(moved));
        // Held nodes answer for their own chunks only.
        assert_eq!(cursor.leaf(128), None);
    }

    #[test]
    fn truncated_and_unasked_nodes_are_refused() {
        let (shape, tree) = build(129);
        let mut cursor = TreeCursor::new(shape, tree.root);
        assert_eq!(cursor.handle_node(&tree.file[..4096], &SoftwareVerifier), Err(TreeError::NotAskedFor));
        for len in [0, 4095, 4097] {
            cursor.poll_node(0).unwrap();
            assert_eq!(
                cursor.handle_node(&tree.file[..len], &SoftwareVerifier),
                Err(TreeError::NodeLength { level: 1, index: 0, found: len })
            );
        }
    }

    #[test]
    fn a_builder_takes_exactly_the_leaves_of_its_shape() {
        let shape = TreeShape::new(2, HashAlgorithm::Sha256).unwrap();
        let leaf = leaf_digest(HashAlgorithm::Sha256, 0, b"", &SoftwareVerifier);
        let mut builder = TreeBuilder::new(shape);
        builder.push(&leaf, &SoftwareVerifier).unwrap();
        assert_eq!(
            builder.clone().finish(&SoftwareVerifier),
            Err(TreeError::LeafCount { expected: 2, found: 1 })
        );
        builder.push(&leaf, &SoftwareVerifier).unwrap();
        assert_eq!(
            builder.push(&leaf, &SoftwareVerifier),
            Err(TreeError::LeafCount { expected: 2, found: 3 })
        );
        assert!(builder.finish(&SoftwareVerifier).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_jump_to_any_chunk_costs_at_most_one_node_per_level(
            chunks in 1_u64..1000,
            jumps in prop::collection::vec(any::<u64>(), 1..8),
        ) {
            let (shape, tree) = build(chunks);
            let mut cursor = TreeCursor::new(shape.clone(), tree.root);
            for jump in jumps {
                let chunk = jump % chunks;
                prop_assert!(seek(&mut cursor, &tree.file, chunk).unwrap() <= usize::from(shape.levels()));
                let leaf = leaf_digest(HashAlgorithm::Sm3, chunk, &stored(chunk), &SoftwareVerifier);
                prop_assert_eq!(cursor.leaf(chunk), Some(leaf));
            }
        }
    }
}
