//! Profiles of many windows as one tree of calls for each dimension, with the values of each stretch of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Stretches of time told apart; windows that lie closer are added up.
const MAX_BUCKETS: usize = 60;

/// Places in one dimension's tree; the smallest are added to what called them.
const MAX_NODES: usize = 20_000;

/// Deeper places are added to what called them.
const MAX_DEPTH: usize = 96;

/// The dimensions in the order of the page: slug, title, what the values are.
const DIMENSIONS: [(&str, &str, &str); 7] = [
    ("cpu", "CPU", "time on a CPU"),
    ("heap", "Memory: heap", "bytes taken from the allocator"),
    ("pages", "Memory: pages", "bytes of pages handed out by the kernel"),
    ("blocked", "Blocking: asleep", "time asleep until woken up"),
    ("run-queue", "Blocking: run queue", "time ready to run and waiting for a CPU"),
    ("block-io", "Blocking: block I/O", "time of requests to block devices"),
    ("lock", "Locks", "time waiting for locks"),
];

/// A line of `profiles.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WindowLine {
    pub(crate) vin: String,
    at_ms: u64,
    duration_ms: u64,
    #[serde(default)]
    lost: u64,
    dimension: String,
    stacks: BTreeMap<String, u64>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Bucket {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Milliseconds that windows cover in it, over all vehicles.
    pub(crate) covered_ms: u64,
}

/// All dimensions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Profiles {
    pub(crate) buckets: Vec<Bucket>,
    /// How long a bucket lasts, in milliseconds.
    pub(crate) bucket_ms: u64,
    pub(crate) trees: Vec<Tree>,
    #[serde(skip)]
    pub(crate) vehicles: Vec<String>,
    #[serde(skip)]
    pub(crate) windows: u64,
    #[serde(skip)]
    pub(crate) lost: u64,
}

/// One dimension. Node 0 is the root; each node comes behind its parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tree {
    pub(crate) slug: String,
    pub(crate) title: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) names: Vec<String>,
    pub(crate) parent: Vec<usize>,
    pub(crate) name: Vec<usize>,
    /// Of each node its own values: bucket, value, bucket, value.
    pub(crate) own: Vec<Vec<u64>>,
}

#[derive(Debug, Default)]
struct Node {
    own: BTreeMap<u64, u64>,
    children: BTreeMap<String, Self>,
}

impl Profiles {
    pub(crate) fn new(windows: Vec<WindowLine>) -> Self {
        let Some(start) = windows.iter().map(|it| it.at_ms).min() else { return Self::default() };
        let end = windows.iter().map(|it| it.at_ms.saturating_add(it.duration_ms)).max().unwrap_or(start);
        let longest = windows.iter().map(|it| it.duration_ms).max().unwrap_or(1).max(1);
        // As many whole windows as it takes to stay within the number of buckets.
        let per_bucket = (end - start).div_ceil(longest).div_ceil(MAX_BUCKETS as u64).max(1);
        let bucket_ms = longest.saturating_mul(per_bucket);
        let bucket_of = |window: &WindowLine| (window.at_ms - start) / bucket_ms;
        let count = windows.iter().map(bucket_of).max().unwrap_or(0) + 1;
        let mut buckets: Vec<Bucket> = (0..count)
            .map(|it| Bucket { at_ms: start.saturating_add(it.saturating_mul(bucket_ms)), covered_ms: 0 })
            .collect();
        let mut vehicles: Vec<_> = windows.iter().map(|it| it.vin.clone()).collect();
        vehicles.sort_unstable();
        vehicles.dedup();
        let mut covered = std::collections::HashSet::new();
        let (mut lost, mut roots) = (0_u64, BTreeMap::<String, Node>::new());
        for window in &windows {
            // One line for each dimension of a window: its time counts once.
            if covered.insert((window.vin.as_str(), window.at_ms)) {
                lost = lost.saturating_add(window.lost);
                if let Some(bucket) =
                    usize::try_from(bucket_of(window)).ok().and_then(|it| buckets.get_mut(it))
                {
                    bucket.covered_ms = bucket.covered_ms.saturating_add(window.duration_ms);
                }
            }
            let root = roots.entry(window.dimension.clone()).or_default();
            for (stack, value) in &window.stacks {
                let vehicle = (vehicles.len() > 1).then_some(window.vin.as_str());
                root.add(vehicle.into_iter().chain(stack.split(';')), bucket_of(window), *value);
            }
        }
        let trees = DIMENSIONS.iter().filter_map(|(slug, title, what)| {
            let root = roots.remove(*slug)?;
            let unit = if matches!(*slug, "heap" | "pages") { "B" } else { "ns" };
            Some(Tree { slug: (*slug).to_owned(), title, what, unit, ..root.flatten() })
        });
        let trees = trees.collect();
        Self { buckets, bucket_ms, trees, vehicles, windows: covered.len() as u64, lost }
    }

