//! A metadata file of each role, from whoever sits between repository and vehicle: refused, or written back as bytes
//! that mean the same. Signatures are not looked at here; that they cover the right bytes is.
#![no_main]

use crypto_offload::software::SoftwareVerifier;
use libfuzzer_sys::fuzz_target;
use ota::uptane::canonical::Bounds;
use ota::uptane::{Root, Signed, Snapshot, Targets, Timestamp};

macro_rules! written_back_it_means_the_same {
    ($role:ty, $bytes:expr) => {
        if let Ok(metadata) = Signed::<$role>::parse($bytes, Bounds::metadata(64 * 1024), &SoftwareVerifier)
            && let Ok(written) = metadata.to_bytes()
        {
            let bounds = Bounds::metadata(8 * 64 * 1024);
            let again =
                Signed::<$role>::parse(&written, bounds, &SoftwareVerifier).expect("own bytes can be read");
            assert_eq!(again.signed_bytes(), metadata.signed_bytes());
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    written_back_it_means_the_same!(Root, bytes);
    written_back_it_means_the_same!(Timestamp, bytes);
    written_back_it_means_the_same!(Snapshot, bytes);
    written_back_it_means_the_same!(Targets, bytes);
});
