//! The cloud in this process: keys, the published campaign, the origin that serves it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crypto_offload::signing;
use gateway_cloud::certs::{self, CertificateFiles};
use gateway_cloud::publish::{self, Campaign, Expiry, KeyRing, Published, TargetDescription};
use gateway_cloud::serve::{Config, Fault, Faults, Limits, Server, Statistics, Suites};
use ota::stage::TraceId;
use ota::uptane::UtcTime;
use tokio::task::JoinHandle;

use crate::failure::{Failure, Outcome};
use crate::state::{Package, Spoiled, State, unix_ms};
use crate::vehicle::{ECUS, NEW_VERSION, VIN};

/// Chunk size in plain bytes.
const CHUNK_SIZE: u32 = 64 << 10;

/// Where the cloud's files lie.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) keys: PathBuf,
    pub(crate) certs: CertificateFiles,
    pub(crate) repository: PathBuf,
}

impl Paths {
    pub(crate) fn below(dir: &Path) -> Self {
        Self {
            keys: dir.join("keys"),
            certs: CertificateFiles::below(&dir.join("certs")),
            repository: dir.join("repository"),
        }
    }
}

/// A new campaign's trace id.
pub(crate) fn new_trace() -> Outcome<TraceId> {
    let random = signing::random_bytes(8).map_err(Failure::of("no random numbers for a trace id"))?;
    let number = random.iter().fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
    TraceId::new('D', number).ok_or_else(|| Failure::new("D is no platform letter"))
}

/// Makes keys and certificates and publishes the packages, one per ECU. Blocks; `progress` hears of every chunk.
pub(crate) fn publish(
    dir: &Path,
    state: &State,
    progress: &mut dyn FnMut(publish::Progress<'_>),
) -> Outcome<Vec<Spoiled>> {
    let paths = Paths::below(dir);
    let keys = KeyRing::create(&paths.keys).map_err(Failure::of("keys"))?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    certs::issue(&dir.join("certs"), &names, certs::DEFAULT_VALIDITY).map_err(Failure::of("certificates"))?;
    let campaign = campaign(state)?;
    let now = UtcTime::from_unix(unix_ms(SystemTime::now()) / 1000);
    let published = publish::publish(&paths.repository, &keys, &campaign, &Expiry::default(), now, progress)
        .map_err(|error| Failure::new(error.to_string()))?;
    state.tampered.iter().filter_map(|&ecu| spoil(&published, ecu).transpose()).collect()
}

fn campaign(state: &State) -> Outcome<Campaign> {
    fn name<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Outcome<T> {
        text.parse().map_err(Failure::of(format!("{text:?}")))
    }
    let targets = ECUS.iter().zip(&state.packages).map(|(ecu, Package { path, .. })| {
        Ok(TargetDescription {
            file: path.clone(),
            name: name(ecu.target)?,
            ecu_serial: name(ecu.serial)?,
            hardware_id: name(ecu.hardware_id)?,
            version: name(NEW_VERSION)?,
            release_counter: 2,
            cipher: ecu.cipher,
            hash: ecu.hash,
            chunk_size: CHUNK_SIZE,
            // The same for all: buses work side by side.
            order: 1,
            group: None,
            preconditions: Vec::new(),
        })
    });
    Ok(Campaign {
        vin: name(VIN)?,
        campaign: name(&state.campaign)?,
        trace_id: state.trace,
        targets: targets.collect::<Outcome<_>>()?,
    })
}

/// One bit in the middle of the middle chunk.
fn spoil(published: &Published, ecu: usize) -> Outcome<Option<Spoiled>> {
    let Some(target) = published.targets.get(ecu) else { return Ok(None) };
    let custom = target.target.custom.as_ref();
    let layout = custom.map(|it| it.chunks.layout).ok_or_else(|| Failure::new("a target without chunks"))?;
    let chunk = layout.chunk_count() / 2;
    let range = layout.stored_range(chunk).unwrap_or_default();
    let offset = range.start + (range.end - range.start) / 2;
    Ok(Some(Spoiled { ecu, path: target.path.clone(), chunk, chunks: layout.chunk_count(), offset, bit: 3 }))
}

/// The running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Of the served directory.
    pub(crate) url: String,
    pub(crate) statistics: Arc<Statistics>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Origin {
    /// Serves what was published, on a port of the system's choice, with one bit flipped for each of `spoiled`.
    pub(crate) async fn start(dir: &Path, spoiled: &[Spoiled]) -> Outcome<Self> {
        let paths = Paths::below(dir);
        let faults = Arc::new(Faults::default());
        for Spoiled { path, offset, bit, .. } in spoiled {
            faults.add(Fault::FlipBit { path: path.clone(), offset: *offset, bit: *bit });
        }
        let server = Server::bind(Config {
            root: paths.repository,
            addr: ([127, 0, 0, 1], 0).into(),
            suites: Suites::International,
            international: Some(paths.certs.into()),
            sm: None,
            limits: Limits::default(),
            faults,
        });
        let server = server.await.map_err(Failure::of("the origin"))?;
        let url = format!("https://{}/", server.local_addr());
        let statistics = server.statistics();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(server.run(async move { drop(stopped.await) }));
        Ok(Self { url, statistics, stop: Some(stop), task })
    }

    /// Closes all connections.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        // What has not ended by then ends with the process.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.task).await;
    }
}
