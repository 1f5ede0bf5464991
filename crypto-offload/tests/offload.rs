//! The queue over an emulated coprocessor, on simulated time: where jobs go, and what remains right when it breaks.
#![cfg(feature = "testing")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::device::emulator::{Control, Emulator, EmulatorFault, Model};
use crypto_offload::job::{
    ChunkOperation, Cipher, Completion, Digest, HashAlgorithm, HashState, Job, JobId, Operation, Outcome,
    Seal, SecretKey,
};
use crypto_offload::queue::{Class, EngineState, Limits, Queue};
use crypto_offload::software::{aead, hash};
use crypto_offload::testing::{TimedSoftware, calibrate, emulated_device};

const MS: Duration = Duration::from_millis(1);
/// Seconds: 100 MB/s.
const CPU_PER_BYTE: f64 = 1e-8;
const CHUNK: usize = 500;
const CHUNKS: usize = 12;

fn limits() -> Limits {
    Limits { patience: 100 * MS, probation: 1000 * MS, ..Limits::default() }
}

/// A queue over a device and the CPU, and the time of both.
struct Bench {
    queue: Queue,
    device: Control,
}

impl Bench {
    fn new(limits: Limits, model: Model) -> Self {
        let emulator = Emulator::new(model).expect("a sound build and test");
        let (engine, device) = emulated_device(emulator, limits.patience).expect("a sound build and test");
        let cost = |bytes| Duration::from_secs_f64(CPU_PER_BYTE * bytes as f64);
        let cpu = TimedSoftware::new(device.clone(), cost).expect("a sound build and test");
        Self { queue: Queue::new(limits, vec![Box::new(engine), Box::new(cpu)]), device }
    }

    /// With the device past its questions.
    fn admitted(limits: Limits) -> Self {
        let mut bench = Self::new(limits, Model::default());
        bench.run_for(10 * MS);
        assert_eq!(bench.state(), EngineState::Up);
        bench
    }

    fn now(&self) -> Instant {
        self.device.now()
    }

    fn state(&self) -> EngineState {
        self.queue.engines().next().map(|engine| engine.state).expect("a sound build and test")
    }

    /// Requests that the device has seen, and so the number of the next one.
    fn requests(&self) -> u64 {
        self.device.change(|emulator| emulator.requests())
    }

    fn order(&self, after: u64, fault: EmulatorFault) {
        let number = self.requests() + after;
        self.device.change(|emulator| emulator.order(number, fault));
    }

    fn submit(&mut self, id: u64, operation: Operation) {
        let now = self.now();
        let job = Job { id: JobId(id), deadline: now + 1000 * MS, operation };
        self.queue.submit(now, job).expect("a sound build and test");
    }

    /// Lets time pass until there is a completion, at most to `end`.
    fn next_by(&mut self, end: Instant) -> Option<Completion> {
        loop {
            if let Some(completion) = self.queue.poll_completion(self.now()) {
                return Some(completion);
            }
            let now = self.now();
            let device = self.device.change(|emulator| emulator.poll_timeout());
            let next = device.into_iter().chain(self.queue.poll_timeout()).filter(|&next| next > now).min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.device.advance_to(end);
                return self.queue.poll_completion(end);
            };
            self.device.advance_to(next);
        }
    }

    fn next(&mut self) -> Completion {
        let end = self.now() + 2000 * MS;
        self.next_by(end).expect("a job hangs")
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now() + duration;
        assert!(self.next_by(end).is_none());
    }

    fn calibrate(&mut self) {
        calibrate(&mut self.queue, &self.device);
        // Until the device has dropped the keys that it was measured with.
        self.run_for(MS);
    }
}

fn digest(len: usize) -> Operation {
    Operation::Digest { algorithm: HashAlgorithm::Sm3, data: vec![1; len] }
}