    /// As JSON that may stand in a script element.
    pub(crate) fn to_json(&self) -> String {
        // Texts and numbers: it cannot fail.
        let json = serde_json::to_string(self).unwrap_or_default();
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

impl Node {
    fn add<'a>(&mut self, names: impl Iterator<Item = &'a str>, bucket: u64, value: u64) {
        let mut node = self;
        for name in names.take(MAX_DEPTH) {
            // Looked up first: most names are known.
            if !node.children.contains_key(name) {
                node.children.insert(name.to_owned(), Self::default());
            }
            let Some(child) = node.children.get_mut(name) else { return };
            node = child;
        }
        let own = node.own.entry(bucket).or_default();
        *own = own.saturating_add(value);
    }

    fn total(&self) -> u64 {
        let own = self.own.values().fold(0_u64, |sum, it| sum.saturating_add(*it));
        self.children.values().fold(own, |sum, it| sum.saturating_add(it.total()))
    }

    fn count(&self) -> usize {
        1 + self.children.values().map(Self::count).sum::<usize>()
    }

    /// Adds children that are smaller than `least` to their parent.
    fn prune(&mut self, least: u64) {
        let children = std::mem::take(&mut self.children);
        for (name, mut child) in children {
            if child.total() < least {
                child.collect(&mut self.own);
            } else {
                child.prune(least);
                self.children.insert(name, child);
            }
        }
    }

    fn collect(&self, into: &mut BTreeMap<u64, u64>) {
        for (bucket, value) in &self.own {
            let sum = into.entry(*bucket).or_default();
            *sum = sum.saturating_add(*value);
        }
        self.children.values().for_each(|it| it.collect(into));
    }

    fn flatten(mut self) -> Tree {
        let mut least = self.total() / 100_000;
        while self.count() > MAX_NODES {
            least = (least * 2).max(1);
            self.prune(least);
        }
        let mut tree = Tree::default();
        let mut numbers = BTreeMap::new();
        self.put("", 0, &mut tree, &mut numbers);
        tree
    }

    fn put(&self, name: &str, parent: usize, tree: &mut Tree, numbers: &mut BTreeMap<String, usize>) {
        let number = *numbers.entry(name.to_owned()).or_insert_with(|| {
            tree.names.push(name.to_owned());
            tree.names.len() - 1
        });
        let here = tree.parent.len();
        tree.parent.push(parent);
        tree.name.push(number);
        tree.own.push(self.own.iter().flat_map(|(bucket, value)| [*bucket, *value]).collect());
        for (name, child) in &self.children {
            child.put(name, here, tree, numbers);
        }
    }
}

impl Tree {
    /// Sum of all values.
    pub(crate) fn total(&self) -> u64 {
        self.own.iter().flat_map(|it| it.chunks_exact(2)).fold(0, |sum, it| sum.saturating_add(it[1]))
    }

