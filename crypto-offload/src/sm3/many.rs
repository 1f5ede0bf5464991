//! Many messages at once: the same round of 16 of them in the 16 lanes of a 512-bit register.

#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(any(test, target_arch = "x86_64"))]
use super::{BLOCK_LEN, INITIAL, print};
use super::{DIGEST_LEN, Sm3};

/// Messages that are hashed at once.
#[cfg(any(test, target_arch = "x86_64"))]
const LANES: usize = 16;
/// Fewer messages than this are faster one by one: a lane has about a third of the rate of a message by itself.
#[cfg(target_arch = "x86_64")]
const WORTHWHILE: usize = 4;

/// Word by word, lane by lane.
#[cfg(any(test, target_arch = "x86_64"))]
type Chains = [[u32; LANES]; 8];

/// The digests of `messages`, in order. A message is its two parts, hashed one after the other.
///
/// Messages of like length, and 16 or more of them, go fastest.
pub fn digest_many(messages: &[[&[u8]; 2]]) -> Vec<[u8; DIGEST_LEN]> {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_available() {
        return messages
            .chunks(LANES)
            .flat_map(|group| {
                if group.len() < WORTHWHILE { one_by_one(group) } else { at_once(group, avx512::compress) }
            })
            .collect();
    }
    one_by_one(messages)
}

fn one_by_one(messages: &[[&[u8]; 2]]) -> Vec<[u8; DIGEST_LEN]> {
    let one = |parts: &[&[u8]; 2]| {
        let mut hash = Sm3::new();
        parts.iter().for_each(|part| hash.update(part));
        hash.finish()
    };
    messages.iter().map(one).collect()
}

/// At most 16 messages. A lane whose message has ended, or that has none, hashes nothing of use until all have ended.
#[cfg(any(test, target_arch = "x86_64"))]
fn at_once(
    messages: &[[&[u8]; 2]],
    compress: fn(&mut Chains, &[&[u8; BLOCK_LEN]; LANES]),
) -> Vec<[u8; DIGEST_LEN]> {
    let mut lanes: Vec<Lane<'_>> = messages.iter().map(Lane::new).collect();
    let most = lanes.iter().map(|lane| lane.blocks).max().unwrap_or_default();
    let mut digests = vec![[0; DIGEST_LEN]; messages.len()];
    let mut chains: Chains = INITIAL.map(|word| [word; LANES]);
    for at in 0..most {
        let mut blocks = [&[0; BLOCK_LEN]; LANES];
        for (block, lane) in blocks.iter_mut().zip(&mut lanes) {
            *block = lane.block(at);
        }
        compress(&mut chains, &blocks);
        for (column, (digest, lane)) in digests.iter_mut().zip(&lanes).enumerate() {
            if lane.blocks == at + 1 {
                *digest = print(&std::array::from_fn(|word| chains[word][column]));
            }
        }
    }
    digests
}

/// One message, cut into blocks with the standard's padding.
#[cfg(any(test, target_arch = "x86_64"))]
struct Lane<'m> {
    head: &'m [u8],
    tail: &'m [u8],
    blocks: usize,
    /// A block that does not lie in the tail as it is.
    made: [u8; BLOCK_LEN],
}

#[cfg(any(test, target_arch = "x86_64"))]
impl<'m> Lane<'m> {
    fn new([head, tail]: &[&'m [u8]; 2]) -> Self {
        let blocks = (head.len() + tail.len() + 9).div_ceil(BLOCK_LEN);
        Self { head, tail, blocks, made: [0; BLOCK_LEN] }
    }

    fn block(&mut self, at: usize) -> &[u8; BLOCK_LEN] {
        let start = at * BLOCK_LEN;
        let in_tail = start.checked_sub(self.head.len()).and_then(|from| self.tail.get(from..));
        if let Some(block) = in_tail.and_then(|rest| rest.first_chunk::<BLOCK_LEN>()) {
            return block;
        }
        let len = self.head.len() + self.tail.len();
        let byte = |place: usize| match self.head.get(place) {
            Some(&byte) => byte,
            None => self.tail.get(place - self.head.len()).copied().unwrap_or_default(),
        };
        let mut made: [u8; BLOCK_LEN] = std::array::from_fn(|place| byte(start + place));
        if let Some(end) = len.checked_sub(start).filter(|end| *end < BLOCK_LEN) {
            made[end] = 0x80;
        }
        if at + 1 == self.blocks {
            made[BLOCK_LEN - 8..].copy_from_slice(&(len as u64 * 8).to_be_bytes());
        }
        self.made = made;
        &self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lane by lane, by the compression function of one message.
    fn reference(chains: &mut Chains, blocks: &[&[u8; BLOCK_LEN]; LANES]) {
        for (lane, block) in blocks.iter().enumerate() {
            let mut chain: [u32; 8] = std::array::from_fn(|word| chains[word][lane]);
            crate::sm3::compress::portable(&mut chain, &[**block]);
            for (words, word) in chains.iter_mut().zip(chain) {
                words[lane] = word;
            }
        }
    }

    #[test]
    fn every_length_and_cut_around_two_blocks_in_every_lane() {
        let message: Vec<u8> = (0..180).collect();
        let all: Vec<[&[u8]; 2]> = (0..=message.len())
            .flat_map(|len| (0..3).map(move |third| (len, len * third / 2)))
            .map(|(len, cut)| [&message[..cut], &message[cut..len]])
            .collect();
        for group in all.chunks(LANES) {
            let expected = one_by_one(group);
            assert_eq!(at_once(group, reference), expected);
            #[cfg(target_arch = "x86_64")]
            if avx512::is_available() {
                assert_eq!(at_once(group, avx512::compress), expected);
            }
        }
        assert_eq!(digest_many(&all), one_by_one(&all));
    }

    #[test]
    fn none_one_and_one_more_than_the_lanes() {
        for count in [0, 1, 3, 4, 15, 16, 17, 33] {
            let messages: Vec<Vec<u8>> = (0..count).map(|at| vec![at; usize::from(at) * 7]).collect();
            let parts: Vec<[&[u8]; 2]> = messages.iter().map(|message| [&[][..], &message[..]]).collect();
            assert_eq!(digest_many(&parts), one_by_one(&parts), "{count}");
        }
    }
}
