//! What a sound device answers.

use super::keys::Keys;
use crate::device::abi::{
    Capability, Operation, Reply, Request, Status, cipher_from, hash_from, scheme_from,
};
use crate::job::{Cipher, HashState, PublicKey, Seal, Verdict};
use crate::software::{aead, hash, signature};

/// The answer to `request`, whose aux, extra and input are `payload`.
pub(super) fn answer(
    capability: &Capability,
    keys: &mut Keys,
    request: &Request,
    payload: &[u8],
) -> (Reply, Vec<u8>) {
    match compute(capability, keys, request, payload) {
        Ok(output) if output.len() == request.out_len => {
            let reply = Reply {
                id: request.id,
                status: Status::Ok,
                degraded: false,
                out_len: output.len(),
                detail: 0,
            };
            (reply, output)
        }
        Ok(_) => (refuse(request, Status::BadRequest), Vec::new()),
        Err(status) => (refuse(request, status), Vec::new()),
    }
}

/// A reply without output.
pub(super) const fn refuse(request: &Request, status: Status) -> Reply {
    Reply { id: request.id, status, degraded: false, out_len: 0, detail: 0 }
}

fn compute(
    capability: &Capability,
    keys: &mut Keys,
    request: &Request,
    payload: &[u8],
) -> Result<Vec<u8>, Status> {
    let (aux, rest) = payload.split_at_checked(request.aux_len).ok_or(Status::BadRequest)?;
    let (extra, input) = rest.split_at_checked(request.extra_len).ok_or(Status::BadRequest)?;
    if input.len() != request.in_len || input.len() > capability.max_bytes {
        return Err(Status::BadRequest);
    }
    let claimed = |mask: u32| 1_u32.checked_shl(request.algorithm).is_some_and(|bit| mask & bit != 0);
    match request.operation {
        Operation::Capabilities => Ok(capability.encode().to_vec()),
        Operation::Digest if claimed(capability.hashes) => {
            let algorithm = hash_from(request.algorithm).ok_or(Status::Unsupported)?;
            Ok(hash::digest(algorithm, &[aux, input]).as_bytes().to_vec())
        }
        Operation::HashUpdate if claimed(capability.hashes) && capability.midstates => {
            let algorithm = hash_from(request.algorithm).ok_or(Status::Unsupported)?;
            let state = HashState { algorithm, hashed: request.position, midstate: extra.to_vec() };
            hash::advance(&state, input).map(|state| state.midstate).map_err(|_| Status::BadMidstate)
        }
        Operation::Open if claimed(capability.ciphers) => open(keys, request, aux, input),
        Operation::LoadKey if claimed(capability.ciphers) => {
            let cipher = cipher_from(request.algorithm).ok_or(Status::Unsupported)?;
            keys.load(capability.keys, cipher, &request.key).map(|handle| handle.to_ne_bytes().to_vec())
        }
        Operation::DropKey => keys.remove(&request.key).map(|()| Vec::new()),
        Operation::Verify if claimed(capability.schemes) => {
            let scheme = scheme_from(request.algorithm).ok_or(Status::Unsupported)?;
            let key = PublicKey { scheme, bytes: aux.to_vec() };
            match signature::verify(&key, input, extra) {
                Verdict::Valid => Ok(Vec::new()),
                Verdict::Invalid => Err(Status::BadSignature),
            }
        }
        _ => Err(Status::Unsupported),
    }
}

fn open(keys: &Keys, request: &Request, aad: &[u8], input: &[u8]) -> Result<Vec<u8>, Status> {
    let cipher = cipher_from(request.algorithm).ok_or(Status::Unsupported)?;
    let key = keys.get(cipher, &request.key)?;
    let nonce: [u8; Cipher::NONCE_LEN] = request.iv[..].try_into().map_err(|_| Status::BadRequest)?;
    let seal = Seal { cipher, key, nonce, aad: aad.to_vec() };
    aead::open(&seal, [input, &request.tag].concat()).map_err(|_| Status::TagMismatch)
}
