//! A record of the bus hub: whatever is accepted keeps its meaning on the way back.
#![no_main]

use canfd::bus::{RECORD_LEN, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: [u8; RECORD_LEN]| {
    if let Ok(record) = Record::from_bytes(&bytes) {
        assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
    }
});
