//! A token as an engine.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::Builder;

use cryptoki::mechanism::MechanismType;

use super::token::{Token, TokenError};
use crate::engine::{Capabilities, Engine, Health, Kind, Refused, RefusedReason};
use crate::job::{
    ChunkOperation, Cipher, Completion, HashAlgorithm, Job, JobError, Operation, Outcome, Seal,
    SignatureScheme,
};

/// Jobs that may be at the token.
const DEPTH: usize = 4;
/// Largest buffer of one job in bytes. Tokens are slow, and some take everything into their own memory.
const MAX_BYTES: usize = 4 << 20;

/// A token that does jobs one after the other on a thread of its own, which ends with the engine: at once, or after the
/// job that the token has.
#[derive(Debug)]
pub struct Pkcs11Engine {
    capabilities: Capabilities,
    identity: String,
    jobs: SyncSender<Job>,
    completions: Receiver<Completion>,
    in_flight: usize,
    /// Whether the thread has ended without being told to.
    dead: bool,
}

impl Pkcs11Engine {
    /// An engine over `token`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn new(token: Token) -> std::io::Result<Self> {
        let (jobs, orders) = sync_channel::<Job>(DEPTH);
        let (answers, completions) = channel();
        let capabilities = capabilities(&token);
        let identity = token.identity().to_owned();
        // Not joined: a token that hangs must not hold the program up.
        Builder::new().name("pkcs11".to_owned()).spawn(move || {
            for Job { id, operation, .. } in orders {
                let result = run(&token, operation);
                if answers.send(Completion { id, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { capabilities, identity, jobs, completions, in_flight: 0, dead: false })
    }
}

impl Engine for Pkcs11Engine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        if !self.capabilities.supports(&job.operation) {
            return Err(Refused::new(job, RefusedReason::Unsupported));
        }
        if self.in_flight >= DEPTH {
            return Err(Refused::new(job, RefusedReason::Full));
        }
        match self.jobs.try_send(job) {
            Ok(()) => {
                self.in_flight += 1;
                Ok(())
            }
            Err(TrySendError::Full(job)) => Err(Refused::new(job, RefusedReason::Full)),
            Err(TrySendError::Disconnected(job)) => {
                self.dead = true;
                Err(Refused::new(job, RefusedReason::Down))
            }
        }
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        match self.completions.try_recv() {
            Ok(completion) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                Some(completion)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.dead = true;
                None
            }
        }
    }

    fn health(&self) -> Health {
        if self.dead { Health::Down("token's thread has ended") } else { Health::Up }
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }
}

fn capabilities(token: &Token) -> Capabilities {
    let with = |mechanism| token.has(mechanism);
    let hashes =
        [(MechanismType::SHA256, HashAlgorithm::Sha256), (MechanismType::SHA512, HashAlgorithm::Sha512)];
    let ciphers = [Cipher::Aes128Gcm, Cipher::Aes256Gcm];
    let p256 = [SignatureScheme::EcdsaSha2Nistp256];
    Capabilities {
        name: "pkcs11",
        kind: Kind::Device,
        hashes: hashes.into_iter().filter(|(needed, _)| with(*needed)).map(|(_, hash)| hash).collect(),
        ciphers: ciphers.into_iter().filter(|_| with(MechanismType::AES_GCM)).collect(),
        schemes: p256.into_iter().filter(|_| with(MechanismType::ECDSA)).collect(),
        midstates: false,
        depth: DEPTH,
        max_bytes: MAX_BYTES,
    }
}

fn run(token: &Token, operation: Operation) -> Result<Outcome, JobError> {
    match operation {
        Operation::Chunk(chunk) => open_chunk(token, &chunk),
        Operation::Digest { algorithm, data } => {
            token.digest(algorithm, &[&data]).map(Outcome::Digest).map_err(failure)
        }
        Operation::Open { seal, data } => open(token, &seal, &data).map(Outcome::Opened),
        Operation::VerifySignature { key, message, signature } => {
            token.verify_p256(&key.bytes, &message, &signature).map(Outcome::Signature).map_err(failure)
        }
    }
}

/// The order is the contract of [`ChunkOperation`]: authenticate, then open. There are no running hashes, since the
/// engine claims no midstates.
fn open_chunk(token: &Token, chunk: &ChunkOperation) -> Result<Outcome, JobError> {
    let found = token.digest(chunk.tree_algorithm, &[&chunk.leaf_prefix, &chunk.data]).map_err(failure)?;
    if found != chunk.expected_leaf {
        return Err(JobError::LeafMismatch { expected: chunk.expected_leaf, found });
    }
    let data = match &chunk.seal {
        Some(seal) => open(token, seal, &chunk.data)?,
        None => chunk.data.clone(),
    };
    Ok(Outcome::Chunk { data, running: Vec::new() })
}

fn open(token: &Token, seal: &Seal, data: &[u8]) -> Result<Vec<u8>, JobError> {
    let found = seal.key.expose().len();
    if found != seal.cipher.key_len() {
        return Err(JobError::KeyLength { cipher: seal.cipher, found });
    }
    token.open_sealed(seal, data).map_err(|error| match error {
        TokenError::TagMismatch => JobError::TagMismatch(seal.cipher),
        error => failure(error),
    })
}

/// What exactly the token said does not fit a job's error; its kind does.
fn failure(error: TokenError) -> JobError {
    JobError::Engine(match error {
        TokenError::Pkcs11(_) | TokenError::Pin(_) => "token failed",
        TokenError::NoToken(_) | TokenError::NoKey(_) => "token has no such key",
        TokenError::Unsupported(_) => "token cannot do what it claims",
        TokenError::TagMismatch | TokenError::Answer(_) => "token gave no answer to the question",
    })
}
