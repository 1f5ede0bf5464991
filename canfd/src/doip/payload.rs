//! What stands behind the header (ISO 13400-2:2019, clauses 9.3 to 9.6).

use super::codes::{
    ActivationCode, ActivationType, DiagnosticNackCode, FurtherAction, NackCode, NodeType, PowerMode,
};
use super::header::{HEADER_LEN, Header, MessageError, PayloadType, ProtocolVersion};
use super::{Eid, LogicalAddress, Vin};

/// One message, without its header. User data is borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The last message could not be read.
    GenericNack(NackCode),
    /// Who is there?
    IdentificationRequest,
    /// Is the entity of this EID there?
    IdentificationRequestEid(Eid),
    /// Is the vehicle of this VIN there?
    IdentificationRequestVin(Vin),
    /// Who an entity is: by itself when it starts, and as the response to the three above.
    Announcement(Announcement),
    /// Route my diagnostic messages.
    RoutingActivationRequest(RoutingActivationRequest),
    /// Yes or no.
    RoutingActivationResponse(RoutingActivationResponse),
    /// Tester, are you there?
    AliveCheckRequest,
    /// It is.
    AliveCheckResponse {
        /// The tester.
        source: LogicalAddress,
    },
    /// What can you do?
    EntityStatusRequest,
    /// Connections and sizes.
    EntityStatusResponse(EntityStatus),
    /// Is the vehicle ready?
    PowerModeRequest,
    /// It is or is not.
    PowerModeResponse(PowerMode),
    /// A UDS request or response.
    Diagnostic {
        /// Who says it.
        source: LogicalAddress,
        /// To whom.
        target: LogicalAddress,
        /// What, one byte or more.
        data: &'a [u8],
    },
    /// The last diagnostic message was handed on.
    DiagnosticAck {
        /// To whom it was addressed.
        source: LogicalAddress,
        /// Who had sent it.
        target: LogicalAddress,
        /// As much of it as the entity cares to repeat.
        previous: &'a [u8],
    },
    /// The last diagnostic message was not handed on.
    DiagnosticNack {
        /// To whom it was addressed.
        source: LogicalAddress,
        /// Who had sent it.
        target: LogicalAddress,
        /// Why.
        code: DiagnosticNackCode,
        /// As much of it as the entity cares to repeat.
        previous: &'a [u8],
    },
}

/// Who a DoIP entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its vehicle.
    pub vin: Vin,
    /// Its own logical address.
    pub logical_address: LogicalAddress,
    /// Its identity.
    pub eid: Eid,
    /// That of its group.
    pub gid: Eid,
    /// What to do before diagnostics.
    pub further_action: FurtherAction,
    /// 0x00: VIN and GID are synchronised, 0x10: not yet. Optional on the wire.
    pub sync_status: Option<u8>,
}

/// What a tester asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingActivationRequest {
    /// The tester.
    pub source: LogicalAddress,
    /// What it wants its connection for.
    pub activation_type: ActivationType,
    /// What the vehicle's maker wants to know.
    pub oem: Option<[u8; 4]>,
}

/// What it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingActivationResponse {
    /// The tester.
    pub tester: LogicalAddress,
    /// The entity.
    pub entity: LogicalAddress,
    /// Yes or no.
    pub code: ActivationCode,
    /// What the vehicle's maker wants to tell.
    pub oem: Option<[u8; 4]>,
}

/// What an entity can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityStatus {
    /// What it is.
    pub node_type: NodeType,
    /// Most connections that can be active at once (MCTS).
    pub max_sockets: u8,
    /// Connections that are active now (NCTS).
    pub open_sockets: u8,
    /// Longest payload it takes in bytes (MDS). Optional on the wire.
    pub max_data_size: Option<u32>,
}

