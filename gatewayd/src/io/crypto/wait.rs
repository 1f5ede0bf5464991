//! Waiting for coprocessors.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until one of `fds` is readable, or writable where that is `true`, or for `most`.
pub(super) fn wait_readable<'fd>(fds: impl IntoIterator<Item = (BorrowedFd<'fd>, bool)>, most: Duration) {
    let watch = |(fd, writable)| {
        let flags = if writable { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        PollFd::from_borrowed_fd(fd, flags)
    };
    let mut watched: Vec<PollFd<'_>> = fds.into_iter().map(watch).collect();
    let Ok(most) = Timespec::try_from(most) else { return };
    // Whatever goes wrong here goes wrong again, with a name, when the engine is polled.
    let _ = poll(&mut watched, Some(&most));
}