/// A file in sealed chunks: what it holds, and the chunks.
fn file() -> (Vec<u8>, Vec<ChunkOperation>) {
    let plain: Vec<u8> =
        (0..CHUNK * CHUNKS).map(|at| u8::try_from(at % 251).expect("a sound build and test")).collect();
    let key = Arc::new(SecretKey::new(vec![7; 16]));
    let chunks = plain.chunks(CHUNK).zip(0_u8..).map(|(plain, at)| {
        let seal = Seal { cipher: Cipher::Sm4Gcm, key: Arc::clone(&key), nonce: [at; 12], aad: vec![at] };
        let data = aead::seal(&seal, plain.to_vec()).expect("a sound build and test");
        ChunkOperation {
            tree_algorithm: HashAlgorithm::Sm3,
            leaf_prefix: vec![at],
            expected_leaf: hash::digest(HashAlgorithm::Sm3, &[&[at], &data]),
            running: vec![HashState::new(HashAlgorithm::Sha256)],
            seal: Some(seal),
            data,
        }
    });
    let chunks = chunks.collect();
    (plain, chunks)
}

/// Sends the file through, one chunk after the other, with small digests beside them. Gives what came out, its bytes'
/// count and their hash.
fn stream(bench: &mut Bench, chunks: &[ChunkOperation]) -> (Vec<u8>, u64, Digest) {
    let mut states = vec![HashState::new(HashAlgorithm::Sha256)];
    let mut plain = Vec::new();
    for (at, chunk) in (0..).zip(chunks) {
        bench.submit(at, Operation::Chunk(ChunkOperation { running: states.clone(), ..chunk.clone() }));
        bench.submit(1000 + at, digest(64));
        let mut done = [false; 2];
        while done != [true; 2] {
            let Completion { id, result } = bench.next();
            match result {
                Ok(Outcome::Chunk { data, running }) if id == JobId(at) && !done[0] => {
                    plain.extend(data);
                    states = running;
                    done[0] = true;
                }
                Ok(Outcome::Digest(found)) if id == JobId(1000 + at) && !done[1] => {
                    assert_eq!(found, hash::digest(HashAlgorithm::Sm3, &[&[1; 64]]));
                    done[1] = true;
                }
                other => panic!("job {id:?} of chunk {at} ends as {other:?}"),
            }
        }
    }
    assert!(bench.queue.is_empty());
    (plain, states[0].hashed, hash::finish(&states[0]).expect("a sound build and test"))
}

fn whole(chunks: &[ChunkOperation]) -> (u64, Digest) {
    let parts: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk.data[..]).collect();
    let len = parts.iter().map(|part| part.len() as u64).sum();
    (len, hash::digest(HashAlgorithm::Sha256, &parts))
}

/// A small generator of its own, so that a seed means the same for ever (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

/// What else a stream can suffer and survive.
const OTHERS: [EmulatorFault; 11] = [
    EmulatorFault::Fail,
    EmulatorFault::WrongTag,
    EmulatorFault::ShortWrite,
    EmulatorFault::Reorder,
    EmulatorFault::Drop,
    EmulatorFault::Stall,
    EmulatorFault::Garble,
    EmulatorFault::WrongId,
    EmulatorFault::Degraded,
    EmulatorFault::ForgetKeys,
    EmulatorFault::Slow(Duration::from_millis(150)),
];

