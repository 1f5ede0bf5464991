//! What the chunk pipeline costs beyond the arithmetic inside it, on one core.
//!
//! A chunk is hashed for its leaf, hashed into the whole-file hash, and opened. The goal is the rate at which the same
//! three steps run when the fastest libraries are called with nothing around them, less 5 %; or less 10 % where those are
//! AWS-LC's.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::job::{
    ChunkOperation, Cipher, HashAlgorithm, HashState, Job, JobId, Operation, Seal, SecretKey,
};
use crypto_offload::queue::{Limits, Queue};
use crypto_offload::sm3::Sm3;
use crypto_offload::sm4::Sm4Gcm;
use crypto_offload::software::{SoftwareEngine, aead, hash};

use crate::clock::cpu_time;
use crate::report::{Goal, figure};

/// As the publishing tool cuts images by default.
const CHUNK: usize = 64 * 1024;
/// The best of so many chunks counts: whatever else the machine does can only make one slower. One chunk per sample,
/// since a longer sample rarely escapes the scheduler on a busy machine.
const SAMPLES: usize = 600;
/// Part of the raw rate that the pipeline must reach.
const SHARE: f64 = 0.95;
/// The same where AWS-LC does the raw work.
const SHARE_OF_AWS_LC: f64 = if cfg!(feature = "aws-lc") { 0.9 } else { SHARE };

/// Both pipelines.
pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
    println!("# {CHUNK} byte chunks, best of {SAMPLES}, one core");
    let aes = seal(Cipher::Aes256Gcm);
    report("chunk-sha256-aes256gcm", HashAlgorithm::Sha256, &aes, SHARE_OF_AWS_LC, raw_sha256, raw_aes)?;
    let sm4 = seal(Cipher::Sm4Gcm);
    report("chunk-sm3-sm4gcm", HashAlgorithm::Sm3, &sm4, SHARE, |data| Sm3::digest(data)[0], raw_sm4)?;
    Ok(())
}

fn report(
    name: &str,
    algorithm: HashAlgorithm,
    seal: &Seal,
    share: f64,
    raw_hash: fn(&[u8]) -> u8,
    raw_open: fn(&Seal, Vec<u8>) -> Vec<u8>,
) -> Result<(), Box<dyn std::error::Error>> {
    let sealed = aead::seal(seal, vec![0x5a; CHUNK])?;
    let mut queue = Queue::new(Limits::default(), vec![Box::new(SoftwareEngine::new()?)]);
    let mut best = [f64::MAX; 3];
    // The three take turns, so that a slow spell of the machine hits them alike.
    for _ in 0..SAMPLES {
        let start = cpu_time();
        black_box(raw_hash(black_box(&sealed)));
        black_box(raw_hash(black_box(&sealed)));
        let hash_took = cpu_time() - start;

        let copy = sealed.clone();
        let start = cpu_time();
        let opened = black_box(raw_open(seal, copy));
        let open_took = cpu_time() - start;
        drop(opened);

        let took = [hash_took, open_took, pipeline(&mut queue, algorithm, seal, &sealed)?];
        for (best, took) in best.iter_mut().zip(took) {
            *best = best.min(took);
        }
    }
    let [hash, open, pipeline] = best;
    #[allow(clippy::cast_precision_loss, reason = "65536 is exact")]
    let megabytes = CHUNK as f64 / 1e6;
    let [pipeline_rate, hash_rate, open_rate] = [pipeline, hash, open].map(|took| megabytes / took);
    println!("# {name}: {pipeline_rate:.0} MB/s; raw hash twice {hash_rate:.0}, raw open {open_rate:.0}");
    figure(&format!("{name}-by-raw"), (hash + open) / pipeline, "ratio", Goal::AtLeast(share));
    Ok(())
}

/// One chunk operation through the queue, as the gateway does it, from the middle of an image.
fn pipeline(
    queue: &mut Queue,
    algorithm: HashAlgorithm,
    seal: &Seal,
    sealed: &[u8],
) -> Result<f64, Box<dyn std::error::Error>> {
    let leaf_prefix = vec![0; 9];
    let chunk = ChunkOperation {
        tree_algorithm: algorithm,
        expected_leaf: hash::digest(algorithm, &[&leaf_prefix, sealed]),
        leaf_prefix,
        running: vec![hash::advance(&HashState::new(algorithm), sealed)?],
        seal: Some(seal.clone()),
        data: sealed.to_vec(),
    };
    let now = Instant::now();
    let deadline = now + Duration::from_secs(10);
    let start = cpu_time();
    queue.submit(now, Job { id: JobId(1), deadline, operation: Operation::Chunk(chunk) })?;
    let completion = queue.poll_completion(now).ok_or("no completion")?;
    let took = cpu_time() - start;
    completion.result?;
    Ok(took)
}

fn seal(cipher: Cipher) -> Seal {
    let key = Arc::new(SecretKey::new(vec![7; cipher.key_len()]));
    Seal { cipher, key, nonce: [1; Cipher::NONCE_LEN], aad: vec![0; 31] }
}

#[cfg(feature = "aws-lc")]
fn raw_sha256(data: &[u8]) -> u8 {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data).as_ref()[0]
}

#[cfg(not(feature = "aws-lc"))]
fn raw_sha256(data: &[u8]) -> u8 {
    <sha2::Sha256 as sha2::Digest>::digest(data)[0]
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

fn raw_sm4(seal: &Seal, mut data: Vec<u8>) -> Vec<u8> {
    let key = Sm4Gcm::new(seal.key.expose().try_into().expect("16 bytes"));
    let (text, tag) = data.split_last_chunk_mut::<{ Cipher::TAG_LEN }>().expect("sealed above");
    key.open_in_place(&seal.nonce, &seal.aad, text, tag).expect("sealed above");
    data
}

#[cfg(not(feature = "aws-lc"))]
fn raw_open<A>(seal: &Seal, mut data: Vec<u8>) -> Vec<u8>
where
    A: aes_gcm::KeyInit + aes_gcm::aead::AeadInOut<NonceSize = aes_gcm::aead::consts::U12>,
{
    let key = A::new_from_slice(seal.key.expose()).expect("a key of the cipher's length");
    let nonce = aes_gcm::aead::Nonce::<A>::from(seal.nonce);
    key.decrypt_in_place(&nonce, &seal.aad, &mut data).expect("sealed above");
    data
}
