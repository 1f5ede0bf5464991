//! The checksum of a bank, kept up to date while it is programmed.

use canfd::uds::profile::ChecksumAlgorithm;
use sha2::{Digest as _, Sha256};

/// A checksum under way.
#[derive(Debug, Clone)]
pub(super) enum Digest {
    Crc32(u32),
    Sha256(Box<Sha256>),
}

impl Digest {
    pub(super) fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::Crc32 => Self::Crc32(u32::MAX),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Box::default()),
        }
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc32(state) => {
                *state = data.iter().fold(*state, |state, byte| step(state ^ u32::from(*byte)))
            }
            Self::Sha256(state) => state.update(data),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc32(state) => (!state).to_be_bytes().to_vec(),
            Self::Sha256(state) => state.finalize().to_vec(),
        }
    }
}

/// Eight bits of the reflected IEEE 802.3 polynomial.
fn step(state: u32) -> u32 {
    (0..8).fold(state, |state, _| (state >> 1) ^ (0xEDB8_8320 & (state & 1).wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_gives_the_check_value_of_its_catalogue_entry() {
        let mut digest = Digest::new(ChecksumAlgorithm::Crc32);
        digest.update(b"1234");
        digest.update(b"56789");
        assert_eq!(digest.finish(), 0xCBF4_3926_u32.to_be_bytes());
    }
}
