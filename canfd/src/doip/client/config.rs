//! What a connection is told at its birth.

use crate::doip::codes::ActivationType;
use crate::doip::header::ProtocolVersion;
use crate::doip::{LogicalAddress, Timings};

/// One connection of a tester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Edition of the standard to speak; answers may be of the other one.
    pub version: ProtocolVersion,
    /// The tester's own address.
    pub source: LogicalAddress,
    /// What the connection is for.
    pub activation_type: ActivationType,
    /// What the vehicle's maker wants to know in the routing activation request.
    pub oem: Option<[u8; 4]>,
    /// Longest payload taken from the entity in bytes.
    pub max_payload: u32,
    /// Longest payload sent to it in bytes, addresses included.
    pub max_request: u32,
    /// How long to wait.
    pub timings: Timings,
}

impl ClientConfig {
    /// The edition of 2012, ordinary diagnostics, payloads of 128 KiB in either direction, the standard's timers.
    pub fn new(source: LogicalAddress) -> Self {
        Self {
            version: ProtocolVersion::Iso2012,
            source,
            activation_type: ActivationType::Default,
            oem: None,
            max_payload: 128 << 10,
            max_request: 128 << 10,
            timings: Timings::default(),
        }
    }
}
