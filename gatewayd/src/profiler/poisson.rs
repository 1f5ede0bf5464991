//! Choosing by chance, so that what is chosen stands for the whole.
//!
//! Along a line of nanoseconds or bytes, marks lie at random with a mean distance. A stretch is chosen when a mark lies on
//! it; divided by the chance of that, its length is an unbiased estimate of all stretches' length. Long ones are
//! chosen almost always, short ones rarely, and none is favoured for being frequent.

/// Steele, Lea and Flood's generator: chance needs no secrecy here, and a test needs the same numbers again.
#[derive(Debug)]
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    /// The next number.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound` (0 for 0).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// A number from 0 to 1, without 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub(super) fn share(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Chooses a stretch of `len` among marks `mean` apart: what it stands for if chosen.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths of time and memory lie below 2^53, and the quotient is positive"
)]
pub(super) fn choose(len: u64, mean: u64, random: &mut SplitMix64) -> Option<u64> {
    // 1 - e^-x, without the loss of digits for small x.
    let chance = -(-(len as f64) / mean.max(1) as f64).exp_m1();
    (len > 0 && random.share() < chance).then(|| (len as f64 / chance) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_stands_for_the_whole_whatever_the_lengths() {
        for (len, all) in [(10, 1_000_000_u32), (1_000, 50_000), (100_000, 1_000)] {
            let mut random = SplitMix64(len);
            let chosen: u64 = (0..all).filter_map(|_| choose(len, 10_000, &mut random)).sum();
            let truth = u64::from(all) * len;
            assert!(chosen.abs_diff(truth) < truth / 10, "{len}: {chosen} of {truth}");
        }
    }

    #[test]
    fn nothing_is_never_chosen_and_what_is_long_always() {
        let mut random = SplitMix64(1);
        assert_eq!(choose(0, 10, &mut random), None);
        assert_eq!(choose(1_000, 10, &mut random), Some(1_000));
    }
}
