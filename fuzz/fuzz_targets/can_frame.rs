//! A `struct canfd_frame` from the bus hub: whatever is accepted writes to bytes that read back the same.
#![no_main]

use canfd::frame::{CANFD_FRAME_LEN, FdFrame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: [u8; CANFD_FRAME_LEN]| {
    if let Ok(frame) = FdFrame::from_bytes(&bytes) {
        assert_eq!(FdFrame::from_bytes(&frame.to_bytes()), Ok(frame));
    }
});
