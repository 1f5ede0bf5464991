//! Hashing that can be put down at any byte and taken up again, in this process or after a restart.

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha512};

use crate::job::{Digest, HashAlgorithm, HashState, JobError};
use crate::sm3::Sm3;

/// More than this many bytes no state may claim: SHA-256 and SM3 count bits in 64 bits, and the half above this is left
/// for what is hashed next.
const MAX_HASHED: u64 = 1 << 60;

/// A running hash.
#[derive(Clone, Debug)]
pub struct Hasher {
    function: Function,
    hashed: u64,
}

#[derive(Clone, Debug)]
enum Function {
    Sha256(Sha256),
    Sha512(Sha512),
    Sm3(Sm3),
}

impl Hasher {
    /// A hash that has seen nothing.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        let function = match algorithm {
            HashAlgorithm::Sha256 => Function::Sha256(Sha256::new()),
            HashAlgorithm::Sha512 => Function::Sha512(Sha512::new()),
            HashAlgorithm::Sm3 => Function::Sm3(Sm3::new()),
        };
        Self { function, hashed: 0 }
    }

    /// Takes up the hash that [`Hasher::state`] put down.
    ///
    /// A midstate is checked for its form: length, byte count, clean padding. Its chaining value can be any bytes, so
    /// a midstate must come from storage that is trusted, and what is hashed after it proves nothing about what was
    /// hashed before it otherwise.
    ///
    /// # Errors
    /// [`JobError::Midstate`] when the state is not one that this function put down.
    pub fn resume(state: &HashState) -> Result<Self, JobError> {
        if state.hashed == 0 && state.midstate.is_empty() {
            return Ok(Self::new(state.algorithm));
        }
        let function = match state.algorithm {
            HashAlgorithm::Sha256 => import(state, 32, 8, 64).map(Function::Sha256),
            HashAlgorithm::Sha512 => import(state, 64, 16, 128).map(Function::Sha512),
            HashAlgorithm::Sm3 => import_sm3(state).map(Function::Sm3),
        };
        function
            .map(|function| Self { function, hashed: state.hashed })
            .ok_or(JobError::Midstate(state.algorithm))
    }

    /// Hashes `data` after what was hashed before.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.function {
            Function::Sha256(hash) => hash.update(data),
            Function::Sha512(hash) => hash.update(data),
            Function::Sm3(hash) => hash.update(data),
        }
        self.hashed += data.len() as u64;
    }

    /// Puts the hash down: what [`Hasher::resume`] takes up.
    pub fn state(&self) -> HashState {
        let (algorithm, midstate) = match &self.function {
            Function::Sha256(hash) => (HashAlgorithm::Sha256, hash.serialize().to_vec()),
            Function::Sha512(hash) => (HashAlgorithm::Sha512, hash.serialize().to_vec()),
            Function::Sm3(hash) => (HashAlgorithm::Sm3, hash.midstate().to_vec()),
        };
        if self.hashed == 0 {
            return HashState::new(algorithm);
        }
        HashState { algorithm, hashed: self.hashed, midstate }
    }

    /// The digest of everything hashed.
    pub fn finish(self) -> Digest {
        let digest = match self.function {
            Function::Sha256(hash) => Digest::new(&hash.finalize()),
            Function::Sha512(hash) => Digest::new(&hash.finalize()),
            Function::Sm3(hash) => Digest::new(&hash.finish()),
        };
        digest.expect("each of the three functions yields 32 or 64 bytes")
    }
}

