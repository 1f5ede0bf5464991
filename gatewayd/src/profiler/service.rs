//! `gatewayd profile`: sample, encode, hand on, until told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use telemetry::budget::Budget;
use telemetry::{BootId, DictionaryId, EncodeError, Encoder, StreamId, Window};
use tracing::{info, warn};

use super::capture::CaptureError;
use super::config::{BackendChoice, Config};
use super::link::FrameWriter;
use super::sampler::Sampler;
use super::state::ProfilerState;
use super::uplink::Uplink;

/// Bytes of so many seconds may be saved up: a keyframe is several times as long as other blocks.
const BURST_SECONDS: u32 = 60;
/// Windows that may wait for bytes.
const WAITING_WINDOWS: usize = 6;
/// A request for a rebirth so many blocks after the last one, and so many of these in a row, say that none was understood.
const QUICK_REBIRTH: u32 = 2;
const MAX_QUICK_REBIRTHS: u32 = 4;
/// Longest sleep: how soon a stop or a rebirth request is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// Time between attempts to sample a process that cannot be sampled.
const RETRY_SAMPLING: Duration = Duration::from_secs(2);

/// Says to a running service that it should stop. Clones are one flag.
#[derive(Debug, Clone, Default)]
pub struct ShutdownFlag(Arc<AtomicBool>);

impl ShutdownFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells every holder to stop; the service does within half a second.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What looks after the service while it runs. Called from the sampling loop itself, so a loop that hangs is noticed.
pub trait Supervisor {
    /// The loop has turned once more; it does so at least twice a second.
    fn turned(&mut self, now: Instant);

    /// Another configuration, where there is one.
    fn poll_config(&mut self) -> Option<Config>;
}

/// Nobody looks after it, and its configuration never changes.
impl Supervisor for () {
    fn turned(&mut self, _now: Instant) {}

    fn poll_config(&mut self) -> Option<Config> {
        None
    }
}

/// Which process to sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The daemon that holds the other end of the socket, whichever process that is.
    Peer,
    /// This process, whether or not the daemon is there.
    Pid(u32),
}

/// Why the service could not run on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The encoder cannot work.
    #[error("telemetry encoder: {0}")]
    Encode(#[from] EncodeError),
    /// The machine gives no random numbers.
    #[error("no random numbers for a boot id: {0}")]
    Random(getrandom::Error),
    /// The configuration wants perf events, and the kernel refuses them.
    #[error(transparent)]
    Refused(CaptureError),
}

/// Runs the service until `shutdown` is raised: samples `target` as `config` says and sends telemetry blocks to the
/// daemon's socket `socket`. Blocks the calling thread, which should do nothing else: its CPU time is the cost that is
/// held to the budget. Returns at once when `config.enabled` is false.
///
/// A daemon that is away is waited for; a process that cannot be sampled is tried again.
///
/// # Errors
/// [`ServiceError`] for what waiting cannot heal.
pub fn run(
    config: &Config,
    socket: PathBuf,
    target: Target,
    shutdown: &ShutdownFlag,
) -> Result<(), ServiceError> {
    run_supervised(config, socket, target, shutdown, &mut ())
}

/// The same under a supervisor, whose configurations replace the first one: the window under way ends early, and sampling
/// begins anew. One that switches profiling off ends the service.
///
/// # Errors
/// As [`run`].
pub fn run_supervised(
    config: &Config,
    socket: PathBuf,
    target: Target,
    shutdown: &ShutdownFlag,
    supervisor: &mut dyn Supervisor,
) -> Result<(), ServiceError> {
    if !config.enabled {
        info!("profiling is switched off");
        return Ok(());
    }
    let mut service = Service::new(config.clone(), socket, target)?;
    while !shutdown.is_raised() {
        let now = Instant::now();
        supervisor.turned(now);
        if let Some(config) = supervisor.poll_config() {
            if !config.enabled {
                info!("profiling has been switched off");
                return Ok(());
            }
            service.budget = budget(&config, now);
            service.config = config;
            service.sampler = None;
            service.retry_at = None;
        }
        let wait = service.turn(now)?;
        std::thread::sleep(wait);
    }
    Ok(())
}

#[derive(Debug)]
struct Service {
    config: Config,
    target: Target,
    uplink: Uplink,
    encoder: Encoder,
    sampler: Option<(u32, Sampler)>,
    retry_at: Option<Instant>,
    budget: Budget,
    /// Requests for a rebirth of late that came before the keyframe after the one before was old.
    rebirths: u32,
    since_rebirth: u32,
    dropped_blocks: u64,
    /// Samples lost on the way out, for the next window to tell.
    lost: u64,
}

impl Service {
    fn new(config: Config, socket: PathBuf, target: Target) -> Result<Self, ServiceError> {
        let boot = BootId(getrandom::u64().map_err(ServiceError::Random)?);
        let mut encoder = Encoder::new(boot, StreamId::PROFILE)?;
        encoder.use_dictionary(DictionaryId::PROFILE_1)?;
        Ok(Self {
            target,
            uplink: Uplink::new(socket),
            encoder,
            sampler: None,
            retry_at: None,
            budget: budget(&config, Instant::now()),
            config,
            rebirths: 0,
            since_rebirth: 0,
            dropped_blocks: 0,
            lost: 0,
        })
    }

