//! The thread behind a `[[bus]]`, whatever the bus is.

use super::can::BusWorker;
use super::doip::DoipWorker;
use crate::bus::{EcuOrder, TelemetryOrder};
use crate::gateway::message::EcuIndex;

/// A handle on the thread. Dropping it stops the thread.
#[derive(Debug)]
pub enum LinkWorker {
    /// A CAN bus.
    Can(BusWorker),
    /// A DoIP entity.
    Doip(DoipWorker),
}

impl LinkWorker {
    /// Hands an order to the thread.
    ///
    /// # Errors
    /// The order, where the queue is full or the thread gone.
    pub fn order(&self, ecu: EcuIndex, order: EcuOrder) -> Result<(), EcuOrder> {
        match self {
            Self::Can(worker) => worker.order(ecu, order),
            Self::Doip(worker) => worker.order(ecu, order),
        }
    }

    /// Hands telemetry to the thread of a bus that has to do with it; it is dropped where there is no room.
    pub fn telemetry(&self, order: TelemetryOrder) {
        if let Self::Can(worker) = self {
            worker.telemetry(order);
        }
    }

    /// The CPUs the kernel gave the thread, as a cpulist.
    pub fn cpus(&self) -> String {
        match self {
            Self::Can(worker) => worker.cpus(),
            Self::Doip(worker) => worker.cpus(),
        }
    }
}
