//! Where things run: the CPUs of this machine, the clusters and NUMA nodes they form, and the placement of the
//! daemon's threads on them.
//!
//! *Local* means "in the same cluster": the CPUs that share the last cache before memory. Vehicle computers
//! usually have one memory node, so the cluster is the unit that matters there; on machines with several nodes a
//! placement never leaves the node it started on.
//!
//! Reading ([`Topology::detect`], [`Topology::from_sysfs`] and, with the feature `hwloc`, [`hwloc`]) is apart from
//! deciding ([`Placement::plan`], a pure function) and from acting ([`affinity`], the only file that talks to the
//! scheduler).
//!
//! ```
//! use topology::{CpuSet, Demand, Placement, Role, Topology};
//!
//! let topology = Topology::uniform(&"0-1".parse::<CpuSet>()?)?;
//! let placement = Placement::plan(
//!     &topology,
//!     &[Demand::new(Role::ControlLoop, 1), Demand::new(Role::Crypto, 4), Demand::new(Role::Bus, 2)],
//! )?;
//! // Two CPUs: the control loop and the buses share one, the other is for cryptography.
//! assert_eq!(placement.threads(Role::Crypto).count(), 1);
//! assert_eq!(placement.threads(Role::Bus).count(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

pub mod affinity;
pub mod cpuset;
#[cfg(feature = "hwloc")]
pub mod hwloc;
pub mod node;
pub mod placement;
pub mod report;
pub mod sysfs;

pub use affinity::{AffinityError, Pinned, pin_current_thread};
pub use cpuset::{CpuId, CpuSet, CpuSetError, MAX_CPUS};
pub use node::{Cluster, ClusterId, Cpu, Domain, NodeId, NumaNode, Source, Topology, TopologyError};
pub use placement::{Assignment, Demand, Placement, PlanError, Role};
