//! One package into one stored image and its chunk tree, in one pass and with the memory of one chunk (and the tree,
//! 32 bytes per chunk).

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto_offload::job::{Cipher, HashAlgorithm, JobError, Seal, SecretKey};
use crypto_offload::signing;
use crypto_offload::software::SoftwareVerifier;
use crypto_offload::software::hash::Hasher;
use ota::image::{ChunkLayout, LayoutError};
use ota::tree::{TreeBuilder, TreeError, TreeShape, leaf_digest};
use ota::uptane::{Chunks, Hashes, PlainDigests, TargetName, TreeRoot};

use super::description::TargetDescription;
use crate::fsio::{self, Access, FileError};

/// How far a publication has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The target under way.
    pub target: &'a TargetName,
    /// Plain bytes done, of this target.
    pub done: u64,
    /// Plain bytes of this target.
    pub total: u64,
}

/// A package that cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("package {}: {fault}", path.display())]
pub struct PackageError {
    /// The package.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub fault: PackageFault,
}

/// What is wrong with a package.
#[derive(Debug, thiserror::Error)]
pub enum PackageFault {
    /// Another program wrote to it meanwhile.
    #[error("changed while it was read (publish a copy that nothing writes to)")]
    Changed,
    /// Nothing in it.
    #[error("is empty (an image has at least one byte; was the build cut short?)")]
    Empty,
    /// Cannot be laid out in chunks: the chunk size, or more than a TiB.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Not there.
    #[error("does not exist (check the path)")]
    Missing,
    /// A directory, a device, a pipe.
    #[error("is not a regular file (name the file itself; pack a directory into one file first)")]
    NotAFile,
    /// The system refuses.
    #[error("cannot be read: {0} (check its permissions and its disk)")]
    Read(#[source] io::Error),
    /// The sealing or the tree refused, which correct sizes rule out.
    #[error("cannot be sealed: {0}")]
    Seal(#[source] Box<JobError>),
    /// As above.
    #[error("cannot be put in a tree: {0}")]
    Tree(#[source] Box<TreeError>),
    /// The stored image cannot be written.
    #[error("cannot be stored: {0} (is the disk full?)")]
    Store(#[from] FileError),
}

impl From<JobError> for PackageFault {
    fn from(error: JobError) -> Self {
        Self::Seal(Box::new(error))
    }
}

impl From<TreeError> for PackageFault {
    fn from(error: TreeError) -> Self {
        Self::Tree(Box::new(error))
    }
}

/// What was stored.
#[derive(Debug)]
pub(crate) struct StoredImage {
    pub(crate) chunks: Chunks,
    pub(crate) hashes: Hashes,
    /// Name of the stored file; the tree's has `.tree` behind it.
    pub(crate) file_name: String,
}

/// Stores a package in `dir` as `<hash>.<name>`, with its tree beside it. Neither is there unless both are whole.
pub(crate) fn store(
    description: &TargetDescription,
    key: Option<&Arc<SecretKey>>,
    dir: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<StoredImage, PackageError> {
    let temporary = dir.join(description.name.as_str());
    let stored = store_whole(description, key, dir, &temporary, progress);
    if stored.is_err() {
        // Best effort: what is left is hidden, and the next publication replaces it.
        let _ = std::fs::remove_file(fsio::hidden_name(&temporary));
    }
    stored.map_err(|fault| PackageError { path: description.file.clone(), fault })
}

fn store_whole(
    description: &TargetDescription,
    key: Option<&Arc<SecretKey>>,
    dir: &Path,
    temporary: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<StoredImage, PackageFault> {
    let TargetDescription { name, hash: algorithm, .. } = description;
    let (mut package, before) = open(&description.file)?;
    let layout = ChunkLayout::new(before.len(), description.chunk_size, key.and(description.cipher))?;
    let mut tree = TreeBuilder::new(TreeShape::new(layout.chunk_count(), *algorithm)?);
    let mut hasher = Hasher::new(*algorithm);
    let mut plain = (Hasher::new(HashAlgorithm::Sha256), crc32fast::Hasher::new());
    let mut out = fsio::create_hidden(temporary, Access::Public)?;
    let mut block = Vec::with_capacity(layout.chunk_size() as usize + Cipher::TAG_LEN);
    for index in 0..layout.chunk_count() {
        // The index is below the count, so that the range is there.
        let range = layout.plain_range(index).unwrap_or_default();
        block.clear();
        let read = (&mut package).take(range.end - range.start).read_to_end(&mut block);
        if read.map_err(PackageFault::Read)? as u64 != range.end - range.start {
            return Err(PackageFault::Changed);
        }
        plain.0.update(&block);
        plain.1.update(&block);
        if let (Some(cipher), Some(key)) = (layout.cipher(), key) {
            let (nonce, aad) = (layout.nonce(index), layout.aad(index));
            block = signing::seal(&Seal { cipher, key: key.clone(), nonce, aad }, block)?;
        }
        hasher.update(&block);
        tree.push(&leaf_digest(*algorithm, index, &block, &SoftwareVerifier), &SoftwareVerifier)?;
        out.write_all(&block).map_err(FileError::new("write", temporary))?;
        progress(Progress { target: name, done: range.end, total: layout.plain_size() });
    }
    if !same(&package, &before).map_err(PackageFault::Read)? {
        return Err(PackageFault::Changed);
    }
    let digest = hasher.finish();
    let tree = tree.finish(&SoftwareVerifier)?;
    let file_name = format!("{digest}.{name}");
    let tree_path = dir.join(format!("{file_name}.tree"));
    fsio::write_atomically(&tree_path, &tree.file, Access::Public)?;
    fsio::publish_hidden(out, temporary, &dir.join(&file_name))?;
    Ok(StoredImage {
        chunks: Chunks {
            layout,
            tree: TreeRoot { algorithm: *algorithm, root: tree.root },
            plain: PlainDigests { sha256: plain.0.finish(), crc32: plain.1.finalize() },
        },
        hashes: hashes(*algorithm, digest),
        file_name,
    })
}

fn hashes(algorithm: HashAlgorithm, digest: crypto_offload::job::Digest) -> Hashes {
    Hashes::new([(algorithm, digest)])
}

fn open(path: &Path) -> Result<(File, Metadata), PackageFault> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PackageFault::Missing,
        _ => PackageFault::Read(error),
    };
    // Asked before the file is opened: opening a FIFO would wait for its other end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(PackageFault::NotAFile);
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(PackageFault::Read)?;
    if metadata.len() == 0 {
        return Err(PackageFault::Empty);
    }
    Ok((file, metadata))
}

fn same(file: &File, before: &Metadata) -> io::Result<bool> {
    let now = file.metadata()?;
    Ok(now.len() == before.len() && now.modified()? == before.modified()?)
}
