//! What `gatewayd topology` shows: the hardware and the placement, as text and as JSON.

use crate::node::Topology;
use crate::placement::Placement;
use serde::Serialize;
use std::fmt;

/// Topology and placement in a form to print. CPU sets are cpulists; the JSON keys are stable.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where the topology was read: `sysfs`, `hwloc` or `cpu-list`.
    pub source: String,
    /// All usable CPUs.
    pub cpus: String,
    /// NUMA nodes.
    pub nodes: Vec<NodeReport>,
    /// Clusters.
    pub clusters: Vec<ClusterReport>,
    /// One entry per thread.
    pub placement: Vec<ThreadReport>,
    /// CPUs that no thread of the daemon is pinned to.
    pub left_to_others: String,
}

/// One NUMA node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Number of the node.
    pub id: u32,
    /// Its usable CPUs, empty for a node with memory only.
    pub cpus: String,
    /// Its memory in bytes, `null` where unknown.
    pub memory_bytes: Option<u64>,
}

/// One cluster.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterReport {
    /// Number of the cluster.
    pub id: u32,
    /// Its CPUs.
    pub cpus: String,
    /// Its node.
    pub node: u32,
    /// What its CPUs have in common: `cluster`, `l3-cache`, `package` or `machine`.
    pub domain: String,
    /// Size of its level 3 cache in bytes, `null` where unknown.
    pub l3_bytes: Option<u64>,
    /// Capacity of its fastest CPU, 1024 for the fastest of the machine.
    pub capacity: u32,
}

/// One thread.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadReport {
    /// `control-loop`, `crypto`, `bus` or `telemetry`.
    pub role: String,
    /// Number within the role.
    pub index: u16,
    /// CPUs it is pinned to.
    pub cpus: String,
    /// CPUs it may use while those are offline.
    pub fallback: String,
    /// Its cluster.
    pub cluster: u32,
    /// Its node.
    pub node: u32,
    /// Whether it shares its core with no other thread of the daemon.
    pub own_core: bool,
}

impl Report {
    /// Puts the two together.
    pub fn new(topology: &Topology, placement: &Placement) -> Self {
        let nodes = topology.nodes().iter().map(|node| NodeReport {
            id: node.id.0,
            cpus: node.cpus.to_string(),
            memory_bytes: node.memory_bytes,
        });
        let clusters = topology.clusters().iter().map(|cluster| ClusterReport {
            id: cluster.id.0,
            cpus: cluster.cpus.to_string(),
            node: cluster.node.0,
            domain: cluster.domain.to_string(),
            l3_bytes: cluster.l3_bytes,
            capacity: topology
                .cpus()
                .iter()
                .filter(|cpu| cpu.cluster == cluster.id)
                .map(|cpu| cpu.capacity)
                .max()
                .unwrap_or(0),
        });
        let threads = placement.assignments().iter().map(|thread| ThreadReport {
            role: thread.role.to_string(),
            index: thread.index,
            cpus: thread.cpus.to_string(),
            fallback: thread.fallback.to_string(),
            cluster: thread.cluster.0,
            node: thread.node.0,
            own_core: thread.own_core,
        });
        Self {
            source: topology.source().to_string(),
            cpus: topology.cpu_set().to_string(),
            nodes: nodes.collect(),
            clusters: clusters.collect(),
            placement: threads.collect(),
            left_to_others: placement.left_to_others().to_string(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CPUs {} (from {})", self.cpus, self.source)?;
        for node in &self.nodes {
            write!(f, "node {}: CPUs {}", node.id, or_none(&node.cpus))?;
            match node.memory_bytes {
                Some(bytes) => writeln!(f, ", {} MiB", bytes / (1024 * 1024))?,
                None => writeln!(f)?,
            }
        }
        for cluster in &self.clusters {
            write!(
                f,
                "cluster {}: CPUs {} on node {}, by {}, capacity {}",
                cluster.id, cluster.cpus, cluster.node, cluster.domain, cluster.capacity
            )?;
            match cluster.l3_bytes {
                Some(bytes) => writeln!(f, ", L3 {} KiB", bytes / 1024)?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "placement:")?;
        for thread in &self.placement {
            writeln!(
                f,
                "  {:<12} {:>3}  CPUs {:<8} cluster {} node {}{}",
                thread.role,
                thread.index,
                thread.cpus,
                thread.cluster,
                thread.node,
                if thread.own_core { "" } else { " (shared)" }
            )?;
        }
        writeln!(f, "left to others: CPUs {}", or_none(&self.left_to_others))
    }
}

fn or_none(cpus: &str) -> &str {
    if cpus.is_empty() { "none" } else { cpus }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Demand, Role};

    fn two_cpus() -> Report {
        let topology = Topology::uniform(&"0-1".parse().unwrap()).unwrap();
        let demands = [Demand::new(Role::ControlLoop, 1), Demand::new(Role::Telemetry, 1)];
        Report::new(&topology, &Placement::plan(&topology, &demands).unwrap())
    }

    #[test]
    fn json_has_the_stable_keys() {
        let json = serde_json::to_value(two_cpus()).unwrap();
        assert_eq!(json["source"], "cpu-list");
        assert_eq!(json["clusters"][0]["domain"], "machine");
        assert_eq!(json["placement"][0]["role"], "control-loop");
        assert_eq!(json["placement"][0]["cpus"], "1");
        assert_eq!(json["nodes"][0]["memory_bytes"], serde_json::Value::Null);
    }

    #[test]
    fn text_names_every_thread() {
        let text = two_cpus().to_string();
        assert!(text.contains("control-loop   0  CPUs 1 "), "{text}");
        assert!(text.contains("telemetry      0  CPUs 0 "), "{text}");
        assert!(text.ends_with("left to others: CPUs none\n"), "{text}");
    }
}
