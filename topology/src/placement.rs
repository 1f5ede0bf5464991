//! `Placement::plan`: which thread of the daemon runs where. A pure function of the topology and the demands.
//!
//! The rules, in the order in which they bind:
//! 1. Everything stays on one NUMA node, the *home* node: nothing that two of our threads share crosses the link.
//! 2. One cluster is filled first, the *home* cluster. A further cluster of the node is used only when crypto workers
//!    need it, and one cluster of the machine is always left to others. On a machine of one cluster with four cores
//!    or more, one core is left.
//! 3. Home is the fastest cluster; among equals not the one with the lowest CPU, where the kernel puts interrupts and
//!    its own work by default.
//! 4. One thread per core. Fast cores go first to the control loop, then to one crypto worker, then to the buses
//!    (each waits for deadlines of milliseconds), then to further crypto workers.
//! 5. When cores run out: crypto workers become fewer (never less than one), since a second worker on one core adds
//!    nothing. Bus workers sleep most of the time and share the control loop's core. Telemetry never gets a core: it
//!    floats over those of the home cluster that are left, or over all of them.

use crate::cpuset::{CpuId, CpuSet};
use crate::node::{Cluster, ClusterId, Cpu, NodeId, Topology};
use std::fmt;

/// Most threads one role may ask for. A vehicle has tens of buses, not hundreds.
pub const MAX_THREADS_PER_ROLE: u16 = 256;

/// Cores of a single cluster from which on one is left to others.
const CORES_TO_SPARE_ONE: usize = 4;

/// What a thread of the daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The event loop that joins cloud, store and buses.
    ControlLoop,
    /// Digests, signatures, ciphers.
    Crypto,
    /// One CAN bus or DoIP link each.
    Bus,
    /// Sampling, encoding, sending.
    Telemetry,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ControlLoop => "control-loop",
            Self::Crypto => "crypto",
            Self::Bus => "bus",
            Self::Telemetry => "telemetry",
        })
    }
}

/// How many threads a role wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The role.
    pub role: Role,
    /// Threads, 1 to [`MAX_THREADS_PER_ROLE`]. Crypto may get fewer, the other roles get what they ask for.
    pub threads: u16,
}

impl Demand {
    /// A demand of `threads` threads for `role`.
    pub fn new(role: Role, threads: u16) -> Self {
        Self { role, threads }
    }
}

/// Where one thread runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// What the thread does.
    pub role: Role,
    /// Its number within the role, from 0.
    pub index: u16,
    /// The CPUs to pin it to.
    pub cpus: CpuSet,
    /// Where it may run while those are offline: its cluster.
    pub fallback: CpuSet,
    /// The cluster.
    pub cluster: ClusterId,
    /// The node whose memory it should prefer.
    pub node: NodeId,
    /// Whether no other thread of the daemon is pinned to the same core.
    pub own_core: bool,
}

/// Where all threads of the daemon run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    home: ClusterId,
    node: NodeId,
    assignments: Vec<Assignment>,
    left_to_others: CpuSet,
}

/// Why there is no plan. The fault is in the demands: a topology always has a CPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A role is named twice.
    #[error("role {role} is demanded twice")]
    Repeated {
        /// The role.
        role: Role,
    },
    /// A role wants no thread, or more than [`MAX_THREADS_PER_ROLE`].
    #[error("role {role} demands {threads} threads, possible are 1 to {MAX_THREADS_PER_ROLE}")]
    Threads {
        /// The role.
        role: Role,
        /// What it wants.
        threads: u16,
    },
    /// There is more than one control loop.
    #[error("{threads} control loops are demanded, there is one")]
    ControlLoops {
        /// What is wanted.
        threads: u16,
    },
    /// The topology has no CPU. [`Topology`] does not come without one.
    #[error("the topology has no CPU")]
    NoCpu,
}

