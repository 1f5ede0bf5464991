//! Dropping what was delivered before, with bounded memory.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Sequence numbers behind the highest one that are told apart; older ones count as seen.
const WIDTH: u64 = 128;

/// Remembers which numbers of which streams came, for a bounded number of streams.
#[derive(Debug)]
pub(crate) struct Seen<K> {
    capacity: usize,
    windows: HashMap<K, Window>,
    /// In the order in which streams appeared; the oldest is forgotten first.
    order: VecDeque<K>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    highest: u64,
    /// Bit n: `highest - n` came.
    came: u128,
}

impl<K: Clone + Eq + Hash> Seen<K> {
    /// Remembers at most `capacity` streams, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), windows: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether this is the number's first time.
    pub(crate) fn is_new(&mut self, stream: &K, seq: u64) -> bool {
        let Some(window) = self.windows.get_mut(stream) else {
            if self.order.len() == self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.windows.remove(&oldest);
            }
            self.order.push_back(stream.clone());
            self.windows.insert(stream.clone(), Window { highest: seq, came: 1 });
            return true;
        };
        if seq > window.highest {
            let step = seq - window.highest;
            window.came = if step < WIDTH { window.came << step | 1 } else { 1 };
            window.highest = seq;
            return true;
        }
        let behind = window.highest - seq;
        if behind >= WIDTH || window.came >> behind & 1 == 1 {
            return false;
        }
        window.came |= 1 << behind;
        true
    }
}

impl Seen<String> {
    /// One line for each stream, in the order in which they appeared.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let lines = self.order.iter().filter_map(|it| Some((it, self.windows.get(it)?)));
        let lines: Vec<_> =
            lines.map(|(it, window)| (it, window.highest, format!("{:x}", window.came))).collect();
        // Texts and numbers: it cannot fail.
        serde_json::to_vec(&lines).unwrap_or_default()
    }

    /// Reads what [`Seen::to_bytes`] wrote; nothing was seen where it is something else.
    pub(crate) fn from_bytes(bytes: &[u8], capacity: usize) -> Self {
        let mut seen = Self::new(capacity);
        let lines: Vec<(String, u64, String)> = serde_json::from_slice(bytes).unwrap_or_default();
        for (stream, highest, came) in lines.into_iter().take(seen.capacity) {
            let Ok(came) = u128::from_str_radix(&came, 16) else { continue };
            if seen.windows.insert(stream.clone(), Window { highest, came }).is_none() {
                seen.order.push_back(stream);
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn late_ones_are_new_once_as_far_back_as_the_window() {
        let mut seen = Seen::new(1);
        assert!(seen.is_new(&"a", 200));
        assert!(!seen.is_new(&"a", 200));
        assert!(seen.is_new(&"a", 200 - 127));
        assert!(!seen.is_new(&"a", 200 - 127));
        assert!(!seen.is_new(&"a", 200 - 128));
        assert!(seen.is_new(&"a", u64::MAX));
        assert!(!seen.is_new(&"a", 200));
    }

    #[test]
    fn the_oldest_stream_is_forgotten_at_the_bound() {
        let mut seen = Seen::new(2);
        assert!(seen.is_new(&1, 0) && seen.is_new(&2, 0));
        assert!(!seen.is_new(&1, 0));
        assert!(seen.is_new(&3, 0));
        assert!(!seen.is_new(&2, 0));
        assert!(seen.is_new(&1, 0), "stream 1 should have been forgotten");
    }

    #[test]
    fn what_was_seen_survives_being_written_down() {
        let mut seen = Seen::new(2);
        assert!(seen.is_new(&"a".to_owned(), 5) && seen.is_new(&"b".to_owned(), u64::MAX));
        let mut again = Seen::from_bytes(&seen.to_bytes(), 2);
        assert!(!again.is_new(&"a".to_owned(), 5) && !again.is_new(&"b".to_owned(), u64::MAX));
        assert!(again.is_new(&"a".to_owned(), 4));
        assert!(Seen::from_bytes(b"[[\"a\",1]]", 2).is_new(&"a".to_owned(), 1));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set_while_nothing_is_older_than_the_window(
            numbers in proptest::collection::vec(1000u64..1000 + WIDTH, 0..300),
        ) {
            let mut seen = Seen::new(1);
            let mut model = HashSet::new();
            for number in numbers {
                prop_assert_eq!(seen.is_new(&(), number), model.insert(number));
            }
        }
    }
}
