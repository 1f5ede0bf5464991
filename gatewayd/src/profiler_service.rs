//! `gatewayd profile`: the life of the profiling service.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::profiler::config::Config as Profile;
use crate::profiler::service::{self, ShutdownFlag, Supervisor, Target};
use crate::shutdown::{Signals, Wish};
use crate::systemd::ServiceManager;

/// How often it is looked whether the sampling loop has ended by itself.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the profiling service until a signal stops it. `path` is the file that `config` came from.
///
/// # Errors
/// A sentence for the user.
pub fn run(config: &Config, path: &Path) -> Result<(), String> {
    let (flag, (changes, changed)) = (ShutdownFlag::new(), mpsc::sync_channel(1));
    let (stop, profile, socket) =
        (flag.clone(), config.profile.clone(), config.control.profile_socket.clone());
    let mut watch = Watch { manager: ServiceManager::from_env(), changed, next: None };
    let thread = std::thread::Builder::new()
        .name("profiler".to_owned())
        .spawn(move || service::run_supervised(&profile, socket, Target::Peer, &stop, &mut watch))
        .map_err(|error| format!("cannot start the profiler thread: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot build the runtime: {error}"))?;
    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
        let manager = ServiceManager::from_env();
        manager.ready("sampling");
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop => return Ok::<(), String>(()),
                    Wish::Reload => {
                        manager.reloading();
                        manager.ready(&reload(path, &changes));
                    }
                },
                _ = look.tick() => if thread.is_finished() {
                    return Ok(());
                },
            }
        }
    })?;
    flag.raise();
    match thread.join() {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the profiler thread panicked; its message is above".to_owned()),
    }
}

/// Reads the configuration anew and hands its `[profile]` to the sampling loop; a sentence about what came of it.
fn reload(path: &Path, changes: &mpsc::SyncSender<Profile>) -> String {
    let taken = Config::load(path).map_err(|findings| findings.to_string()).and_then(|(config, _)| {
        crate::log::change(&config.log)?;
        changes.try_send(config.profile).map_err(|_| "the change before this one is still waiting".to_owned())
    });
    match taken {
        Ok(()) => {
            tracing::info!("configuration reloaded");
            "sampling; configuration reloaded".to_owned()
        }
        Err(reason) => {
            let sentence = format!("reload refused, the old configuration stays in force: {reason}");
            tracing::error!("{sentence}");
            sentence
        }
    }
}

/// What the sampling loop itself does for the service manager.
struct Watch {
    manager: ServiceManager,
    changed: mpsc::Receiver<Profile>,
    next: Option<Instant>,
}

impl Supervisor for Watch {
    fn turned(&mut self, now: Instant) {
        let Some(interval) = self.manager.ping_interval() else { return };
        if self.next.is_none_or(|at| at <= now) {
            self.manager.alive();
            self.next = Some(now + interval);
        }
    }

    fn poll_config(&mut self) -> Option<Profile> {
        self.changed.try_recv().ok()
    }
}