impl<'a> Payload<'a> {
    /// What it is.
    pub const fn payload_type(&self) -> PayloadType {
        match self {
            Self::GenericNack(_) => PayloadType::GenericNack,
            Self::IdentificationRequest => PayloadType::IdentificationRequest,
            Self::IdentificationRequestEid(_) => PayloadType::IdentificationRequestEid,
            Self::IdentificationRequestVin(_) => PayloadType::IdentificationRequestVin,
            Self::Announcement(_) => PayloadType::Announcement,
            Self::RoutingActivationRequest(_) => PayloadType::RoutingActivationRequest,
            Self::RoutingActivationResponse(_) => PayloadType::RoutingActivationResponse,
            Self::AliveCheckRequest => PayloadType::AliveCheckRequest,
            Self::AliveCheckResponse { .. } => PayloadType::AliveCheckResponse,
            Self::EntityStatusRequest => PayloadType::EntityStatusRequest,
            Self::EntityStatusResponse(_) => PayloadType::EntityStatusResponse,
            Self::PowerModeRequest => PayloadType::PowerModeRequest,
            Self::PowerModeResponse(_) => PayloadType::PowerModeResponse,
            Self::Diagnostic { .. } => PayloadType::Diagnostic,
            Self::DiagnosticAck { .. } => PayloadType::DiagnosticAck,
            Self::DiagnosticNack { .. } => PayloadType::DiagnosticNack,
        }
    }

    /// Reads the bytes behind a header. What the standard reserves is not looked at.
    ///
    /// # Errors
    /// [`MessageError::Length`], which a header that was parsed rules out.
    pub fn parse(payload_type: PayloadType, bytes: &'a [u8]) -> Result<Self, MessageError> {
        let wrong = || {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            MessageError::Length { payload_type, len }
        };
        let len = u32::try_from(bytes.len()).map_err(|_| wrong())?;
        if !payload_type.takes(len) {
            return Err(wrong());
        }
        Self::read(payload_type, bytes).ok_or_else(wrong)
    }

    fn read(payload_type: PayloadType, bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        Some(match payload_type {
            PayloadType::GenericNack => Self::GenericNack(NackCode::from_byte(fields.byte()?)),
            PayloadType::IdentificationRequest => Self::IdentificationRequest,
            PayloadType::IdentificationRequestEid => Self::IdentificationRequestEid(Eid(fields.array()?)),
            PayloadType::IdentificationRequestVin => Self::IdentificationRequestVin(Vin(fields.array()?)),
            PayloadType::Announcement => Self::Announcement(Announcement {
                vin: Vin(fields.array()?),
                logical_address: fields.address()?,
                eid: Eid(fields.array()?),
                gid: Eid(fields.array()?),
                further_action: FurtherAction::from_byte(fields.byte()?),
                sync_status: fields.byte(),
            }),
            PayloadType::RoutingActivationRequest => {
                let (source, kind) = (fields.address()?, fields.byte()?);
                fields.array::<4>()?;
                Self::RoutingActivationRequest(RoutingActivationRequest {
                    source,
                    activation_type: ActivationType::from_byte(kind),
                    oem: fields.array(),
                })
            }
            PayloadType::RoutingActivationResponse => {
                let (tester, entity, code) = (fields.address()?, fields.address()?, fields.byte()?);
                fields.array::<4>()?;
                Self::RoutingActivationResponse(RoutingActivationResponse {
                    tester,
                    entity,
                    code: ActivationCode::from_byte(code),
                    oem: fields.array(),
                })
            }
            PayloadType::AliveCheckRequest => Self::AliveCheckRequest,
            PayloadType::AliveCheckResponse => Self::AliveCheckResponse { source: fields.address()? },
            PayloadType::EntityStatusRequest => Self::EntityStatusRequest,
            PayloadType::EntityStatusResponse => Self::EntityStatusResponse(EntityStatus {
                node_type: NodeType::from_byte(fields.byte()?),
                max_sockets: fields.byte()?,
                open_sockets: fields.byte()?,
                max_data_size: fields.array().map(u32::from_be_bytes),
            }),
            PayloadType::PowerModeRequest => Self::PowerModeRequest,
            PayloadType::PowerModeResponse => Self::PowerModeResponse(PowerMode::from_byte(fields.byte()?)),
            PayloadType::Diagnostic => {
                let (source, target) = (fields.address()?, fields.address()?);
                Self::Diagnostic { source, target, data: fields.0 }
            }
            PayloadType::DiagnosticAck => {
                let (source, target) = (fields.address()?, fields.address()?);
                // Zero is the one code there is; an acknowledgement with another is one all the same.
                fields.byte()?;
                Self::DiagnosticAck { source, target, previous: fields.0 }
            }
            PayloadType::DiagnosticNack => {
                let (source, target) = (fields.address()?, fields.address()?);
                let code = DiagnosticNackCode::from_byte(fields.byte()?);
                Self::DiagnosticNack { source, target, code, previous: fields.0 }
            }
        })
    }

