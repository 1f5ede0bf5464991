//! `CpuSet`: the kernel's cpulist format (`0-3,8`) and set algebra.

use std::fmt;
use std::str::FromStr;

/// CPUs a set can hold: as many as the C library's `cpu_set_t`, the widest mask the affinity calls take.
pub const MAX_CPUS: usize = 1024;

/// Longest cpulist that is read. A list that names every second CPU of [`MAX_CPUS`] needs less than half of it.
pub const MAX_LIST_BYTES: usize = 8192;

const WORD_BITS: usize = 64;
const WORDS: usize = MAX_CPUS / WORD_BITS;

/// Number of one logical CPU, below [`MAX_CPUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(u16);

impl CpuId {
    /// The CPU with this number, or an error from [`MAX_CPUS`] on.
    pub fn new(number: usize) -> Result<Self, CpuSetError> {
        match u16::try_from(number) {
            Ok(id) if number < MAX_CPUS => Ok(Self(id)),
            _ => Err(CpuSetError::OutOfRange { number }),
        }
    }

    /// The kernel's number of this CPU.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of logical CPUs. Prints and parses as the kernel's cpulist.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CpuSet {
    words: [u64; WORDS],
}

/// Why a text is not a CPU set. The fault is always in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuSetError {
    /// A CPU number of [`MAX_CPUS`] or more.
    #[error("CPU {number} is beyond the highest supported, {}", MAX_CPUS - 1)]
    OutOfRange {
        /// The number that was given.
        number: usize,
    },
    /// A range whose end is below its start.
    #[error("range {first}-{last} runs backwards")]
    Backwards {
        /// Start of the range.
        first: usize,
        /// End of the range.
        last: usize,
    },
    /// Something that is neither a number nor a range.
    #[error("`{item}` is neither a CPU number nor a range")]
    NotANumber {
        /// The offending part, cut to 32 characters.
        item: String,
    },
    /// The text is longer than any list of [`MAX_CPUS`] CPUs.
    #[error("list of {length} bytes is longer than {MAX_LIST_BYTES}")]
    TooLong {
        /// Length of the text in bytes.
        length: usize,
    },
}

impl CpuSet {
    /// The set without CPUs.
    pub const EMPTY: Self = Self { words: [0; WORDS] };

    /// The set of one CPU.
    pub fn single(cpu: CpuId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(cpu);
        set
    }

    /// Adds a CPU; adding it twice changes nothing.
    pub fn insert(&mut self, cpu: CpuId) {
        // A CpuId is below MAX_CPUS, so the word exists.
        self.words[cpu.number() / WORD_BITS] |= 1 << (cpu.number() % WORD_BITS);
    }

    /// Removes a CPU if it is there.
    pub fn remove(&mut self, cpu: CpuId) {
        // A CpuId is below MAX_CPUS, so the word exists.
        self.words[cpu.number() / WORD_BITS] &= !(1 << (cpu.number() % WORD_BITS));
    }

    /// Whether the CPU is in the set.
    pub fn contains(&self, cpu: CpuId) -> bool {
        // A CpuId is below MAX_CPUS, so the word exists.
        self.words[cpu.number() / WORD_BITS] & (1 << (cpu.number() % WORD_BITS)) != 0
    }

    /// Number of CPUs in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is no CPU in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The CPU with the lowest number.
    pub fn first(&self) -> Option<CpuId> {
        self.iter().next()
    }

    /// CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        (0_u16..).take(MAX_CPUS).map(CpuId).filter(|cpu| self.contains(*cpu))
    }

    /// CPUs in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// CPUs in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// CPUs in this set but not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// Whether every CPU of this set is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    fn zip(&self, other: &Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        let mut words = [0; WORDS];
        for (word, (a, b)) in words.iter_mut().zip(self.words.iter().zip(&other.words)) {
            *word = operation(*a, *b);
        }
        Self { words }
    }
}

impl FromIterator<CpuId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut set = Self::EMPTY;
        for cpu in cpus {
            set.insert(cpu);
        }
        set
    }
}

impl FromStr for CpuSet {
    type Err = CpuSetError;

