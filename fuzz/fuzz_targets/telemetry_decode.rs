//! Telemetry blocks of a hostile vehicle, one after another into one decoder: as they come, and behind a sound head, so
//! that body and samples are read too. What passes is a window that an encoder takes and another decoder reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry::{BootId, Decoded, Decoder, Encoder, StreamId};

/// Of the largest body here in bytes; its length fits two bytes of varint.
const MAX_BODY: usize = 8_000;

/// Magic, version 3, flags (the body is stored), boot, stream 1, number, no dictionary, lengths.
fn sealed(keyframe: bool, seq: u8, body: &[u8], samples: &[u8]) -> Vec<u8> {
    let varint = |value: usize| [value as u8 | 0x80, (value >> 7) as u8 & 0x7F];
    let varint = |value: usize| if value < 0x80 { vec![value as u8] } else { varint(value).to_vec() };
    let mut block = vec![b'G', b'T', 3, 2 | u8::from(keyframe), 0, 0, 0, 0, 0, 0, 0, 1, 1, seq, 0];
    block.extend(varint(body.len()));
    block.extend(varint(samples.len()));
    block.extend(samples);
    block.extend(body);
    block
}

fuzz_target!(|blocks: Vec<(u8, Vec<u8>, Vec<u8>)>| {
    let mut decoder = Decoder::new();
    let Ok(mut encoder) = Encoder::new(BootId(1), StreamId::PROFILE) else { return };
    let mut again = Decoder::new();
    for (seq, (kind, body, samples)) in (0..16).zip(&blocks) {
        let body = &body[..body.len().min(MAX_BODY)];
        let samples = &samples[..samples.len().min(MAX_BODY)];
        let block = if *kind == 255 { body.to_vec() } else { sealed(kind % 4 == 0, seq, body, samples) };
        let Ok(Decoded::Window { window, .. }) = decoder.decode(&block) else { continue };
        let block = encoder.encode(&window).expect("a window of a decoder fits a block");
        match again.decode(&block) {
            Ok(Decoded::Window { window: received, .. }) => assert_eq!(received, window),
            other => panic!("{other:?}"),
        }
    }
});