/// At each point the device dies, and in another run something else happens there.
#[test]
fn a_sweep_of_failures_in_mid_stream_leaves_no_wrong_result_and_no_hang() {
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (count, seed) = (number("GATEWAYD_SWEEP", 40), number("GATEWAYD_SWEEP_SEED", 1));
    let (plain, chunks) = file();
    let expected = whole(&chunks);
    for seed in seed..seed + count {
        let mut random = Random(seed);
        // Three requests a chunk, and one for the digest beside it.
        let point = random.below(4 * CHUNKS as u64);
        let death = [EmulatorFault::Die, EmulatorFault::DieInReply][usize::from(random.below(2) == 0)];
        let other = OTHERS[usize::try_from(random.below(OTHERS.len() as u64)).unwrap()];
        let repaired = random.below(2) == 0;
        for fault in [death, other] {
            let mut bench = Bench::admitted(limits());
            bench.device.set_repaired(repaired);
            bench.order(point, fault);
            let before = bench.requests();
            let (found, hashed, digest) = stream(&mut bench, &chunks);
            assert!(found == plain, "seed {seed}: {fault:?} at {point} changes what comes out");
            assert_eq!((hashed, digest), expected, "seed {seed}: {fault:?} at {point}");
            assert_eq!(bench.queue.counters().expired, 0, "seed {seed}: {fault:?} at {point}");
            assert!(bench.requests() > before + point, "seed {seed}: the stream ends before {point}");
            assert!(fault != death || bench.queue.counters().redone > 0, "seed {seed}: nobody died");
        }
    }
    println!(
        "figure offload-sweep {count} points, a death and another fault at each: 0 wrong results, 0 hangs"
    );
}

#[test]
fn a_wrong_answer_is_caught_by_its_shadow_and_the_cpus_counts() {
    let shadow = NonZeroU32::new(1);
    let mut bench = Bench::admitted(Limits { shadow, ..limits() });
    bench.order(0, EmulatorFault::WrongAnswer);
    bench.submit(1, digest(100));
    let expected = Outcome::Digest(hash::digest(HashAlgorithm::Sm3, &[&[1; 100]]));
    assert_eq!(bench.next().result, Ok(expected));
    assert_eq!((bench.queue.counters().shadows, bench.queue.counters().wrong_answers), (1, 1));
    assert_eq!(bench.state(), EngineState::Down);
}

#[test]
fn one_in_so_many_answers_is_shadowed() {
    let mut bench = Bench::admitted(Limits { shadow: NonZeroU32::new(4), ..limits() });
    for id in 0..11 {
        bench.submit(id, digest(100));
        assert!(bench.next().result.is_ok());
    }
    assert_eq!((bench.queue.counters().shadows, bench.queue.counters().wrong_answers), (2, 0));
}

#[test]
fn a_device_that_comes_back_is_degraded_until_it_has_given_eight_good_answers() {
    let mut bench = Bench::admitted(limits());
    bench.order(0, EmulatorFault::Die);
    bench.submit(0, digest(100));
    assert!(bench.next().result.is_ok());
    assert_eq!(bench.state(), EngineState::Down);
    bench.run_for(1010 * MS);
    for id in 1..=8 {
        assert_eq!(bench.state(), EngineState::Degraded, "after {} answers", id - 1);
        bench.submit(id, digest(100));
        assert!(bench.next().result.is_ok());
    }
    assert_eq!(bench.state(), EngineState::Up);
    assert_eq!((bench.queue.counters().shadows, bench.queue.counters().admitted), (8, 2));
    bench.submit(9, digest(100));
    assert!(bench.next().result.is_ok());
    assert_eq!(bench.queue.counters().shadows, 8);
}

#[test]
fn a_device_that_says_it_is_degraded_is_shadowed_while_it_says_so() {
    let mut bench = Bench::admitted(limits());
    bench.order(0, EmulatorFault::Degraded);
    bench.submit(0, digest(100));
    assert!(bench.next().result.is_ok());
    assert_eq!((bench.state(), bench.queue.counters().shadows), (EngineState::Degraded, 1));
    bench.submit(1, digest(100));
    assert!(bench.next().result.is_ok());
    assert_eq!((bench.state(), bench.queue.counters().shadows), (EngineState::Up, 1));
}

#[test]
fn a_device_that_comes_back_as_another_one_stays_out() {
    let mut bench = Bench::admitted(limits());
    bench.order(0, EmulatorFault::Die);
    bench.device.change(|emulator| emulator.capability_mut().midstates = false);
    bench.submit(0, digest(100));
    assert!(bench.next().result.is_ok());
    bench.run_for(20_000 * MS);
    assert_ne!(bench.state(), EngineState::Up);
    assert_eq!(bench.queue.counters().admitted, 1);
}

