//! What can be asked without a daemon: `gatewayd topology`, what hardware there is and where the daemon's threads would
//! run on it; `gatewayd check`, what a review would ask about a configuration.

use std::path::Path;

use topology::report::Report;
use topology::{Demand, Placement, Role, Topology, TopologyError};

use crate::cli::CheckArgs;
use crate::config::Config;
use crate::policy::{self, Options, table};

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

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// No errors.
    Clean(String),
    /// Errors: the configuration should not be run.
    Errors(String),
    /// The question cannot be answered: a rule that is not there, or rules of the user's that do not work.
    Failed(String),
}

/// What a review would ask about a configuration, as text or JSON; or about the rules themselves.
pub fn check(args: &CheckArgs) -> Checked {
    if let Some(id) = &args.explain {
        let unknown =
            || Checked::Failed(format!("there is no rule `{id}`; `gatewayd check --list` names them"));
        return policy::by_id(id).map_or_else(unknown, |it| Checked::Clean(table::explain(it)));
    }
    // Without a file something else was asked for: the command line has seen to that.
    let Some(config) = &args.config else {
        return Checked::Clean(if args.list { table::list() } else { table::document() });
    };
    if args.syntax {
        return match Config::load(config) {
            Ok((_, warnings)) => Checked::Clean(warnings.to_string()),
            Err(findings) => Checked::Errors(findings.to_string()),
        };
    }
    let options = Options { root: args.root.clone(), units: args.units.clone(), rules: args.rules.clone() };
    match policy::review(config, &options) {
        Err(error) => Checked::Failed(error.to_string()),
        Ok(review) => {
            let text = if args.json { format!("{:#}", review.json()) } else { review.text(args.quiet) };
            if review.has_errors() { Checked::Errors(text) } else { Checked::Clean(text) }
        }
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
