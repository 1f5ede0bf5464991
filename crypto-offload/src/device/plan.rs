//! A job as a sequence of requests.
//!
//! A chunk is three kinds of them: the leaf, which this side compares; then each running hash; then the opening. So a
//! device is never asked to open what does not match, and needs no idea of what a chunk is. A key that the device is to
//! keep is loaded by a request of its own before the first opening with it.

use std::time::Duration;

use zeroize::Zeroizing;

use super::abi::{
    Key, MAX_AUX, MAX_EXTRA, Operation as Code, Reply, Request, Status, cipher_code, hash_code, scheme_code,
};
use super::transport::Buffers;
use crate::job::{
    Cipher, Digest, HashAlgorithm, HashState, JobError, JobId, Operation, Outcome, Seal, Verdict,
};
use crate::software::hash;

/// A job at a device.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) job: JobId,
    operation: Operation,
    stage: Stage,
    /// Whether the last request was for the key of this stage, not for the stage itself.
    loading: bool,
    /// Running hashes that are done.
    advanced: Vec<HashState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The only request of most operations; the leaf of a chunk.
    First,
    /// The running hash of that number.
    Running(usize),
    /// The opening of a chunk.
    Open,
}

/// What comes after an answer.
#[derive(Debug)]
pub(super) enum Next {
    /// Another request.
    Request,
    /// Another request, with the key under this handle, or (`None`) going along.
    Key(Option<u64>),
    /// The end.
    Done(Result<Outcome, JobError>),
}

/// Bytes of a key's handle.
const HANDLE_LEN: usize = 8;

/// Bytes of a midstate: chaining value, count of blocks, and the unfinished block with its length.
const fn midstate_len(algorithm: HashAlgorithm) -> usize {
    match algorithm {
        HashAlgorithm::Sha256 | HashAlgorithm::Sm3 => 32 + 8 + 64,
        HashAlgorithm::Sha512 => 64 + 16 + 128,
    }
}

/// Whether the small parts of `operation` fit their fields.
pub(super) fn is_expressible(operation: &Operation) -> bool {
    let aad_fits = |seal: &Seal| seal.aad.len() <= MAX_AUX;
    match operation {
        Operation::Chunk(chunk) => {
            chunk.leaf_prefix.len() <= MAX_AUX
                && chunk.seal.as_ref().is_none_or(aad_fits)
                && chunk.running.iter().all(|state| state.midstate.len() <= MAX_EXTRA)
        }
        Operation::Digest { .. } => true,
        Operation::Open { seal, .. } => aad_fits(seal),
        Operation::VerifySignature { key, signature, .. } => {
            key.bytes.len() <= MAX_AUX && signature.len() <= MAX_EXTRA
        }
    }
}

/// What a seal is refused for before any device sees it, in the words of the CPU.
fn check_seal(seal: &Seal, data: &[u8]) -> Result<(), JobError> {
    let found = seal.key.expose().len();
    if found != seal.cipher.key_len() {
        return Err(JobError::KeyLength { cipher: seal.cipher, found });
    }
    if data.len() < Cipher::TAG_LEN {
        return Err(JobError::TagMismatch(seal.cipher));
    }
    Ok(())
}

impl Plan {
    pub(super) const fn new(job: JobId, operation: Operation) -> Self {
        Self { job, operation, stage: Stage::First, loading: false, advanced: Vec::new() }
    }

    /// What ends the job without a request, if anything does.
    pub(super) fn refusal(&self) -> Option<JobError> {
        match &self.operation {
            Operation::Open { seal, data } => check_seal(seal, data).err(),
            _ => None,
        }
    }

    /// The operation, where no request has taken its buffers.
    pub(super) fn into_operation(self) -> Operation {
        self.operation
    }

    /// The seal whose key the next request needs, if it needs one.
    pub(super) const fn seal(&self) -> Option<&Seal> {
        match (&self.operation, self.stage) {
            (Operation::Open { seal, .. }, _) => Some(seal),
            (Operation::Chunk(chunk), Stage::Open) => chunk.seal.as_ref(),
            _ => None,
        }
    }

    /// Whether the last request was to load a key.
    pub(super) const fn is_loading(&self) -> bool {
        self.loading
    }

    /// The request to load the key of [`Plan::seal`]; `None` where there is none to load.
    pub(super) fn load_request(&mut self, id: u64, time: Duration) -> Option<(Request, Buffers)> {
        let seal = self.seal()?;
        let mut request = Request::new(id, Code::LoadKey, cipher_code(seal.cipher));
        request.key = raw_key(seal);
        request.out_len = HANDLE_LEN;
        request.time = time;
        self.loading = true;
        Some((request, Buffers { output: vec![0; HANDLE_LEN], ..Buffers::default() }))
    }

