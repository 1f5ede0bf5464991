//! A perf ring's records and a tracepoint's format, of any words and lengths: refused, or read within their bounds.
#![no_main]

mod machine;
#[allow(dead_code, unreachable_pub, reason = "of the whole file only the reader is wanted")]
#[path = "../../gatewayd/src/profiler/record.rs"]
mod record;

use libfuzzer_sys::fuzz_target;
use record::{Record, parse, split};

fuzz_target!(|input: &[u8]| {
    // A record of whole words behind its length, then the text of a format.
    let Some((&count, rest)) = input.split_first() else { return };
    let (bytes, text) = rest.split_at(rest.len().min(usize::from(count) * 8));
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|it| u64::from_le_bytes(it.try_into().expect("eight bytes"))).collect();
    // Even events carry a call chain, odd ones none, and some are not ours.
    match parse(&words, |event| (event % 16 != 15).then_some(event % 2 == 0)) {
        Some(Record::Sample(sample)) => {
            let (kernel, user) = split(sample.callchain);
            assert!(
                kernel.len() + user.len() <= sample.callchain.len() && sample.callchain.len() < words.len()
            );
            for size in 0..10 {
                let _ = sample.raw.number(sample.ns as usize, size);
            }
            if let Ok(text) = std::str::from_utf8(text) {
                machine::read(text, sample.raw);
            }
        }
        Some(Record::Mapped(mapped)) => assert!(mapped.build_id_len <= 20 && mapped.name.len() < words.len()),
        _ => {}
    }
});
