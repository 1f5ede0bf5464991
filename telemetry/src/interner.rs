//! The sender's side of a stream's dictionary: what the receiver already knows, and what the next block must add.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::limits::{MAX_FRAMES, MAX_MAPPINGS, MAX_NODES, MAX_STRING_BYTES, MAX_STRINGS, MAX_THREADS};
use crate::sample::{Frame, Mapping, SchedulingClass, ThreadInfo};
use crate::wire::{put_len, put_signed, put_varint};

/// The dictionary has no room for a new entry; the stream must start again with a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum FrameKey {
    Address { mapping: u32, offset: u64 },
    Symbol(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    parent: u32,
    frame: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Interner {
    strings: Table<Arc<str>>,
    string_bytes: usize,
    mappings: Table<Arc<Mapping>>,
    frames: Table<FrameKey>,
    nodes: Table<Node>,
    threads: Table<ThreadInfo>,
}

impl Interner {
    pub(crate) fn string(&mut self, text: &Arc<str>) -> Result<u32, Full> {
        if let Some(id) = self.strings.find(text) {
            return Ok(id);
        }
        if self.string_bytes + text.len() > MAX_STRING_BYTES {
            return Err(Full);
        }
        self.string_bytes += text.len();
        self.strings.add(Arc::clone(text), MAX_STRINGS)
    }

    pub(crate) fn thread(&mut self, thread: &ThreadInfo) -> Result<u32, Full> {
        if let Some(id) = self.threads.find(thread) {
            return Ok(id);
        }
        self.string(&thread.name)?;
        self.threads.add(thread.clone(), MAX_THREADS)
    }

    /// The trie node of a stack given innermost frame first; 0 for the empty stack.
    pub(crate) fn stack(&mut self, frames: &[Frame]) -> Result<u32, Full> {
        let mut parent = 0;
        for frame in frames.iter().rev() {
            let frame = self.frame(frame)?;
            let node = Node { parent, frame };
            // Node ids start at 1: 0 is the root.
            parent = 1 + match self.nodes.find(&node) {
                Some(id) => id,
                None => self.nodes.add(node, MAX_NODES)?,
            };
        }
        Ok(parent)
    }

    /// Writes what was added since the last call, in the order in which a receiver can resolve it.
    pub(crate) fn put_additions(&mut self, out: &mut Vec<u8>) {
        let strings = self.strings.take_new();
        put_len(out, strings.len());
        for text in &strings {
            put_len(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        let mappings = self.mappings.take_new();
        put_len(out, mappings.len());
        for mapping in &mappings {
            let build_id = mapping.build_id.as_bytes();
            put_len(out, build_id.len());
            out.extend_from_slice(build_id);
            put_varint(out, u64::from(self.strings.known(&mapping.path)));
        }
        put_frames(out, &self.frames.take_new());
        let first = self.nodes.first_new;
        let nodes = self.nodes.take_new();
        put_nodes(out, &nodes, first);
        let threads = self.threads.take_new();
        put_len(out, threads.len());
        for thread in &threads {
            put_varint(out, u64::from(thread.pid));
            put_varint(out, u64::from(thread.tid));
            put_varint(out, u64::from(self.strings.known(&thread.name)));
            out.push(match thread.class {
                SchedulingClass::Normal => 0,
                // 0 would say normal, and above 100 there is nothing.
                SchedulingClass::Realtime(priority) => priority.clamp(1, 100),
            });
        }
    }

    fn frame(&mut self, frame: &Frame) -> Result<u32, Full> {
        let key = match frame {
            Frame::Address { mapping, offset } => {
                FrameKey::Address { mapping: self.mapping(mapping)?, offset: *offset }
            }
            Frame::Symbol(name) => FrameKey::Symbol(self.string(name)?),
        };
        match self.frames.find(&key) {
            Some(id) => Ok(id),
            None => self.frames.add(key, MAX_FRAMES),
        }
    }

    fn mapping(&mut self, mapping: &Arc<Mapping>) -> Result<u32, Full> {
        if let Some(id) = self.mappings.find(mapping) {
            return Ok(id);
        }
        self.string(&mapping.path)?;
        self.mappings.add(Arc::clone(mapping), MAX_MAPPINGS)
    }
}

fn put_frames(out: &mut Vec<u8>, frames: &[FrameKey]) {
    put_len(out, frames.len());
    for frame in frames {
        put_varint(
            out,
            match frame {
                FrameKey::Symbol(_) => 0,
                FrameKey::Address { mapping, .. } => u64::from(*mapping) + 1,
            },
        );
    }
    let mut previous = 0_u64;
    for frame in frames {
        match frame {
            FrameKey::Symbol(name) => put_varint(out, u64::from(*name)),
            FrameKey::Address { offset, .. } => {
                put_signed(out, offset.wrapping_sub(previous).cast_signed());
                previous = *offset;
            }
        }
    }
}

/// `first` is how many nodes the receiver already has, so that the first new one has the id `first + 1`.
fn put_nodes(out: &mut Vec<u8>, nodes: &[Node], first: u32) {
    put_len(out, nodes.len());
    for (id, node) in (u64::from(first) + 1..).zip(nodes) {
        put_varint(out, id - u64::from(node.parent));
    }
    let mut previous = 0_i64;
    for node in nodes {
        let frame = i64::from(node.frame);
        put_signed(out, frame - previous);
        previous = frame;
    }
}

/// Entries numbered from 0 in the order in which they came.
#[derive(Debug)]
struct Table<T> {
    ids: HashMap<T, u32>,
    new: Vec<T>,
    first_new: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { ids: HashMap::new(), new: Vec::new(), first_new: 0 }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    fn find(&self, entry: &T) -> Option<u32> {
        self.ids.get(entry).copied()
    }

    /// The id of an entry that is in the table because another entry that names it is.
    fn known(&self, entry: &T) -> u32 {
        self.find(entry).unwrap_or_default()
    }

    fn add(&mut self, entry: T, limit: usize) -> Result<u32, Full> {
        let id = self.ids.len();
        if id >= limit {
            return Err(Full);
        }
        let id = u32::try_from(id).map_err(|_| Full)?;
        self.ids.insert(entry.clone(), id);
        self.new.push(entry);
        Ok(id)
    }

    fn take_new(&mut self) -> Vec<T> {
        let new = std::mem::take(&mut self.new);
        self.first_new = self.first_new.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
        new
    }
}
