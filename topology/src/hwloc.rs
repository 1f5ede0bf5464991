//! Reads a topology through hwloc: the machine itself, an XML description of another (`lstopo --of xml`), or a
//! synthetic one.

use crate::cpuset::{CpuId, CpuSet};
use crate::node::{Domain, FULL_CAPACITY, NodeId, NumaNode, RawCpu, Source, Topology, TopologyError};
use hwlocality::Topology as Hwloc;
use hwlocality::object::TopologyObject;
use hwlocality::object::attributes::ObjectAttributes;
use hwlocality::object::types::ObjectType;
use hwlocality::topology::builder::TopologyBuilder;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest XML description that is read, in bytes. Those of the largest machines hwloc publishes stay below a quarter.
pub const MAX_XML_BYTES: u64 = 16 * 1024 * 1024;

impl Topology {
    /// The machine this runs on, reduced to `allowed`. Takes tens of milliseconds, where reading sysfs takes a few.
    pub fn from_hwloc(allowed: &CpuSet) -> Result<Self, TopologyError> {
        let hwloc = Hwloc::new().map_err(|error| failure("this machine", error))?;
        convert(&hwloc, Some(allowed))
    }

    /// The machine that an hwloc XML file describes. Version 2 of the format: hwloc 2.x writes it, and hwloc 3 with
    /// its option for it.
    pub fn from_hwloc_xml_file(path: &Path) -> Result<Self, TopologyError> {
        let what = format!("`{}`", path.display());
        let mut xml = String::new();
        let file = File::open(path).map_err(|error| failure(&what, error))?;
        let length =
            file.take(MAX_XML_BYTES + 1).read_to_string(&mut xml).map_err(|error| failure(&what, error))?;
        if length as u64 > MAX_XML_BYTES {
            return Err(failure(&what, format!("longer than {MAX_XML_BYTES} bytes")));
        }
        Self::from_builder(&what, |builder| builder.from_xml(&xml).map_err(|error| failure(&what, error)))
    }

    /// The machine that an hwloc XML text describes.
    pub fn from_hwloc_xml(xml: &str) -> Result<Self, TopologyError> {
        let what = "the XML description";
        Self::from_builder(what, |builder| builder.from_xml(xml).map_err(|error| failure(what, error)))
    }

    /// A machine in hwloc's synthetic notation, `Package:1 [NUMANode] L3Cache:3 Core:4 PU:1` for example.
    pub fn from_hwloc_synthetic(description: &str) -> Result<Self, TopologyError> {
        let what = "the synthetic description";
        Self::from_builder(what, |builder| {
            builder.from_synthetic(description).map_err(|error| failure(what, error))
        })
    }

    fn from_builder(
        what: &str,
        configure: impl FnOnce(TopologyBuilder) -> Result<TopologyBuilder, TopologyError>,
    ) -> Result<Self, TopologyError> {
        let hwloc = configure(Hwloc::builder())?.build().map_err(|error| failure(what, error))?;
        convert(&hwloc, None)
    }
}

fn convert(hwloc: &Hwloc, allowed: Option<&CpuSet>) -> Result<Topology, TopologyError> {
    let present = from_bitmap(hwloc.cpuset().iter_set().map(usize::from));
    let usable = allowed.map_or(present, |allowed| allowed.intersection(&present));
    if usable.is_empty() {
        let allowed = allowed.unwrap_or(&present);
        return Err(TopologyError::NoUsableCpu { allowed: Box::new(*allowed), online: Box::new(present) });
    }
    let domains: Vec<(Domain, CpuSet, Option<u64>)> = hwloc.normal_objects().filter_map(domain_of).collect();
    let cores: Vec<CpuSet> = hwloc.objects_with_type(ObjectType::Core).filter_map(cpus_of).collect();
    let capacities = capacities(hwloc);
    let cpus = usable
        .iter()
        .map(|id| {
            let mut cpu = RawCpu::new(id);
            if let Some(core) = cores.iter().find(|core| core.contains(id)) {
                cpu.core = *core;
            }
            for (domain, cpus, size) in domains.iter().filter(|(_, cpus, _)| cpus.contains(id)) {
                cpu.domains.push((*domain, *cpus));
                cpu.l3_bytes = cpu.l3_bytes.or(*size);
            }
            if let Some((_, capacity)) = capacities.iter().find(|(cpus, _)| cpus.contains(id)) {
                cpu.capacity = *capacity;
            }
            cpu
        })
        .collect();
    let nodes = hwloc.objects_with_type(ObjectType::NUMANode).filter_map(node_of).collect();
    Topology::assemble(Source::Hwloc, cpus, nodes)
}

fn domain_of(object: &TopologyObject) -> Option<(Domain, CpuSet, Option<u64>)> {
    let domain = match object.object_type() {
        // hwloc marks the groups it made from the kernel's cluster files with this subtype.
        ObjectType::Group if object.subtype().is_some_and(|subtype| subtype == c"Cluster") => Domain::Cluster,
        ObjectType::L3Cache => Domain::L3Cache,
        ObjectType::Package => Domain::Package,
        _ => return None,
    };
    let size = match object.attributes() {
        Some(ObjectAttributes::Cache(cache)) => cache.size().map(u64::from),
        _ => None,
    };
    Some((domain, cpus_of(object)?, size))
}

