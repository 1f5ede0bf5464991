//! What the brain and a bus tell each other.

use std::sync::Arc;

use canfd::bus::BusUrl;
use canfd::frame::{CanId, CanIds, FdFrame};
use canfd::isotp::Addressing;
use canfd::uds::profile::{Phase, Profile};
use canfd::uds::programming::EcuState;

use crate::gateway::message::EcuIndex;

/// What a bus must know of one of its ECUs.
#[derive(Clone, Debug)]
pub struct SeatConfig {
    /// The ECU's place in the configuration.
    pub ecu: EcuIndex,
    /// Physical addresses.
    pub ids: CanIds,
    /// Functional address.
    pub functional: CanId,
    /// What stands in front of the frames of `ids`.
    pub addressing: Addressing,
    /// What stands in front of requests to `functional`.
    pub functional_address: Option<u8>,
    /// How it wants to be programmed.
    pub profile: Arc<Profile>,
    /// Consecutive frames handed to the bus and not yet confirmed, 1 to 255. See [`SeatConfig::frames_in_flight`].
    pub max_in_flight: u8,
}

impl SeatConfig {
    /// An ECU on a SocketCAN interface.
    pub fn new(ecu: EcuIndex, ids: CanIds, functional: CanId, profile: Arc<Profile>) -> Self {
        Self {
            ecu,
            ids,
            functional,
            addressing: Addressing::Normal,
            functional_address: None,
            profile,
            max_in_flight: SOCKETCAN_IN_FLIGHT,
        }
    }

    /// Whether a frame from the bus is its response.
    pub(super) fn is_response(&self, frame: &FdFrame) -> bool {
        frame.id() == self.ids.response && leads(self.addressing.rx(), frame)
    }

    /// Whether a frame of ours is a request to it alone.
    pub(super) fn is_request(&self, frame: &FdFrame) -> bool {
        frame.id() == self.ids.request && leads(self.addressing.tx(), frame)
    }

    /// Whether a frame of ours is a request to all ECUs, as it hears them.
    pub(super) fn is_functional(&self, frame: &FdFrame) -> bool {
        frame.id() == self.functional && leads(self.functional_address, frame)
    }

    /// How many frames in flight suit a bus: 8 on SocketCAN, whose queue is 10 frames by default; 32 on a simulated
    /// one, so that it never idles while a process waits for its turn on the CPU.
    pub const fn frames_in_flight(bus: &BusUrl) -> u8 {
        match bus {
            BusUrl::Can(_) => SOCKETCAN_IN_FLIGHT,
            BusUrl::Virtual(_) | BusUrl::Udp(_) => 32,
        }
    }
}

/// Whether the frame starts with the address, where there is one.
fn leads(address: Option<u8>, frame: &FdFrame) -> bool {
    address.is_none_or(|address| frame.data().first() == Some(&address))
}

/// Below the default `txqueuelen` of a CAN interface, so that other senders find room too.
const SOCKETCAN_IN_FLIGHT: u8 = 8;

/// What the brain wants from an ECU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EcuOrder {
    /// Read version and hardware, change nothing.
    Identify,
    /// Run the programming sequence up to the first byte, then ask for data.
    Program(Program),
    /// Plain bytes of the image, in order, from the offset last asked for.
    Data {
        /// Where in the image.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Make the new software run.
    Activate,
    /// Stop, and leave the ECU in a defined state.
    Cancel,
}

/// One image for one ECU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Plain bytes of the image.
    pub image_len: u64,
    /// The version the ECU must show afterwards.
    pub version: String,
    /// SHA-256 of the plain image, for ECUs that check it.
    pub sha256: Vec<u8>,
    /// CRC-32 of the plain image, for ECUs that check that.
    pub crc32: u32,
    /// Bytes that the journal says are in the ECU's memory already.
    pub resume_from: Option<u64>,
}

/// What an ECU's session has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EcuReport {
    /// To [`EcuOrder::Identify`].
    Identified {
        /// The running software's version; `None` where the ECU runs none or does not tell.
        version: Option<String>,
        /// What it says of its hardware.
        hardware: Option<String>,
    },
    /// The sequence has reached a step.
    Entered(Phase),
    /// The bank to be written is empty.
    Erased,
    /// The ECU is ready for bytes from here on.
    TransferBegins {
        /// Where in the image.
        offset: u64,
    },
    /// The ECU has taken all bytes below this offset.
    Acknowledged {
        /// Where in the image.
        offset: u64,
    },
    /// The whole image is in the ECU and checked; [`EcuOrder::Activate`] goes on.
    ReadyToActivate,
    /// The ECU runs the new software.
    Finished {
        /// What it says of its version.
        version: String,
    },
    /// The session is over without success.
    Failed(EcuError),
}

/// Why a session ended without success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EcuError {
    /// The bus is away.
    #[error("bus not usable: {reason}")]
    BusDown {
        /// What the system says.
        reason: String,
    },
    /// The session failed.
    #[error("{message}")]
    Session {
        /// The step that failed.
        phase: Phase,
        /// What the ECU runs now.
        state: EcuState,
        /// What went wrong and whose fault it is.
        message: String,
    },
    /// The order cannot be carried out in the state the session is in.
    #[error("order refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// An error and everything that led to it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
