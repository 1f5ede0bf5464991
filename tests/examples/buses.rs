//! Many buses at once: the daemon's own bus threads program one ECU on each of 1 and of 8 buses in real time, every bus at
//! 500 kbit/s and 2 Mbit/s, every ECU without any turnaround. Prints how many times one bus's rate eight have together,
//! and what the daemon's threads cost of one core.
//!
//! Hubs and ECUs run in the same process and need the machine's time as well: on a busy machine the figures are theirs.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canfd::bit_timing::BitTiming;
use canfd::frame::{CanId, CanIds};
use canfd::pacing::PacingConfig;
use canfd::uds::profile::Profile;
use gateway_sim::bus::BusHub;
use gateway_sim::ecu::{EcuConfig, EcuNode, NodeConfig, SimEcu};
use gatewayd::bus::{BusMaster, EcuOrder, EcuReport, Program, SeatConfig};
use gatewayd::gateway::message::{EcuIndex, Input};
use gatewayd::io::can::BusWorker;
use gatewayd::runtime::Pin;
use tokio::sync::mpsc;

const TIMING: BitTiming = BitTiming::FD_500K_2M;
/// Four seconds of one bus.
const IMAGE: usize = 700_000;
const CHUNK: usize = 65_536;
/// Without a word for so long, something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

struct Outcome {
    /// Bytes per second, all buses together
    rate: f64,
    /// Of one core, for the daemon's bus threads
    cpu: f64,
    /// Mean busy time of the buses
    load: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let one = run(1)?;
    let eight = run(8)?;
    let times = eight.rate / one.rate;
    figure("buses_1_rate", one.rate / 1e3, "kB/s", None);
    figure("buses_1_load", one.load * 100.0, "%", None);
    figure("buses_8_rate", eight.rate / 1e3, "kB/s", None);
    figure("buses_8_load", eight.load * 100.0, "%", None);
    figure("buses_8_times_1", times, "x", Some((">=", 7.8, times >= 7.8)));
    figure("buses_8_cpu", eight.cpu * 100.0, "%", Some(("<", 25.0, eight.cpu < 0.25)));
    Ok(())
}

fn figure(name: &str, value: f64, unit: &str, goal: Option<(&str, f64, bool)>) {
    match goal {
        None => println!("figure {name} {value:.1} {unit}"),
        Some((op, goal, met)) => {
            println!(
                "figure {name} {value:.2} {unit} goal {op} {goal} {}",
                if met { "met" } else { "short" }
            );
        }
    }
}

fn run(count: usize) -> Result<Outcome, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let profile = Profile { checksum: None, max_block_length: 65_535, ..Profile::default() };
    let config = Arc::new(EcuConfig {
        profile: profile.clone(),
        max_block_length: 65_535,
        erase_time: Duration::from_millis(1),
        program_time_per_kib: Duration::ZERO,
        boot_time: Duration::from_millis(1),
        ..EcuConfig::default()
    });
    let ids = CanIds { request: CanId::standard(0x731)?, response: CanId::standard(0x7B1)? };
    let functional = CanId::standard(0x7DF)?;
    let (inputs, mut reports) = mpsc::channel(4_096);
    let (mut hubs, mut nodes, mut workers) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..count {
        let hub = BusHub::start(&directory.path().join(format!("bus{at}")), Some(TIMING))?;
        let ecu =
            SimEcu::open(Instant::now(), &directory.path().join(format!("ecu{at}")), Arc::clone(&config))?;
        nodes.push(EcuNode::start(
            "ecu",
            canfd::bus::open(&hub.url())?,
            ecu,
            NodeConfig::new(ids, Some(functional)),
        )?);
        let seat = SeatConfig::new(EcuIndex(at), ids, functional, Arc::new(profile.clone()));
        let seat = SeatConfig { max_in_flight: SeatConfig::frames_in_flight(&hub.url()), ..seat };
        let master = BusMaster::paced([seat], TIMING, PacingConfig::default());
        workers.push(BusWorker::start(&at.to_string(), hub.url(), master, Pin::ANYWHERE, inputs.clone())?);
        hubs.push(hub);
    }
    // Orders are refused until the threads have opened their buses.
    std::thread::sleep(Duration::from_millis(500));
    let order = |ecu: EcuIndex, order| {
        let worker = workers.get(ecu.0).ok_or("a report of nobody")?;
        worker.order(ecu, order).map_err(|_| "the queue of a bus is full")
    };
    for at in 0..count {
        let program = Program {
            image_len: IMAGE as u64,
            version: "2.0.0".to_owned(),
            sha256: Vec::new(),
            crc32: 0,
            resume_from: None,
        };
        order(EcuIndex(at), EcuOrder::Program(program))?;
    }
    let image = gateway_sim::random::Random::new(1).bytes(IMAGE);
    let (mut begun, mut done, mut cost) = (None, BTreeMap::new(), Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    while done.len() < count {
        let input = runtime.block_on(async { tokio::time::timeout(PATIENCE, reports.recv()).await })?;
        let Some(Input::Ecu { ecu, report }) = input else { return Err("the bus threads are gone".into()) };
        match report {
            EcuReport::TransferBegins { .. } => {
                if begun.is_none() {
                    begun = Some((Instant::now(), processor_time()?));
                }
                for (nth, bytes) in image.chunks(CHUNK).enumerate() {
                    order(ecu, EcuOrder::Data { offset: (nth * CHUNK) as u64, bytes: bytes.to_vec() })?;
                }
            }
            EcuReport::Acknowledged { offset } if offset == IMAGE as u64 => {
                if let Some((_, before)) = begun {
                    cost = processor_time()?.saturating_sub(before);
                }
                done.insert(ecu.0, Instant::now());
            }
            EcuReport::Failed(error) => return Err(error.into()),
            _ => {}
        }
    }
    let (began, _) = begun.ok_or("no transfer began")?;
    let last = done.values().max().ok_or("no transfer ended")?;
    let span = last.duration_since(began).as_secs_f64();
    let busy: f64 = hubs.iter().map(|hub| hub.statistics().load()).sum();
    Ok(Outcome {
        rate: (IMAGE * count) as f64 / span,
        cpu: cost.as_secs_f64() / span,
        load: busy / count as f64,
    })
}

/// What the daemon's bus threads have computed so far: those called `bus-NUMBER`.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = std::fs::read_to_string(task.join("comm"))?;
        let is_worker = name.trim().strip_prefix("bus-").is_some_and(|rest| rest.parse::<usize>().is_ok());
        if is_worker {
            let stat = std::fs::read_to_string(task.join("schedstat"))?;
            let nanos = stat.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
            sum += Duration::from_nanos(nanos);
        }
    }
    Ok(sum)
}
