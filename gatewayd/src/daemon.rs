//! The life of the daemon: build, announce, ready, run, drain.

mod build;
pub mod configuration;
mod launch;
mod links;
pub mod memory;
mod reload;

use std::time::{Duration, Instant};

use crypto_offload::software::SoftwareVerifier;
use telemetry::topics::{Stream, Topic, VinSegment};
use tokio::sync::mpsc;
use topology::Role;

use self::configuration::Configuration;
pub use self::launch::Launch;
use self::memory::Memory;
use crate::config::Config;
use crate::control::drift::running::Baseline;
use crate::event_loop::{EventLoop, Inbox, Io, Topics, now};
use crate::gateway::{Gateway, RecoveryError};
use crate::io::cloud::{Cloud, TlsError};
use crate::io::control::ControlSocket;
use crate::io::crypto::{CryptoError, CryptoWorker};
use crate::io::journal::{Journal, JournalError};
use crate::io::mqtt::Mqtt;
use crate::io::profile::ProfileLink;
use crate::io::store::Store;
use crate::runtime::Layout;
use crate::shutdown::Signals;
use crate::systemd::{Keep, Passed, ServiceManager};

/// Inputs between the adapters and the loop. Chunks in it are bounded by what the brain has asked for.
const INPUTS: usize = 256;
/// Messages from the broker, questions and telemetry blocks that may wait.
const SMALL: usize = 32;
/// How long a stop waits for conversations on the control socket that are under way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Why the daemon did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration's fault: exit 78.
    #[error("{0}")]
    Config(String),
    /// The certificates', keys' or URL's fault: exit 78, unless a token may yet be plugged in.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal's fault: nothing is started that might not know what it did before.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal can be opened, and holds something this version cannot use.
    #[error("{}", crate::bus::chain(.0))]
    Recovery(#[from] RecoveryError),
    /// The machine's or the build's fault.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The machine's fault.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// Whether a restart cannot help until somebody has changed the configuration.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Tls(TlsError::Token { reason, .. }) => !reason.is_passing(),
            Self::Tls(_) => true,
            _ => false,
        }
    }
}

/// Runs the daemon until a signal stops it.
///
/// # Errors
/// [`StartError`] where it cannot start.
pub fn run(launch: Launch) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::System { what: "cannot build the runtime", source })?;
    runtime.block_on(live(launch))
}

async fn live(launch: Launch) -> Result<(), StartError> {
    let mut signals = Signals::listen().map_err(system("cannot listen to signals"))?;
    let (mut event_loop, mut control) = start(launch)?;
    event_loop.service.ready(&event_loop.ready_line());
    tracing::info!("ready");
    event_loop.run(&mut signals).await;
    event_loop.service.stopping();
    tracing::info!("stopping");
    event_loop.finish(control.finish(), LAST_ANSWERS).await;
    // Dropping the adapters stops their threads, each within its own deadline; the journal writes what is queued.
    drop(control);
    drop(event_loop);
    Ok(())
}

/// Starts every adapter, then the brain from the journal, and pins the loop's own thread last: threads inherit pins.
fn start(launch: Launch) -> Result<(EventLoop, ControlSocket), StartError> {
    let Launch { config, configuration, mut passed, keep } = launch;
    let result = assemble(&config, configuration, &mut passed, keep);
    match &result {
        Ok(_) => passed.finish(),
        // No restart follows, so nobody else will answer.
        Err(error) if error.is_configuration() => launch::turn_askers_away(&mut passed, &error.to_string()),
        Err(_) => {}
    }
    result
}

fn assemble(
    config: &Config,
    configuration: Configuration,
    passed: &mut Passed,
    keep: Keep,
) -> Result<(EventLoop, ControlSocket), StartError> {
    let started = Instant::now();
    let setup = build::setup(config)?;
    let credentials = ServiceManager::credentials();
    let links = links::links(config, credentials.as_deref())?;
    let topics = topics(config)?;
    let state = &config.state.directory;
    std::fs::create_dir_all(state).map_err(system("cannot make state.directory"))?;

    let topology = build::topology()?;
    let layout =
        Layout::plan(topology, config.buses.len()).map_err(|error| StartError::Config(error.to_string()))?;
    let (sender, inputs) = mpsc::channel(INPUTS);
    let (blocks_in, blocks) = mpsc::channel(SMALL);
    let (bus_blocks_in, bus_blocks) = mpsc::channel(INPUTS);
    let (received_in, received) = mpsc::channel(SMALL);

    let (journal, records) = Journal::open(&state.join("journal.redb"), sender.clone())?;
    let store = Store::open(&state.join("store"), config.state.quota.get(), sender.clone())
        .map_err(system("cannot open the image store"))?;
    let link = build::mqtt(config, &topics, credentials.as_deref())?;
    let mqtt = Mqtt::start(link, &state.join("outbox.redb"), received_in)
        .map_err(system("cannot start the broker link"))?;
    let io = Io {
        cloud: Cloud::new(&config.cloud, credentials.as_deref(), sender.clone())?,
        crypto: CryptoWorker::start(&config.crypto, layout.pin(Role::Crypto, 0), sender.clone())?,
        store,
        journal,
        mqtt,
        profile: ProfileLink::bind(&config.control.profile_socket, passed, blocks_in)
            .map_err(system("cannot listen on control.profile_socket"))?,
        buses: links::workers(config, links, &layout, &sender, &bus_blocks_in)?,
        routes: setup.ecus.iter().map(|it| it.bus).collect(),
    };
    let mut gateway = Gateway::new(setup, Box::new(SoftwareVerifier), records, now())?;
    let mut memory = Memory::new(keep);
    memory.restore(&mut gateway, now().monotonic);
    memory.begin(configuration.text());
    tracing::info!(boot = gateway.boot(), generation = memory.generation(), "journal read");
    let (questions, asked) = mpsc::channel(SMALL);
    let control = ControlSocket::bind(&config.control.socket, passed, questions)
        .map_err(system("cannot listen on control.socket"))?;
    let event_loop = EventLoop {
        gateway,
        io,
        inbox: Inbox { inputs, received, questions: asked, blocks, bus_blocks },
        topics,
        service: ServiceManager::from_env(),
        baseline: Baseline::take(config, &layout),
        configuration,
        memory,
        cpus: layout.pin(Role::ControlLoop, 0).apply(),
        started,
    };
    Ok((event_loop, control))
}

fn topics(config: &Config) -> Result<Topics, StartError> {
    let vin = VinSegment::new(&config.vehicle.vin).map_err(|error| StartError::Config(error.to_string()))?;
    Ok(Topics {
        command: Topic::OtaCommand.of(&vin),
        rebirth: Topic::TelemetryRebirth.of(&vin),
        profile: Topic::Telemetry(Stream::Profile).of(&vin),
        presence: Topic::Presence.of(&vin),
        vin,
    })
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}
