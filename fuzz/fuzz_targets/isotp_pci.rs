//! N_PCI of one frame: whatever is accepted leaves a payload inside the frame.
#![no_main]

use canfd::isotp::pci::Pci;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((_, payload)) = Pci::parse(data) {
        assert!(payload.len() <= data.len());
    }
});
