//! The software engine: known answers, refusals, and the order inside a chunk operation.
#![cfg(feature = "software")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::engine::{Engine as _, Refused, RefusedReason};
use crypto_offload::job::{
    ChunkOperation, Cipher, Digest, HashAlgorithm, HashState, Job, JobError, JobId, Operation, Outcome, Seal,
    SecretKey,
};
use crypto_offload::known_answer::known_answers;
use crypto_offload::software::{SoftwareEngine, aead, hash, run};

fn job(id: u64, operation: Operation) -> Job {
    Job { id: JobId(id), deadline: Instant::now() + Duration::from_secs(1), operation }
}

fn seal(cipher: Cipher) -> Seal {
    let key = Arc::new(SecretKey::new(vec![7; cipher.key_len()]));
    Seal { cipher, key, nonce: [1; 12], aad: b"chunk 0".to_vec() }
}

fn chunk(cipher: Cipher, algorithm: HashAlgorithm, plain: &[u8]) -> ChunkOperation {
    let data = aead::seal(&seal(cipher), plain.to_vec()).expect("a key of the right length");
    ChunkOperation {
        tree_algorithm: algorithm,
        leaf_prefix: vec![0, 1, 2],
        expected_leaf: hash::digest(algorithm, &[&[0, 1, 2], &data]),
        running: vec![HashState::new(HashAlgorithm::Sha256), HashState::new(HashAlgorithm::Sm3)],
        seal: Some(seal(cipher)),
        data,
    }
}

#[test]
fn the_known_questions_cover_every_algorithm_both_ways() {
    let engine = SoftwareEngine::new().unwrap();
    let answers = known_answers(engine.capabilities());
    // 3 digests, 3 ciphers and 4 schemes accepted and refused, 3 x 3 chunks accepted and refused.
    assert_eq!(answers.len(), 3 + 6 + 8 + 18);
    for answer in answers {
        assert_eq!(run(answer.operation), answer.expected, "{}", answer.name);
    }
}

#[test]
fn jobs_complete_in_order_and_one_too_many_comes_back() {
    let mut engine = SoftwareEngine::new().unwrap();
    let depth = engine.capabilities().depth as u64;
    let digest = || Operation::Digest { algorithm: HashAlgorithm::Sm3, data: vec![1] };
    for id in 0..depth {
        engine.submit(job(id, digest())).unwrap();
    }
    let Refused { job: back, reason } = engine.submit(job(depth, digest())).unwrap_err();
    assert_eq!((back.id, reason), (JobId(depth), RefusedReason::Full));
    for id in 0..depth {
        assert_eq!(engine.poll_completion().unwrap().id, JobId(id));
    }
    assert!(engine.poll_completion().is_none());
}

#[test]
fn a_buffer_past_the_limit_is_unsupported() {
    let mut engine = SoftwareEngine::new().unwrap();
    let limit = engine.capabilities().max_bytes;
    let digest = |len| Operation::Digest { algorithm: HashAlgorithm::Sha256, data: vec![0; len] };
    assert!(engine.capabilities().supports(&digest(limit)));
    let refused = engine.submit(job(1, digest(limit + 1))).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Unsupported);
}

#[test]
fn a_genuine_chunk_comes_back_open_in_its_own_buffer() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Sm4Gcm] {
        for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sm3] {
            let chunk = chunk(cipher, algorithm, &[9; 1000]);
            let (address, stored) = (chunk.data.as_ptr(), chunk.data.clone());
            let Ok(Outcome::Chunk { data, running }) = run(Operation::Chunk(chunk)) else {
                panic!("{cipher:?} {algorithm:?} refused")
            };
            assert_eq!((data.as_ptr(), &data[..]), (address, &[9; 1000][..]));
            for state in running {
                assert_eq!(state.hashed, stored.len() as u64);
                assert_eq!(hash::finish(&state).unwrap(), hash::digest(state.algorithm, &[&stored]));
            }
        }
    }
}

#[test]
fn the_leaf_is_checked_before_anything_else() {
    // The tag, the midstate and the key length are wrong too: if any of them was looked at, its error would show.
    let mut chunk = chunk(Cipher::Sm4Gcm, HashAlgorithm::Sm3, &[9; 100]);
    let expected = chunk.expected_leaf;
    chunk.data[50] ^= 1;
    chunk.running[0].midstate = vec![1];
    chunk.seal.as_mut().unwrap().key = Arc::new(SecretKey::new(vec![1]));
    let found = hash::digest(HashAlgorithm::Sm3, &[&chunk.leaf_prefix, &chunk.data]);
    assert_eq!(run(Operation::Chunk(chunk)), Err(JobError::LeafMismatch { expected, found }));
}

#[test]
fn a_leaf_of_another_length_does_not_match() {
    let mut chunk = chunk(Cipher::Sm4Gcm, HashAlgorithm::Sm3, &[9; 100]);
    let long = [chunk.expected_leaf.as_bytes(), &[0; 32]].concat();
    chunk.expected_leaf = Digest::new(&long).unwrap();
    assert!(matches!(run(Operation::Chunk(chunk)), Err(JobError::LeafMismatch { .. })));
}

#[test]
fn a_chunk_sealed_with_another_key_is_refused_after_its_leaf_matched() {
    let mut chunk = chunk(Cipher::Aes256Gcm, HashAlgorithm::Sha256, &[9; 100]);
    chunk.seal.as_mut().unwrap().nonce = [2; 12];
    assert_eq!(run(Operation::Chunk(chunk)), Err(JobError::TagMismatch(Cipher::Aes256Gcm)));
}

#[test]
fn a_damaged_midstate_is_the_submitters_fault() {
    let mut chunk = chunk(Cipher::Aes256Gcm, HashAlgorithm::Sha256, &[9; 100]);
    chunk.running[1].hashed = 5;
    assert_eq!(run(Operation::Chunk(chunk)), Err(JobError::Midstate(HashAlgorithm::Sm3)));
}

#[test]
fn a_clear_chunk_comes_back_as_it_is() {
    let mut chunk = chunk(Cipher::Aes256Gcm, HashAlgorithm::Sha256, &[9; 100]);
    chunk.seal = None;
    let stored = chunk.data.clone();
    let Ok(Outcome::Chunk { data, .. }) = run(Operation::Chunk(chunk)) else { panic!("refused") };
    assert_eq!(data, stored);
}
