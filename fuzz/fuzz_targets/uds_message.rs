//! A UDS response PDU: whatever is accepted writes to the bytes it came from.
#![no_main]

use canfd::uds::message::{Response, negative_response, positive_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pdu: &[u8]| {
    match Response::parse(pdu) {
        Ok(Response::Positive { service, parameters }) => {
            assert_eq!(positive_response(service, parameters), pdu)
        }
        Ok(Response::Negative { service, nrc }) => assert_eq!(negative_response(service.to_byte(), nrc), pdu),
        Err(_) => {}
    }
});
