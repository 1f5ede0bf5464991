//! One update from announcement to report: Uptane metadata, chunk trees, stages and journal records.
//!
//! The contract: bytes that the network brought go in by `handle_*`, what to fetch, keep or do comes out by `poll_*`,
//! and nothing is believed that its signer, its tree or its predecessor does not vouch for. There is no clock, no
//! socket and no cryptography in here: time, bytes and a [`Verifier`](crypto_offload::job::Verifier) are arguments.
//!
//! * [`uptane`]: metadata as types that the publisher writes and the vehicle reads, and the full verification.
//! * [`image`] and [`tree`]: where a chunk lies, what it is bound to, and the path from the signed root to its leaf.
//! * [`stage`]: the twelve stages and the event that each becomes.
//! * [`journal`]: the records that survive power loss, and which may follow which.
//!
//! A cycle of verification is driven like this:
//!
//! ```
//! use crypto_offload::job::Verifier;
//! use ota::uptane::UtcTime;
//! use ota::uptane::verify::{
//!     Event, FetchFailure, MetadataRequest, Persist, Verification, Verified, VerifyError,
//! };
//!
//! fn cycle(
//!     mut verification: Verification,
//!     verifier: &dyn Verifier,
//!     utc: impl Fn() -> UtcTime,
//!     mut fetch: impl FnMut(&MetadataRequest) -> Result<Vec<u8>, FetchFailure>,
//!     mut persist: impl FnMut(&Persist),
//! ) -> Result<Option<Verified>, VerifyError> {
//!     while let Some(request) = verification.poll_request() {
//!         let response = fetch(&request);
//!         let result = verification.handle_response(utc(), response, verifier);
//!         // Drained even after an error: what was verified before it stays trusted.
//!         while let Some(event) = verification.poll_event() {
//!             match event {
//!                 Event::Persist(file) => persist(&file),
//!                 Event::Verified(verified) => return Ok(Some(verified)),
//!                 Event::NothingNew(_) => return Ok(None),
//!             }
//!         }
//!         result?;
//!     }
//!     Ok(None)
//! }
//! ```
//!
//! and so is the way to the leaf of a chunk:
//!
//! ```
//! use crypto_offload::job::{Digest, HashAlgorithm, Verifier};
//! use crypto_offload::software::SoftwareVerifier;
//! use ota::tree::{TreeBuilder, TreeCursor, TreeShape, leaf_digest};
//!
//! // The publisher:
//! let shape = TreeShape::new(2, HashAlgorithm::Sha256)?;
//! let mut builder = TreeBuilder::new(shape.clone());
//! for (index, chunk) in (0..).zip([b"stored chunk 0", b"stored chunk 1"]) {
//!     builder.push(&leaf_digest(HashAlgorithm::Sha256, index, chunk, &SoftwareVerifier), &SoftwareVerifier)?;
//! }
//! let tree = builder.finish(&SoftwareVerifier)?;
//!
//! // The vehicle, which has the root from metadata and fetches nodes as it needs them:
//! let mut cursor = TreeCursor::new(shape, tree.root);
//! while let Some(node) = cursor.poll_node(1) {
//!     let start = node.offset as usize;
//!     cursor.handle_node(&tree.file[start..start + node.len], &SoftwareVerifier)?;
//! }
//! let expected = leaf_digest(HashAlgorithm::Sha256, 1, b"stored chunk 1", &SoftwareVerifier);
//! assert_eq!(cursor.leaf(1), Some(expected));
//! # Ok::<(), ota::tree::TreeError>(())
//! ```
#![forbid(unsafe_code)]

pub mod command;
pub mod image;
pub mod journal;
mod name;
pub mod stage;
pub mod tree;
pub mod uptane;
