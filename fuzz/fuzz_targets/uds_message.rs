//! UDS messages and their records: whatever is accepted writes to the bytes it came from, or reads back the same.
#![no_main]

use canfd::uds::message::{
    AuthenticationRequest, FileAccepted, FileMode, FileRequest, MemoryRange, Response, ServerChallenge,
    negative_response, parse_max_block_length, positive_response,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pdu: &[u8]| {
    match Response::parse(pdu) {
        Ok(Response::Positive { service, parameters }) => {
            assert_eq!(positive_response(service, parameters), pdu)
        }
        Ok(Response::Negative { service, nrc }) => assert_eq!(negative_response(service.to_byte(), nrc), pdu),
        Err(_) => {}
    }
    if let Ok(range) = MemoryRange::parse(pdu) {
        assert_eq!(range.to_bytes(), pdu);
    }
    if let Ok(request) = AuthenticationRequest::parse(pdu) {
        assert_eq!(request.to_request().pdu().get(1..), Some(pdu));
    }
    if let Ok(request) = FileRequest::parse(pdu) {
        let written = request.to_request();
        assert_eq!(FileRequest::parse(written.pdu().get(1..).unwrap_or_default()), Ok(request));
    }
    for mode in FileMode::ALL {
        if let Ok(accepted) = FileAccepted::parse(mode, pdu) {
            assert_eq!(FileAccepted::parse(mode, &accepted.to_bytes()), Ok(accepted));
        }
    }
    let _ = parse_max_block_length(pdu);
    for bidirectional in [false, true] {
        if let Ok(challenge) = ServerChallenge::parse(bidirectional, pdu) {
            assert_eq!(challenge.to_bytes(), pdu.get(1..).unwrap_or_default());
        }
    }
});
