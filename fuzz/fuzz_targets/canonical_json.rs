//! JSON to canonical form: what is accepted has one form, and that form in a file reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota::uptane::canonical::{Bounds, parse, to_canonical, to_file};

fuzz_target!(|bytes: &[u8]| {
    let bounds = Bounds::metadata(64 * 1024);
    let Ok(value) = parse(bytes, bounds) else { return };
    let (Ok(canonical), Ok(file)) = (to_canonical(&value), to_file(&value)) else { return };
    // A control character grows sixfold in a file, so the bound of the way back is wider.
    let again = parse(&file, Bounds::metadata(8 * 64 * 1024)).expect("what was written can be read");
    assert_eq!(again, value);
    assert_eq!(to_canonical(&again).expect("it had a canonical form before"), canonical);
});
