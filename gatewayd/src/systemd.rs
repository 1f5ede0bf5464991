//! The service manager: readiness, watchdog, reload, credentials, descriptors (sd_notify(3), sd_listen_fds(3),
//! systemd.exec(5)).

mod keep;
mod passed;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;

pub use self::keep::{Keep, Kept, KeptWish};
pub use self::passed::Passed;

/// A connection to the service manager; silent where there is none.
#[derive(Debug)]
pub struct ServiceManager {
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads what the service manager has put into the environment.
    pub fn from_env() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often [`ServiceManager::alive`] must be called: a third of the watchdog's patience.
    pub fn ping_interval(&self) -> Option<Duration> {
        self.watchdog.map(ping_interval)
    }

    /// The daemon does its work from now on.
    pub fn ready(&self, status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        notify(&[NotifyState::Status(status)]);
    }

    /// A reload has begun. [`ServiceManager::ready`] ends it, whatever came of it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(time) => notify(&[NotifyState::Reloading, time]),
            Err(error) => tracing::debug!(%error, "no monotonic time for the service manager"),
        }
    }

    /// The work loop is turning. Called from the loop itself, never from a timer thread.
    pub fn alive(&self) {
        notify(&[NotifyState::Watchdog]);
    }

    /// The daemon is on its way out.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// Where the service manager has put our credentials.
    pub fn credentials() -> Option<PathBuf> {
        std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
    }

    /// Leaves a copy of a descriptor with the service manager, for the next process of this service. True when there is
    /// a store to leave it in.
    pub fn store(name: &str, fd: BorrowedFd<'_>) -> bool {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return false;
        }
        match sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(name)], &[fd]) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(name, %error, "the service manager does not keep a descriptor");
                false
            }
        }
    }

    /// Takes every descriptor called `name` out of the store.
    pub fn forget(name: &str) {
        notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }
}

fn ping_interval(patience: Duration) -> Duration {
    patience / 3
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_an_impatient_watchdog_is_pinged_three_times() {
        for patience in [Duration::from_millis(30), Duration::from_secs(1), Duration::from_secs(300)] {
            assert!(ping_interval(patience) * 3 <= patience);
            assert!(!ping_interval(patience).is_zero());
        }
    }
}
