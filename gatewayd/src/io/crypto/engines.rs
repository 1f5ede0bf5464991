//! The engines that the configuration names.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use crypto_offload::af_alg::AfAlgEngine;
use crypto_offload::device::{CharacterDevice, DeviceEngine, OpenError, SocketDevice, Transport};
use crypto_offload::engine::Engine;
use crypto_offload::queue::Limits;
use crypto_offload::software::{KnownAnswerFailed, SoftwareEngine};

use super::wait::wait_readable;
use crate::config::parts::{CryptoPart, EngineName};
use crate::control::EngineStatus;

/// How long a coprocessor may take at the start to say what it can do.
const OPENING: Duration = Duration::from_secs(1);
/// The same later, when jobs may wait behind it.
const REOPENING: Duration = Duration::from_millis(100);
/// Doublings of the wait before a coprocessor is looked for again.
const MAX_DOUBLINGS: u32 = 6;

/// Why a configured coprocessor is not there. The daemon works on without it.
#[derive(Debug, thiserror::Error)]
enum Absent {
    #[error("cannot open it: {0}")]
    Open(#[from] io::Error),
    #[error(transparent)]
    Device(#[from] OpenError),
}

/// The engines in order, and what is to be said about those that are not there.
pub(super) struct Engines {
    pub(super) present: Vec<Box<dyn Engine>>,
    pub(super) absent: Vec<EngineStatus>,
    /// The coprocessor, where it is configured and not there.
    pub(super) missing: Option<MissingDevice>,
}

/// Opens the engines. One that is absent is reported; the CPU must be there.
pub(super) fn open(config: &CryptoPart) -> Result<Engines, KnownAnswerFailed> {
    let mut engines = Engines { present: Vec::new(), absent: Vec::new(), missing: None };
    for name in &config.engines {
        match name {
            EngineName::Software => engines.present.push(Box::new(SoftwareEngine::new()?)),
            EngineName::Device => match device(&config.device, config.patience.get(), OPENING) {
                Ok(engine) => engines.present.push(engine),
                Err(error) => {
                    tracing::warn!(device = config.device, %error, "no coprocessor; the CPU does its work");
                    engines.absent.push(absent("device", &config.device, &error));
                    engines.missing = Some(MissingDevice::new(config));
                }
            },
            EngineName::AfAlg => match AfAlgEngine::open() {
                Ok(engine) => {
                    tracing::info!(identity = engine.identity(), "the kernel's crypto found");
                    engines.present.push(Box::new(engine));
                }
                Err(error) => {
                    tracing::warn!(%error, "the kernel does no crypto for us; the CPU does");
                    engines.absent.push(absent("af-alg", "AF_ALG", &error));
                }
            },
        }
    }
    Ok(engines)
}

fn absent(name: &str, identity: &str, error: &dyn std::error::Error) -> EngineStatus {
    EngineStatus {
        name: name.to_owned(),
        identity: identity.to_owned(),
        state: "absent".to_owned(),
        reason: Some(error.to_string()),
        ..EngineStatus::default()
    }
}

/// The queue's bounds.
pub(super) fn limits(config: &CryptoPart) -> Limits {
    Limits {
        max_jobs: config.max_jobs,
        max_bytes: usize::try_from(config.max_bytes.get()).unwrap_or(usize::MAX),
        patience: config.patience.get(),
        probation: config.probation.get(),
        shadow: NonZeroU32::new(config.shadow),
    }
}

/// A coprocessor that was not there when it was last looked for.
#[derive(Debug)]
pub(super) struct MissingDevice {
    path: String,
    patience: Duration,
    probation: Duration,
    looks: u32,
    due: Instant,
}

impl MissingDevice {
    fn new(config: &CryptoPart) -> Self {
        let (patience, probation) = (config.patience.get(), config.probation.get());
        Self { path: config.device.clone(), patience, probation, looks: 0, due: Instant::now() + probation }
    }

    /// When it is to be looked for again.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Looks for it, which takes 100 ms at most; what is to be said where it is still not there.
    pub(super) fn look(&mut self) -> Result<Box<dyn Engine>, Box<EngineStatus>> {
        device(&self.path, self.patience, self.patience.min(REOPENING)).map_err(|error| {
            self.looks = (self.looks + 1).min(MAX_DOUBLINGS);
            self.due = Instant::now() + self.probation.saturating_mul(1 << self.looks);
            tracing::debug!(device = self.path, %error, "still no coprocessor");
            Box::new(absent("device", &self.path, &error))
        })
    }
}

fn device(path: &str, patience: Duration, opening: Duration) -> Result<Box<dyn Engine>, Absent> {
    let transport: Box<dyn Transport> = match path.strip_prefix("socket:") {
        Some(path) => Box::new(SocketDevice::connect(Path::new(path))?),
        None => Box::new(CharacterDevice::open(Path::new(path))?),
    };
    let deadline = Instant::now() + opening;
    let engine = DeviceEngine::open(transport, patience, |transport| {
        let left = deadline.saturating_duration_since(Instant::now());
        wait_readable(transport.fd().map(|fd| (fd, transport.wants_write())), left);
        !left.is_zero()
    })?;
    tracing::info!(device = path, identity = engine.identity(), "coprocessor found");
    Ok(Box::new(engine))
}