    /// The whole message, header included. Of user data that no length field can hold, the end is cut off.
    pub fn to_bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        let mut out = vec![0; HEADER_LEN];
        self.write(&mut out);
        let len = u32::try_from(out.len() - HEADER_LEN).unwrap_or(u32::MAX);
        out.truncate(HEADER_LEN.saturating_add(len as usize));
        let header = Header { version, payload_type: self.payload_type(), len }.to_bytes();
        for (place, byte) in out.iter_mut().zip(header) {
            *place = byte;
        }
        out
    }

    /// Reads one datagram of at most `max` bytes of payload.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn parse_datagram(datagram: &'a [u8], max: u32) -> Result<(ProtocolVersion, Self), MessageError> {
        let wrong = MessageError::Datagram { len: datagram.len() };
        let (header, payload) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(wrong)?;
        let header = Header::parse(*header, max)?;
        if u32::try_from(payload.len()) != Ok(header.len) {
            return Err(wrong);
        }
        Ok((header.version, Self::parse(header.payload_type, payload)?))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let addresses = |out: &mut Vec<u8>, source: LogicalAddress, target: LogicalAddress| {
            out.extend(source.0.to_be_bytes());
            out.extend(target.0.to_be_bytes());
        };
        match *self {
            Self::IdentificationRequest
            | Self::AliveCheckRequest
            | Self::EntityStatusRequest
            | Self::PowerModeRequest => {}
            Self::GenericNack(code) => out.push(code.to_byte()),
            Self::PowerModeResponse(mode) => out.push(mode.to_byte()),
            Self::IdentificationRequestEid(eid) => out.extend(eid.0),
            Self::IdentificationRequestVin(vin) => out.extend(vin.0),
            Self::Announcement(it) => {
                out.extend(it.vin.0);
                out.extend(it.logical_address.0.to_be_bytes());
                out.extend(it.eid.0);
                out.extend(it.gid.0);
                out.push(it.further_action.to_byte());
                out.extend(it.sync_status);
            }
            Self::RoutingActivationRequest(it) => {
                out.extend(it.source.0.to_be_bytes());
                out.push(it.activation_type.to_byte());
                out.extend([0; 4]);
                out.extend(it.oem.into_iter().flatten());
            }
            Self::RoutingActivationResponse(it) => {
                addresses(out, it.tester, it.entity);
                out.push(it.code.to_byte());
                out.extend([0; 4]);
                out.extend(it.oem.into_iter().flatten());
            }
            Self::AliveCheckResponse { source } => out.extend(source.0.to_be_bytes()),
            Self::EntityStatusResponse(it) => {
                out.extend([it.node_type.to_byte(), it.max_sockets, it.open_sockets]);
                out.extend(it.max_data_size.into_iter().flat_map(u32::to_be_bytes));
            }
            Self::Diagnostic { source, target, data } => {
                addresses(out, source, target);
                out.extend(data);
            }
            Self::DiagnosticAck { source, target, previous } => {
                addresses(out, source, target);
                out.push(0x00);
                out.extend(previous);
            }
            Self::DiagnosticNack { source, target, code, previous } => {
                addresses(out, source, target);
                out.push(code.to_byte());
                out.extend(previous);
            }
        }
    }
}

/// Fields taken off from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn address(&mut self) -> Option<LogicalAddress> {
        self.array().map(u16::from_be_bytes).map(LogicalAddress)
    }
}