impl Placement {
    /// Plans the demands on the topology. The order of the demands does not matter.
    pub fn plan(topology: &Topology, demands: &[Demand]) -> Result<Self, PlanError> {
        check(demands)?;
        let wanted =
            |role| demands.iter().find(|demand| demand.role == role).map_or(0, |demand| demand.threads);
        let home = home_cluster(topology).ok_or(PlanError::NoCpu)?;
        let mut free = Cores::new(topology, home);
        // The control loop's core, or the core it would have: what shares, shares with it.
        let first = free.first().ok_or(PlanError::NoCpu)?;
        let mut plan = Plan { topology, placed: Vec::new() };

        if wanted(Role::ControlLoop) > 0 {
            let core = free.take_home().unwrap_or(first);
            plan.place(Role::ControlLoop, core);
        }
        let crypto = wanted(Role::Crypto);
        if crypto > 0 {
            let core = free.take_home().unwrap_or(first);
            plan.place(Role::Crypto, core);
        }
        for _ in 0..wanted(Role::Bus) {
            let core = free.take_home().unwrap_or(first);
            plan.place(Role::Bus, core);
        }
        for _ in 1..crypto {
            // No free core: a second worker on one core would only add switches.
            let Some(core) = free.take() else { break };
            plan.place(Role::Crypto, core);
        }
        let floating = if free.home.is_empty() { home.cpus } else { free.home.iter().copied().collect() };
        for _ in 0..wanted(Role::Telemetry) {
            plan.float(Role::Telemetry, floating, home);
        }
        Ok(plan.finish(home))
    }

    /// The cluster that is filled first.
    pub fn home(&self) -> ClusterId {
        self.home
    }

    /// The node everything runs on.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// All threads, by role and number.
    pub fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// The threads of one role, in order.
    pub fn threads(&self, role: Role) -> impl Iterator<Item = &Assignment> {
        self.assignments.iter().filter(move |assignment| assignment.role == role)
    }

    /// CPUs that no thread of the daemon is pinned to.
    pub fn left_to_others(&self) -> &CpuSet {
        &self.left_to_others
    }
}

fn check(demands: &[Demand]) -> Result<(), PlanError> {
    let mut seen = Vec::new();
    for Demand { role, threads } in demands.iter().copied() {
        if seen.contains(&role) {
            return Err(PlanError::Repeated { role });
        }
        if !(1..=MAX_THREADS_PER_ROLE).contains(&threads) {
            return Err(PlanError::Threads { role, threads });
        }
        if role == Role::ControlLoop && threads > 1 {
            return Err(PlanError::ControlLoops { threads });
        }
        seen.push(role);
    }
    Ok(())
}

/// The fastest cluster, by its fastest core; then the one with more cores; then any but the one with the lowest CPU.
fn home_cluster(topology: &Topology) -> Option<&Cluster> {
    let lowest = topology.cpu_set().first();
    topology.clusters().iter().min_by_key(|cluster| {
        let cores = cores_of(topology, cluster);
        let capacity = cores.iter().map(|core| core.capacity).max().unwrap_or(0);
        let has_lowest = cluster.cpus.first() == lowest;
        (std::cmp::Reverse((capacity, cores.len())), has_lowest, cluster.id)
    })
}

/// One CPU per core of the cluster, the fastest first; among equals the highest number first, away from CPU 0.
fn cores_of<'t>(topology: &'t Topology, cluster: &Cluster) -> Vec<&'t Cpu> {
    let mut cores: Vec<&Cpu> =
        topology.cpus().iter().filter(|cpu| cpu.cluster == cluster.id && cpu.core == cpu.id).collect();
    cores.sort_by_key(|cpu| std::cmp::Reverse((cpu.capacity, cpu.id)));
    cores
}

/// Cores not yet given away.
struct Cores {
    home: Vec<CpuId>,
    spill: Vec<CpuId>,
    first: Option<CpuId>,
}

