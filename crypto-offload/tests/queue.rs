//! The queue against engines that are slow, fail, lie and hang, on simulated time.
#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::engine::{Engine, RefusedReason};
use crypto_offload::job::{
    ChunkOperation, Cipher, Completion, HashAlgorithm, HashState, Job, JobError, JobId, Operation, Outcome,
    Seal, SecretKey,
};
use crypto_offload::queue::{Limits, Queue};
use crypto_offload::software::{SoftwareEngine, aead, hash};
use crypto_offload::testing::{Fault, FaultControl, FaultyEngine};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const PLAIN: [u8; 1000] = [9; 1000];

fn limits() -> Limits {
    Limits { patience: 100 * MS, probation: 1000 * MS, ..Limits::default() }
}

/// A queue, its faulty devices in order of preference, and the time.
struct Bench {
    queue: Queue,
    devices: Vec<FaultControl>,
    now: Instant,
}

impl Bench {
    /// `devices` devices, then the CPU.
    fn new(devices: usize) -> Self {
        Self::with(limits(), devices, true)
    }

    fn with(limits: Limits, devices: usize, software: bool) -> Self {
        let mut engines: Vec<Box<dyn Engine>> = Vec::new();
        let mut controls = Vec::new();
        for _ in 0..devices {
            let (engine, control) = FaultyEngine::new("device").expect("a sound build");
            engines.push(Box::new(engine));
            controls.push(control);
        }
        if software {
            engines.push(Box::new(SoftwareEngine::new().expect("a sound build")));
        }
        let queue = Queue::new(limits, engines);
        let mut bench = Self { queue, devices: controls, now: Instant::now() };
        assert!(bench.drain().is_empty());
        assert!(bench.queue.engines().all(|engine| engine.in_use));
        bench
    }

    fn submit(&mut self, id: u64, operation: Operation, within: Duration) -> Result<(), RefusedReason> {
        let job = Job { id: JobId(id), deadline: self.now + within, operation };
        self.queue.submit(self.now, job).map_err(|refused| refused.reason)
    }

    fn drain(&mut self) -> Vec<Completion> {
        std::iter::from_fn(|| self.queue.poll_completion(self.now)).collect()
    }

    /// Lets time pass to each of the queue's own timeouts, up to `duration`.
    fn run_for(&mut self, duration: Duration) -> Vec<Completion> {
        let end = self.now + duration;
        let mut completions = self.drain();
        while let Some(next) = self.queue.poll_timeout().filter(|&next| next <= end) {
            assert!(next > self.now, "a timeout that is due was not handled");
            self.now = next;
            completions.extend(self.drain());
        }
        self.now = end;
        completions.extend(self.drain());
        completions
    }

    fn in_use(&self) -> Vec<bool> {
        self.queue.engines().map(|engine| engine.in_use).collect()
    }
}

fn chunk() -> ChunkOperation {
    let key = Arc::new(SecretKey::new(vec![7; 16]));
    let seal = Seal { cipher: Cipher::Sm4Gcm, key, nonce: [1; 12], aad: Vec::new() };
    let data = aead::seal(&seal, PLAIN.to_vec()).expect("a key of the right length");
    ChunkOperation {
        tree_algorithm: HashAlgorithm::Sm3,
        leaf_prefix: vec![0],
        expected_leaf: hash::digest(HashAlgorithm::Sm3, &[&[0], &data]),
        running: vec![HashState::new(HashAlgorithm::Sha256)],
        seal: Some(seal),
        data,
    }
}

fn genuine() -> Operation {
    Operation::Chunk(chunk())
}

fn forged() -> Operation {
    let mut chunk = chunk();
    chunk.data[0] ^= 1;
    chunk.expected_leaf = hash::digest(HashAlgorithm::Sm3, &[&[0], &chunk.data]);
    Operation::Chunk(chunk)
}

fn bytes(len: usize) -> Operation {
    Operation::Digest { algorithm: HashAlgorithm::Sha256, data: vec![0; len] }
}

