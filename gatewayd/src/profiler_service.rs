//! `gatewayd profile`: the life of the profiling service.

use crate::config::Config;
use crate::profiler::service::{self, ShutdownFlag, Target};
use crate::shutdown::{Signals, Wish};
use crate::systemd::ServiceManager;

/// Runs the profiling service until a signal stops it.
///
/// # Errors
/// A sentence for the user.
pub fn run(config: &Config) -> Result<(), String> {
    let flag = ShutdownFlag::new();
    let (stop, profile, socket) =
        (flag.clone(), config.profile.clone(), config.control.profile_socket.clone());
    let thread = std::thread::Builder::new()
        .name("profiler".to_owned())
        .spawn(move || service::run(&profile, socket, Target::Peer, &stop))
        .map_err(|error| format!("cannot start the profiler thread: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot build the runtime: {error}"))?;
    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
        let manager = ServiceManager::from_env();
        manager.ready("sampling");
        let mut beat = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop => return Ok::<(), String>(()),
                    Wish::Reload => manager.reloaded("the configuration is read at the start; restart to apply it"),
                },
                _ = beat.tick() => {
                    if thread.is_finished() {
                        return Ok(());
                    }
                    manager.alive();
                }
            }
        }
    })?;
    flag.raise();
    match thread.join() {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the profiler thread panicked; its message is above".to_owned()),
    }
}