#[test]
fn a_device_that_cannot_be_reset_costs_no_job() {
    let mut bench = Bench::admitted(limits());
    bench.device.set_repaired(false);
    bench.order(0, EmulatorFault::Stall);
    for id in 0..20 {
        bench.submit(id, digest(100));
        assert!(bench.next().result.is_ok());
        bench.run_for(500 * MS);
    }
    let report = bench.queue.engines().next().unwrap();
    assert_eq!((report.fallbacks, report.jobs, report.in_use), (1, 1, false));
    bench.device.set_repaired(true);
    bench.run_for(70_000 * MS);
    assert_eq!(bench.state(), EngineState::Degraded);
}

#[test]
fn jobs_go_to_the_device_from_the_measured_size_on() {
    let mut bench = Bench::admitted(limits());
    assert!(bench.queue.wants_calibration());
    bench.calibrate();
    assert!(!bench.queue.wants_calibration());
    let report = bench.queue.engines().next().unwrap();
    let class = Class::Hash(HashAlgorithm::Sm3);
    let found = report.crossovers.iter().find(|(it, _)| *it == class).and_then(|(_, bytes)| *bytes);
    // 10 us + n / 400 MB/s against n / 100 MB/s, to within what the steps of the simulated time allow.
    let bytes = found.expect("the device pays");
    assert!((1300..=1370).contains(&bytes), "{bytes}");
    for (id, (len, asked)) in (0..).zip([(bytes - 1, 0), (bytes, 1), (64, 0), (1 << 20, 1)]) {
        let requests = bench.requests();
        bench.submit(id, digest(len));
        assert!(bench.next().result.is_ok());
        assert_eq!(bench.requests() - requests, asked, "{len} bytes");
    }
}

#[test]
fn the_choice_costs_within_five_percent_of_the_better_engine_at_every_size() {
    let mut bench = Bench::admitted(limits());
    bench.calibrate();
    let mut bytes = 64;
    while bytes <= 1 << 20 {
        let begin = bench.now();
        bench.submit(bytes as u64, digest(bytes));
        assert!(bench.next().result.is_ok());
        let took = bench.now().duration_since(begin).as_secs_f64();
        let best = (CPU_PER_BYTE * bytes as f64).min(10e-6 + bytes as f64 / 400e6);
        assert!(took <= best * 1.05, "{bytes} bytes: {took} s against {best} s");
        bytes += bytes / 7 + 1;
    }
}

#[test]
fn what_waits_at_the_device_counts_when_the_next_job_is_sent() {
    let mut bench = Bench::admitted(limits());
    bench.calibrate();
    let requests = bench.requests();
    // 15 us each at the device, 20 us each on the CPU: the second goes to the CPU, since the device has one already.
    for id in 0..2 {
        bench.submit(id, digest(2000));
    }
    assert!(bench.next().result.is_ok() && bench.next().result.is_ok());
    assert_eq!(bench.requests() - requests, 1);
}

#[test]
fn a_device_that_hangs_while_it_is_measured_is_taken_out_of_use() {
    let mut bench = Bench::admitted(limits());
    bench.order(5, EmulatorFault::Stall);
    bench.calibrate();
    assert_eq!((bench.queue.counters().hangs, bench.state()), (1, EngineState::Down));
    bench.submit(1, digest(100));
    assert!(bench.next().result.is_ok());
}

#[test]
fn the_device_is_measured_again_after_it_came_back() {
    let mut bench = Bench::admitted(limits());
    bench.calibrate();
    bench.order(0, EmulatorFault::Die);
    bench.submit(1, digest(1 << 16));
    assert!(bench.next().result.is_ok());
    assert!(!bench.queue.wants_calibration());
    bench.run_for(1010 * MS);
    assert_eq!(bench.state(), EngineState::Degraded);
    assert!(bench.queue.wants_calibration());
    assert!(bench.queue.engines().next().is_some_and(|device| device.crossovers.is_empty()));
}