    /// The next request, and the buffers it takes along. A key that it needs is the device's own by that handle, or goes
    /// along.
    pub(super) fn request(&mut self, id: u64, time: Duration, handle: Option<u64>) -> (Request, Buffers) {
        let (mut request, buffers) = match (&mut self.operation, self.stage) {
            (Operation::Digest { algorithm, data }, _) => digest(id, *algorithm, &[], std::mem::take(data)),
            (Operation::Open { seal, data }, _) => open(id, seal, handle, std::mem::take(data)),
            (Operation::VerifySignature { key, message, signature }, _) => {
                let code = scheme_code(key.scheme);
                let data = std::mem::take(message);
                let buffers =
                    Buffers { aux: key.bytes.clone(), extra: signature.clone(), data, output: Vec::new() };
                (Request::new(id, Code::Verify, code), buffers)
            }
            (Operation::Chunk(chunk), stage) => {
                let data = std::mem::take(&mut chunk.data);
                match (stage, &chunk.seal) {
                    (Stage::Running(at), _) if at < chunk.running.len() => {
                        hash_update(id, &chunk.running[at], data)
                    }
                    (Stage::Open, Some(seal)) => open(id, seal, handle, data),
                    _ => digest(id, chunk.tree_algorithm, &chunk.leaf_prefix, data),
                }
            }
        };
        if request.operation != Code::Open {
            request.in_len = buffers.data.len();
        }
        request.aux_len = buffers.aux.len();
        request.extra_len = buffers.extra.len();
        request.time = time;
        (request, buffers)
    }

    /// Puts the buffers of a request that was not taken back where they were.
    pub(super) fn take_back(&mut self, buffers: Buffers) {
        if std::mem::take(&mut self.loading) {
            // It had none of the job's.
            return;
        }
        match &mut self.operation {
            Operation::Digest { data, .. } | Operation::Open { data, .. } => *data = buffers.data,
            Operation::VerifySignature { message, .. } => *message = buffers.data,
            Operation::Chunk(chunk) => chunk.data = buffers.data,
        }
    }

    /// Judges an answer to the last request.
    pub(super) fn handle_answer(&mut self, reply: &Reply, mut buffers: Buffers) -> Next {
        let output = std::mem::take(&mut buffers.output);
        if self.loading {
            self.loading = false;
            return self.handle_key(reply.status, &output);
        }
        self.take_back(buffers);
        let judged = match reply.status {
            Status::Ok => self.advance(output),
            Status::BadSignature if matches!(self.operation, Operation::VerifySignature { .. }) => {
                return Next::Done(Ok(Outcome::Signature(Verdict::Invalid)));
            }
            status => Err(self.failure(status)),
        };
        match judged {
            Ok(None) => Next::Request,
            Ok(Some(outcome)) => Next::Done(Ok(outcome)),
            Err(error) => Next::Done(Err(error)),
        }
    }

    fn handle_key(&self, status: Status, output: &[u8]) -> Next {
        let handle = output.try_into().map(u64::from_ne_bytes).ok().filter(|&handle| handle != 0);
        match (status, handle) {
            (Status::Ok, Some(handle)) => Next::Key(Some(handle)),
            (Status::NoRoom, _) => Next::Key(None),
            (Status::Ok, None) => Next::Done(Err(JobError::Engine("device hands out no handle"))),
            // Not a word about the data: they have not been looked at.
            (Status::TagMismatch | Status::BadSignature | Status::BadMidstate, _) => {
                Next::Done(Err(JobError::Engine("device gave no answer to the question")))
            }
            (status, _) => Next::Done(Err(self.failure(status))),
        }
    }

    /// Takes the output of a request that went well. `None` when there is another request to make.
    fn advance(&mut self, output: Vec<u8>) -> Result<Option<Outcome>, JobError> {
        match &mut self.operation {
            Operation::Digest { .. } => read_digest(&output).map(|digest| Some(Outcome::Digest(digest))),
            Operation::Open { data, .. } => {
                data.truncate(data.len() - Cipher::TAG_LEN);
                Ok(Some(Outcome::Opened(std::mem::take(data))))
            }
            Operation::VerifySignature { .. } => Ok(Some(Outcome::Signature(Verdict::Valid))),
            Operation::Chunk(chunk) => match self.stage {
                Stage::First => {
                    let found = read_digest(&output)?;
                    if found != chunk.expected_leaf {
                        return Err(JobError::LeafMismatch { expected: chunk.expected_leaf, found });
                    }
                    self.after_hash(0)
                }
                Stage::Running(at) => {
                    let before =
                        chunk.running.get(at).ok_or(JobError::Engine("device engine lost its place"))?;
                    let hashed = before.hashed.saturating_add(chunk.data.len() as u64);
                    let state = HashState { algorithm: before.algorithm, hashed, midstate: output };
                    hash::Hasher::resume(&state)
                        .map_err(|_| JobError::Engine("device hands out a damaged midstate"))?;
                    self.advanced.push(state);
                    self.after_hash(at + 1)
                }
                Stage::Open => {
                    chunk.data.truncate(chunk.data.len() - Cipher::TAG_LEN);
                    Ok(Some(self.opened()))
                }
            },
        }
    }

