//! Whether the queue sends jobs where they are done first, at every size.
//!
//! `cargo run --release -p crypto-offload --features testing --example offload`
//!
//! The coprocessor is the emulator on simulated time: 10 us and 400 MB/s, and a faster one, since a fast CPU never has
//! a reason to ask the first. The CPU's work is real, and the simulated time moves on by the CPU time that it took. The
//! queue measures both by itself at first. Then, for each size, both engines are measured apart, and the figure is the
//! time at the engine that the queue chooses, divided by the time at the better one: the worst over all sizes. All of
//! that happens five times, and the median counts, since a machine whose speed changes in between makes any choice wrong.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::device::DeviceEngine;
use crypto_offload::device::emulator::{Control, Emulator, Loopback, Model};
use crypto_offload::engine::{Capabilities, Engine, Health, Refused};
use crypto_offload::job::{Cipher, Completion, HashAlgorithm, Job, JobId, Operation, Seal, SecretKey};
use crypto_offload::queue::{Class, Clock, Limits, Queue};
use crypto_offload::software::{SoftwareEngine, aead};
use rustix::time::{ClockId, clock_gettime};

/// Time at the chosen engine over time at the better one.
const GOAL: f64 = 1.05;
/// Of so many samples the best counts: whatever else the machine does can only make one slower, and the simulated device
/// does not vary.
const SAMPLES: usize = 25;
/// Of so many rounds the median counts.
const ROUNDS: usize = 5;
const US: Duration = Duration::from_micros(1);

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let classes = [
        Class::Hash(HashAlgorithm::Sm3),
        Class::Hash(HashAlgorithm::Sha256),
        Class::Open(Cipher::Sm4Gcm),
        Class::Open(Cipher::Aes256Gcm),
    ];
    for (name, megabytes) in [("400MBs", 400), ("4GBs", 4000)] {
        let model = Model { bytes_per_second: megabytes * 1_000_000, ..Model::default() };
        println!("# device: 10 us + {name}");
        for class in classes {
            report(model, name, class)?;
        }
    }
    Ok(())
}

fn report(model: Model, device: &str, class: Class) -> Fallible<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut bench = Bench::new(model)?;
        let (worst, bytes) = bench.worst(class)?;
        rounds.push((worst, bytes, bench.crossover(class)));
    }
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (worst, bytes, crossover) = &rounds[ROUNDS / 2];
    let verdict = if *worst <= GOAL { "ok" } else { "MISSED" };
    println!(
        "figure offload-{device}-{} {worst:.3} times the better engine (worst at {bytes} B; offloaded {crossover}; \
         worst round {:.3}) goal <= {GOAL} {verdict}",
        class.name(),
        rounds[ROUNDS - 1].0
    );
    Ok(())
}

/// The queue, and each of its engines by itself.
struct Bench {
    queue: Queue,
    time: Control,
    cpu: MeasuredCpu,
    device: DeviceEngine<Loopback>,
    device_time: Control,
}

impl Bench {
    fn new(model: Model) -> Fallible<Self> {
        let (engine, time) = device(model)?;
        let cpu = MeasuredCpu { engine: SoftwareEngine::new()?, time: time.clone() };
        let mut queue = Queue::new(Limits::default(), vec![Box::new(engine), Box::new(cpu)]);
        // Until the device has answered its questions.
        while queue.counters().admitted == 0 {
            time.advance(US);
            queue.poll_completion(time.now());
        }
        let start = time.now();
        let mut now = || time.now().duration_since(start);
        let mut pause = || time.advance(US);
        queue.calibrate(start, &mut Clock { now: &mut now, pause: &mut pause });
        let cpu = MeasuredCpu { engine: SoftwareEngine::new()?, time: time.clone() };
        let (device, device_time) = device(model)?;
        Ok(Self { queue, time, cpu, device, device_time })
    }

    /// The worst ratio, and the size at which it was.
    fn worst(&mut self, class: Class) -> Fallible<(f64, usize)> {
        let (mut worst, mut bytes) = ((1.0_f64, 64), 64);
        while bytes <= 1 << 20 {
            let ratio = self.ratio(class, bytes)?;
            if ratio > worst.0 {
                worst = (ratio, bytes);
            }
            bytes = (bytes * 4).div_ceil(3);
        }
        Ok(worst)
    }

    fn crossover(&self, class: Class) -> String {
        let device = self.queue.engines().next();
        let crossovers = device.map(|engine| engine.crossovers).unwrap_or_default();
        match crossovers.iter().find(|(it, _)| *it == class) {
            Some((_, Some(bytes))) => format!("from {bytes} B on"),
            _ => "never".to_owned(),
        }
    }

    /// Time at the engine that the queue chooses, over time at the better one.
    fn ratio(&mut self, class: Class, bytes: usize) -> Fallible<f64> {
        let operation = operation(class, bytes)?;
        let cpu = best_of(&mut self.cpu, &self.time, &operation)?;
        let device = best_of(&mut self.device, &self.device_time, &operation)?;
        let asked = |queue: &Queue| queue.engines().next().map_or(0, |engine| engine.jobs);
        let before = asked(&self.queue);
        let now = self.time.now();
        let job = Job { id: JobId(0), deadline: now + Duration::from_secs(60), operation };
        self.queue.submit(now, job)?;
        while self.queue.poll_completion(self.time.now()).is_none() {
            self.time.advance(US);
        }
        let chosen = if asked(&self.queue) > before { device } else { cpu };
        Ok(chosen.as_secs_f64() / device.min(cpu).as_secs_f64())
    }
}

/// The CPU; its own time moves the simulated time on.
#[derive(Debug)]
struct MeasuredCpu {
    engine: SoftwareEngine,
    time: Control,
}

impl Engine for MeasuredCpu {
    fn capabilities(&self) -> &Capabilities {
        self.engine.capabilities()
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        self.engine.submit(job)
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let begin = cpu_time();
        let completion = self.engine.poll_completion()?;
        self.time.advance_to(self.time.now() + cpu_time().saturating_sub(begin));
        Some(completion)
    }

    fn health(&self) -> Health {
        self.engine.health()
    }
}

fn device(model: Model) -> Fallible<(DeviceEngine<Loopback>, Control)> {
    let (transport, time) = Loopback::new(Emulator::new(model)?, Instant::now());
    let engine = DeviceEngine::open(transport, Duration::from_secs(1), |_| {
        time.advance(US);
        true
    })?;
    Ok((engine, time))
}

fn operation(class: Class, bytes: usize) -> Fallible<Operation> {
    match class {
        Class::Hash(algorithm) => Ok(Operation::Digest { algorithm, data: vec![0x5a; bytes] }),
        Class::Open(cipher) => {
            let key = Arc::new(SecretKey::new(vec![7; cipher.key_len()]));
            let seal = Seal { cipher, key, nonce: [0; 12], aad: vec![0; 31] };
            let data = aead::seal(&seal, vec![0x5a; bytes])?;
            Ok(Operation::Open { seal, data })
        }
        Class::Verify(_) => Err("signatures have no size".into()),
    }
}

/// What `operation` takes at `engine` alone.
fn best_of(engine: &mut dyn Engine, time: &Control, operation: &Operation) -> Fallible<Duration> {
    let mut samples = [Duration::ZERO; SAMPLES];
    for sample in &mut samples {
        let job = Job { id: JobId(0), deadline: time.now(), operation: operation.clone() };
        let begin = time.now();
        engine.submit(job)?;
        while engine.poll_completion().is_none() {
            time.advance(US);
        }
        *sample = time.now().duration_since(begin);
    }
    Ok(samples.into_iter().min().unwrap_or_default())
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}
