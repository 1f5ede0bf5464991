//! `Topology`: CPUs, the clusters they form, and the NUMA nodes those lie on.

use crate::cpuset::{CpuId, CpuSet};
use std::fmt;

/// Relative speed of a CPU when the kernel states none: the kernel's own scale, on which the fastest CPU of a machine
/// has 1024 (Documentation/scheduler/sched-capacity.rst).
pub const FULL_CAPACITY: u32 = 1024;

/// Number of a NUMA node, the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Number of a cluster: position in [`Topology::clusters`], our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the CPUs of a cluster have in common, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// The firmware's description names the cluster (Linux 5.16 and later).
    Cluster,
    /// A shared level 3 cache.
    L3Cache,
    /// The same package (socket).
    Package,
    /// Nothing is known: all CPUs count as one cluster.
    Machine,
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::L3Cache => "l3-cache",
            Self::Package => "package",
            Self::Machine => "machine",
        })
    }
}

/// Where a topology was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The kernel's sysfs.
    Sysfs,
    /// hwloc: the machine itself, or a description of another.
    Hwloc,
    /// A bare list of CPUs, nothing known about them.
    CpuList,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sysfs => "sysfs",
            Self::Hwloc => "hwloc",
            Self::CpuList => "cpu-list",
        })
    }
}

/// One logical CPU that we may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    /// The lowest CPU of the same core; equal to `id` unless this is a second hardware thread.
    pub core: CpuId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its NUMA node.
    pub node: NodeId,
    /// Relative speed, [`FULL_CAPACITY`] for the fastest CPU of the machine.
    pub capacity: u32,
}

/// CPUs that share the last cache before memory, as far as the machine tells. Never spans two NUMA nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its number.
    pub id: ClusterId,
    /// Its CPUs, never empty.
    pub cpus: CpuSet,
    /// Its NUMA node.
    pub node: NodeId,
    /// What its CPUs have in common.
    pub domain: Domain,
    /// Size of the level 3 cache in bytes, where known.
    pub l3_bytes: Option<u64>,
}

/// One NUMA node. A node with memory only has no CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// Its number.
    pub id: NodeId,
    /// Those of its CPUs that we may run on.
    pub cpus: CpuSet,
    /// Size of its memory in bytes, where known.
    pub memory_bytes: Option<u64>,
}

/// The part of a machine that we may run on. There is at least one CPU, one cluster and one node, and every CPU is in
/// exactly one of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    source: Source,
    cpus: Vec<Cpu>,
    clusters: Vec<Cluster>,
    nodes: Vec<NumaNode>,
}

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Nothing of what we are allowed is online.
    #[error("no usable CPU: allowed {allowed}, online {online}")]
    NoUsableCpu {
        /// CPUs this process may use.
        allowed: Box<CpuSet>,
        /// CPUs that are switched on.
        online: Box<CpuSet>,
    },
    /// The scheduler does not say which CPUs are allowed.
    #[error("cannot read the allowed CPUs")]
    Allowed(#[source] crate::affinity::AffinityError),
    /// hwloc does not take the description, or cannot read the machine.
    #[error("hwloc cannot read {what}: {reason}")]
    Hwloc {
        /// What was to be read.
        what: String,
        /// hwloc's own words.
        reason: String,
    },
}

impl Topology {
    /// A machine of which only the CPU numbers are known: one node, one cluster.
    pub fn uniform(cpus: &CpuSet) -> Result<Self, TopologyError> {
        Self::assemble(Source::CpuList, cpus.iter().map(RawCpu::new).collect(), Vec::new())
    }

    /// The machine this runs on, as sysfs shows it, reduced to the CPUs that the scheduler lets this thread use.
    pub fn detect() -> Result<Self, TopologyError> {
        let allowed = crate::affinity::allowed_cpus().map_err(TopologyError::Allowed)?;
        Self::from_sysfs(std::path::Path::new("/sys"), &allowed)
    }

    /// Where this was read.
    pub fn source(&self) -> Source {
        self.source
    }

