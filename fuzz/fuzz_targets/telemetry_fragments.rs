//! Telemetry fragments as anyone on the bus may send them, 64 bytes a frame: a block that comes out is no longer than
//! any may be, and fragmenting it again gives a receiver the same block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry::fragment::{Fragmenter, MAX_FRAGMENTED_LEN, Reassembler};

fuzz_target!(|bytes: &[u8]| {
    let mut receiver = Reassembler::new();
    for frame in bytes.chunks(64) {
        let Ok(Some(block)) = receiver.handle_frame(frame) else { continue };
        assert!(block.len() <= MAX_FRAGMENTED_LEN);
        // An empty block has nothing to send.
        let Ok(mut sender) = Fragmenter::new(1, 1, &block) else { continue };
        let mut again = Reassembler::new();
        let mut out = None;
        while let Some(frame) = sender.poll_frame() {
            out = again.handle_frame(&frame).expect("own fragments are taken");
        }
        assert_eq!(out, Some(block));
    }
});
