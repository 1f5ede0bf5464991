//! The sender's way into the dictionary: from a thing to its number.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decoder::Malformed;
use crate::dictionary::{Dictionary, FrameEntry};
use crate::sample::{Frame, Mapping, ThreadInfo};

/// The dictionary and where each entry is. What it refuses has no room: the stream must start again with a keyframe.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    pub(crate) dictionary: Dictionary,
    strings: HashMap<Arc<str>, u32>,
    mappings: HashMap<Arc<Mapping>, u32>,
    frames: HashMap<FrameEntry, u32>,
    /// By parent and frame.
    nodes: HashMap<(u32, u32), u32>,
    threads: HashMap<ThreadInfo, u32>,
    /// By thread and stack.
    cells: HashMap<(u32, u32), u32>,
}

impl Interner {
    pub(crate) fn string(&mut self, text: &Arc<str>) -> Result<u32, Malformed> {
        if let Some(id) = self.strings.get(text) {
            return Ok(*id);
        }
        let id = self.dictionary.add_string(Arc::clone(text))?;
        self.strings.insert(Arc::clone(text), id);
        Ok(id)
    }

    /// The number of a string that is in the dictionary because an entry names it.
    pub(crate) fn known_string(&self, text: &str) -> u32 {
        self.strings.get(text).copied().unwrap_or_default()
    }

    pub(crate) fn thread(&mut self, thread: &ThreadInfo) -> Result<u32, Malformed> {
        if let Some(id) = self.threads.get(thread) {
            return Ok(*id);
        }
        self.string(&thread.name)?;
        let id = self.dictionary.add_thread(thread.clone())?;
        self.threads.insert(thread.clone(), id);
        Ok(id)
    }

    /// The deepest node that is known already on the way to a stack given innermost frame first.
    pub(crate) fn known_prefix(&self, frames: &[Frame]) -> u32 {
        let mut node = 0;
        for frame in frames.iter().rev() {
            let key = match frame {
                Frame::Address { mapping, offset } => self
                    .mappings
                    .get(mapping)
                    .map(|mapping| FrameEntry::Address { mapping: *mapping, offset: *offset }),
                Frame::Symbol(name) => self.strings.get(name).map(|name| FrameEntry::Symbol(*name)),
            };
            let frame = key.and_then(|key| self.frames.get(&key));
            match frame.and_then(|frame| self.nodes.get(&(node, *frame))) {
                Some(child) => node = *child,
                None => break,
            }
        }
        node
    }

    /// The node of a stack given innermost frame first; 0 for the empty stack.
    pub(crate) fn stack(&mut self, frames: &[Frame]) -> Result<u32, Malformed> {
        let mut parent = 0;
        for frame in frames.iter().rev() {
            let frame = self.frame(frame)?;
            parent = match self.nodes.get(&(parent, frame)) {
                Some(id) => *id,
                None => {
                    let id = self.dictionary.add_node(parent, frame)?;
                    self.nodes.insert((parent, frame), id);
                    id
                }
            };
        }
        Ok(parent)
    }

    pub(crate) fn cell(&mut self, thread: u32, stack: u32) -> Result<u32, Malformed> {
        if let Some(id) = self.cells.get(&(thread, stack)) {
            return Ok(*id);
        }
        let id = self.dictionary.add_cell(thread, stack)?;
        self.cells.insert((thread, stack), id);
        Ok(id)
    }

    fn frame(&mut self, frame: &Frame) -> Result<u32, Malformed> {
        let key = match frame {
            Frame::Address { mapping, offset } => {
                FrameEntry::Address { mapping: self.mapping(mapping)?, offset: *offset }
            }
            Frame::Symbol(name) => FrameEntry::Symbol(self.string(name)?),
        };
        if let Some(id) = self.frames.get(&key) {
            return Ok(*id);
        }
        let id = self.dictionary.add_frame(key)?;
        self.frames.insert(key, id);
        Ok(id)
    }

    fn mapping(&mut self, mapping: &Arc<Mapping>) -> Result<u32, Malformed> {
        if let Some(id) = self.mappings.get(mapping) {
            return Ok(*id);
        }
        self.string(&mapping.path)?;
        let id = self.dictionary.add_mapping(Arc::clone(mapping))?;
        self.mappings.insert(Arc::clone(mapping), id);
        Ok(id)
    }
}
