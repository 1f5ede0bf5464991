//! `gatewayd topology`: what hardware there is, and where the daemon's threads would run on it.

use std::path::Path;

use topology::report::Report;
use topology::{Demand, Placement, Role, Topology, affinity};

/// The hardware (or what an hwloc XML file describes) and the placement, as text or JSON.
///
/// # Errors
/// A sentence for the user.
pub fn topology(xml: Option<&Path>, json: bool, buses: u16) -> Result<String, String> {
    let topology = match xml {
        Some(path) => Topology::from_hwloc_xml_file(path).map_err(|error| crate::bus::chain(&error))?,
        None => {
            let allowed = affinity::allowed_cpus().map_err(|error| error.to_string())?;
            Topology::from_hwloc(&allowed)
                .or_else(|_| Topology::detect())
                .map_err(|error| crate::bus::chain(&error))?
        }
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
