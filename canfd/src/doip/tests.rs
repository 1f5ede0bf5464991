//! Messages on the wire, however they are made up and cut, and both ends against each other.

use super::codes::{
    ActivationCode, ActivationType, DiagnosticNackCode, FurtherAction, NackCode, NodeType, PowerMode,
};
use super::header::{HEADER_LEN, MessageError, PayloadType, ProtocolVersion};
use super::payload::{
    Announcement, EntityStatus, Payload, RoutingActivationRequest, RoutingActivationResponse,
};
use super::reader::Reader;
use super::{Eid, LogicalAddress, Vin};
use proptest::prelude::*;

/// One message of every kind, with whatever stands in it.
fn payloads<'a>(bytes: [u8; 17], number: u32, data: &'a [u8], long: bool) -> Vec<Payload<'a>> {
    let [a, b, c, d, e, f, code, ..] = bytes;
    let (source, target) =
        (LogicalAddress(u16::from_be_bytes([a, b])), LogicalAddress(u16::from_be_bytes([c, d])));
    let oem = long.then_some([e, f, a, b]);
    let eid = Eid([a, b, c, d, e, f]);
    vec![
        Payload::GenericNack(NackCode::from_byte(code)),
        Payload::IdentificationRequest,
        Payload::IdentificationRequestEid(eid),
        Payload::IdentificationRequestVin(Vin(bytes)),
        Payload::Announcement(Announcement {
            vin: Vin(bytes),
            logical_address: source,
            eid,
            gid: Eid([f; 6]),
            further_action: FurtherAction::from_byte(code),
            sync_status: long.then_some(e),
        }),
        Payload::RoutingActivationRequest(RoutingActivationRequest {
            source,
            activation_type: ActivationType::from_byte(code),
            oem,
        }),
        Payload::RoutingActivationResponse(RoutingActivationResponse {
            tester: source,
            entity: target,
            code: ActivationCode::from_byte(code),
            oem,
        }),
        Payload::AliveCheckRequest,
        Payload::AliveCheckResponse { source },
        Payload::EntityStatusRequest,
        Payload::EntityStatusResponse(EntityStatus {
            node_type: NodeType::from_byte(code),
            max_sockets: e,
            open_sockets: f,
            max_data_size: long.then_some(number),
        }),
        Payload::PowerModeRequest,
        Payload::PowerModeResponse(PowerMode::from_byte(code)),
        Payload::Diagnostic { source, target, data: if data.is_empty() { &[0x3E] } else { data } },
        Payload::DiagnosticAck { source, target, previous: data },
        Payload::DiagnosticNack { source, target, code: DiagnosticNackCode::from_byte(code), previous: data },
    ]
}

fn parse(datagram: &[u8]) -> Result<Payload<'_>, MessageError> {
    Payload::parse_datagram(datagram, 1 << 16).map(|(_, payload)| payload)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_in_both_editions(
        bytes: [u8; 17],
        number: u32,
        data in prop::collection::vec(any::<u8>(), 0..50),
        long: bool,
    ) {
        let payloads = payloads(bytes, number, &data, long);
        prop_assert_eq!(payloads.len(), PayloadType::ALL.len());
        for (payload, payload_type) in payloads.iter().zip(PayloadType::ALL) {
            prop_assert_eq!(payload.payload_type(), payload_type);
            for version in [ProtocolVersion::Iso2012, ProtocolVersion::Iso2019] {
                let message = payload.to_bytes(version);
                prop_assert_eq!(parse(&message), Ok(*payload));
            }
        }
    }

    #[test]
    fn a_stream_is_the_same_messages_however_it_is_cut(
        bytes: [u8; 17],
        data in prop::collection::vec(any::<u8>(), 0..50),
        cuts in prop::collection::vec(1_usize..40, 1..50),
    ) {
        let sent = payloads(bytes, 7, &data, true);
        let stream: Vec<u8> =
            sent.iter().flat_map(|payload| payload.to_bytes(ProtocolVersion::Iso2019)).collect();
        let mut reader = Reader::new(1 << 16);
        let (mut at, mut count) = (0, 0);
        for cut in cuts.iter().cycle() {
            let end = (at + cut).min(stream.len());
            let mut input = &stream[at..end];
            while let Some(message) = reader.next(&mut input) {
                prop_assert_eq!(message, Ok(sent[count]));
                count += 1;
            }
            prop_assert!(input.is_empty());
            at = end;
            if at == stream.len() {
                break;
            }
        }
        prop_assert_eq!((count, reader.is_empty()), (sent.len(), true));
    }

    #[test]
    fn any_stream_is_read_to_its_end_in_bounded_memory(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32),
    ) {
        const MAX: u32 = 100;
        let mut reader = Reader::new(MAX);
        for chunk in &chunks {
            let mut input = &chunk[..];
            while reader.next(&mut input).is_some() {}
            prop_assert!(input.is_empty());
            prop_assert!(reader.len() <= HEADER_LEN + MAX as usize);
        }
    }
}

