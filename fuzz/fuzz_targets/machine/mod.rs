//! The reader of tracepoint formats, by its source: the daemon as a whole takes too long to build here.

#[allow(dead_code, unreachable_pub, reason = "of the whole file only the reader is wanted")]
#[path = "../../../gatewayd/src/profiler/machine/tracepoint.rs"]
mod tracepoint;

use super::record::Raw;

/// Reads a format, and every field that it tells of out of a record's raw data.
pub(crate) fn read(text: &str, raw: Raw<'_>) {
    let Some(format) = tracepoint::Format::parse(text) else { return };
    let names = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    for field in names.take(64).filter_map(|name| format.field(name)) {
        if let Some(number) = field.of(raw) {
            // What can be read as a number can be read as bytes, and the first one is the same.
            let [first] = field.bytes::<1>(raw).expect("the number's first byte");
            assert_eq!(number.to_le_bytes()[0], first);
        }
        let _ = field.bytes::<8>(raw);
    }
}
