//! DoIP messages, as a datagram and as a stream cut anywhere: what is read is written again byte for byte but for
//! reserved fields, and the reader's memory stays within its bound.
#![no_main]

use canfd::doip::header::HEADER_LEN;
use canfd::doip::payload::Payload;
use canfd::doip::reader::Reader;
use libfuzzer_sys::fuzz_target;

const MAX: u32 = 512;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    if let Ok((version, payload)) = Payload::parse_datagram(&bytes, MAX) {
        let again = payload.to_bytes(version);
        assert_eq!(again.len(), bytes.len());
        assert_eq!(Payload::parse_datagram(&again, MAX), Ok((version, payload)));
    }
    let mut reader = Reader::new(MAX);
    for chunk in bytes.chunks(usize::from(cut).max(1)) {
        let mut chunk = chunk;
        while reader.next(&mut chunk).is_some() {}
        assert!(chunk.is_empty());
        assert!(reader.len() <= HEADER_LEN + MAX as usize);
    }
});
