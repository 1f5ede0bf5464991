//! The receiver's side of a stream's dictionary.

use std::sync::Arc;

use crate::decoder::Malformed;
use crate::limits::{
    MAX_BUILD_ID_LEN, MAX_FRAMES, MAX_MAPPINGS, MAX_NODES, MAX_STACK_DEPTH, MAX_STRING_BYTES, MAX_STRING_LEN,
    MAX_STRINGS, MAX_THREADS,
};
use crate::sample::{BuildId, Frame, Mapping, SchedulingClass, ThreadInfo};
use crate::window::Stack;
use crate::wire::Reader;

#[derive(Debug, Clone, Copy)]
struct Node {
    parent: u32,
    frame: u32,
    depth: u8,
}

/// Highest value of a thread's class byte: 100 is `SCHED_DEADLINE`.
const MAX_CLASS: u8 = 100;

#[derive(Debug, Default)]
pub(crate) struct Table {
    strings: Vec<Arc<str>>,
    string_bytes: usize,
    mappings: Vec<Arc<Mapping>>,
    frames: Vec<Frame>,
    /// Node `n` of the wire is at `n - 1`: the root is not stored.
    nodes: Vec<Node>,
    threads: Vec<ThreadInfo>,
}

/// How long a table was, to return to it when a block turns out to be bad halfway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    strings: usize,
    string_bytes: usize,
    mappings: usize,
    frames: usize,
    nodes: usize,
    threads: usize,
}

impl Table {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            strings: self.strings.len(),
            string_bytes: self.string_bytes,
            mappings: self.mappings.len(),
            frames: self.frames.len(),
            nodes: self.nodes.len(),
            threads: self.threads.len(),
        }
    }

    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.strings.truncate(mark.strings);
        self.string_bytes = mark.string_bytes;
        self.mappings.truncate(mark.mappings);
        self.frames.truncate(mark.frames);
        self.nodes.truncate(mark.nodes);
        self.threads.truncate(mark.threads);
    }

    pub(crate) fn read_additions(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        self.read_strings(reader)?;
        self.read_mappings(reader)?;
        self.read_frames(reader)?;
        self.read_nodes(reader)?;
        self.read_threads(reader)
    }

    pub(crate) fn string(&self, reader: &mut Reader<'_>) -> Result<Arc<str>, Malformed> {
        let id = reader.index("string", self.strings.len())?;
        Ok(Arc::clone(entry(&self.strings, id, "string")?))
    }

    pub(crate) fn threads(&self) -> &[ThreadInfo] {
        &self.threads
    }

    /// How many stack ids there are, the empty stack included.
    pub(crate) fn stack_ids(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Frames of a stack, which a receiver may want to know before it spells them out.
    pub(crate) fn depth(&self, stack: u32) -> usize {
        self.node(stack).map_or(0, |node| usize::from(node.depth))
    }

    /// The frames of a stack, innermost first.
    pub(crate) fn stack(&self, stack: u32) -> Result<Stack, Malformed> {
        let mut frames = Vec::with_capacity(self.depth(stack));
        let mut id = stack;
        // A parent's id is below its child's, so this ends.
        while let Some(node) = self.node(id) {
            frames.push(entry(&self.frames, node.frame, "frame")?.clone());
            id = node.parent;
        }
        Ok(Stack::from(frames))
    }

    fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(id.checked_sub(1)?).ok()?)
    }

    fn read_strings(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..reader.count("strings", MAX_STRINGS - self.strings.len())? {
            let len = reader.up_to("string length", MAX_STRING_LEN)?;
            let bytes = reader.bytes(len)?;
            self.string_bytes += len;
            if self.string_bytes > MAX_STRING_BYTES {
                return Err(Malformed::TooLarge {
                    field: "bytes of strings",
                    value: self.string_bytes as u64,
                    limit: MAX_STRING_BYTES as u64,
                });
            }
            let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
            self.strings.push(Arc::from(text));
        }
        Ok(())
    }

    fn read_mappings(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..reader.count("mappings", MAX_MAPPINGS - self.mappings.len())? {
            let len = reader.up_to("build id length", MAX_BUILD_ID_LEN)?;
            let build_id = BuildId::new(reader.bytes(len)?).unwrap_or_default();
            let path = self.string(reader)?;
            self.mappings.push(Arc::new(Mapping { build_id, path }));
        }
        Ok(())
    }

    fn read_frames(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let count = reader.count("frames", MAX_FRAMES - self.frames.len())?;
        let mut kinds = Vec::with_capacity(count);
        for _ in 0..count {
            kinds.push(reader.index("mapping", self.mappings.len() + 1)?);
        }
        let mut offset = 0_u64;
        for kind in kinds {
            let frame = match kind.checked_sub(1) {
                None => Frame::Symbol(self.string(reader)?),
                Some(mapping) => {
                    offset = offset.wrapping_add(reader.signed()?.cast_unsigned());
                    Frame::Address { mapping: Arc::clone(entry(&self.mappings, mapping, "mapping")?), offset }
                }
            };
            self.frames.push(frame);
        }
        Ok(())
    }

    fn read_nodes(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let first = self.nodes.len();
        for _ in 0..reader.count("stack nodes", MAX_NODES - first)? {
            let id = self.nodes.len() + 1;
            // Distance back to the parent: 1 is the node before, `id` is the root.
            let back = reader.up_to("distance to the parent node", id)?;
            let parent = match u32::try_from(id - back) {
                Ok(parent) if back > 0 => parent,
                _ => return Err(Malformed::Index { field: "parent node", value: id as u64, len: id }),
            };
            let depth = self.depth(parent) + 1;
            match u8::try_from(depth) {
                Ok(depth) if usize::from(depth) <= MAX_STACK_DEPTH => {
                    self.nodes.push(Node { parent, frame: 0, depth });
                }
                _ => {
                    return Err(Malformed::TooLarge {
                        field: "stack depth",
                        value: depth as u64,
                        limit: MAX_STACK_DEPTH as u64,
                    });
                }
            }
        }
        let frames = self.frames.len();
        let mut frame = 0_i64;
        for node in self.nodes.iter_mut().skip(first) {
            frame = frame.wrapping_add(reader.signed()?);
            node.frame = u32::try_from(frame).ok().filter(|id| (*id as usize) < frames).ok_or_else(|| {
                Malformed::Index { field: "frame", value: frame.cast_unsigned(), len: frames }
            })?;
        }
        Ok(())
    }

    fn read_threads(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..reader.count("threads", MAX_THREADS - self.threads.len())? {
            let pid = reader.u32("process id")?;
            let tid = reader.u32("thread id")?;
            let name = self.string(reader)?;
            let class = match reader.byte()? {
                0 => SchedulingClass::Normal,
                priority @ 1..=MAX_CLASS => SchedulingClass::Realtime(priority),
                other => {
                    return Err(Malformed::TooLarge {
                        field: "scheduling class",
                        value: u64::from(other),
                        limit: u64::from(MAX_CLASS),
                    });
                }
            };
            self.threads.push(ThreadInfo { pid, tid, name, class });
        }
        Ok(())
    }
}

fn entry<'a, T>(entries: &'a [T], id: u32, field: &'static str) -> Result<&'a T, Malformed> {
    usize::try_from(id).ok().and_then(|id| entries.get(id)).ok_or_else(|| Malformed::Index {
        field,
        value: u64::from(id),
        len: entries.len(),
    })
}
