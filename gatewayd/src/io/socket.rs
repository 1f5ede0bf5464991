//! Unix sockets that only the daemon's user and group may talk to.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::systemd::{Passed, ServiceManager};

/// A listening socket. Its file goes away with it, unless the service manager keeps the socket for the next process.
#[derive(Debug)]
pub(super) struct Listening {
    own: Option<PathBuf>,
}

impl Listening {
    /// The socket that the service manager passed under `name`; else one of our own at `path`, in place of whatever a
    /// dead process has left there, which the service manager is asked to keep.
    ///
    /// # Errors
    /// The system's, with the path, where it cannot.
    pub(super) fn open(
        name: &str,
        path: &Path,
        passed: &mut Passed,
    ) -> std::io::Result<(Self, UnixListener)> {
        if let Some(listener) = passed.take_listener(name, path) {
            listener.set_nonblocking(true)?;
            return Ok((Self { own: None }, UnixListener::from_std(listener)?));
        }
        let listener = bind(path)?;
        let kept = ServiceManager::store(name, listener.as_fd());
        Ok((Self { own: (!kept).then(|| path.to_owned()) }, listener))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(path) = &self.own {
            // A file that is already gone is what we want.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    let named =
        |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(named)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(named(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(named)?;
    Ok(listener)
}
