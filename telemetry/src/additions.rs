//! How a block tells what it adds to the tables of the dictionary, stacks and cells apart.

use std::sync::Arc;

use crate::decoder::Malformed;
use crate::dictionary::{Dictionary, Mark, entry};
use crate::limits::{MAX_BUILD_ID_LEN, MAX_MAPPINGS, MAX_STRING_LEN, MAX_STRINGS, MAX_THREADS};
use crate::sample::{BuildId, Mapping, SchedulingClass, ThreadInfo};
use crate::wire::{Reader, put_len, put_varint};

/// Highest value of a thread's class byte: 100 is `SCHED_DEADLINE`.
const MAX_CLASS: u8 = 100;

/// Writes all entries behind `mark`. `string_id` finds the number of a string that is in the dictionary.
pub(crate) fn put(out: &mut Vec<u8>, dictionary: &Dictionary, mark: &Mark, string_id: &dyn Fn(&str) -> u32) {
    let strings = dictionary.strings.get(mark.strings..).unwrap_or_default();
    put_len(out, strings.len());
    for text in strings {
        put_len(out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    let mappings = dictionary.mappings.get(mark.mappings..).unwrap_or_default();
    put_len(out, mappings.len());
    for mapping in mappings {
        let build_id = mapping.build_id.as_bytes();
        put_len(out, build_id.len());
        out.extend_from_slice(build_id);
        put_varint(out, u64::from(string_id(&mapping.path)));
    }
    put_threads(out, dictionary.threads.get(mark.threads..).unwrap_or_default(), string_id);
}

/// Reads what [`put`] wrote. When it fails, the caller rewinds.
pub(crate) fn read(reader: &mut Reader<'_>, dictionary: &mut Dictionary) -> Result<(), Malformed> {
    for _ in 0..reader.count("strings", MAX_STRINGS)? {
        let len = reader.up_to("string length", MAX_STRING_LEN)?;
        let text = std::str::from_utf8(reader.bytes(len)?).map_err(|_| Malformed::Utf8)?;
        dictionary.add_string(Arc::from(text))?;
    }
    for _ in 0..reader.count("mappings", MAX_MAPPINGS)? {
        let len = reader.up_to("build id length", MAX_BUILD_ID_LEN)?;
        let build_id = BuildId::new(reader.bytes(len)?).unwrap_or_default();
        let path = read_string(reader, dictionary)?;
        dictionary.add_mapping(Arc::new(Mapping { build_id, path }))?;
    }
    read_threads(reader, dictionary)
}

/// A string by its number.
pub(crate) fn read_string(reader: &mut Reader<'_>, dictionary: &Dictionary) -> Result<Arc<str>, Malformed> {
    let id = reader.index("string", dictionary.strings.len())?;
    Ok(Arc::clone(entry(&dictionary.strings, id, "string")?))
}

fn put_threads(out: &mut Vec<u8>, threads: &[ThreadInfo], string_id: &dyn Fn(&str) -> u32) {
    put_len(out, threads.len());
    for thread in threads {
        put_varint(out, u64::from(thread.pid));
        put_varint(out, u64::from(thread.tid));
        put_varint(out, u64::from(string_id(&thread.name)));
        out.push(match thread.class {
            SchedulingClass::Normal => 0,
            // 0 would say normal, and above 100 there is nothing.
            SchedulingClass::Realtime(priority) => priority.clamp(1, MAX_CLASS),
        });
    }
}

fn read_threads(reader: &mut Reader<'_>, dictionary: &mut Dictionary) -> Result<(), Malformed> {
    for _ in 0..reader.count("threads", MAX_THREADS)? {
        let pid = reader.u32("process id")?;
        let tid = reader.u32("thread id")?;
        let name = read_string(reader, dictionary)?;
        let class = match reader.byte_up_to("scheduling class", MAX_CLASS)? {
            0 => SchedulingClass::Normal,
            priority => SchedulingClass::Realtime(priority),
        };
        dictionary.add_thread(ThreadInfo { pid, tid, name, class })?;
    }
    Ok(())
}
