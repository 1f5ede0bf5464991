//! The image store: verified chunks as they came, in preallocated files, on a thread of its own.
//!
//! What lies here is never trusted: every byte that leaves it runs through the same tree and cipher checks as a byte
//! from the origin.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use tokio::sync::mpsc;

use super::worker::Worker;
use crate::gateway::message::{Input, StoreError, StoreName, StoreOperation, StoreRequest};

/// Operations that may wait for the disk.
const QUEUE: usize = 256;

/// A handle on the store's thread. Dropping it finishes what is queued.
#[derive(Debug)]
pub struct Store {
    worker: Worker<StoreRequest>,
}

impl Store {
    /// Opens or creates the store in `directory`, which may hold at most `quota` bytes.
    ///
    /// # Errors
    /// The system's, where the directory cannot be made or the thread not started.
    pub fn open(directory: &Path, quota: u64, inputs: mpsc::Sender<Input>) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut files = Files { directory: directory.to_owned(), quota, open: HashMap::new() };
        let worker = Worker::start("store", QUEUE, move |queue| {
            for request in queue {
                let StoreRequest { id, .. } = request;
                let result = files.run(request);
                if inputs.blocking_send(Input::Stored { id, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { worker })
    }

    /// Queues an operation; its end arrives as [`Input::Stored`].
    ///
    /// # Errors
    /// The request, where the queue is full or the thread gone.
    pub fn submit(&self, request: StoreRequest) -> Result<(), StoreRequest> {
        self.worker.order(request)
    }
}

/// The files behind the thread.
struct Files {
    directory: PathBuf,
    quota: u64,
    open: HashMap<StoreName, File>,
}

impl Files {
    fn run(&mut self, request: StoreRequest) -> Result<Vec<u8>, StoreError> {
        match request.operation {
            StoreOperation::Reserve { len } => self.reserve(&request.name, len).map(|()| Vec::new()),
            StoreOperation::Write { offset, data, sync } => {
                let file = self.file(&request.name).map_err(medium)?;
                file.write_all_at(&data, offset).map_err(medium)?;
                if sync {
                    file.sync_data().map_err(medium)?;
                }
                // The buffer goes back to the brain, which has its next chunk for it.
                Ok(data)
            }
            StoreOperation::Read { offset, len } => {
                let mut data = vec![0; len];
                self.file(&request.name).map_err(medium)?.read_exact_at(&mut data, offset).map_err(medium)?;
                Ok(data)
            }
            StoreOperation::Remove => {
                self.open.remove(&request.name);
                match std::fs::remove_file(self.path(&request.name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(medium(error)),
                    _ => Ok(Vec::new()),
                }
            }
        }
    }

    /// Takes all the room an image needs at once: a full disk is found before the download, not in the middle of it.
    fn reserve(&mut self, name: &StoreName, len: u64) -> Result<(), StoreError> {
        let own = std::fs::metadata(self.path(name)).map_or(0, |it| it.len());
        let used = self.used().map_err(medium)?.saturating_sub(own);
        if used.saturating_add(len) > self.quota {
            return Err(StoreError::Quota { quota: self.quota, used, wanted: len });
        }
        let file = self.file(name).map_err(medium)?;
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
            // A file system without preallocation still takes the bytes one by one.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(medium(error.into())),
        }
        file.sync_all().map_err(medium)?;
        File::open(&self.directory).and_then(|it| it.sync_all()).map_err(medium)
    }

    fn used(&self) -> std::io::Result<u64> {
        let mut used = 0;
        for entry in std::fs::read_dir(&self.directory)? {
            used += entry?.metadata()?.len();
        }
        Ok(used)
    }

    fn file(&mut self, name: &StoreName) -> std::io::Result<&File> {
        if !self.open.contains_key(name) {
            let path = self.path(name);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            self.open.insert(name.clone(), file);
        }
        self.open.get(name).ok_or_else(|| std::io::Error::other("file vanished from the table"))
    }

    fn path(&self, name: &StoreName) -> PathBuf {
        self.directory.join(&name.0)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn medium(error: std::io::Error) -> StoreError {
    StoreError::Medium { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::message::StoreId;

    async fn run(
        store: &Store,
        inputs: &mut mpsc::Receiver<Input>,
        operation: StoreOperation,
    ) -> Result<Vec<u8>, StoreError> {
        let request = StoreRequest { id: StoreId(1), name: StoreName("image".to_owned()), operation };
        store.submit(request).expect("queued");
        match inputs.recv().await {
            Some(Input::Stored { result, .. }) => result,
            other => panic!("unexpected {other:?}"),
        }
    }

    #[tokio::test]
    async fn what_was_written_is_read_back() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (sender, mut inputs) = mpsc::channel(4);
        let store = Store::open(directory.path(), 4096, sender).expect("opens");
        assert_eq!(run(&store, &mut inputs, StoreOperation::Reserve { len: 4096 }).await, Ok(Vec::new()));
        let write = StoreOperation::Write { offset: 100, data: vec![7; 50], sync: true };
        assert_eq!(run(&store, &mut inputs, write).await, Ok(vec![7; 50]));
        assert_eq!(
            run(&store, &mut inputs, StoreOperation::Read { offset: 100, len: 50 }).await,
            Ok(vec![7; 50])
        );
        assert_eq!(run(&store, &mut inputs, StoreOperation::Remove).await, Ok(Vec::new()));
        assert!(matches!(
            run(&store, &mut inputs, StoreOperation::Read { offset: 0, len: 1 }).await,
            Err(StoreError::Medium { .. })
        ));
    }

    #[tokio::test]
    async fn an_image_over_the_quota_is_refused_before_its_download() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (sender, mut inputs) = mpsc::channel(4);
        let store = Store::open(directory.path(), 4096, sender).expect("opens");
        let refused = run(&store, &mut inputs, StoreOperation::Reserve { len: 4097 }).await;
        assert_eq!(refused, Err(StoreError::Quota { quota: 4096, used: 0, wanted: 4097 }));
    }
}