/// The digest of `parts`, hashed one after the other as if they were one message.
pub fn digest(algorithm: HashAlgorithm, parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// `state` after `data` was hashed into it.
///
/// # Errors
/// [`JobError::Midstate`] when the state is damaged.
pub fn advance(state: &HashState, data: &[u8]) -> Result<HashState, JobError> {
    let mut hasher = Hasher::resume(state)?;
    hasher.update(data);
    Ok(hasher.state())
}

/// The digest of everything that was hashed into `state`.
///
/// # Errors
/// [`JobError::Midstate`] when the state is damaged.
pub fn finish(state: &HashState) -> Result<Digest, JobError> {
    Hasher::resume(state).map(Hasher::finish)
}

/// A midstate is the chaining value, the count of whole blocks (little endian), the count of bytes in the unfinished
/// block (one byte), and those bytes, padded with zeros. Both counts must say what `hashed` says.
fn import<H: SerializableState>(state: &HashState, chain: usize, counter: usize, block: u64) -> Option<H> {
    let count = state.midstate.get(chain..chain + counter)?;
    let unfinished = state.midstate.get(chain + counter)?;
    let blocks = u128::from(state.hashed / block).to_le_bytes();
    let consistent = state.hashed > 0
        && state.hashed <= MAX_HASHED
        && blocks.starts_with(count)
        && u64::from(*unfinished) == state.hashed % block;
    if !consistent {
        return None;
    }
    let bytes = SerializedState::<H>::try_from(state.midstate.as_slice()).ok()?;
    H::deserialize(&bytes).ok()
}

fn import_sm3(state: &HashState) -> Option<Sm3> {
    let hash = Sm3::from_midstate(state.midstate.as_slice().try_into().ok()?)?;
    (state.hashed > 0 && state.hashed <= MAX_HASHED && hash.hashed() == state.hashed).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Damage<'a> = &'a dyn Fn(&mut HashState);

    const ALL: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sm3];

    fn message(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn a_message_split_anywhere_hashes_to_the_same_digest() {
        let message = message(300);
        for algorithm in ALL {
            let whole = digest(algorithm, &[&message]);
            for at in 0..=message.len() {
                let (head, tail) = message.split_at(at);
                let mut first = Hasher::new(algorithm);
                first.update(head);
                let state = first.state();
                assert_eq!(state.hashed, at as u64);
                let mut second = Hasher::resume(&state).unwrap();
                second.update(tail);
                assert_eq!(second.finish(), whole, "{algorithm:?} split at {at}");
                assert_eq!(digest(algorithm, &[head, tail]), whole);
            }
        }
    }

    #[test]
    fn a_midstate_written_by_an_earlier_release_is_taken_up() {
        // SHA-256 after "abc" alone: the initial chaining value (FIPS 180-4 clause 5.3.3), no whole block, 3 bytes.
        let mut midstate = hex::decode(
            "67e6096a85ae67bb72f36e3c3af54fa57f520e518c68059babd9831f19cde05b000000000000000003616263",
        )
        .unwrap();
        midstate.resize(104, 0);
        let state = HashState { algorithm: HashAlgorithm::Sha256, hashed: 3, midstate };
        assert_eq!(finish(&state).unwrap(), digest(HashAlgorithm::Sha256, &[b"abc"]));
    }

    #[test]
    fn every_inconsistent_midstate_is_refused() {
        for algorithm in ALL {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&message(130));
            let good = hasher.state();
            assert!(Hasher::resume(&good).is_ok());
            let last = good.midstate.len() - 1;
            let (chain, counter) = if algorithm == HashAlgorithm::Sha512 { (64, 16) } else { (32, 8) };

            let damage: [(&str, Damage<'_>); 9] = [
                ("empty", &|state| state.midstate.clear()),
                ("short", &|state| state.midstate.truncate(last)),
                ("long", &|state| state.midstate.push(0)),
                ("no bytes hashed", &|state| state.hashed = 0),
                ("one byte more", &|state| state.hashed += 1),
                ("a block less", &|state| state.hashed -= 128),
                ("too many", &|state| state.hashed = u64::MAX),
                ("dirty padding", &|state| state.midstate[last] = 1),
                ("top of the counter", &|state| state.midstate[chain + counter - 1] = 1),
            ];
            for (name, damage) in damage {
                let mut bad = good.clone();
                damage(&mut bad);
                assert_eq!(
                    Hasher::resume(&bad).err(),
                    Some(JobError::Midstate(algorithm)),
                    "{algorithm:?} {name}"
                );
            }
        }
    }

    #[test]
    fn a_state_of_another_function_is_refused() {
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        hasher.update(b"abc");
        let state = HashState { algorithm: HashAlgorithm::Sha512, ..hasher.state() };
        assert_eq!(Hasher::resume(&state).err(), Some(JobError::Midstate(HashAlgorithm::Sha512)));
    }
}
