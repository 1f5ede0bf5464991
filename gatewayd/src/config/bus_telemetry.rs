//! Telemetry on a CAN FD bus: `telemetry` of a `[[bus]]`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use telemetry::topics::EcuSegment;

use super::Finding;
use super::check::CAN_ID_MAX;
use super::parts::{BusPart, EcuPart};

/// Senders on one bus: each may have a block of 64 KiB under way.
const MAX_SOURCES: usize = 64;

/// Which CAN ids carry fragments of telemetry blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BusTelemetryPart {
    /// Under this CAN id this machine's own blocks go out; they do not without.
    #[serde(default)]
    pub send: Option<u32>,
    /// Others that send blocks, which go on to the broker.
    #[serde(default)]
    pub receive: Vec<TelemetrySourcePart>,
}

/// One sender of blocks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySourcePart {
    /// Its name in topics: letters, digits, `-` and `_`.
    pub name: String,
    /// The CAN id of its fragments.
    pub id: u32,
    /// The CAN id under which it is asked for a keyframe; it is not asked without.
    #[serde(default)]
    pub ask: Option<u32>,
}

impl BusTelemetryPart {
    /// Whether the bus has nothing to do with telemetry.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        let of_source = |it: &TelemetrySourcePart| [Some(it.id), it.ask].into_iter().flatten();
        self.send.into_iter().chain(self.receive.iter().flat_map(of_source))
    }
}

/// What is wrong with it. `ecus` are those of all buses.
pub(super) fn check<'a>(
    bus: &BusPart,
    ecus: impl Iterator<Item = &'a EcuPart>,
    line: usize,
    found: &mut Vec<Finding>,
) {
    let mut wrong = |message: String| {
        found.push(Finding::error("BUS-007", line, format!("bus `{}`: telemetry {message}", bus.name)));
    };
    let part = &bus.telemetry;
    if part.is_empty() {
        return;
    }
    if bus.is_doip() {
        return wrong("in fragments is for CAN FD only".to_owned());
    }
    if part.receive.len() > MAX_SOURCES {
        wrong(format!("has {} senders, at most {MAX_SOURCES} are followed", part.receive.len()));
    }
    let of_ecu = |it: &'a EcuPart| [it.request_id, it.response_id, it.functional_id].into_iter().flatten();
    let mut users: BTreeSet<u32> = ecus.filter(|it| it.bus == bus.name).flat_map(of_ecu).collect();
    for id in part.ids() {
        if id > CAN_ID_MAX {
            wrong(format!("has {id:#x}, which is not a CAN id (29 bit at most)"));
        }
        if !users.insert(id) {
            wrong(format!("shares CAN id {id:#x} with something else on this bus"));
        }
    }
    let mut names = BTreeSet::new();
    for source in &part.receive {
        if let Err(error) = EcuSegment::new(&source.name) {
            wrong(format!("of `{}`: {error}", source.name));
        }
        if !names.insert(&source.name) {
            wrong(format!("of `{}` is there twice", source.name));
        }
    }
}
