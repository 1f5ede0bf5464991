//! A datagram of a `udp:` bus: whatever is accepted keeps its meaning on the way back.
#![no_main]

use canfd::bus::udp::message::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    if let Ok(frame) = decode(datagram) {
        assert_eq!(decode(encode(&frame).as_bytes()), Ok(frame));
    }
});
