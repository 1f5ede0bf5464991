//! Keys that rest in a coprocessor: what is sent, what stays, and what becomes of it after a failure.
#![cfg(feature = "testing")]
#![allow(
    clippy::result_large_err,
    reason = "an error is the rare case and carries both digests of a mismatch"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::device::DeviceEngine;
use crypto_offload::device::emulator::{Control, Emulator, EmulatorFault, Loopback, Model};
use crypto_offload::engine::{Engine, Health};
use crypto_offload::job::{Cipher, Completion, Job, JobError, JobId, Operation, Outcome, Seal, SecretKey};
use crypto_offload::software::aead;
use crypto_offload::testing::emulated_device;

const US: Duration = Duration::from_micros(1);

struct Bench {
    engine: DeviceEngine<Loopback>,
    control: Control,
    next_id: u64,
}

fn key(fill: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::new(vec![fill; 16]))
}

impl Bench {
    fn new(model: Model) -> Self {
        let emulator = Emulator::new(model).expect("a sound build");
        let (engine, control) = emulated_device(emulator, Duration::from_secs(1)).expect("a sound build");
        Self { engine, control, next_id: 0 }
    }

    fn submit(&mut self, key: &Arc<SecretKey>) {
        let seal = Seal { cipher: Cipher::Sm4Gcm, key: Arc::clone(key), nonce: [3; 12], aad: vec![1, 2] };
        let data = aead::seal(&seal, vec![9; 100]).expect("a key of the right length");
        let id = JobId(self.next_id);
        self.next_id += 1;
        let deadline = Instant::now() + Duration::from_secs(1000);
        let job = Job { id, deadline, operation: Operation::Open { seal, data } };
        self.engine.submit(job).expect("room");
    }

    fn next(&mut self) -> Completion {
        for _ in 0..10_000 {
            if let Some(completion) = self.engine.poll_completion() {
                return completion;
            }
            self.control.advance(US);
        }
        panic!("no completion");
    }

    fn open(&mut self, key: &Arc<SecretKey>) -> Result<Outcome, JobError> {
        self.submit(key);
        self.next().result
    }

    /// Lets the device do what it was told besides jobs.
    fn settle(&mut self) {
        for _ in 0..100 {
            assert!(self.engine.poll_completion().is_none());
            self.control.advance(US);
        }
    }

    /// Keys in the device, and keys that were sent so far.
    fn keys(&self) -> (usize, u64) {
        self.control.change(|device| (device.keys(), device.raw_keys()))
    }

    fn order_next(&self, fault: EmulatorFault) {
        self.control.change(|device| {
            let next = device.requests();
            device.order(next, fault);
        });
    }
}

fn opened() -> Result<Outcome, JobError> {
    Ok(Outcome::Opened(vec![9; 100]))
}

#[test]
fn a_key_is_sent_once_and_leaves_the_device_with_its_last_owner() {
    let mut bench = Bench::new(Model::default());
    let first = key(1);
    for _ in 0..5 {
        assert_eq!(bench.open(&first), opened());
    }
    assert_eq!(bench.keys(), (1, 1));
    let second = key(2);
    assert_eq!(bench.open(&second), opened());
    assert_eq!(bench.keys(), (2, 2));
    drop(first);
    bench.settle();
    assert_eq!(bench.keys(), (1, 2));
    assert_eq!(bench.open(&second), opened());
    assert_eq!(bench.keys(), (1, 2));
}

#[test]
fn jobs_that_come_before_the_key_has_arrived_wait_for_it() {
    let mut bench = Bench::new(Model { depth: 4, ..Model::default() });
    let key = key(1);
    for _ in 0..4 {
        bench.submit(&key);
    }
    let mut ids: Vec<u64> = (0..4)
        .map(|_| {
            let completion = bench.next();
            assert_eq!(completion.result, opened());
            completion.id.0
        })
        .collect();
    ids.sort_unstable();
    assert_eq!((ids, bench.keys()), (vec![0, 1, 2, 3], (1, 1)));
}