    /// Parses a cpulist. White space around it and around each part is ignored, as the kernel ends its lists with a
    /// newline; an empty text is the empty set, as the kernel prints it for a node without CPUs.
    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        if text.len() > MAX_LIST_BYTES {
            return Err(CpuSetError::TooLong { length: text.len() });
        }
        let mut set = Self::EMPTY;
        let text = text.trim();
        if text.is_empty() {
            return Ok(set);
        }
        for item in text.split(',') {
            let (first, last) = match item.split_once('-') {
                Some((first, last)) => (parse_number(first, item)?, parse_number(last, item)?),
                None => {
                    let number = parse_number(item, item)?;
                    (number, number)
                }
            };
            if last < first {
                return Err(CpuSetError::Backwards { first, last });
            }
            // Checked before the loop, so that `0-4000000000` costs nothing.
            CpuId::new(last)?;
            for number in first..=last {
                set.insert(CpuId::new(number)?);
            }
        }
        Ok(set)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().map(CpuId::number).peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuSet({self})")
    }
}

fn parse_number(text: &str, item: &str) -> Result<usize, CpuSetError> {
    let digits = text.trim();
    // `usize::from_str` would also take a leading plus sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuSetError::NotANumber { item: item.chars().take(32).collect() });
    }
    digits.parse().map_err(|_| CpuSetError::OutOfRange { number: usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    #[test]
    fn prints_runs_as_ranges_and_single_cpus_alone() {
        assert_eq!(set("8,0,1,2,3").to_string(), "0-3,8");
        assert_eq!(set(" 0 - 1 , 63-64 \n").to_string(), "0-1,63-64");
    }

    #[test]
    fn an_empty_list_is_the_empty_set() {
        assert!(set("\n").is_empty());
        assert_eq!(set("").to_string(), "");
    }

    #[test]
    fn the_highest_cpu_is_taken_and_the_next_refused() {
        assert_eq!(set("1023").len(), 1);
        assert_eq!("1024".parse::<CpuSet>(), Err(CpuSetError::OutOfRange { number: 1024 }));
        assert_eq!(set("0-1023").len(), MAX_CPUS);
        assert_eq!("0-1024".parse::<CpuSet>(), Err(CpuSetError::OutOfRange { number: 1024 }));
    }

    #[test]
    fn a_number_beyond_the_machine_word_is_refused() {
        let text = "99999999999999999999999999";
        assert_eq!(text.parse::<CpuSet>(), Err(CpuSetError::OutOfRange { number: usize::MAX }));
    }

    #[test]
    fn a_backwards_range_is_refused() {
        assert_eq!("3-1".parse::<CpuSet>(), Err(CpuSetError::Backwards { first: 3, last: 1 }));
    }

    #[test]
    fn the_longest_list_is_read_and_one_byte_more_refused() {
        let longest = " ".repeat(MAX_LIST_BYTES);
        assert_eq!(longest.parse::<CpuSet>(), Ok(CpuSet::EMPTY));
        let longer = " ".repeat(MAX_LIST_BYTES + 1);
        assert_eq!(longer.parse::<CpuSet>(), Err(CpuSetError::TooLong { length: MAX_LIST_BYTES + 1 }));
    }

    #[test]
    fn words_that_are_no_numbers_are_named() {
        for item in ["a", "", "-1", "1-", "+1", "1-2-3", "0x1", "1:2"] {
            assert_eq!(
                format!("0,{item}").parse::<CpuSet>(),
                Err(CpuSetError::NotANumber { item: item.to_owned() }),
                "{item}"
            );
        }
    }

    #[test]
    fn set_algebra() {
        let (a, b) = (set("0-3"), set("2-5"));
        assert_eq!(a.union(&b), set("0-5"));
        assert_eq!(a.intersection(&b), set("2-3"));
        assert_eq!(a.difference(&b), set("0-1"));
        assert!(set("2").is_subset(&a) && !b.is_subset(&a));
    }

    proptest! {
        #[test]
        fn whatever_is_printed_is_read_back(numbers in proptest::collection::vec(0..MAX_CPUS, 0..80)) {
            let original: CpuSet = numbers.iter().map(|n| CpuId::new(*n).unwrap()).collect();
            prop_assert_eq!(original.to_string().parse::<CpuSet>(), Ok(original));
            prop_assert!(original.to_string().len() <= MAX_LIST_BYTES);
        }

        #[test]
        fn no_text_panics(text in "[0-9,\\- a\n]{0,64}") {
            let _: Result<CpuSet, CpuSetError> = text.parse();
        }

        #[test]
        fn removing_what_was_inserted_leaves_the_rest(
            numbers in proptest::collection::btree_set(0..MAX_CPUS, 1..80),
        ) {
            let mut cpus: CpuSet = numbers.iter().map(|n| CpuId::new(*n).unwrap()).collect();
            let first = cpus.first().unwrap();
            cpus.remove(first);
            prop_assert!(!cpus.contains(first));
            prop_assert_eq!(cpus.len(), numbers.len() - 1);
        }
    }
}