#[test]
fn a_type_admits_the_lengths_it_is_written_with_and_no_others() {
    let lengths =
        |payload_type: PayloadType| -> Vec<u32> { (0..40).filter(|len| payload_type.takes(*len)).collect() };
    for (payload_type, expected) in [
        (PayloadType::GenericNack, vec![1]),
        (PayloadType::IdentificationRequest, vec![0]),
        (PayloadType::IdentificationRequestEid, vec![6]),
        (PayloadType::IdentificationRequestVin, vec![17]),
        (PayloadType::Announcement, vec![32, 33]),
        (PayloadType::RoutingActivationRequest, vec![7, 11]),
        (PayloadType::RoutingActivationResponse, vec![9, 13]),
        (PayloadType::AliveCheckResponse, vec![2]),
        (PayloadType::EntityStatusResponse, vec![3, 7]),
        (PayloadType::PowerModeResponse, vec![1]),
        (PayloadType::Diagnostic, (5..40).collect()),
    ] {
        assert_eq!(lengths(payload_type), expected, "{payload_type:?}");
        for len in (0..40).filter(|len| !expected.contains(len)) {
            let bytes = vec![0; len as usize];
            assert_eq!(Payload::parse(payload_type, &bytes), Err(MessageError::Length { payload_type, len }));
        }
    }
}

#[test]
fn messages_look_as_the_tables_of_the_standard_draw_them() {
    let activation = RoutingActivationRequest {
        source: LogicalAddress(0x0E80),
        activation_type: ActivationType::CentralSecurity,
        oem: Some([1, 2, 3, 4]),
    };
    assert_eq!(
        Payload::RoutingActivationRequest(activation).to_bytes(ProtocolVersion::Iso2019),
        [0x03, 0xFC, 0x00, 0x05, 0, 0, 0, 11, 0x0E, 0x80, 0xE0, 0, 0, 0, 0, 1, 2, 3, 4]
    );
    let (source, target) = (LogicalAddress(0x0E80), LogicalAddress(0x1001));
    assert_eq!(
        Payload::Diagnostic { source, target, data: &[0x3E, 0x00] }.to_bytes(ProtocolVersion::Iso2012),
        [0x02, 0xFD, 0x80, 0x01, 0, 0, 0, 6, 0x0E, 0x80, 0x10, 0x01, 0x3E, 0x00]
    );
    let nack = Payload::DiagnosticNack {
        source: target,
        target: source,
        code: DiagnosticNackCode::TargetUnreachable,
        previous: &[],
    };
    assert_eq!(
        nack.to_bytes(ProtocolVersion::Iso2012),
        [0x02, 0xFD, 0x80, 0x03, 0, 0, 0, 5, 0x10, 0x01, 0x0E, 0x80, 0x06]
    );
}

#[test]
fn what_is_not_wanted_passes_and_the_next_message_is_read() {
    let mut stream = vec![0x02, 0xFD, 0xF0, 0x00, 0, 0, 0, 3, 0xAA, 0xAA, 0xAA];
    stream.extend([0x02, 0xFD, 0x80, 0x01, 0, 0, 0, 101]);
    stream.extend([0xBB; 101]);
    stream.extend(Payload::AliveCheckRequest.to_bytes(ProtocolVersion::Iso2012));
    let mut reader = Reader::new(100);
    let mut input = &stream[..];
    let unknown = MessageError::UnknownType { payload_type: 0xF000, len: 3 };
    assert_eq!(reader.next(&mut input), Some(Err(unknown)));
    let large = MessageError::TooLarge { payload_type: PayloadType::Diagnostic, len: 101, max: 100 };
    assert_eq!(reader.next(&mut input), Some(Err(large)));
    assert_eq!(reader.next(&mut input), Some(Ok(Payload::AliveCheckRequest)));
    assert_eq!(reader.next(&mut input), None);
    // What loses the stream swallows the rest.
    let mut input = &[0x02, 0x02, 0, 7, 0, 0, 0, 0, 0x02, 0xFD, 0, 7, 0, 0, 0, 0][..];
    assert_eq!(reader.next(&mut input), Some(Err(MessageError::Pattern { version: 2, inverse: 2 })));
    assert_eq!((reader.next(&mut input), input), (None, &[][..]));
}

#[test]
fn a_datagram_ends_where_its_header_says() {
    let mut datagram = Payload::IdentificationRequest.to_bytes(ProtocolVersion::Any);
    assert_eq!(parse(&datagram), Ok(Payload::IdentificationRequest));
    datagram.push(0);
    assert_eq!(parse(&datagram), Err(MessageError::Datagram { len: 9 }));
    assert_eq!(parse(&datagram[..7]), Err(MessageError::Datagram { len: 7 }));
}
