//! Which thread runs where: the placement that `topology` plans, and the pins that make it true.

use std::sync::Arc;
use std::thread;

use topology::{Assignment, Demand, Placement, PlanError, Role, Topology, affinity};

/// Where one thread is to run. Applied by the thread itself, first thing.
#[derive(Clone, Debug)]
pub struct Pin {
    place: Option<(Assignment, Arc<Topology>)>,
}

impl Pin {
    /// A thread that may run anywhere.
    pub const ANYWHERE: Self = Self { place: None };

    /// Where the thread is to run, as a cpulist; `None` where that is anywhere.
    pub fn asked(&self) -> Option<String> {
        self.place.as_ref().map(|(it, _)| it.cpus.to_string())
    }

    /// Pins the calling thread, prefers its node's memory, and says where it may run now, as a cpulist.
    ///
    /// A thread that cannot be pinned runs where the kernel puts it: slower, never wrong.
    pub fn apply(&self) -> String {
        let Some((it, topology)) = &self.place else {
            return affinity::allowed_cpus().map(|it| it.to_string()).unwrap_or_default();
        };
        let name = thread::current().name().unwrap_or("main").to_owned();
        if let Err(error) = affinity::prefer_memory_of(it.node, topology) {
            tracing::debug!(thread = name, %error, "memory policy not set");
        }
        match affinity::pin_current_thread_or(&it.cpus, &it.fallback) {
            Ok(pinned) => {
                tracing::info!(thread = name, cpus = %pinned.granted(), node = %it.node, "pinned");
                pinned.granted().to_string()
            }
            Err(error) => {
                tracing::warn!(thread = name, %error, "not pinned; running where the kernel likes");
                affinity::allowed_cpus().map(|it| it.to_string()).unwrap_or_default()
            }
        }
    }
}

/// The placement of this daemon's threads on this machine.
#[derive(Clone, Debug)]
pub struct Layout {
    placement: Placement,
    topology: Arc<Topology>,
}

impl Layout {
    /// Plans for one control loop, one crypto worker, one thread for telemetry and `buses` bus workers.
    ///
    /// # Errors
    /// [`PlanError`] where the demands are impossible, as with more than 256 buses.
    pub fn plan(topology: Topology, buses: usize) -> Result<Self, PlanError> {
        let mut demands = vec![
            Demand::new(Role::ControlLoop, 1),
            Demand::new(Role::Crypto, 1),
            Demand::new(Role::Telemetry, 1),
        ];
        if buses > 0 {
            demands.push(Demand::new(Role::Bus, u16::try_from(buses).unwrap_or(u16::MAX)));
        }
        let placement = Placement::plan(&topology, &demands)?;
        Ok(Self { placement, topology: Arc::new(topology) })
    }

    /// The pin of one thread of a role.
    pub fn pin(&self, role: Role, index: usize) -> Pin {
        let found =
            self.placement.assignments().iter().find(|it| it.role == role && usize::from(it.index) == index);
        Pin { place: found.map(|it| (it.clone(), Arc::clone(&self.topology))) }
    }
}