    /// The places that took most themselves, largest first: name and value, over all stacks.
    pub(crate) fn top(&self, count: usize) -> Vec<(&str, u64)> {
        let mut sums: BTreeMap<usize, u64> = BTreeMap::new();
        for (own, name) in self.own.iter().zip(&self.name) {
            let value = own.chunks_exact(2).fold(0_u64, |sum, it| sum.saturating_add(it[1]));
            let sum = sums.entry(*name).or_default();
            *sum = sum.saturating_add(value);
        }
        let mut top: Vec<_> = sums
            .into_iter()
            .filter_map(|(name, value)| Some((self.names.get(name)?.as_str(), value)))
            .collect();
        top.retain(|(_, value)| *value > 0);
        top.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top.truncate(count);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(at_ms: u64, dimension: &str, stacks: &[(&str, u64)]) -> WindowLine {
        WindowLine {
            vin: "V".into(),
            at_ms,
            duration_ms: 10,
            lost: 1,
            dimension: dimension.into(),
            stacks: stacks.iter().map(|(stack, value)| ((*stack).to_owned(), *value)).collect(),
        }
    }

    #[test]
    fn windows_add_up_by_place_and_time() {
        let profiles = Profiles::new(vec![
            window(1000, "cpu", &[("t;a;b", 5), ("t;a", 1)]),
            window(1000, "lock", &[("t;a", 7)]),
            window(1010, "cpu", &[("t;a;b", 3)]),
            window(1010, "nonsense", &[("t;a;b", 3)]),
        ]);
        assert_eq!((profiles.windows, profiles.lost), (2, 2));
        let bucket = |at_ms| Bucket { at_ms, covered_ms: 10 };
        assert_eq!(profiles.buckets, [bucket(1000), bucket(1010)]);
        let slugs: Vec<_> = profiles.trees.iter().map(|it| it.slug.as_str()).collect();
        assert_eq!(slugs, ["cpu", "lock"]);
        let cpu = &profiles.trees[0];
        assert_eq!(cpu.total(), 9);
        assert_eq!(cpu.top(5), [("b", 8), ("a", 1)]);
        assert_eq!(cpu.parent, [0, 0, 1, 2]);
        assert_eq!(cpu.own[3], [0, 5, 1, 3]);
    }

    #[test]
    fn too_many_places_are_added_to_what_called_them() {
        let stacks: Vec<_> = (0..MAX_NODES + 10).map(|it| (format!("t;f{it}"), 1 + it as u64 % 3)).collect();
        let stacks: Vec<_> = stacks.iter().map(|(stack, value)| (stack.as_str(), *value)).collect();
        let profiles = Profiles::new(vec![window(0, "cpu", &stacks)]);
        let tree = &profiles.trees[0];
        assert!(tree.parent.len() <= MAX_NODES, "{}", tree.parent.len());
        assert_eq!(tree.total(), stacks.iter().map(|it| it.1).sum::<u64>());
    }

    #[test]
    fn the_number_of_buckets_is_bounded_however_long_it_took() {
        let windows = (0..1000).map(|it| window(it * 10, "cpu", &[("t", 1)])).collect();
        let profiles = Profiles::new(windows);
        assert!(profiles.buckets.len() <= MAX_BUCKETS);
        assert_eq!(profiles.buckets.iter().map(|it| it.covered_ms).sum::<u64>(), 10_000);
        // A clock that was set by years does not make a bucket for each window in between.
        let far =
            Profiles::new(vec![window(0, "cpu", &[("t", 1)]), window(u64::MAX / 2, "cpu", &[("t", 1)])]);
        assert!(far.buckets.len() <= MAX_BUCKETS);
    }

    #[test]
    fn no_name_ends_the_script_element() {
        let profiles = Profiles::new(vec![window(0, "cpu", &[("</script><!--&", 1)])]);
        let json = profiles.to_json();
        assert!(!json.contains(['<', '>', '&']), "{json}");
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["trees"][0]["names"][1], "</script><!--&");
    }
}
