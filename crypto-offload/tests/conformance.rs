//! What every engine must do, whatever is behind it.
//!
//! `GATEWAYD_TEST_DEVICE=/dev/sm_crypto` puts a real device's driver through the suite instead, and
//! `GATEWAYD_TEST_AF_ALG=yes` the kernel's own crypto.
#![cfg(feature = "testing")]

#[cfg(feature = "pkcs11")]
mod softhsm;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::device::emulator::{Emulator, Model};
use crypto_offload::device::{CharacterDevice, DeviceEngine, SocketDevice};
use crypto_offload::engine::{Capabilities, Engine, Health, Kind, RefusedReason};
use crypto_offload::job::{
    ChunkOperation, Cipher, Completion, Digest, HashAlgorithm, HashState, Job, JobError, JobId, Operation,
    Seal, SecretKey,
};
use crypto_offload::known_answer::known_answers;
use crypto_offload::software::{SoftwareEngine, aead, hash, run};
use crypto_offload::testing::{Fault, FaultyEngine, emulated_device};
use proptest::prelude::*;

const TIME: Duration = Duration::from_secs(5);
/// Names a device whose driver is to pass, alone.
const DEVICE: &str = "GATEWAYD_TEST_DEVICE";
/// Asks for the kernel's crypto to pass, alone.
#[cfg(feature = "af-alg")]
const AF_ALG: &str = "GATEWAYD_TEST_AF_ALG";

/// An engine, and what makes its time go by.
struct Subject {
    engine: Box<dyn Engine>,
    pause: Box<dyn FnMut()>,
}

impl Subject {
    fn software() -> Self {
        Self {
            engine: Box::new(SoftwareEngine::new().expect("a sound build and test")),
            pause: Box::new(|| {}),
        }
    }

    /// A test engine that takes three polls over each job.
    fn slow() -> Self {
        let (engine, control) = FaultyEngine::new("slow").expect("a sound build and test");
        control.set(Fault::Slow(3));
        Self { engine: Box::new(engine), pause: Box::new(|| {}) }
    }

    /// The device engine, over the wire, to an emulator on simulated time.
    fn emulated() -> Self {
        let emulator = Emulator::new(Model { depth: 4, ..Model::default() }).expect("a sound build and test");
        let (engine, control) = emulated_device(emulator, TIME).expect("a sound build and test");
        let pause = Box::new(move || control.advance(Duration::from_micros(1)));
        Self { engine: Box::new(engine), pause }
    }

    /// The device engine over a driver.
    fn driver(path: &Path) -> Self {
        let transport = CharacterDevice::open(path).expect("the device that the environment names");
        let start = Instant::now();
        let engine = DeviceEngine::open(transport, TIME, |_| {
            std::thread::yield_now();
            start.elapsed() < TIME
        });
        Self {
            engine: Box::new(engine.expect("it speaks the interface")),
            pause: Box::new(std::thread::yield_now),
        }
    }

    /// What the environment names, or the engine over the wire.
    fn device() -> Self {
        std::env::var_os(DEVICE).map_or_else(Self::emulated, |path| Self::driver(path.as_ref()))
    }

    /// The device engine, over a real socket, to an emulator on another thread.
    fn socket() -> Self {
        let directory = tempfile::tempdir().expect("a sound build and test");
        let path = directory.path().join("device");
        serve(path.clone());
        let transport = SocketDevice::connect(&path).expect("a sound build and test");
        let start = Instant::now();
        let engine = DeviceEngine::open(transport, TIME, |_| {
            std::thread::yield_now();
            start.elapsed() < TIME
        });
        // The directory lives as long as the subject.
        let pause = Box::new(move || {
            let _ = &directory;
            std::thread::yield_now();
        });
        Self { engine: Box::new(engine.expect("a sound build and test")), pause }
    }

    fn submit(&mut self, id: u64, operation: Operation) -> Result<(), RefusedReason> {
        let job = Job { id: JobId(id), deadline: Instant::now() + TIME, operation };
        self.engine.submit(job).map_err(|refused| refused.reason)
    }

    fn wait(&mut self) -> Completion {
        let start = Instant::now();
        loop {
            if let Some(completion) = self.engine.poll_completion() {
                return completion;
            }
            assert!(start.elapsed() < 4 * TIME, "no completion");
            (self.pause)();
        }
    }
}

/// Has an emulator listen, for one connection after the other.
fn serve(path: PathBuf) {
    let listener = UnixListener::bind(path).expect("a sound build and test");
    std::thread::spawn(move || {
        let model = Model { depth: 4, ..Model::default() };
        let mut emulator = Emulator::new(model).expect("a sound build and test");
        for stream in listener.incoming() {
            // One that is cut in the middle is a reset.
            let _ = emulator.serve(&stream.expect("a sound build and test"));
        }
    });
}

