//! What the chunk pipeline costs beyond the arithmetic inside it, on one core.
//!
//! `cargo run --release -p crypto-offload --example rates`
//!
//! A chunk is hashed for its leaf, hashed into the whole-file hash, and opened. The goal is the rate at which the same
//! three steps run when the libraries are called with nothing around them, less 5 %.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::job::{
    ChunkOperation, Cipher, HashAlgorithm, HashState, Job, JobId, Operation, Outcome, Seal, SecretKey,
};
use crypto_offload::queue::{Limits, Queue};
use crypto_offload::software::{SoftwareEngine, aead};

/// As the publishing tool cuts images by default.
const CHUNK: usize = 64 * 1024;
/// Chunks per sample.
const CHUNKS: usize = 16;
/// The best of so many samples counts: whatever else the machine does can only make one slower.
const SAMPLES: usize = 40;
/// Part of the raw rate that the pipeline must reach.
const SHARE: f64 = 0.95;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("# {CHUNK} byte chunks, best of {SAMPLES} samples of {CHUNKS}, one core");
    let aes = seal(Cipher::Aes256Gcm);
    report("chunk-sha256-aes256gcm", HashAlgorithm::Sha256, &aes, raw_hash::<sha2::Sha256>, raw_aes)?;
    let sm4 = seal(Cipher::Sm4Gcm);
    report("chunk-sm3-sm4gcm", HashAlgorithm::Sm3, &sm4, raw_hash::<sm3::Sm3>, raw_sm4)?;
    Ok(())
}

fn report(
    name: &str,
    algorithm: HashAlgorithm,
    seal: &Seal,
    raw_hash: fn(&[u8]) -> u8,
    raw_open: fn(&Seal, Vec<u8>) -> Vec<u8>,
) -> Result<(), Box<dyn std::error::Error>> {
    let sealed = aead::seal(seal, vec![0x5a; CHUNK])?;
    let mut queue = Queue::new(Limits::default(), vec![Box::new(SoftwareEngine::new()?)]);
    let mut best = [Duration::MAX; 3];
    // The three take turns, so that a slow spell of the machine hits them alike.
    for _ in 0..SAMPLES {
        let took = [
            sample(|| {
                black_box(raw_hash(black_box(&sealed)));
                black_box(raw_hash(black_box(&sealed)));
            }),
            sample_buffers(&sealed, |data| raw_open(seal, data)),
            pipeline(&mut queue, algorithm, seal, &sealed)?,
        ];
        for (best, took) in best.iter_mut().zip(took) {
            *best = took.min(*best);
        }
    }
    let [hash, open, pipeline] = best.map(|took| took.as_secs_f64());
    #[allow(clippy::cast_precision_loss, reason = "about a million bytes")]
    let megabytes = (CHUNK * CHUNKS) as f64 / 1e6;
    let (value, goal) = (megabytes / pipeline, SHARE * megabytes / (hash + open));
    let verdict = if value >= goal { "met" } else { "short" };
    println!("# {name}: raw hash twice {:.0} MB/s, raw open {:.0} MB/s", megabytes / hash, megabytes / open);
    println!("figure {name} {value:.0} MB/s goal >= {goal:.0} {verdict}");
    Ok(())
}

/// Chunk operations through the queue, as the gateway does it.
fn pipeline(
    queue: &mut Queue,
    algorithm: HashAlgorithm,
    seal: &Seal,
    sealed: &[u8],
) -> Result<Duration, Box<dyn std::error::Error>> {
    let leaf_prefix = vec![0; 9];
    let expected_leaf = crypto_offload::software::hash::digest(algorithm, &[&leaf_prefix, sealed]);
    let mut running = vec![HashState::new(algorithm)];
    let mut took = Duration::ZERO;
    for id in 0..CHUNKS as u64 {
        let chunk = ChunkOperation {
            tree_algorithm: algorithm,
            leaf_prefix: leaf_prefix.clone(),
            expected_leaf,
            running,
            seal: Some(seal.clone()),
            data: sealed.to_vec(),
        };
        let now = Instant::now();
        let deadline = now + Duration::from_secs(10);
        queue.submit(now, Job { id: JobId(id), deadline, operation: Operation::Chunk(chunk) })?;
        let completion = queue.poll_completion(now).ok_or("no completion")?;
        took += now.elapsed();
        let Outcome::Chunk { running: advanced, .. } = completion.result? else {
            return Err("not a chunk".into());
        };
        running = advanced;
    }
    Ok(took)
}

fn sample(mut step: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..CHUNKS {
        step();
    }
    start.elapsed()
}

/// Times `step` on a fresh copy of `data`; making the copy and dropping it does not count.
fn sample_buffers(data: &[u8], step: impl Fn(Vec<u8>) -> Vec<u8>) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..CHUNKS {
        let copy = data.to_vec();
        let start = Instant::now();
        let opened = black_box(step(copy));
        took += start.elapsed();
        drop(opened);
    }
    took
}

fn seal(cipher: Cipher) -> Seal {
    let key = Arc::new(SecretKey::new(vec![7; cipher.key_len()]));
    Seal { cipher, key, nonce: [1; Cipher::NONCE_LEN], aad: vec![0; 31] }
}

fn raw_hash<D: sha2::Digest>(data: &[u8]) -> u8 {
    D::digest(data)[0]
}

#[cfg(feature = "aws-lc")]
fn raw_aes(seal: &Seal, mut data: Vec<u8>) -> Vec<u8> {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = UnboundKey::new(&AES_256_GCM, seal.key.expose()).expect("32 bytes");
    let nonce = Nonce::assume_unique_for_key(seal.nonce);
    LessSafeKey::new(key).open_in_place(nonce, Aad::from(&seal.aad), &mut data).expect("sealed above");
    data
}

#[cfg(not(feature = "aws-lc"))]
fn raw_aes(seal: &Seal, data: Vec<u8>) -> Vec<u8> {
    raw_open::<aes_gcm::Aes256Gcm>(seal, data)
}

fn raw_sm4(seal: &Seal, data: Vec<u8>) -> Vec<u8> {
    raw_open::<aes_gcm::AesGcm<sm4::Sm4, aes_gcm::aead::consts::U12>>(seal, data)
}

fn raw_open<A>(seal: &Seal, mut data: Vec<u8>) -> Vec<u8>
where
    A: aes_gcm::KeyInit + aes_gcm::aead::AeadInOut<NonceSize = aes_gcm::aead::consts::U12>,
{
    let key = A::new_from_slice(seal.key.expose()).expect("a key of the cipher's length");
    let nonce = aes_gcm::aead::Nonce::<A>::from(seal.nonce);
    key.decrypt_in_place(&nonce, &seal.aad, &mut data).expect("sealed above");
    data
}
