//! Descriptors that the service manager hands over: listening sockets of its `.socket` units, and what an earlier process
//! of this service has put into the fd store (sd_listen_fds(3)).

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::ServiceManager;

/// Whether the descriptors have been taken over: each has one owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors, by name.
#[derive(Debug, Default)]
pub struct Passed {
    list: Vec<(String, OwnedFd)>,
}

impl Passed {
    /// Takes over what was handed to this process; the second call in a process finds nothing.
    #[allow(unsafe_code, reason = "a descriptor that another program left open becomes ours here")]
    pub fn from_env() -> Self {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Self::default();
        }
        let handed = match sd_notify::listen_fds_with_names() {
            Ok(handed) => handed,
            Err(error) => {
                tracing::warn!(%error, "the descriptors of the service manager cannot be used");
                return Self::default();
            }
        };
        let own = |(fd, name)| {
            // SAFETY: LISTEN_PID names this process, so these numbers were opened for it before it began, and setting
            // their close-on-exec flag has just succeeded, so they are open. `TAKEN` lets this run once; nobody else in
            // the process knows the numbers. Safe code cannot own a descriptor that it has not opened.
            (name, unsafe { OwnedFd::from_raw_fd(fd) })
        };
        Self { list: handed.map(own).collect() }
    }

    /// The descriptor called `name`. Others of that name are closed and leave the store.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let (mine, others) = std::mem::take(&mut self.list).into_iter().partition(|(it, _)| it == name);
        self.list = others;
        let mut mine: Vec<(String, OwnedFd)> = mine;
        if mine.len() > 1 {
            tracing::warn!(name, count = mine.len(), "several descriptors of one name; the first is used");
            ServiceManager::forget(name);
        }
        (!mine.is_empty()).then(|| mine.swap_remove(0).1)
    }

    /// The listening socket called `name`, if it is one. `path` is where the configuration wants it to be.
    pub fn take_listener(&mut self, name: &str, path: &Path) -> Option<UnixListener> {
        let fd = self.take(name)?;
        if !is_listener(&fd) {
            tracing::warn!(name, "what the service manager passed is no listening Unix socket; ignored");
            return None;
        }
        // Clients learn from the kernel who listens: without this it would be who made the socket, the service manager.
        if let Err(error) = rustix::net::listen(&fd, i32::MAX) {
            tracing::warn!(name, %error, "clients will not see this process behind the socket");
        }
        let listener = UnixListener::from(fd);
        let address = listener.local_addr().ok();
        let at = address.as_ref().and_then(|it| it.as_pathname());
        if at != Some(path) {
            tracing::warn!(name, ?at, wanted = %path.display(), "the socket unit listens elsewhere than the configuration says");
        }
        Some(listener)
    }

    /// Closes what nobody took, and takes it out of the store.
    pub fn finish(self) {
        for (name, _) in &self.list {
            tracing::debug!(name, "nobody knows this descriptor");
            ServiceManager::forget(name);
        }
    }
}

fn is_listener(fd: &OwnedFd) -> bool {
    sockopt::socket_acceptconn(fd).is_ok_and(|it| it)
        && sockopt::socket_type(fd).is_ok_and(|it| it == SocketType::STREAM)
        && sockopt::socket_domain(fd).is_ok_and(|it| it == AddressFamily::UNIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(list: Vec<(&str, OwnedFd)>) -> Passed {
        Passed { list: list.into_iter().map(|(name, fd)| (name.to_owned(), fd)).collect() }
    }

    fn memfd() -> OwnedFd {
        rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("memory")
    }

    #[test]
    fn a_listener_is_found_by_its_name_and_what_is_none_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut passed =
            passed(vec![("profile", memfd()), ("control", listener.into()), ("control", memfd())]);
        let found = passed.take_listener("control", &path).expect("the first of that name");
        assert_eq!(found.local_addr().expect("an address").as_pathname(), Some(path.as_path()));
        assert!(passed.take("control").is_none(), "the second of that name is closed");
        assert!(passed.take_listener("profile", &path).is_none(), "no socket at all");
        assert!(passed.take("elsewhere").is_none());
    }

    #[test]
    fn clients_see_the_process_that_listened_last() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut passed = passed(vec![("control", listener.into())]);
        let _listener = passed.take_listener("control", &path).expect("it listens");
        let client = std::os::unix::net::UnixStream::connect(&path).expect("connected");
        let peer = sockopt::socket_peercred(&client).expect("credentials");
        assert_eq!(u32::try_from(peer.pid.as_raw_nonzero().get()), Ok(std::process::id()));
    }
}