#[track_caller]
fn assert_opened(completions: &[Completion], ids: &[u64]) {
    let mut found: Vec<u64> = completions.iter().map(|completion| completion.id.0).collect();
    found.sort_unstable();
    assert_eq!(found, ids);
    for completion in completions {
        let Ok(Outcome::Chunk { data, running }) = &completion.result else { panic!("{completion:?}") };
        assert_eq!((&data[..], running[0].hashed), (&PLAIN[..], 1016));
    }
}

#[test]
fn a_device_answers_its_questions_before_it_gets_a_job() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.queue.counters().admitted, 1);
    let asked = bench.devices[0].submitted();
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_opened(&bench.drain(), &[1]);
    assert_eq!(bench.devices[0].submitted(), asked + 1);
    assert_eq!(bench.queue.counters().redone, 0);
}

#[test]
fn a_device_that_answers_its_questions_wrongly_never_gets_a_job() {
    for fault in [Fault::Fail, Fault::RejectAll, Fault::Babble] {
        let (engine, control) = FaultyEngine::new("device").unwrap();
        control.set(fault);
        let engines: Vec<Box<dyn Engine>> = vec![Box::new(engine), Box::new(SoftwareEngine::new().unwrap())];
        let queue = Queue::new(limits(), engines);
        let mut bench = Bench { queue, devices: vec![control], now: Instant::now() };
        for id in 0..20 {
            bench.submit(id, genuine(), 1000 * MS).unwrap();
            assert_opened(&bench.run_for(1000 * MS), &[id]);
        }
        assert_eq!((bench.queue.counters().admitted, bench.queue.counters().redone), (0, 0), "{fault:?}");
    }
}

#[test]
fn jobs_do_not_wait_for_a_device_that_is_being_asked() {
    let (engine, control) = FaultyEngine::new("device").expect("a sound build");
    control.set(Fault::Stall);
    let engines: Vec<Box<dyn Engine>> =
        vec![Box::new(engine), Box::new(SoftwareEngine::new().expect("a sound build"))];
    let mut bench =
        Bench { queue: Queue::new(limits(), engines), devices: vec![control], now: Instant::now() };
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_opened(&bench.drain(), &[1]);
    assert_eq!((bench.queue.counters().admitted, bench.devices[0].submitted()), (0, 1));
}

#[test]
fn what_a_failing_device_drops_is_done_by_the_next_engine_once() {
    let mut bench = Bench::new(2);
    bench.devices.iter().for_each(|device| device.set(Fault::Fail));
    let before: Vec<usize> = bench.devices.iter().map(FaultControl::submitted).collect();
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_opened(&bench.drain(), &[1]);
    let after: Vec<usize> = bench.devices.iter().map(FaultControl::submitted).collect();
    assert_eq!(after, [before[0] + 1, before[1] + 1]);
    assert_eq!(bench.in_use(), [false, false, true]);
    let counters = bench.queue.counters();
    assert_eq!((counters.redone, counters.failures, counters.completed), (2, 2, 1));
}

#[test]
fn a_device_comes_back_after_its_probation_and_not_before() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::Fail);
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_opened(&bench.drain(), &[1]);
    bench.devices[0].set(Fault::None);
    bench.run_for(999 * MS);
    assert_eq!(bench.in_use(), [false, true]);
    bench.run_for(MS);
    assert_eq!(bench.in_use(), [true, true]);
    assert_eq!(bench.queue.counters().admitted, 2);
}

#[test]
fn each_failure_in_a_row_doubles_the_wait() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::Fail);
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_opened(&bench.drain(), &[1]);
    let mut expected = 1000 * MS;
    for _ in 0..9 {
        assert_eq!(bench.queue.poll_timeout(), Some(bench.now + expected));
        bench.now += expected;
        assert!(bench.drain().is_empty());
        expected = (expected * 2).min(64_000 * MS);
    }
}

#[test]
fn a_device_that_rejects_genuine_data_is_overruled_and_retired() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::RejectAll);
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_opened(&bench.drain(), &[1]);
    let counters = bench.queue.counters();
    assert_eq!((counters.confirmations, counters.wrong_answers), (1, 1));
    assert_eq!(bench.in_use(), [false, true]);
}

