//! Many buses at once: the daemon's own bus threads program one ECU on each of 1 and of 8 buses in real time, every bus at
//! 500 kbit/s and 2 Mbit/s, every ECU without any turnaround. Prints how many times one bus's rate eight have together,
//! and what that costs of one core: the daemon's bus threads, whose goal it is, the simulated buses and ECUs, and all of
//! the process. Once with as many frames in flight as a simulated bus gets, once with as many as SocketCAN does.
//!
//! Times are the threads' own, by the scheduler's account, system calls included: other load on the machine is not in
//! them, but what wakes late wakes less often. Rates are of the wall clock; hubs and ECUs need the machine's time as
//! well, so on a busy machine the rates are theirs.

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
    /// Of one core
    cpu: Times<f64>,
    /// Mean busy time of the buses
    load: f64,
}

/// Time on the processor, by whom it is spent for.
#[derive(Clone, Copy, Default)]
struct Times<T> {
    /// The daemon's bus threads
    daemon: T,
    /// Simulated ECUs and buses
    simulators: T,
    /// Every thread of the process
    all: T,
}

/// Frames in flight on SocketCAN.
const SOCKETCAN: u8 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let one = run(1, None)?;
    let eight = run(8, None)?;
    let narrow = run(8, Some(SOCKETCAN))?;
    let times = eight.rate / one.rate;
    figure("buses_1_rate", one.rate / 1e3, "kB/s", None);
    figure("buses_1_load", one.load * 100.0, "%", None);
    figure("buses_8_rate", eight.rate / 1e3, "kB/s", None);
    figure("buses_8_load", eight.load * 100.0, "%", None);
    figure("buses_8_times_1", times, "x", Some((">=", 7.8, times >= 7.8)));
    for (name, cpu) in [("buses_8_cpu", eight.cpu), ("buses_8_cpu_in_flight_8", narrow.cpu)] {
        figure(name, cpu.daemon * 100.0, "%", Some(("<", 25.0, cpu.daemon < 0.25)));
        figure(&format!("{name}_simulators"), cpu.simulators * 100.0, "%", None);
        figure(&format!("{name}_process"), cpu.all * 100.0, "%", None);
    }
    figure("buses_8_times_1_in_flight_8", narrow.rate / one.rate, "x", None);
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

fn run(count: usize, in_flight: Option<u8>) -> Result<Outcome, Box<dyn Error>> {
    // In memory where that can be had: a disk that is busy with other things holds up simulated flash.
    let memory = std::path::Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
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
        let max_in_flight = in_flight.unwrap_or_else(|| SeatConfig::frames_in_flight(&hub.url()));
        let seat = SeatConfig { max_in_flight, ..seat };
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
    let (mut begun, mut done, mut cost) = (None, BTreeMap::new(), Times::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    while done.len() < count {
        let input = runtime.block_on(async { tokio::time::timeout(PATIENCE, reports.recv()).await })?;
        let Some(Input::Ecu { ecu, report }) = input else { return Err("the bus threads are gone".into()) };
        match report {
            EcuReport::TransferBegins { .. } => {
                if begun.is_none() {
                    begun = Some((Instant::now(), processor_times()?));
                }
                for (nth, bytes) in image.chunks(CHUNK).enumerate() {
                    order(ecu, EcuOrder::Data { offset: (nth * CHUNK) as u64, bytes: bytes.to_vec() })?;
                }
            }
            EcuReport::Acknowledged { offset } if offset == IMAGE as u64 => {
                if let Some((_, before)) = begun {
                    cost = processor_times()?.since(before);
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
    Ok(Outcome { rate: (IMAGE * count) as f64 / span, cpu: cost.of(span), load: busy / count as f64 })
}

impl Times<Duration> {
    fn since(self, before: Self) -> Self {
        Self {
            daemon: self.daemon.saturating_sub(before.daemon),
            simulators: self.simulators.saturating_sub(before.simulators),
            all: self.all.saturating_sub(before.all),
        }
    }

    /// Its shares of so many seconds.
    fn of(self, span: f64) -> Times<f64> {
        let share = |it: Duration| it.as_secs_f64() / span;
        Times { daemon: share(self.daemon), simulators: share(self.simulators), all: share(self.all) }
    }
}

/// What every thread has computed so far. The daemon's bus threads are called `bus-NUMBER`; those of the simulators
/// `bus-hub` and `ecu`; what is left stands in for the brain.
fn processor_times() -> Result<Times<Duration>, Box<dyn Error>> {
    let mut times = Times::<Duration>::default();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = std::fs::read_to_string(task.join("comm"))?;
        let stat = std::fs::read_to_string(task.join("schedstat"))?;
        let nanos = stat.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
        let time = Duration::from_nanos(nanos);
        times.all += time;
        if name.trim().strip_prefix("bus-").is_some_and(|rest| rest.parse::<usize>().is_ok()) {
            times.daemon += time;
        } else if matches!(name.trim(), "bus-hub" | "ecu") {
            times.simulators += time;
        }
    }
    Ok(times)
}
