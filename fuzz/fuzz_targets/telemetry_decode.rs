//! Telemetry blocks of a hostile vehicle, one after another into one decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry::Decoder;

fuzz_target!(|blocks: Vec<Vec<u8>>| {
    let mut decoder = Decoder::new();
    for block in blocks.iter().take(16) {
        let _refused = decoder.decode(block).is_err();
    }
});
