//! What hangs behind the gateway: two buses and three ECUs, each in a thread of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use canfd::bit_timing::BitTiming;
use canfd::frame::CanId;
use gateway_sim::bus::{BusHub, HubStatistics};
use gateway_sim::ecu::{EcuNode, NodeConfig, SimEcu};

use crate::config::Sockets;
use crate::failure::{Failure, Outcome};
use crate::state::State;
use crate::vehicle::{ECUS, FUNCTIONAL_ID};

/// Bit timing of every bus.
pub(crate) const TIMING: BitTiming = BitTiming::FD_500K_2M;

/// Buses and ECUs, under power.
#[derive(Debug)]
pub(crate) struct Field {
    // Before the hubs, so that the ECUs leave a bus that is still there.
    nodes: Vec<EcuNode>,
    hubs: Vec<BusHub>,
}

/// An ECU as its simulator sees it, from inside.
#[derive(Debug, Clone)]
pub(crate) struct EcuTruth {
    /// What runs; `None` where nothing does.
    pub(crate) version: Option<String>,
    pub(crate) running_bank: Option<usize>,
    /// Image file of every bank.
    pub(crate) banks: Vec<PathBuf>,
    /// Erasures of every bank in the ECU's life.
    pub(crate) erasures: Vec<u64>,
}

impl Field {
    /// Powers everything up. What the flash holds is kept from an earlier start.
    pub(crate) fn start(dir: &Path, sockets: &Sockets, state: &State) -> Outcome<Self> {
        let timing = (!state.untimed).then_some(TIMING);
        let hubs = sockets
            .buses
            .iter()
            .map(|it| BusHub::start(it, timing).map_err(Failure::of(format!("the bus at {}", it.display()))));
        let hubs: Vec<_> = hubs.collect::<Outcome<_>>()?;
        let functional = CanId::standard(FUNCTIONAL_ID).map_err(Failure::of("the functional CAN id"))?;
        let mut nodes = Vec::new();
        for (spec, package) in ECUS.iter().zip(&state.packages) {
            let failed =
                |error: &dyn std::error::Error| Failure::new(format!("ECU {}: {error}", spec.serial));
            let config = spec.simulated(package.len, state.untimed)?;
            let ecu = SimEcu::open(Instant::now(), &spec.flash_dir(dir), config).map_err(|it| failed(&it))?;
            let hub = hubs.get(spec.bus).ok_or_else(|| Failure::new("an ECU without a bus"))?;
            let bus = canfd::bus::open(&hub.url()).map_err(|it| failed(&it))?;
            let node = NodeConfig::new(spec.can_ids()?, Some(functional));
            nodes.push(EcuNode::start(spec.serial, bus, ecu, node).map_err(|it| failed(&it))?);
        }
        Ok(Self { nodes, hubs })
    }

    /// What the buses have done so far.
    pub(crate) fn statistics(&self) -> Vec<HubStatistics> {
        self.hubs.iter().map(BusHub::statistics).collect()
    }

    /// Reads what the ECUs hold, then cuts the power.
    pub(crate) fn stop(self) -> Outcome<Vec<EcuTruth>> {
        let mut truths = Vec::new();
        for (spec, node) in ECUS.iter().zip(&self.nodes) {
            let banks = usize::from(spec.banks);
            let truth = node.ask(move |ecu| EcuTruth {
                version: ecu.running_version().map(|it| String::from_utf8_lossy(it).into_owned()),
                running_bank: ecu.running_bank(),
                banks: (0..banks).map(|bank| ecu.bank_path(bank)).collect(),
                erasures: (0..banks).map(|bank| ecu.erase_count(bank)).collect(),
            });
            truths.push(truth.map_err(Failure::of(format!("simulated ECU {}", spec.serial)))?);
        }
        for node in self.nodes {
            node.stop().map_err(Failure::of("a simulated ECU"))?;
        }
        Ok(truths)
    }
}
