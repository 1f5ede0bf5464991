//! The engines that the configuration names.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use crypto_offload::device::{CharacterDevice, DeviceEngine, OpenError, SocketDevice, Transport};
use crypto_offload::engine::Engine;
use crypto_offload::queue::Limits;
use crypto_offload::software::{KnownAnswerFailed, SoftwareEngine};

use super::wait::wait_readable;
use crate::config::parts::{CryptoPart, EngineName};
use crate::control::EngineStatus;

/// How long a coprocessor may take to say what it can do.
const OPENING: Duration = Duration::from_secs(1);

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
}

/// Opens the engines. A coprocessor that is absent is reported; the CPU must be there.
pub(super) fn open(config: &CryptoPart) -> Result<Engines, KnownAnswerFailed> {
    let mut engines = Engines { present: Vec::new(), absent: Vec::new() };
    for name in &config.engines {
        match name {
            EngineName::Software => engines.present.push(Box::new(SoftwareEngine::new()?)),
            EngineName::Device => match device(&config.device, config.patience.get()) {
                Ok(engine) => engines.present.push(engine),
                Err(error) => {
                    tracing::warn!(device = config.device, %error, "no coprocessor; the CPU does its work");
                    engines.absent.push(EngineStatus {
                        name: "device".to_owned(),
                        identity: config.device.clone(),
                        state: "absent".to_owned(),
                        reason: Some(error.to_string()),
                        ..EngineStatus::default()
                    });
                }
            },
        }
    }
    Ok(engines)
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

fn device(path: &str, patience: Duration) -> Result<Box<dyn Engine>, Absent> {
    let transport: Box<dyn Transport> = match path.strip_prefix("socket:") {
        Some(path) => Box::new(SocketDevice::connect(Path::new(path))?),
        None => Box::new(CharacterDevice::open(Path::new(path))?),
    };
    let deadline = Instant::now() + OPENING;
    let engine = DeviceEngine::open(transport, patience, |transport| {
        let left = deadline.saturating_duration_since(Instant::now());
        wait_readable(transport.fd().map(|fd| (fd, transport.wants_write())), left);
        !left.is_zero()
    })?;
    tracing::info!(device = path, identity = engine.identity(), "coprocessor found");
    Ok(Box::new(engine))
}