#[test]
fn forged_data_is_refused_once_and_the_device_stays() {
    let mut bench = Bench::new(1);
    bench.submit(1, forged(), 1000 * MS).unwrap();
    let completions = bench.drain();
    assert_eq!(completions.len(), 1);
    assert_eq!(completions[0].result, Err(JobError::TagMismatch(Cipher::Sm4Gcm)));
    let counters = bench.queue.counters();
    assert_eq!((counters.confirmations, counters.wrong_answers, counters.redone), (1, 0, 0));
    assert_eq!(bench.in_use(), [true, true]);
}

#[test]
fn an_answer_to_another_question_is_a_failure() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::Babble);
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_opened(&bench.drain(), &[1]);
    assert_eq!((bench.queue.counters().failures, bench.in_use()), (1, vec![false, true]));
}

#[test]
fn a_hung_device_loses_its_jobs_when_patience_ends_and_its_late_answers_are_ignored() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::Stall);
    for id in 0..3 {
        bench.submit(id, genuine(), 1000 * MS).unwrap();
    }
    assert!(bench.run_for(99 * MS).is_empty());
    assert_opened(&bench.run_for(MS), &[0, 1, 2]);
    assert_eq!((bench.queue.counters().hangs, bench.queue.counters().redone), (1, 3));

    bench.devices[0].set(Fault::None);
    assert!(bench.run_for(10 * MS).is_empty());
    assert_eq!(bench.queue.counters().late, 3);
}

#[test]
fn a_hung_device_gets_only_half_of_a_short_deadline() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::Stall);
    bench.submit(1, genuine(), 40 * MS).unwrap();
    assert!(bench.run_for(19 * MS).is_empty());
    assert_opened(&bench.run_for(MS), &[1]);
}

#[test]
fn a_slow_device_within_patience_is_left_alone() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::Slow(20));
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    let mut completions = Vec::new();
    for _ in 0..30 {
        bench.now += MS;
        completions.extend(bench.drain());
    }
    assert_opened(&completions, &[1]);
    assert_eq!((bench.queue.counters().redone, bench.in_use()), (0, vec![true, true]));
}

#[test]
fn a_device_that_says_it_is_down_loses_its_jobs_at_once() {
    let mut bench = Bench::new(1);
    bench.devices[0].set(Fault::Stall);
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    bench.devices[0].set(Fault::Down);
    assert_opened(&bench.drain(), &[1]);
    assert_eq!(bench.in_use(), [false, true]);
}

#[test]
fn without_another_engine_a_failure_or_a_hang_is_the_answer() {
    for (fault, expected) in
        [(Fault::Fail, JobError::Engine("device error")), (Fault::Stall, JobError::Deadline)]
    {
        let mut bench = Bench::with(limits(), 1, false);
        bench.devices[0].set(fault);
        bench.submit(1, genuine(), 1000 * MS).unwrap();
        let completions = bench.run_for(100 * MS);
        assert_eq!(completions.len(), 1);
        assert_eq!(completions[0].result, Err(expected));
        assert!(bench.queue.is_empty());
    }
}

#[test]
fn without_the_cpu_a_devices_refusal_is_the_answer() {
    let mut bench = Bench::with(limits(), 2, false);
    bench.submit(1, forged(), 1000 * MS).unwrap();
    let completions = bench.drain();
    assert_eq!(completions[0].result, Err(JobError::TagMismatch(Cipher::Sm4Gcm)));
    assert_eq!((bench.queue.counters().confirmations, bench.in_use()), (0, vec![true, true]));
}

#[test]
fn a_job_whose_only_engine_is_down_ends_at_its_deadline() {
    let mut bench = Bench::with(limits(), 1, false);
    bench.devices[0].set(Fault::Fail);
    bench.submit(1, genuine(), 1000 * MS).unwrap();
    assert_eq!(bench.drain().len(), 1);
    bench.submit(2, genuine(), 50 * MS).unwrap();
    assert!(bench.run_for(49 * MS).is_empty());
    let completions = bench.run_for(MS);
    assert_eq!((completions[0].id, &completions[0].result), (JobId(2), &Err(JobError::Deadline)));
    assert_eq!(bench.queue.counters().expired, 1);
}

#[test]
fn a_job_past_its_deadline_at_submission_expires() {
    let mut bench = Bench::new(0);
    bench.submit(1, genuine(), Duration::ZERO).unwrap();
    assert_eq!(bench.drain()[0].result, Err(JobError::Deadline));
}