    /// Does what is due, and says how long to sleep.
    fn turn(&mut self, now: Instant) -> Result<Duration, ServiceError> {
        let outcome = self.uplink.handle_io(now);
        if outcome.connected {
            // A daemon that has just started knows no earlier block.
            self.encoder.request_keyframe();
        }
        if outcome.rebirth {
            self.rebirth()?;
        }
        self.choose_target(now)?;
        let Some((pid, sampler)) = &mut self.sampler else { return Ok(LONGEST_SLEEP) };
        sampler.add_lost(std::mem::take(&mut self.lost));
        match sampler.handle_timeout(now) {
            Ok(None) => {}
            Ok(Some(window)) => {
                let state = sampler.state().clone();
                self.budget.handle_window(window);
                self.send_windows(now, state)?;
            }
            Err(error) => {
                warn!(pid, %error, "sampling ended");
                self.sampler = None;
                self.retry_at = Some(now + RETRY_SAMPLING);
            }
        }
        let until = self.sampler.as_ref().map(|(_, sampler)| sampler.poll_timeout());
        let wait = until.map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(Instant::now()));
        Ok(wait.min(LONGEST_SLEEP))
    }

    /// Follows the process that is to be sampled.
    fn choose_target(&mut self, now: Instant) -> Result<(), ServiceError> {
        let wanted = match self.target {
            Target::Pid(pid) => Some(pid),
            // While the daemon is away its last process is sampled on; it is found out when that is gone.
            Target::Peer => self.uplink.peer().or_else(|| self.sampler.as_ref().map(|(pid, _)| *pid)),
        };
        let Some(pid) = wanted else { return Ok(()) };
        if self.sampler.as_ref().is_some_and(|(current, _)| *current == pid) {
            return Ok(());
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        let seed = getrandom::u64().map_err(ServiceError::Random)?;
        match Sampler::new(pid, &self.config, seed, now) {
            Ok(sampler) => self.sampler = Some((pid, sampler)),
            Err(
                error @ (CaptureError::Perf { .. }
                | CaptureError::Machine { .. }
                | CaptureError::Programs { .. }),
            ) if matches!(
                self.config.backend,
                BackendChoice::Perf | BackendChoice::Machine | BackendChoice::Bpf
            ) =>
            {
                return Err(ServiceError::Refused(error));
            }
            Err(error) => {
                warn!(pid, %error, "cannot sample");
                self.sampler = None;
                self.retry_at = Some(now + RETRY_SAMPLING);
            }
        }
        Ok(())
    }

    /// Sends what the budget of bytes allows, and says how it goes.
    fn send_windows(&mut self, now: Instant, mut state: ProfilerState) -> Result<(), ServiceError> {
        while let Some((_, window)) = self.budget.poll_window(now) {
            let bytes = self.send(&window);
            self.budget.handle_sent(bytes);
            state.block_bytes = bytes as u64;
        }
        state.bytes_per_second = u64::from(self.config.bytes_per_second);
        state.waiting_windows = self.budget.len() as u64;
        state.dropped_blocks = self.dropped_blocks;
        if let Ok(writer) = FrameWriter::new(&state.to_frame()) {
            self.uplink.push_note(writer);
        }
        if self.uplink.handle_io(now).rebirth {
            self.rebirth()?;
        }
        Ok(())
    }

    /// Sends a window; the bytes it took.
    fn send(&mut self, window: &Window) -> usize {
        self.since_rebirth = self.since_rebirth.saturating_add(1);
        let samples: u64 = window.samples().iter().map(|sample| u64::from(sample.count)).sum();
        let samples = samples.saturating_add(window.lost());
        let block = self.encoder.encode(window).map_err(|error| error.to_string());
        match block.and_then(|block| FrameWriter::new(&block).map_err(|error| error.to_string())) {
            Ok(writer) => {
                let bytes = writer.poll_transmit().len();
                let dropped = self.uplink.push(writer, samples);
                if let Some(dropped) = dropped {
                    self.dropped_blocks += 1;
                    self.lost = self.lost.saturating_add(dropped);
                    self.encoder.request_keyframe();
                }
                bytes
            }
            Err(error) => {
                warn!(error, "window lost");
                self.lost = self.lost.saturating_add(samples);
                0
            }
        }
    }

    /// A receiver asks for a keyframe. One that asks again at every block can read none of them: it lacks the trained
    /// dictionary, which the request cannot say.
    fn rebirth(&mut self) -> Result<(), ServiceError> {
        self.encoder.request_keyframe();
        self.rebirths = if self.since_rebirth <= QUICK_REBIRTH { self.rebirths + 1 } else { 0 };
        self.since_rebirth = 0;
        if self.rebirths == MAX_QUICK_REBIRTHS {
            info!("receivers cannot read the stream: it goes on without its trained dictionary");
            self.encoder.use_dictionary(DictionaryId::NONE)?;
        }
        Ok(())
    }
}

/// Windows may wait for bytes as long as blocks may wait for the daemon.
fn budget(config: &Config, now: Instant) -> Budget {
    let rate = if config.bytes_per_second == 0 { u32::MAX } else { config.bytes_per_second };
    Budget::new(now, rate, rate.saturating_mul(BURST_SECONDS), WAITING_WINDOWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Switches profiling off at the third turn.
    #[derive(Default)]
    struct ThreeTurns(u32);

    impl Supervisor for ThreeTurns {
        fn turned(&mut self, _now: Instant) {
            self.0 += 1;
        }

        fn poll_config(&mut self) -> Option<Config> {
            (self.0 == 3).then(|| Config { enabled: false, ..Config::default() })
        }
    }

    #[test]
    fn every_turn_is_seen_and_a_configuration_that_switches_profiling_off_ends_the_service() {
        let mut supervisor = ThreeTurns::default();
        let directory = tempfile::tempdir().expect("temporary directory");
        // No daemon listens there, so there is nobody to sample and every turn is a short one.
        let socket = directory.path().join("none");
        let config = Config { backend: BackendChoice::Procfs, ..Config::default() };
        let stop = ShutdownFlag::new();
        run_supervised(&config, socket, Target::Peer, &stop, &mut supervisor).expect("it ends well");
        assert_eq!(supervisor.0, 3);
    }
}