#[test]
fn a_device_is_never_asked_for_more_at_once_than_it_takes() {
    // Its emulator refuses the request beyond, which would fail a job.
    for depth in 1..4 {
        let mut bench = Bench::new(Model { depth, keys: 4, ..Model::default() });
        for turn in 0..50 {
            let keys: Vec<_> = (0..depth).map(|at| key(u8::try_from(at + turn).expect("few"))).collect();
            keys.iter().for_each(|key| bench.submit(key));
            // Their owners drop them while they are in use.
            drop(keys);
            for _ in 0..depth {
                assert_eq!(bench.next().result, opened(), "depth {depth}, turn {turn}");
            }
        }
        bench.settle();
        assert_eq!(bench.keys().0, 0, "depth {depth}");
    }
}

#[test]
fn what_has_no_room_in_the_device_goes_along() {
    for (room, loaded) in [(2, 2), (0, 0)] {
        let mut bench = Bench::new(Model { keys: room, ..Model::default() });
        let keys = [key(1), key(2), key(3)];
        for _ in 0..2 {
            for key in &keys {
                assert_eq!(bench.open(key), opened());
            }
        }
        assert_eq!(bench.keys(), (loaded, if room == 0 { 6 } else { 4 }), "room for {room}");
    }
}

#[test]
fn a_device_that_has_no_room_after_all_is_sent_the_key_each_time() {
    let mut bench = Bench::new(Model { keys: 2, ..Model::default() });
    // It has said two, and has one.
    bench.control.change(|device| device.capability_mut().keys = 1);
    let keys = [key(1), key(2)];
    for _ in 0..2 {
        for key in &keys {
            assert_eq!(bench.open(key), opened());
        }
    }
    // Loaded, loaded in vain, then along with both of its jobs.
    assert_eq!(bench.keys(), (1, 4));
}

#[test]
fn a_key_that_the_device_has_lost_fails_its_job_and_is_loaded_again_for_the_next() {
    let mut bench = Bench::new(Model::default());
    let key = key(1);
    assert_eq!(bench.open(&key), opened());
    bench.order_next(EmulatorFault::ForgetKeys);
    assert_eq!(bench.open(&key), Err(JobError::Engine("device does not have the key")));
    assert_eq!(bench.open(&key), opened());
    assert_eq!(bench.keys(), (1, 2));
}

#[test]
fn keys_are_loaded_again_after_a_reset() {
    let mut bench = Bench::new(Model::default());
    let (kept, dropped) = (key(1), key(2));
    assert!(bench.open(&kept) == opened() && bench.open(&dropped) == opened());
    bench.order_next(EmulatorFault::Die);
    assert!(matches!(bench.open(&kept), Err(JobError::Engine(_))));
    assert!(matches!(bench.engine.health(), Health::Down(_)));
    drop(dropped);
    bench.engine.recover();
    bench.settle();
    assert_eq!(bench.keys(), (0, 2));
    assert_eq!(bench.open(&kept), opened());
    assert_eq!((bench.keys(), bench.engine.health()), ((1, 3), Health::Up));
}

#[test]
fn a_device_that_fails_to_load_or_to_drop_a_key_has_failed() {
    for fault in [
        EmulatorFault::Fail,
        EmulatorFault::WrongTag,
        EmulatorFault::ShortWrite,
        EmulatorFault::Garble,
        EmulatorFault::WrongId,
    ] {
        let mut bench = Bench::new(Model::default());
        bench.order_next(fault);
        let key = key(1);
        assert!(matches!(bench.open(&key), Err(JobError::Engine(_))), "{fault:?} of loading");
    }
    let mut bench = Bench::new(Model::default());
    assert_eq!(bench.open(&key(1)), opened());
    bench.order_next(EmulatorFault::Fail);
    bench.settle();
    assert_eq!(bench.engine.health(), Health::Down("device does not drop a key"));
}