/// A token, in the run that has one.
#[cfg(feature = "pkcs11")]
fn token() -> Option<Subject> {
    use crypto_offload::pkcs11::{Module, Pkcs11Engine};
    let library = std::env::var_os(softhsm::LIBRARY)?;
    let module = Module::load(library.as_ref()).expect("a library");
    let token = module.open(softhsm::LABEL, &softhsm::PIN.to_owned().into()).expect("a token");
    let engine = Pkcs11Engine::new(token).expect("a thread");
    Some(Subject { engine: Box::new(engine), pause: Box::new(std::thread::yield_now) })
}

#[cfg(feature = "pkcs11")]
#[test]
fn a_token_passes_the_suite_too() {
    if std::env::var_os(softhsm::LIBRARY).is_none() {
        softhsm::run_again_with_a_token("a_token_passes_the_suite_too");
    }
}

fn subjects() -> Vec<(&'static str, Subject)> {
    #[cfg(feature = "pkcs11")]
    if let Some(subject) = token() {
        return vec![("pkcs11", subject)];
    }
    if let Some(path) = std::env::var_os(DEVICE) {
        return vec![("driver", Subject::driver(path.as_ref()))];
    }
    #[cfg(feature = "af-alg")]
    if std::env::var_os(AF_ALG).is_some() {
        let engine = crypto_offload::af_alg::AfAlgEngine::open().expect("the kernel has it");
        return vec![(
            "af-alg",
            Subject { engine: Box::new(engine), pause: Box::new(std::thread::yield_now) },
        )];
    }
    vec![
        ("software", Subject::software()),
        ("slow", Subject::slow()),
        ("emulated", Subject::emulated()),
        ("socket", Subject::socket()),
    ]
}

fn seal(cipher: Cipher) -> Seal {
    let key = Arc::new(SecretKey::new(vec![7; cipher.key_len()]));
    Seal { cipher, key, nonce: [1; 12], aad: b"chunk 0".to_vec() }
}

/// A chunk of what the engine can do: the last of its hash functions and ciphers, and midstates if it takes them.
fn chunk(engine: &Capabilities, plain: &[u8]) -> ChunkOperation {
    let seal = engine.ciphers.last().map(|&cipher| seal(cipher));
    let tree_algorithm = engine.hashes.last().copied().expect("a hash function");
    let sealed = |seal| aead::seal(seal, plain.to_vec()).expect("a key of the right length");
    let data = seal.as_ref().map_or_else(|| plain.to_vec(), sealed);
    let mut running = Vec::new();
    if engine.midstates {
        let before = hash::advance(&HashState::new(HashAlgorithm::Sha256), b"before");
        running = vec![before.expect("a state"), HashState::new(HashAlgorithm::Sm3)];
    }
    let expected_leaf = hash::digest(tree_algorithm, &[&[0, 1, 2], &data]);
    ChunkOperation { tree_algorithm, leaf_prefix: vec![0, 1, 2], expected_leaf, running, seal, data }
}

/// Every way a chunk can be wrong, and some in which it is right.
fn chunks(engine: &Capabilities) -> Vec<ChunkOperation> {
    let sound = chunk(engine, &[9; 1000]);
    let leaf = |data: &[u8]| hash::digest(sound.tree_algorithm, &[&[0, 1, 2], data]);
    let mut forged = sound.clone();
    forged.data[5] ^= 1;
    let mut forged_tag = forged.clone();
    forged_tag.expected_leaf = leaf(&forged.data);
    let other_leaf =
        ChunkOperation { expected_leaf: Digest::new(&[3; 64]).expect("64 bytes"), ..sound.clone() };
    let mut midstate = sound.clone();
    if let Some(state) = midstate.running.first_mut() {
        state.midstate[40] ^= 1;
    }
    let mut short_key = sound.clone();
    if let Some(seal) = &mut short_key.seal {
        seal.key = Arc::new(SecretKey::new(vec![1; 15]));
    }
    let clear = ChunkOperation { seal: None, ..sound.clone() };
    let not_running = ChunkOperation { running: Vec::new(), ..sound.clone() };
    let stump = ChunkOperation { data: vec![1; 15], expected_leaf: leaf(&[1; 15]), ..sound.clone() };
    let nothing = ChunkOperation { data: Vec::new(), expected_leaf: leaf(&[]), ..clear.clone() };
    vec![sound, forged, forged_tag, other_leaf, midstate, short_key, clear, not_running, stump, nothing]
}

#[test]
fn every_known_question_is_answered_as_published() {
    for (name, mut subject) in subjects() {
        println!("{name}: {}", subject.engine.identity());
        let Capabilities { hashes, ciphers, schemes, .. } = subject.engine.capabilities();
        let (hashes, ciphers, schemes) = (hashes.len(), ciphers.len(), schemes.len());
        let questions = known_answers(subject.engine.capabilities());
        // A right and a wrong one for each, and a digest's.
        assert_eq!(questions.len(), hashes + 2 * (ciphers + schemes + hashes * ciphers), "{name}");
        for (id, question) in (0..).zip(questions) {
            subject.submit(id, question.operation).unwrap();
            let completion = subject.wait();
            assert_eq!((completion.id, completion.result), (JobId(id), question.expected), "{name}");
        }
    }
}

