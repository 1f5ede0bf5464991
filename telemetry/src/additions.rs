//! How a block tells what it adds to the dictionary.

use std::sync::Arc;

use crate::decoder::Malformed;
use crate::dictionary::{Dictionary, FrameEntry, Mark, entry};
use crate::limits::{
    MAX_BUILD_ID_LEN, MAX_CELLS, MAX_FRAMES, MAX_MAPPINGS, MAX_NODES, MAX_STRING_LEN, MAX_STRINGS,
    MAX_THREADS,
};
use crate::sample::{BuildId, Mapping, SchedulingClass, ThreadInfo};
use crate::wire::{Reader, put_len, put_signed, put_varint, unzigzag, zigzag};

/// Highest value of a thread's class byte: 100 is `SCHED_DEADLINE`.
const MAX_CLASS: u8 = 100;

/// Writes all entries behind `mark`. `string_id` finds the number of a string that is in the dictionary.
pub(crate) fn put(
    out: &mut Vec<u8>,
    dictionary: &mut Dictionary,
    mark: &Mark,
    string_id: &dyn Fn(&str) -> u32,
) {
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
    put_nodes(out, dictionary, mark);
    put_threads(out, dictionary.threads.get(mark.threads..).unwrap_or_default(), string_id);
    put_cells(out, dictionary, mark);
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
    read_nodes(reader, dictionary)?;
    read_threads(reader, dictionary)?;
    read_cells(reader, dictionary)
}

/// A string by its number.
pub(crate) fn read_string(reader: &mut Reader<'_>, dictionary: &Dictionary) -> Result<Arc<str>, Malformed> {
    let id = reader.index("string", dictionary.strings.len())?;
    Ok(Arc::clone(entry(&dictionary.strings, id, "string")?))
}

