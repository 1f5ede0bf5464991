//! What may go wrong on a virtual bus.

use crate::random::Random;

/// What becomes of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: every node sees it.
    None,
    /// The receivers miss it, as with an overrun controller; the sender has its confirmation.
    Drop,
    /// Nobody sees it, the sender has no confirmation either, as with a controller that went bus-off.
    DropAll,
    /// It is sent twice in a row, as after an error in the last bit of the end of frame (ISO 11898-1). The sender
    /// sees both.
    Duplicate,
}

/// Seeded faults: the same seed gives the same faults for the same frames.
#[derive(Clone, Debug)]
pub struct RandomFaults {
    random: Random,
    drop_per_million: u32,
    duplicate_per_million: u32,
}

impl RandomFaults {
    /// Rates are frames per million and exclude each other.
    pub const fn new(seed: u64, drop_per_million: u32, duplicate_per_million: u32) -> Self {
        Self { random: Random::new(seed), drop_per_million, duplicate_per_million }
    }

    /// The fate of the next frame.
    pub fn next_fault(&mut self) -> Fault {
        let drawn = self.random.below(1_000_000);
        let dropped = u64::from(self.drop_per_million);
        if drawn < dropped {
            Fault::Drop
        } else if drawn < dropped + u64::from(self.duplicate_per_million) {
            Fault::Duplicate
        } else {
            Fault::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults_at_about_the_asked_rate() {
        let faults = || {
            let mut faults = RandomFaults::new(42, 100_000, 50_000);
            (0..10_000).map(move |_| faults.next_fault())
        };
        assert!(faults().eq(faults()));
        let count = |fault| faults().filter(|it| *it == fault).count();
        assert!((900..1_100).contains(&count(Fault::Drop)));
        assert!((400..600).contains(&count(Fault::Duplicate)));
    }
}
