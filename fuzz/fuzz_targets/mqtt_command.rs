//! What anyone who may publish can tell a vehicle: commands, and requests for telemetry. A request that passes is written
//! as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota::command::{Look, MAX_COMMAND_LEN};
use telemetry::request::{MAX_REQUEST_LEN, Request};

fuzz_target!(|payload: &[u8]| {
    let command = Look::parse(payload);
    assert!(command.is_err() || payload.len() <= MAX_COMMAND_LEN);
    let Ok(text) = std::str::from_utf8(payload) else { return };
    if let Ok(request) = text.parse::<Request>() {
        let written = request.to_string();
        assert!(text.len() <= MAX_REQUEST_LEN && written.len() <= MAX_REQUEST_LEN);
        assert_eq!(written.parse(), Ok(request));
    }
});