fn put_nodes(out: &mut Vec<u8>, dictionary: &mut Dictionary, mark: &Mark) {
    let ids = ids(mark.nodes, dictionary.nodes.len());
    put_len(out, ids.len());
    // Four columns, of which only the first two are as long as the nodes.
    let (mut frame_codes, mut kinds, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut branch = 0_i64;
    let mut next_frame = u32::try_from(mark.frames).unwrap_or(u32::MAX);
    for id in ids {
        let Some(node) = dictionary.nodes.get(id as usize).copied() else { continue };
        if id as usize > mark.nodes && node.parent == id - 1 {
            put_varint(out, 0);
        } else {
            put_varint(out, 1 + zigzag(i64::from(node.parent) - branch));
            branch = i64::from(node.parent);
        }
        if node.frame == next_frame {
            next_frame += 1;
            frame_codes.push(0);
            match dictionary.frames.get(node.frame as usize) {
                Some(FrameEntry::Address { mapping, offset }) => {
                    put_varint(&mut kinds, u64::from(*mapping) + 1);
                    let near = dictionary.predicted_offset(node.parent, *mapping);
                    put_signed(&mut values, offset.wrapping_sub(near).cast_signed());
                }
                Some(FrameEntry::Symbol(name)) => {
                    kinds.push(0);
                    put_signed(&mut values, i64::from(*name) - i64::from(dictionary.next_symbol));
                    dictionary.next_symbol = name + 1;
                }
                None => {}
            }
        } else {
            let predicted = dictionary.predicted_frame(node.parent);
            put_varint(&mut frame_codes, 1 + zigzag(i64::from(node.frame) - predicted));
        }
        dictionary.link(id);
    }
    out.extend_from_slice(&frame_codes);
    out.extend_from_slice(&kinds);
    out.extend_from_slice(&values);
}

fn read_nodes(reader: &mut Reader<'_>, dictionary: &mut Dictionary) -> Result<(), Malformed> {
    let first = dictionary.nodes.len();
    let count = reader.count("stack nodes", MAX_NODES)?;
    let (mut parents, mut branch) = (Vec::with_capacity(count), 0_i64);
    for at in 0..count {
        let own = first + at;
        let parent = match reader.varint()?.checked_sub(1) {
            None if at > 0 => own as u64 - 1,
            None => return Err(Malformed::Index { field: "parent node", value: own as u64, len: own }),
            Some(raw) => {
                branch = branch.wrapping_add(unzigzag(raw));
                branch.cast_unsigned()
            }
        };
        match u32::try_from(parent) {
            Ok(small) if (small as usize) < own => parents.push(small),
            _ => return Err(Malformed::Index { field: "parent node", value: parent, len: own }),
        }
    }
    let codes = (0..count).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
    let new_frames = codes.iter().filter(|code| **code == 0).count();
    if new_frames > reader.rest().len() {
        return Err(Malformed::Truncated);
    }
    let mut kinds = Vec::with_capacity(new_frames.min(MAX_FRAMES));
    for _ in 0..new_frames {
        kinds.push(reader.index("mapping", dictionary.mappings.len() + 1)?);
    }
    let mut kinds = kinds.into_iter();
    for (parent, code) in parents.into_iter().zip(codes) {
        let frame = match code.checked_sub(1) {
            None => {
                let entry = read_frame(reader, dictionary, parent, kinds.next().unwrap_or_default())?;
                dictionary.add_frame(entry)?
            }
            Some(raw) => {
                let id = dictionary.predicted_frame(parent).wrapping_add(unzigzag(raw));
                let len = dictionary.frames.len();
                u32::try_from(id).ok().filter(|id| (*id as usize) < len).ok_or_else(|| Malformed::Index {
                    field: "frame",
                    value: id.cast_unsigned(),
                    len,
                })?
            }
        };
        let id = dictionary.add_node(parent, frame)?;
        dictionary.link(id);
    }
    Ok(())
}

/// `kind` is 0 for a symbol, else one more than the mapping's number.
fn read_frame(
    reader: &mut Reader<'_>,
    dictionary: &mut Dictionary,
    parent: u32,
    kind: u32,
) -> Result<FrameEntry, Malformed> {
    let difference = reader.signed()?;
    if let Some(mapping) = kind.checked_sub(1) {
        let near = dictionary.predicted_offset(parent, mapping);
        return Ok(FrameEntry::Address { mapping, offset: near.wrapping_add(difference.cast_unsigned()) });
    }
    let name = i64::from(dictionary.next_symbol).wrapping_add(difference);
    let len = dictionary.strings.len();
    let name = below(name, len, "string")?;
    dictionary.next_symbol = name + 1;
    Ok(FrameEntry::Symbol(name))
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

fn put_cells(out: &mut Vec<u8>, dictionary: &Dictionary, mark: &Mark) {
    let cells = dictionary.cells.get(mark.cells..).unwrap_or_default();
    put_len(out, cells.len());
    let (mut thread, mut stack) = (0, 0);
    for cell in cells {
        put_signed(out, i64::from(cell.thread) - thread);
        thread = i64::from(cell.thread);
    }
    for cell in cells {
        put_signed(out, i64::from(cell.stack) - stack);
        stack = i64::from(cell.stack);
    }
}

fn read_cells(reader: &mut Reader<'_>, dictionary: &mut Dictionary) -> Result<(), Malformed> {
    let count = reader.count("cells", MAX_CELLS)?;
    let mut threads = Vec::with_capacity(count);
    let (mut thread, mut stack) = (0_i64, 0_i64);
    for _ in 0..count {
        thread = thread.wrapping_add(reader.signed()?);
        threads.push(below(thread, dictionary.threads.len(), "thread")?);
    }
    for thread in threads {
        stack = stack.wrapping_add(reader.signed()?);
        let stack = below(stack, dictionary.nodes.len(), "stack")?;
        dictionary.add_cell(thread, stack)?;
    }
    Ok(())
}

fn below(id: i64, len: usize, field: &'static str) -> Result<u32, Malformed> {
    let refused = Malformed::Index { field, value: id.cast_unsigned(), len };
    u32::try_from(id).ok().filter(|id| (*id as usize) < len).ok_or(refused)
}

/// Numbers of the entries from `first` up to `len`, which is far below 2^32.
fn ids(first: usize, len: usize) -> std::ops::Range<u32> {
    u32::try_from(first).unwrap_or(u32::MAX)..u32::try_from(len).unwrap_or(u32::MAX)
}