#[test]
fn the_bound_on_jobs_holds_until_completions_are_handed_out() {
    let mut bench = Bench::with(Limits { max_jobs: 3, ..limits() }, 0, true);
    for id in 0..3 {
        bench.submit(id, bytes(1), 1000 * MS).unwrap();
    }
    assert_eq!(bench.submit(3, bytes(1), 1000 * MS), Err(RefusedReason::Full));
    assert!(bench.queue.poll_completion(bench.now).is_some());
    bench.submit(3, bytes(1), 1000 * MS).unwrap();
    assert_eq!((bench.drain().len(), bench.queue.counters().refused), (3, 1));
}

#[test]
fn the_bound_on_bytes_is_exact() {
    let mut bench = Bench::with(Limits { max_bytes: 100, ..limits() }, 0, true);
    assert_eq!(bench.submit(0, bytes(101), 1000 * MS), Err(RefusedReason::Full));
    bench.submit(1, bytes(60), 1000 * MS).unwrap();
    assert_eq!(bench.submit(2, bytes(41), 1000 * MS), Err(RefusedReason::Full));
    bench.submit(3, bytes(40), 1000 * MS).unwrap();
    assert_eq!(bench.drain().len(), 2);
    bench.submit(4, bytes(100), 1000 * MS).unwrap();
}

#[test]
fn more_jobs_than_engines_have_room_for_all_complete() {
    let mut bench = Bench::new(1);
    for id in 0..64 {
        bench.submit(id, genuine(), 1000 * MS).unwrap();
    }
    assert_opened(&bench.drain(), &(0..64).collect::<Vec<_>>());
}

#[test]
fn jobs_are_routed_by_what_engines_can_do() {
    let (engine, control) = FaultyEngine::new("device").expect("a sound build");
    let engine = engine.with_capabilities(|it| {
        it.midstates = false;
        it.max_bytes = 2000;
    });
    let mut bench = Bench {
        queue: Queue::new(limits(), vec![Box::new(engine)]),
        devices: vec![control],
        now: Instant::now(),
    };
    assert!(bench.drain().is_empty());
    assert_eq!(bench.submit(1, genuine(), 1000 * MS), Err(RefusedReason::Unsupported));
    assert_eq!(bench.submit(2, bytes(2001), 1000 * MS), Err(RefusedReason::Unsupported));
    bench.submit(3, bytes(2000), 1000 * MS).unwrap();
    let without = ChunkOperation { running: Vec::new(), ..chunk() };
    bench.submit(4, Operation::Chunk(without), 1000 * MS).unwrap();
    assert_eq!(bench.drain().len(), 2);
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Slow(3)),
        1 => Just(Fault::Fail),
        1 => Just(Fault::RejectAll),
        1 => Just(Fault::Babble),
        1 => Just(Fault::Stall),
        1 => Just(Fault::Down),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever two devices do, with the CPU behind them every job gets the right answer, once, before its deadline.
    #[test]
    fn no_fault_of_a_device_changes_an_answer(
        steps in prop::collection::vec((faults(), faults(), any::<bool>(), 0_u32..400), 1..40),
    ) {
        let mut bench = Bench::new(2);
        let mut expected = BTreeMap::new();
        let mut found = Vec::new();
        for (id, (first, second, good, pause)) in steps.into_iter().enumerate() {
            bench.devices[0].set(first);
            bench.devices[1].set(second);
            let id = id as u64;
            expected.insert(id, good);
            bench.submit(id, if good { genuine() } else { forged() }, 1000 * MS).unwrap();
            found.extend(bench.run_for(pause * MS));
        }
        found.extend(bench.run_for(1000 * MS));
        prop_assert!(bench.queue.is_empty());
        prop_assert_eq!(found.len(), expected.len());
        for completion in found {
            let good = expected.remove(&completion.id.0);
            prop_assert_eq!(good, Some(completion.result.is_ok()));
            if good == Some(false) {
                prop_assert_eq!(completion.result, Err(JobError::TagMismatch(Cipher::Sm4Gcm)));
            }
        }
        prop_assert_eq!(bench.queue.counters().expired, 0);
    }
}
