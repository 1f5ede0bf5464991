//! Reads a sysfs tree from a root folder, so that the tree of another machine serves as well as `/sys`.
//!
//! Kernels, containers and guests leave files out. A file that is missing or unreadable makes the picture coarser,
//! never fails: in the worst case the allowed CPUs form one cluster on one node.

use crate::cpuset::{CpuId, CpuSet};
use crate::node::{Domain, FULL_CAPACITY, NodeId, NumaNode, RawCpu, Source, Topology, TopologyError};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest file that is read from sysfs, in bytes: the kernel's own limit is a page.
const MAX_FILE_BYTES: u64 = 8192;

/// Cache levels that are looked at below `cache/`. Known machines have four.
const MAX_CACHE_INDEX: usize = 8;

/// What the kernel prints as `cluster_id` where the firmware names no cluster: -1 in sixteen bits, or plainly.
const NO_CLUSTER: [&str; 2] = ["65535", "-1"];

impl Topology {
    /// Reads the tree below `root` (`/sys` of a live system) and keeps the CPUs that are in `allowed` and online.
    ///
    /// `allowed` comes first because a container's sysfs shows the CPUs of the whole machine.
    pub fn from_sysfs(root: &Path, allowed: &CpuSet) -> Result<Self, TopologyError> {
        let cpu_root = root.join("devices/system/cpu");
        let online = read_set(&cpu_root.join("online")).unwrap_or(*allowed);
        let usable = allowed.intersection(&online);
        if usable.is_empty() {
            return Err(TopologyError::NoUsableCpu { allowed: Box::new(*allowed), online: Box::new(online) });
        }
        let cpus = usable.iter().map(|cpu| read_cpu(&cpu_root.join(format!("cpu{cpu}")), cpu)).collect();
        Self::assemble(Source::Sysfs, cpus, read_nodes(&root.join("devices/system/node")))
    }
}

fn read_cpu(folder: &Path, id: CpuId) -> RawCpu {
    let mut cpu = RawCpu::new(id);
    let topology = folder.join("topology");
    // `thread_siblings_list` and `core_siblings_list` are what kernels before 5.3 call the same lists.
    if let Some(core) = read_first_set(&topology, &["core_cpus_list", "thread_siblings_list"]) {
        cpu.core = core;
    }
    let has_cluster =
        read_text(&topology.join("cluster_id")).is_none_or(|id| !NO_CLUSTER.contains(&id.as_str()));
    if has_cluster && let Some(cpus) = read_set(&topology.join("cluster_cpus_list")) {
        cpu.domains.push((Domain::Cluster, cpus));
    }
    if let Some(cache) = level_3_cache(&folder.join("cache")) {
        cpu.l3_bytes = read_text(&cache.join("size")).and_then(|size| parse_size(&size));
        if let Some(cpus) = read_set(&cache.join("shared_cpu_list")) {
            cpu.domains.push((Domain::L3Cache, cpus));
        }
    }
    if let Some(cpus) = read_first_set(&topology, &["package_cpus_list", "core_siblings_list"]) {
        cpu.domains.push((Domain::Package, cpus));
    }
    cpu.capacity = read_text(&folder.join("cpu_capacity"))
        .and_then(|text| text.parse().ok())
        .filter(|capacity| *capacity > 0)
        .unwrap_or(FULL_CAPACITY);
    cpu
}

/// The folder of the level 3 cache. Its index is not always 3: without split first-level caches it is lower.
fn level_3_cache(caches: &Path) -> Option<std::path::PathBuf> {
    (0..MAX_CACHE_INDEX)
        .map(|index| caches.join(format!("index{index}")))
        .find(|cache| read_text(&cache.join("level")).as_deref() == Some("3"))
        .or_else(|| {
            let third = caches.join("index3");
            (third.join("shared_cpu_list").exists() && !third.join("level").exists()).then_some(third)
        })
}

fn read_nodes(folder: &Path) -> Vec<NumaNode> {
    // A set of node numbers has the same format and the same bound as a set of CPUs.
    let Some(online) = read_set(&folder.join("online")) else { return Vec::new() };
    let numbers = online.iter().filter_map(|node| u32::try_from(node.number()).ok());
    numbers
        .map(|number| {
            let node = folder.join(format!("node{number}"));
            NumaNode {
                id: NodeId(number),
                cpus: read_set(&node.join("cpulist")).unwrap_or_default(),
                memory_bytes: read_text(&node.join("meminfo")).and_then(|text| parse_memory(&text)),
            }
        })
        .collect()
}

/// `Node 0 MemTotal:       24576000 kB` among other lines.
fn parse_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.contains("MemTotal:"))?;
    let mut words = line.split_whitespace().rev();
    (words.next()? == "kB").then_some(())?;
    words.next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `2048K`, `32M`, or plain bytes.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (text.strip_suffix('K')?, 1024),
        b'M' => (text.strip_suffix('M')?, 1024 * 1024),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn read_first_set(folder: &Path, names: &[&str]) -> Option<CpuSet> {
    names.iter().find_map(|name| read_set(&folder.join(name)))
}

fn read_set(path: &Path) -> Option<CpuSet> {
    read_text(path)?.parse().ok()
}