#[test]
fn every_way_a_chunk_can_be_wrong_ends_as_on_the_cpu() {
    for (name, mut subject) in subjects() {
        let capabilities = subject.engine.capabilities().clone();
        for (id, chunk) in (0..).zip(chunks(&capabilities)) {
            subject.submit(id, Operation::Chunk(chunk.clone())).unwrap();
            assert_eq!(subject.wait().result, run(Operation::Chunk(chunk)), "{name}, chunk {id}");
        }
    }
}

#[test]
fn as_many_jobs_as_claimed_are_taken_and_each_is_completed_once() {
    for (name, mut subject) in subjects() {
        let capabilities = subject.engine.capabilities().clone();
        let depth = capabilities.depth as u64;
        for id in 0..depth {
            subject.submit(id, Operation::Chunk(chunk(&capabilities, &[1; 100]))).unwrap();
        }
        assert_eq!(
            subject.submit(depth, Operation::Chunk(chunk(&capabilities, &[1]))),
            Err(RefusedReason::Full),
            "{name}"
        );
        let mut found: Vec<u64> = (0..depth).map(|_| subject.wait().id.0).collect();
        found.sort_unstable();
        assert_eq!(found, (0..depth).collect::<Vec<_>>(), "{name}");
        assert!(subject.engine.poll_completion().is_none(), "{name}");
        assert_eq!(subject.engine.health(), Health::Up, "{name}");
    }
}

#[test]
fn a_refused_job_comes_back_as_it_was() {
    for (name, mut subject) in subjects() {
        let most = subject.engine.capabilities().max_bytes;
        let data = vec![6; most + 1];
        let operation = Operation::Digest { algorithm: HashAlgorithm::Sha256, data };
        let job = Job { id: JobId(1), deadline: Instant::now(), operation };
        let refused = subject.engine.submit(job).unwrap_err();
        assert_eq!(
            (refused.reason, refused.job.operation.len()),
            (RefusedReason::Unsupported, most + 1),
            "{name}"
        );
    }
}

#[test]
fn a_healthy_engine_that_is_asked_to_recover_loses_nothing() {
    for (name, mut subject) in subjects() {
        let capabilities = subject.engine.capabilities().clone();
        subject.engine.recover();
        subject.submit(1, Operation::Chunk(chunk(&capabilities, &[1; 100]))).unwrap();
        assert!(subject.wait().result.is_ok(), "{name}");
        assert!(!subject.engine.identity().is_empty(), "{name}");
        let device = subject.engine.capabilities().kind == Kind::Device;
        assert_eq!(device, name != "software");
    }
}

#[test]
fn a_device_that_is_reset_in_the_middle_of_its_work_gives_it_up_and_works_on() {
    let mut subjects = subjects();
    subjects.retain(|(name, _)| ["emulated", "socket", "driver"].contains(name));
    for (name, mut subject) in subjects {
        let capabilities = subject.engine.capabilities().clone();
        let most = capabilities.max_bytes.min(100_000);
        for id in 0..capabilities.depth as u64 {
            subject.submit(id, Operation::Chunk(chunk(&capabilities, &vec![1; most - 16]))).unwrap();
        }
        subject.engine.recover();
        for _ in 0..capabilities.depth {
            let result = subject.wait().result;
            assert!(matches!(result, Err(JobError::Engine(_))), "{name}: {result:?}");
        }
        let again = chunk(&capabilities, &[1; 1000]);
        subject.submit(1000, Operation::Chunk(again.clone())).unwrap();
        let completion = subject.wait();
        assert_eq!((completion.id, completion.result), (JobId(1000), run(Operation::Chunk(again))), "{name}");
        assert_eq!(subject.engine.health(), Health::Up, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A device over the wire computes what the CPU computes, for any data and at any place in a file.
    #[test]
    fn a_device_agrees_with_the_cpu(
        before in 0_usize..300,
        plain in prop::collection::vec(any::<u8>(), 0..700),
        prefix in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut subject = Subject::device();
        let Capabilities { hashes, ciphers, .. } = subject.engine.capabilities().clone();
        for (id, algorithm) in hashes.into_iter().enumerate() {
            for &cipher in &ciphers {
                let data = aead::seal(&seal(cipher), plain.clone()).unwrap();
                let running = hash::advance(&HashState::new(algorithm), &vec![1; before]).unwrap();
                let operation = Operation::Chunk(ChunkOperation {
                    tree_algorithm: algorithm,
                    expected_leaf: hash::digest(algorithm, &[&prefix, &data]),
                    leaf_prefix: prefix.clone(),
                    running: vec![running],
                    seal: Some(seal(cipher)),
                    data,
                });
                subject.submit(id as u64, operation.clone()).unwrap();
                prop_assert_eq!(subject.wait().result, run(operation));
            }
        }
    }
}
