//! What an entity is.

use crate::doip::codes::{ActivationType, FurtherAction, NodeType};
use crate::doip::header::ProtocolVersion;
use crate::doip::payload::Announcement;
use crate::doip::{Eid, LogicalAddress, Timings, Vin};

/// Whether routing is activated without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsPolicy {
    /// Either way
    #[default]
    Optional,
    /// Only with it; others are denied with code 0x07
    Required,
}

/// A DoIP entity and the ECUs behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Edition of the standard that it speaks; requests may be of the other one.
    pub version: ProtocolVersion,
    /// Who it is.
    pub identity: Announcement,
    /// What it is.
    pub node_type: NodeType,
    /// The ECUs that can be asked, itself among them.
    pub targets: Vec<LogicalAddress>,
    /// The groups of ECUs that can be asked.
    pub functional: Vec<LogicalAddress>,
    /// The testers it knows, each a range.
    pub testers: Vec<std::ops::RangeInclusive<u16>>,
    /// Connections that may be active at once, 1 to 255 (MCTS).
    pub max_sockets: u8,
    /// Longest payload it takes in bytes (MDS).
    pub max_payload: u32,
    /// The activation types it supports.
    pub activation_types: Vec<ActivationType>,
    /// Whether routing is activated without TLS.
    pub tls: TlsPolicy,
    /// What the maker-specific field of a request must hold; others are denied with code 0x04.
    pub authentication: Option<[u8; 4]>,
    /// Whether somebody has to confirm each activation.
    pub confirmation: bool,
    /// How long it waits.
    pub timings: Timings,
}

impl ServerConfig {
    /// One ECU of the edition of 2012 that takes testers of 0x0E00 to 0x0FFF on four connections, and payloads of
    /// 128 KiB.
    pub fn new(logical_address: LogicalAddress) -> Self {
        let [high, low] = logical_address.0.to_be_bytes();
        let eid = Eid([0x02, 0x00, 0x00, 0x00, high, low]);
        Self {
            version: ProtocolVersion::Iso2012,
            identity: Announcement {
                vin: Vin([0xFF; 17]),
                logical_address,
                eid,
                gid: eid,
                further_action: FurtherAction::None,
                sync_status: Some(0x00),
            },
            node_type: NodeType::Node,
            targets: vec![logical_address],
            functional: Vec::new(),
            testers: vec![0x0E00..=0x0FFF],
            max_sockets: 4,
            max_payload: 128 << 10,
            activation_types: vec![ActivationType::Default, ActivationType::RequiredByRegulation],
            tls: TlsPolicy::Optional,
            authentication: None,
            confirmation: false,
            timings: Timings::default(),
        }
    }
}