fn read_text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sysfs tree in a temporary folder.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, content: &str) -> &Self {
            let path = self.0.path().join("devices/system").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{content}\n")).unwrap();
            self
        }

        fn read(&self, allowed: &str) -> Topology {
            Topology::from_sysfs(self.0.path(), &allowed.parse().unwrap()).unwrap()
        }
    }

    fn clusters(topology: &Topology) -> Vec<(String, Domain)> {
        topology.clusters().iter().map(|cluster| (cluster.cpus.to_string(), cluster.domain)).collect()
    }

    /// Twelve CPUs in three clusters, as on an Orin: no level 3 cache in sysfs, one node.
    fn three_clusters(cluster_id: impl Fn(usize) -> String) -> Tree {
        let tree = Tree::new();
        tree.file("cpu/online", "0-11").file("node/online", "0").file("node/node0/cpulist", "0-11");
        for cpu in 0..12 {
            let first = cpu / 4 * 4;
            tree.file(&format!("cpu/cpu{cpu}/topology/cluster_id"), &cluster_id(cpu / 4))
                .file(&format!("cpu/cpu{cpu}/topology/cluster_cpus_list"), &format!("{first}-{}", first + 3))
                .file(&format!("cpu/cpu{cpu}/topology/package_cpus_list"), "0-11")
                .file(&format!("cpu/cpu{cpu}/cpu_capacity"), "1024");
        }
        tree
    }

    #[test]
    fn clusters_named_by_the_firmware_come_first() {
        let topology = three_clusters(|cluster| cluster.to_string()).read("0-11");
        let expected = ["0-3", "4-7", "8-11"].map(|cpus| (cpus.to_owned(), Domain::Cluster));
        assert_eq!(clusters(&topology), expected);
    }

    #[test]
    fn a_cluster_id_of_65535_means_no_cluster() {
        let topology = three_clusters(|_| "65535".to_owned()).read("0-11");
        assert_eq!(clusters(&topology), [("0-11".to_owned(), Domain::Package)]);
    }

    #[test]
    fn without_clusters_the_level_3_cache_decides() {
        let tree = Tree::new();
        tree.file("cpu/online", "0-3");
        for cpu in 0..4 {
            let shared = if cpu < 2 { "0-1" } else { "2-3" };
            tree.file(&format!("cpu/cpu{cpu}/cache/index2/level"), "3")
                .file(&format!("cpu/cpu{cpu}/cache/index2/size"), "2048K")
                .file(&format!("cpu/cpu{cpu}/cache/index2/shared_cpu_list"), shared)
                .file(&format!("cpu/cpu{cpu}/topology/package_cpus_list"), "0-3");
        }
        let topology = tree.read("0-3");
        let expected = ["0-1", "2-3"].map(|cpus| (cpus.to_owned(), Domain::L3Cache));
        assert_eq!(clusters(&topology), expected);
        assert_eq!(topology.clusters()[0].l3_bytes, Some(2 * 1024 * 1024));
    }

    #[test]
    fn an_empty_tree_is_one_cluster_of_the_allowed_cpus() {
        let topology = Tree::new().read("0,2");
        assert_eq!(clusters(&topology), [("0,2".to_owned(), Domain::Machine)]);
    }

    #[test]
    fn files_of_nonsense_are_as_good_as_missing() {
        let tree = Tree::new();
        tree.file("cpu/online", "0-1")
            .file("cpu/cpu0/topology/cluster_cpus_list", "banana")
            .file("cpu/cpu0/topology/package_cpus_list", "7-9")
            .file("cpu/cpu0/cpu_capacity", "0")
            .file("cpu/cpu1/cpu_capacity", "-3")
            .file("node/online", "0-99999");
        let topology = tree.read("0-1");
        assert_eq!(clusters(&topology), [("0-1".to_owned(), Domain::Machine)]);
        assert!(topology.cpus().iter().all(|cpu| cpu.capacity == FULL_CAPACITY));
    }

    #[test]
    fn cpus_outside_the_allowed_set_or_offline_are_left_out() {
        let tree = three_clusters(|cluster| cluster.to_string());
        tree.file("cpu/online", "0-5,8-11");
        let expected = ["2-3", "4-5"].map(|cpus| (cpus.to_owned(), Domain::Cluster));
        assert_eq!(clusters(&tree.read("2-7")), expected);
    }

    #[test]
    fn nothing_of_the_allowed_set_online_is_an_error() {
        let tree = three_clusters(|cluster| cluster.to_string());
        tree.file("cpu/online", "0-5");
        let error = Topology::from_sysfs(tree.0.path(), &"6-7".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "no usable CPU: allowed 6-7, online 0-5");
    }

    #[test]
    fn two_nodes_keep_their_memory_sizes() {
        let tree = Tree::new();
        tree.file("cpu/online", "0-3").file("node/online", "0-2");
        tree.file("node/node0/cpulist", "0-1")
            .file("node/node1/cpulist", "2-3")
            .file("node/node2/cpulist", "");
        tree.file("node/node1/meminfo", "Node 1 MemTotal:       524288 kB\nNode 1 MemFree: 12 kB");
        let topology = tree.read("0-3");
        let nodes: Vec<_> = topology
            .nodes()
            .iter()
            .map(|node| (node.id.0, node.cpus.to_string(), node.memory_bytes))
            .collect();
        assert_eq!(
            nodes,
            [
                (0, "0-1".to_owned(), None),
                (1, "2-3".to_owned(), Some(512 * 1024 * 1024)),
                (2, String::new(), None)
            ]
        );
        assert_eq!(topology.clusters().len(), 2);
    }

    #[test]
    fn this_machine_can_be_read() {
        let topology = Topology::detect().unwrap();
        assert_eq!(topology.cpu_set(), crate::affinity::allowed_cpus().unwrap());
    }
}
