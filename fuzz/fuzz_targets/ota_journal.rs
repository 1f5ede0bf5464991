//! A journal record from a damaged store: refused, or written back as bytes that hold the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota::journal::{CampaignRecord, EcuRecord, InstalledRecord, decode, encode};

macro_rules! written_back_it_is_the_same {
    ($record:ty, $bytes:expr) => {
        if let Ok(record) = decode::<$record>($bytes) {
            let written = encode(&record).expect("what was read can be written");
            assert_eq!(decode::<$record>(&written).expect("own bytes can be read"), record);
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    written_back_it_is_the_same!(CampaignRecord, bytes);
    written_back_it_is_the_same!(EcuRecord, bytes);
    written_back_it_is_the_same!(InstalledRecord, bytes);
});