impl Cores {
    fn new(topology: &Topology, home: &Cluster) -> Self {
        let ids = |cluster| cores_of(topology, cluster).iter().map(|cpu| cpu.id).collect::<Vec<_>>();
        let mut own = ids(home);
        let first = own.first().copied();
        if topology.clusters().len() == 1 && own.len() >= CORES_TO_SPARE_ONE {
            // The slowest core, and CPU 0 among equals.
            own.pop();
        }
        let mut others: Vec<&Cluster> = topology
            .clusters()
            .iter()
            .filter(|cluster| cluster.node == home.node && cluster.id != home.id)
            .collect();
        if others.len() + 1 == topology.clusters().len() {
            // No other node has a cluster to leave to others, so one of this node must be left: the one where the
            // kernel's own work is, as far as that is not home.
            others.sort_by_key(|cluster| std::cmp::Reverse(cluster.id));
            others.pop();
        }
        let mut spill: Vec<CpuId> = others.into_iter().flat_map(ids).collect();
        own.reverse();
        spill.reverse();
        Self { home: own, spill, first }
    }

    fn first(&self) -> Option<CpuId> {
        self.first
    }

    fn take_home(&mut self) -> Option<CpuId> {
        self.home.pop()
    }

    fn take(&mut self) -> Option<CpuId> {
        self.home.pop().or_else(|| self.spill.pop())
    }
}

struct Plan<'t> {
    topology: &'t Topology,
    placed: Vec<Assignment>,
}