    /// The step of a chunk after all running hashes before number `at`.
    fn after_hash(&mut self, at: usize) -> Result<Option<Outcome>, JobError> {
        let Operation::Chunk(chunk) = &self.operation else { return Ok(None) };
        if chunk.data.is_empty() {
            // Nothing to hash: no device is asked to hash nothing.
            let rest = chunk.running.iter().skip(at).map(|state| hash::advance(state, &[]));
            self.advanced.extend(rest.collect::<Result<Vec<_>, _>>()?);
        } else if at < chunk.running.len() {
            self.stage = Stage::Running(at);
            return Ok(None);
        }
        let Some(seal) = &chunk.seal else { return Ok(Some(self.opened())) };
        check_seal(seal, &chunk.data)?;
        self.stage = Stage::Open;
        Ok(None)
    }

    fn opened(&mut self) -> Outcome {
        let data = match &mut self.operation {
            Operation::Chunk(chunk) => std::mem::take(&mut chunk.data),
            _ => Vec::new(),
        };
        Outcome::Chunk { data, running: std::mem::take(&mut self.advanced) }
    }

    /// What a status means for the job. A refusal that the request does not call for is the device's failure.
    fn failure(&self, status: Status) -> JobError {
        let state = match (&self.operation, self.stage) {
            (Operation::Chunk(chunk), Stage::Running(at)) => chunk.running.get(at),
            _ => None,
        };
        match (status, self.seal(), state) {
            (Status::TagMismatch, Some(seal), _) => JobError::TagMismatch(seal.cipher),
            (Status::BadMidstate, _, Some(state)) => JobError::Midstate(state.algorithm),
            (Status::Unsupported, ..) => JobError::Engine("device cannot do what it claims"),
            (Status::DeviceError, ..) => JobError::Engine("device error"),
            (Status::Expired, ..) => JobError::Engine("device gave up in time"),
            (Status::NoKey, ..) => JobError::Engine("device does not have the key"),
            _ => JobError::Engine("device gave no answer to the question"),
        }
    }
}

fn read_digest(output: &[u8]) -> Result<Digest, JobError> {
    Digest::new(output).ok_or(JobError::Engine("device hands out a digest of a wrong length"))
}

fn digest(id: u64, algorithm: HashAlgorithm, prefix: &[u8], data: Vec<u8>) -> (Request, Buffers) {
    let mut request = Request::new(id, Code::Digest, hash_code(algorithm));
    request.out_len = algorithm.digest_len();
    let output = vec![0; request.out_len];
    (request, Buffers { aux: prefix.to_vec(), extra: Vec::new(), data, output })
}

fn hash_update(id: u64, state: &HashState, data: Vec<u8>) -> (Request, Buffers) {
    let mut request = Request::new(id, Code::HashUpdate, hash_code(state.algorithm));
    request.out_len = midstate_len(state.algorithm);
    request.position = state.hashed;
    let output = vec![0; request.out_len];
    (request, Buffers { aux: Vec::new(), extra: state.midstate.clone(), data, output })
}

/// The data is at least as long as its tag ([`check_seal`]).
fn open(id: u64, seal: &Seal, handle: Option<u64>, data: Vec<u8>) -> (Request, Buffers) {
    let mut request = Request::new(id, Code::Open, cipher_code(seal.cipher));
    let in_len = data.len().saturating_sub(Cipher::TAG_LEN);
    if let Ok(tag) = data[in_len..].try_into() {
        request.tag = tag;
    }
    request.in_len = in_len;
    request.out_len = in_len;
    request.in_place = true;
    request.iv = seal.nonce.to_vec();
    request.key = handle.map_or_else(|| raw_key(seal), Key::Handle);
    (request, Buffers { aux: seal.aad.clone(), extra: Vec::new(), data, output: Vec::new() })
}

fn raw_key(seal: &Seal) -> Key {
    Key::Raw(Zeroizing::new(seal.key.expose().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midstates_are_as_long_as_the_cpus() {
        for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sm3] {
            let state = hash::advance(&HashState::new(algorithm), &[1, 2, 3]).unwrap();
            assert_eq!(state.midstate.len(), midstate_len(algorithm), "{algorithm:?}");
        }
    }
}