fn node_of(object: &TopologyObject) -> Option<NumaNode> {
    let memory_bytes = match object.attributes() {
        Some(ObjectAttributes::NUMANode(node)) => node.local_memory().map(u64::from),
        _ => None,
    };
    Some(NumaNode {
        id: NodeId(u32::try_from(object.os_index()?).ok()?),
        cpus: cpus_of(object).unwrap_or_default(),
        memory_bytes,
    })
}

/// Capacity per kind of CPU. hwloc passes on what Linux says; without that the ranking alone is known, which is not a
/// speed, so all count as equal.
fn capacities(hwloc: &Hwloc) -> Vec<(CpuSet, u32)> {
    let Ok(kinds) = hwloc.cpu_kinds() else { return Vec::new() };
    kinds
        .map(|kind| {
            let capacity = kind
                .infos
                .iter()
                .find(|info| info.name() == c"LinuxCapacity")
                .and_then(|info| info.value().to_str().ok()?.parse().ok())
                .unwrap_or(FULL_CAPACITY);
            (from_bitmap(kind.cpuset.iter_set().map(usize::from)), capacity)
        })
        .collect()
}

fn cpus_of(object: &TopologyObject) -> Option<CpuSet> {
    Some(from_bitmap(object.cpuset()?.iter_set().map(usize::from)))
}

/// CPUs beyond [`crate::MAX_CPUS`] cannot be pinned to and are left out. The bound also ends infinite bitmaps.
fn from_bitmap(cpus: impl Iterator<Item = usize>) -> CpuSet {
    cpus.map_while(|cpu| CpuId::new(cpu).ok()).collect()
}

fn failure(what: &str, reason: impl ToString) -> TopologyError {
    TopologyError::Hwloc { what: what.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Demand, Placement, Role};

    const ORIN: &str = "Package:1 [NUMANode(memory=8GiB)] L3Cache:3(size=2MiB) L2Cache:4 Core:1 PU:1";
    const TDA4VM: &str = "Package:1 [NUMANode] L2Cache:1 Core:2 PU:1";
    const RACK: &str = "Package:2 [NUMANode] L3Cache:2 Core:4 PU:2";

    fn clusters(topology: &Topology) -> Vec<(String, Domain)> {
        topology.clusters().iter().map(|cluster| (cluster.cpus.to_string(), cluster.domain)).collect()
    }

    #[test]
    fn an_orin_has_three_clusters_by_level_3_cache_on_one_node() {
        let topology = Topology::from_hwloc_synthetic(ORIN).unwrap();
        let expected = ["0-3", "4-7", "8-11"].map(|cpus| (cpus.to_owned(), Domain::L3Cache));
        assert_eq!(clusters(&topology), expected);
        assert_eq!(topology.nodes().len(), 1);
        assert_eq!(topology.nodes()[0].memory_bytes, Some(8 << 30));
        assert_eq!(topology.clusters()[0].l3_bytes, Some(2 << 20));
    }

    #[test]
    fn a_tda4vm_is_one_cluster_of_two() {
        let topology = Topology::from_hwloc_synthetic(TDA4VM).unwrap();
        assert_eq!(clusters(&topology), [("0-1".to_owned(), Domain::Package)]);
    }

    #[test]
    fn a_rack_has_two_nodes_and_two_threads_per_core() {
        let topology = Topology::from_hwloc_synthetic(RACK).unwrap();
        assert_eq!(topology.nodes().len(), 2);
        assert_eq!(topology.clusters().len(), 4);
        assert_eq!(topology.cpus().iter().filter(|cpu| cpu.core == cpu.id).count(), 16);
        let demands = [Demand::new(Role::ControlLoop, 1), Demand::new(Role::Crypto, 64)];
        let placement = Placement::plan(&topology, &demands).unwrap();
        // Eight cores on the node, one of them the control loop's.
        assert_eq!(placement.threads(Role::Crypto).count(), 7);
    }

    #[test]
    fn a_machine_written_as_xml_reads_back_the_same() {
        use hwlocality::topology::export::xml::XMLExportFlags;
        let hwloc = Hwloc::builder().from_synthetic(RACK).unwrap().build().unwrap();
        let xml = hwloc.export_xml(XMLExportFlags::default()).unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rack.xml");
        std::fs::write(&path, &xml).unwrap();
        let original = Topology::from_hwloc_synthetic(RACK).unwrap();
        assert_eq!(Topology::from_hwloc_xml_file(&path).unwrap(), original);
        assert_eq!(Topology::from_hwloc_xml(&xml).unwrap(), original);
    }

    #[test]
    fn a_file_that_is_missing_or_no_description_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.xml");
        let error = Topology::from_hwloc_xml_file(&missing).unwrap_err().to_string();
        assert!(error.contains("missing.xml"), "{error}");
        let empty = folder.path().join("empty.xml");
        std::fs::write(&empty, "").unwrap();
        assert!(Topology::from_hwloc_xml_file(&empty).is_err());
        assert!(Topology::from_hwloc_xml("<topology").is_err());
        assert!(Topology::from_hwloc_synthetic("Banana:2").is_err());
    }

    #[test]
    fn hwloc_and_sysfs_agree_on_this_machine() {
        let allowed = crate::affinity::allowed_cpus().unwrap();
        let (hwloc, sysfs) = (Topology::from_hwloc(&allowed).unwrap(), Topology::detect().unwrap());
        assert_eq!(hwloc.cpu_set(), sysfs.cpu_set());
        assert_eq!(
            hwloc.clusters().iter().map(|cluster| cluster.cpus).collect::<Vec<_>>(),
            sysfs.clusters().iter().map(|cluster| cluster.cpus).collect::<Vec<_>>()
        );
    }
}