impl Plan<'_> {
    fn place(&mut self, role: Role, core: CpuId) {
        let cluster = self.topology.clusters().iter().find(|cluster| cluster.cpus.contains(core));
        // Cores come from the clusters, so there is one.
        if let Some(cluster) = cluster {
            self.float(role, CpuSet::single(core), cluster);
        }
    }

    fn float(&mut self, role: Role, cpus: CpuSet, cluster: &Cluster) {
        let index = u16::try_from(self.placed.iter().filter(|other| other.role == role).count())
            .unwrap_or(MAX_THREADS_PER_ROLE);
        self.placed.push(Assignment {
            role,
            index,
            cpus,
            fallback: cluster.cpus,
            cluster: cluster.id,
            node: cluster.node,
            own_core: false,
        });
    }

    fn finish(mut self, home: &Cluster) -> Placement {
        self.placed.sort_by_key(|assignment| (assignment.role, assignment.index));
        let sets: Vec<CpuSet> = self.placed.iter().map(|assignment| assignment.cpus).collect();
        for (position, assignment) in self.placed.iter_mut().enumerate() {
            let shared = sets
                .iter()
                .enumerate()
                .any(|(other, set)| other != position && !set.intersection(&assignment.cpus).is_empty());
            assignment.own_core = assignment.cpus.len() == 1 && !shared;
        }
        let used = sets.iter().fold(CpuSet::EMPTY, |used, set| used.union(set));
        Placement {
            home: home.id,
            node: home.node,
            assignments: self.placed,
            left_to_others: self.topology.cpu_set().difference(&used),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Domain, NumaNode, RawCpu, Source};
    use proptest::prelude::*;

    /// `clusters` per node times `cores` times `threads`; hardware threads of a core are neighbours.
    fn machine(nodes: usize, clusters: usize, cores: usize, threads: usize) -> Topology {
        let id = |n| CpuId::new(n).unwrap();
        let range = |from: usize, len: usize| (from..from + len).map(id).collect::<CpuSet>();
        let (per_cluster, per_node) = (cores * threads, clusters * cores * threads);
        let cpus = (0..nodes * per_node)
            .map(|n| {
                let mut raw = RawCpu::new(id(n));
                raw.core = range(n / threads * threads, threads);
                raw.domains = vec![
                    (Domain::Cluster, range(n / per_cluster * per_cluster, per_cluster)),
                    (Domain::Package, range(n / per_node * per_node, per_node)),
                ];
                raw
            })
            .collect();
        let node = |n: usize| NumaNode {
            id: NodeId(u32::try_from(n).unwrap()),
            cpus: range(n * per_node, per_node),
            memory_bytes: None,
        };
        Topology::assemble(Source::Sysfs, cpus, (0..nodes).map(node).collect()).unwrap()
    }

    fn demands(crypto: u16, bus: u16) -> [Demand; 4] {
        [
            Demand::new(Role::ControlLoop, 1),
            Demand::new(Role::Crypto, crypto),
            Demand::new(Role::Bus, bus),
            Demand::new(Role::Telemetry, 1),
        ]
    }

    fn cpus(placement: &Placement, role: Role) -> Vec<String> {
        placement.threads(role).map(|assignment| assignment.cpus.to_string()).collect()
    }

    #[test]
    fn one_cpu_carries_everything_with_one_crypto_worker() {
        let placement = Placement::plan(&machine(1, 1, 1, 1), &demands(4, 2)).unwrap();
        assert_eq!(cpus(&placement, Role::ControlLoop), ["0"]);
        assert_eq!(cpus(&placement, Role::Crypto), ["0"]);
        assert_eq!(cpus(&placement, Role::Bus), ["0", "0"]);
        assert_eq!(cpus(&placement, Role::Telemetry), ["0"]);
        assert!(placement.assignments().iter().all(|assignment| !assignment.own_core));
    }

    #[test]
    fn two_cpus_give_one_to_control_and_buses_and_one_to_crypto() {
        let placement = Placement::plan(&machine(1, 1, 2, 1), &demands(4, 2)).unwrap();
        assert_eq!(cpus(&placement, Role::ControlLoop), ["1"]);
        assert_eq!(cpus(&placement, Role::Crypto), ["0"]);
        assert_eq!(cpus(&placement, Role::Bus), ["1", "1"]);
        assert_eq!(cpus(&placement, Role::Telemetry), ["0-1"]);
    }

    #[test]
    fn three_cores_of_one_cluster_are_all_used_and_of_four_one_is_left() {
        let three = Placement::plan(&machine(1, 1, 3, 1), &demands(8, 1)).unwrap();
        assert!(three.left_to_others().is_empty());
        let four = Placement::plan(&machine(1, 1, 4, 1), &demands(8, 1)[..3]).unwrap();
        assert_eq!(four.left_to_others().to_string(), "0");
    }

    #[test]
    fn an_orin_fills_one_cluster_and_spills_crypto_into_the_next_leaving_the_first() {
        let topology = machine(1, 3, 4, 1);
        let small = Placement::plan(&topology, &demands(1, 1)).unwrap();
        assert_eq!(cpus(&small, Role::ControlLoop), ["7"]);
        assert_eq!(cpus(&small, Role::Crypto), ["6"]);
        assert_eq!(cpus(&small, Role::Bus), ["5"]);
        assert_eq!(cpus(&small, Role::Telemetry), ["4"]);

        let large = Placement::plan(&topology, &demands(12, 2)).unwrap();
        assert_eq!(cpus(&large, Role::Crypto), ["6", "11", "10", "9", "8"]);
        assert_eq!(cpus(&large, Role::Telemetry), ["4-7"]);
        assert_eq!(large.left_to_others().to_string(), "0-3");
        let spilled = large.threads(Role::Crypto).nth(1).unwrap();
        assert_eq!(
            spilled.fallback.to_string(),
            "8-11",
            "the fallback is the cluster of the thread, not home"
        );
    }

    #[test]
    fn a_rack_of_two_nodes_stays_on_one_and_on_one_hardware_thread_per_core() {
        let topology = machine(2, 2, 4, 2);
        let placement = Placement::plan(&topology, &demands(32, 4)).unwrap();
        assert!(placement.assignments().iter().all(|assignment| assignment.node == placement.node()));
        assert_eq!(placement.threads(Role::Crypto).count(), 5);
        for assignment in placement.threads(Role::Crypto) {
            assert_eq!(assignment.cpus.first().unwrap().number() % 2, 0);
        }
    }

    #[test]
    fn the_fast_cluster_is_home_and_its_fastest_core_the_control_loops() {
        let mut cpus = Vec::new();
        for n in 0..6 {
            let mut raw = RawCpu::new(CpuId::new(n).unwrap());
            raw.domains.push((Domain::Cluster, if n < 2 { "0-1" } else { "2-5" }.parse().unwrap()));
            raw.capacity = if n < 2 { 1024 } else { 400 };
            cpus.push(raw);
        }
        let topology = Topology::assemble(Source::Sysfs, cpus, Vec::new()).unwrap();
        let placement = Placement::plan(&topology, &demands(4, 1)).unwrap();
        assert_eq!(placement.home(), ClusterId(0), "speed counts for more than keeping off CPU 0");
        assert_eq!(cpus_of_all(&placement), "0-1");
    }

    fn cpus_of_all(placement: &Placement) -> String {
        let all = placement.assignments().iter().fold(CpuSet::EMPTY, |all, one| all.union(&one.cpus));
        all.to_string()
    }

    #[test]
    fn the_highest_thread_count_is_taken_and_the_next_refused() {
        let topology = machine(1, 1, 2, 1);
        let plan = |threads| Placement::plan(&topology, &[Demand::new(Role::Bus, threads)]);
        assert_eq!(plan(MAX_THREADS_PER_ROLE).unwrap().threads(Role::Bus).count(), 256);
        assert_eq!(plan(257), Err(PlanError::Threads { role: Role::Bus, threads: 257 }));
        assert_eq!(plan(0), Err(PlanError::Threads { role: Role::Bus, threads: 0 }));
    }

    #[test]
    fn contradicting_demands_are_refused() {
        let topology = machine(1, 1, 2, 1);
        let twice = [Demand::new(Role::Bus, 1), Demand::new(Role::Bus, 2)];
        assert_eq!(Placement::plan(&topology, &twice), Err(PlanError::Repeated { role: Role::Bus }));
        let loops = [Demand::new(Role::ControlLoop, 2)];
        assert_eq!(Placement::plan(&topology, &loops), Err(PlanError::ControlLoops { threads: 2 }));
    }

    proptest! {
        #[test]
        fn every_plan_keeps_the_promises(
            nodes in 1_usize..4, clusters in 1_usize..5, cores in 1_usize..6, threads in 1_usize..3,
            crypto in 1_u16..40, bus in 1_u16..40,
        ) {
            let topology = machine(nodes, clusters, cores, threads);
            let placement = Placement::plan(&topology, &demands(crypto, bus)).unwrap();
            prop_assert_eq!(placement.threads(Role::ControlLoop).count(), 1);
            prop_assert_eq!(placement.threads(Role::Bus).count(), usize::from(bus));
            prop_assert_eq!(placement.threads(Role::Telemetry).count(), 1);
            let workers: Vec<_> = placement.threads(Role::Crypto).collect();
            prop_assert!((1..=usize::from(crypto)).contains(&workers.len()));
            let distinct: CpuSet = workers.iter().filter_map(|worker| worker.cpus.first()).collect();
            prop_assert_eq!(distinct.len(), workers.len(), "two crypto workers share a core");
            for assignment in placement.assignments() {
                prop_assert!(!assignment.cpus.is_empty());
                prop_assert!(assignment.cpus.is_subset(&assignment.fallback));
                prop_assert_eq!(assignment.node, placement.node());
            }
            if topology.clusters().len() > 1 {
                let left = placement.left_to_others();
                let whole = topology.clusters().iter().any(|cluster| cluster.cpus.is_subset(left));
                prop_assert!(whole, "no cluster left to others");
            }
        }
    }
}
