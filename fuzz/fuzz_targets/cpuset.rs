//! The kernel's cpulist: whatever is accepted prints to a text that reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use topology::CpuSet;

fuzz_target!(|text: &str| {
    if let Ok(set) = text.parse::<CpuSet>() {
        assert_eq!(set.to_string().parse(), Ok(set));
    }
});