    /// CPUs in ascending order.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// Clusters in ascending order of their first CPU.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Nodes in ascending order, those with memory only among them.
    pub fn nodes(&self) -> &[NumaNode] {
        &self.nodes
    }

    /// All CPUs as a set.
    pub fn cpu_set(&self) -> CpuSet {
        self.cpus.iter().map(|cpu| cpu.id).collect()
    }

    /// The cluster with this number.
    pub fn cluster(&self, id: ClusterId) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.id == id)
    }

    /// Builds a consistent topology from what a reader found. Readers may contradict themselves; here every CPU ends
    /// up in one cluster and one node.
    pub(crate) fn assemble(
        source: Source,
        mut raw: Vec<RawCpu>,
        mut nodes: Vec<NumaNode>,
    ) -> Result<Self, TopologyError> {
        raw.sort_by_key(|cpu| cpu.id);
        raw.dedup_by_key(|cpu| cpu.id);
        let usable: CpuSet = raw.iter().map(|cpu| cpu.id).collect();
        if usable.is_empty() {
            return Err(TopologyError::NoUsableCpu { allowed: Box::new(usable), online: Box::new(usable) });
        }
        settle_nodes(&mut nodes, &usable);
        let clusters = partition(&raw, &nodes);
        let cpus = raw
            .iter()
            .filter_map(|cpu| {
                // `partition` puts every usable CPU into a cluster, so nothing is dropped here.
                let cluster = clusters.iter().find(|cluster| cluster.cpus.contains(cpu.id))?;
                let core = cpu.core.intersection(&usable).first().unwrap_or(cpu.id);
                Some(Cpu {
                    id: cpu.id,
                    core: core.min(cpu.id),
                    cluster: cluster.id,
                    node: cluster.node,
                    capacity: cpu.capacity,
                })
            })
            .collect();
        Ok(Self { source, cpus, clusters, nodes })
    }
}

/// What a reader knows about one CPU before the parts are made to agree.
#[derive(Clone, Debug)]
pub(crate) struct RawCpu {
    pub(crate) id: CpuId,
    /// Hardware threads of the same core.
    pub(crate) core: CpuSet,
    /// Candidates for the cluster, each with what it would be.
    pub(crate) domains: Vec<(Domain, CpuSet)>,
    pub(crate) capacity: u32,
    pub(crate) l3_bytes: Option<u64>,
}

impl RawCpu {
    pub(crate) fn new(id: CpuId) -> Self {
        Self { id, core: CpuSet::single(id), domains: Vec::new(), capacity: FULL_CAPACITY, l3_bytes: None }
    }

    /// The narrowest domain that holds more than this CPU's own core. On x86 the kernel reports the L2 cache of a
    /// single core as a cluster, and a package of one core says nothing either.
    fn domain(&self) -> Option<(Domain, &CpuSet)> {
        let mut candidates: Vec<_> = self.domains.iter().collect();
        candidates.sort_by_key(|(domain, _)| *domain);
        candidates
            .into_iter()
            .find(|(_, cpus)| cpus.contains(self.id) && !cpus.is_subset(&self.core))
            .map(|(domain, cpus)| (*domain, cpus))
    }
}

/// Makes the nodes disjoint and complete: the first to name a CPU keeps it, and a CPU nobody names goes to the lowest
/// node.
fn settle_nodes(nodes: &mut Vec<NumaNode>, usable: &CpuSet) {
    nodes.sort_by_key(|node| node.id);
    nodes.dedup_by_key(|node| node.id);
    let mut rest = *usable;
    for node in nodes.iter_mut() {
        node.cpus = node.cpus.intersection(&rest);
        rest = rest.difference(&node.cpus);
    }
    match nodes.first_mut() {
        Some(first) => first.cpus = first.cpus.union(&rest),
        None => nodes.push(NumaNode { id: NodeId(0), cpus: rest, memory_bytes: None }),
    }
}

