//! Whether the queue sends jobs where they are done first, at every size.
//!
//! `cargo run --release -p crypto-offload --features testing --example offload`
//!
//! The CPU is measured first, in CPU time, at many sizes that take turns. Then all is on simulated time: the CPU's work
//! takes what was measured, so that a machine whose speed changes in between cannot decide; the coprocessor is the
//! emulator with 10 us and 400 MB/s, and a faster one, since a fast CPU never has a reason to ask the first. The queue
//! measures both by itself, at its own few sizes, and then chooses. The figure is the time at the engine that it chooses
//! divided by the time at the better one: the worst over all sizes from 64 B to 1 MiB.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crypto_offload::device::emulator::{Control, Emulator, Model};
use crypto_offload::job::{Cipher, HashAlgorithm, Job, JobId, Operation, Seal, SecretKey};
use crypto_offload::queue::{Class, Limits, Queue};
use crypto_offload::software::{aead, run};
use crypto_offload::testing::{TimedSoftware, calibrate, emulated_device};
use rustix::time::{ClockId, clock_gettime};

/// Time at the chosen engine over time at the better one.
const GOAL: f64 = 1.05;
/// Of so many samples the best counts: whatever else the machine does can only make one slower.
const SAMPLES: usize = 15;
const US: Duration = Duration::from_micros(1);

type Fallible<T> = Result<T, Box<dyn Error>>;
/// What the CPU takes, by bytes.
type Table = BTreeMap<usize, Duration>;

fn main() -> Fallible<()> {
    let classes = [
        Class::Hash(HashAlgorithm::Sm3),
        Class::Hash(HashAlgorithm::Sha256),
        Class::Open(Cipher::Sm4Gcm),
        Class::Open(Cipher::Aes256Gcm),
    ];
    let tables = classes.map(measure).into_iter().collect::<Fallible<Vec<Table>>>()?;
    for (name, megabytes) in [("400MBs", 400), ("4GBs", 4000)] {
        let model = Model { bytes_per_second: megabytes * 1_000_000, ..Model::default() };
        for (class, table) in classes.into_iter().zip(&tables) {
            Bench::new(model, class, table)?.report(name)?;
        }
    }
    Ok(())
}

/// The sizes that are compared, from 64 B to 1 MiB.
fn sizes() -> Vec<usize> {
    let next = |bytes: &usize| Some((bytes * 5).div_ceil(4)).filter(|&next| next < 1 << 20);
    std::iter::successors(Some(64), next).chain([1 << 20]).collect()
}

fn measure(class: Class) -> Fallible<Table> {
    let mut table = Table::new();
    let operations =
        sizes().into_iter().map(|bytes| operation(class, bytes)).collect::<Fallible<Vec<_>>>()?;
    for _ in 0..SAMPLES {
        for operation in &operations {
            let (bytes, copy) = (operation.len(), operation.clone());
            let begin = cpu_time();
            run(copy)?;
            let took = cpu_time().saturating_sub(begin);
            let best = table.entry(bytes).or_insert(took);
            *best = took.min(*best);
        }
    }
    Ok(table)
}

/// The queue with both engines, for one kind of work.
struct Bench<'a> {
    queue: Queue,
    time: Control,
    model: Model,
    class: Class,
    table: &'a Table,
}

impl<'a> Bench<'a> {
    fn new(model: Model, class: Class, table: &'a Table) -> Fallible<Self> {
        let (device, time) = emulated_device(Emulator::new(model)?, Duration::from_secs(1))?;
        let replayed = table.clone();
        let cpu = TimedSoftware::new(time.clone(), move |bytes| replay(&replayed, bytes))?;
        let mut queue = Queue::new(Limits::default(), vec![Box::new(device), Box::new(cpu)]);
        // Until the device has answered its questions.
        while queue.counters().admitted == 0 {
            time.advance(US);
            queue.poll_completion(time.now());
        }
        calibrate(&mut queue, &time);
        Ok(Self { queue, time, model, class, table })
    }

    fn report(&mut self, device: &str) -> Fallible<()> {
        let (mut worst, mut worst_at, mut offloaded) = (1.0_f64, 64, 0);
        for bytes in sizes() {
            let (ratio, chosen) = self.ratio(bytes)?;
            offloaded += usize::from(chosen);
            if ratio > worst {
                (worst, worst_at) = (ratio, bytes);
            }
        }
        let crossover = match self.crossover() {
            Some(bytes) => format!("from {bytes} B on"),
            None => "never".to_owned(),
        };
        let verdict = if worst <= GOAL { "ok" } else { "MISSED" };
        println!(
            "figure offload-{device}-{} {worst:.3} times the better engine (worst at {worst_at} B; device faster \
             {crossover}; {offloaded} of {} sizes offloaded) goal <= {GOAL} {verdict}",
            self.class.name(),
            sizes().len()
        );
        Ok(())
    }

    fn crossover(&self) -> Option<usize> {
        let device = self.queue.engines().next()?;
        device.crossovers.iter().find(|(class, _)| *class == self.class).and_then(|(_, bytes)| *bytes)
    }

    /// Time at the engine that the queue chooses over time at the better one, and whether the device was chosen.
    fn ratio(&mut self, bytes: usize) -> Fallible<(f64, bool)> {
        let operation = operation(self.class, bytes)?;
        let cpu = replay(self.table, operation.len()).as_secs_f64();
        let device = self.model.latency.as_secs_f64() + bytes as f64 / self.model.bytes_per_second as f64;
        let asked = |queue: &Queue| queue.engines().next().map_or(0, |engine| engine.jobs);
        let before = asked(&self.queue);
        let now = self.time.now();
        let job = Job { id: JobId(0), deadline: now + Duration::from_secs(60), operation };
        self.queue.submit(now, job)?;
        while self.queue.poll_completion(self.time.now()).is_none() {
            self.time.advance(US);
        }
        let chosen = asked(&self.queue) > before;
        Ok((if chosen { device } else { cpu } / device.min(cpu), chosen))
    }
}

/// On the line between the measured sizes around `bytes`.
fn replay(table: &Table, bytes: usize) -> Duration {
    let below = table.range(..=bytes).next_back();
    let above = table.range(bytes..).next();
    match (below, above) {
        (Some((&x0, &y0)), Some((&x1, &y1))) if x0 < x1 => {
            let share = (bytes - x0) as f64 / (x1 - x0) as f64;
            Duration::from_secs_f64(y0.as_secs_f64() * (1.0 - share) + y1.as_secs_f64() * share)
        }
        (Some((_, &took)), _) | (None, Some((_, &took))) => took,
        (None, None) => Duration::ZERO,
    }
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

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
