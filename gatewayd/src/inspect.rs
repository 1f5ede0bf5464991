//! `gatewayd topology`: what hardware there is, and where the daemon's threads would run on it.

use std::path::Path;

use topology::report::Report;
use topology::{Demand, Placement, Role, Topology, TopologyError};

/// The hardware (or what an hwloc XML file describes) and the placement, as text or JSON.
///
/// # Errors
/// A sentence for the user.
pub fn topology(xml: Option<&Path>, json: bool, buses: u16) -> Result<String, String> {
    let topology = match xml {
        Some(path) => described(path)?,
        None => hardware().map_err(|error| crate::bus::chain(&error))?,
    };
    let demands = [
        Demand::new(Role::ControlLoop, 1),
        Demand::new(Role::Crypto, 1),
        Demand::new(Role::Bus, buses.max(1)),
        Demand::new(Role::Telemetry, 1),
    ];
    let placement = Placement::plan(&topology, &demands).map_err(|error| error.to_string())?;
    let report = Report::new(&topology, &placement);
    if json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())
    } else {
        Ok(report.to_string())
    }
}

/// The hardware this runs on: through hwloc where the build has it and it works, through sysfs where not.
pub(crate) fn hardware() -> Result<Topology, TopologyError> {
    #[cfg(feature = "hwloc")]
    {
        let allowed = topology::affinity::allowed_cpus().map_err(TopologyError::Allowed)?;
        match Topology::from_hwloc(&allowed) {
            Ok(topology) => return Ok(topology),
            Err(error) => tracing::info!(%error, "hwloc does not describe this machine; reading sysfs"),
        }
    }
    Topology::detect()
}

/// What an hwloc XML file describes.
#[cfg(feature = "hwloc")]
fn described(path: &Path) -> Result<Topology, String> {
    Topology::from_hwloc_xml_file(path).map_err(|error| crate::bus::chain(&error))
}

/// What an hwloc XML file describes: nothing, in a build that cannot read one.
#[cfg(not(feature = "hwloc"))]
fn described(path: &Path) -> Result<Topology, String> {
    Err(format!("this gatewayd was built without hwloc and cannot read {}", path.display()))
}