/// Divides the CPUs into clusters. Narrow domains claim theirs first, so that one CPU without a cluster of its own
/// cannot swallow those of the others.
fn partition(raw: &[RawCpu], nodes: &[NumaNode]) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for node in nodes {
        let mut rest = node.cpus;
        for wanted in [Domain::Cluster, Domain::L3Cache, Domain::Package, Domain::Machine] {
            for cpu in raw.iter().filter(|cpu| node.cpus.contains(cpu.id)) {
                let (domain, cpus) = cpu.domain().unwrap_or((Domain::Machine, &node.cpus));
                if domain != wanted || !rest.contains(cpu.id) {
                    continue;
                }
                let cpus = cpus.intersection(&rest);
                rest = rest.difference(&cpus);
                clusters.push(Cluster {
                    id: ClusterId(0),
                    cpus,
                    node: node.id,
                    domain,
                    l3_bytes: cpu.l3_bytes,
                });
            }
        }
    }
    clusters.sort_by_key(|cluster| cluster.cpus.first());
    for (number, cluster) in (0..).zip(clusters.iter_mut()) {
        cluster.id = ClusterId(number);
    }
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    fn cpu(number: usize, domains: &[(Domain, &str)]) -> RawCpu {
        let mut raw = RawCpu::new(CpuId::new(number).unwrap());
        raw.domains = domains.iter().map(|(domain, cpus)| (*domain, set(cpus))).collect();
        raw
    }

    fn clusters(topology: &Topology) -> Vec<String> {
        topology.clusters().iter().map(|cluster| cluster.cpus.to_string()).collect()
    }

    #[test]
    fn a_list_of_cpus_is_one_node_and_one_cluster() {
        let topology = Topology::uniform(&set("1,5")).unwrap();
        assert_eq!(clusters(&topology), ["1,5"]);
        assert_eq!(topology.clusters()[0].domain, Domain::Machine);
        assert_eq!(topology.nodes().len(), 1);
    }

    #[test]
    fn no_cpu_is_an_error() {
        assert!(matches!(Topology::uniform(&CpuSet::EMPTY), Err(TopologyError::NoUsableCpu { .. })));
    }

    #[test]
    fn a_cpu_without_cluster_does_not_swallow_those_of_the_others() {
        let raw = vec![
            cpu(0, &[(Domain::Package, "0-4")]),
            cpu(1, &[(Domain::Cluster, "1-2"), (Domain::Package, "0-4")]),
            cpu(2, &[(Domain::Cluster, "1-2"), (Domain::Package, "0-4")]),
            cpu(3, &[(Domain::Cluster, "3-4"), (Domain::Package, "0-4")]),
            cpu(4, &[(Domain::Cluster, "3-4"), (Domain::Package, "0-4")]),
        ];
        let topology = Topology::assemble(Source::Sysfs, raw, Vec::new()).unwrap();
        assert_eq!(clusters(&topology), ["0", "1-2", "3-4"]);
    }

    #[test]
    fn a_cluster_that_is_only_a_core_gives_way_to_the_cache() {
        let mut raw: Vec<_> = (0..4)
            .map(|n| {
                let own = if n < 2 { "0-1" } else { "2-3" };
                let mut raw = cpu(n, &[(Domain::L3Cache, "0-3"), (Domain::Cluster, own)]);
                raw.core = set(own);
                raw
            })
            .collect();
        raw.reverse();
        let topology = Topology::assemble(Source::Sysfs, raw, Vec::new()).unwrap();
        assert_eq!(clusters(&topology), ["0-3"]);
        let cores: Vec<_> = topology.cpus().iter().map(|cpu| cpu.core.number()).collect();
        assert_eq!(cores, [0, 0, 2, 2]);
    }

    #[test]
    fn a_cluster_never_spans_two_nodes() {
        let raw = (0..4).map(|n| cpu(n, &[(Domain::Package, "0-3")])).collect();
        let node = |id, cpus| NumaNode { id: NodeId(id), cpus: set(cpus), memory_bytes: None };
        let topology =
            Topology::assemble(Source::Sysfs, raw, vec![node(1, "2-3"), node(0, "0-2"), node(7, "")])
                .unwrap();
        assert_eq!(clusters(&topology), ["0-2", "3"]);
        assert_eq!(topology.nodes().len(), 3, "the node with memory only stays");
    }
}
