//! A stream's dictionary: what earlier blocks said. Sender and receiver hold the same one and change it by the same
//! steps, so what one end predicts the other predicts too.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decoder::Malformed;
use crate::limits::{
    MAX_CELLS, MAX_FRAMES, MAX_MAPPINGS, MAX_NODES, MAX_STACK_DEPTH, MAX_STRING_BYTES, MAX_STRINGS,
    MAX_THREADS,
};
use crate::sample::{Frame, Mapping, ThreadInfo};
use crate::window::Stack;

/// What a cell gains in a block that names it, and the part of its score (as a shift) that every cell loses per block.
const SCORE_GAIN: u32 = 1 << 16;
const SCORE_DECAY: u32 = 4;

/// A place, in terms of the other tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FrameEntry {
    Address { mapping: u32, offset: u64 },
    Symbol(u32),
}

/// A stack: a frame under the stack of its callers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) parent: u32,
    pub(crate) frame: u32,
    /// The newest node right under this one; 0 for none.
    newest_child: u32,
    depth: u8,
}

/// A thread on a stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) thread: u32,
    pub(crate) stack: u32,
    /// Weight of its last sample in nanoseconds, which the next will most likely have too.
    pub(crate) unit_ns: u64,
    score: u32,
}

/// Last value of a metric and its last difference.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trend {
    pub(crate) value: i64,
    pub(crate) delta: i64,
}

#[derive(Debug)]
pub(crate) struct Dictionary {
    pub(crate) strings: Vec<Arc<str>>,
    string_bytes: usize,
    pub(crate) mappings: Vec<Arc<Mapping>>,
    /// The newest offset in each mapping.
    newest_offset: Vec<u64>,
    pub(crate) frames: Vec<FrameEntry>,
    /// The string that the next new symbol names if it comes right behind the symbol before.
    pub(crate) next_symbol: u32,
    /// The root is node 0.
    pub(crate) nodes: Vec<Node>,
    pub(crate) threads: Vec<ThreadInfo>,
    pub(crate) cells: Vec<Cell>,
    /// Cells by rank: the often and lately used first.
    order: Vec<u32>,
    /// Rank of each cell in `order`.
    rank: Vec<u32>,
    /// End of the window before in milliseconds since 1970.
    pub(crate) end_unix_ms: u64,
    pub(crate) trends: HashMap<u32, Trend>,
    undo: Vec<Undo>,
}

#[derive(Debug, Clone, Copy)]
enum Undo {
    Child { parent: u32, before: u32 },
    Offset { mapping: u32, before: u64 },
}

/// How long the tables were: where the new entries begin, and where to return to when a block turns out to be bad.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) strings: usize,
    string_bytes: usize,
    pub(crate) mappings: usize,
    pub(crate) frames: usize,
    next_symbol: u32,
    pub(crate) nodes: usize,
    pub(crate) threads: usize,
    pub(crate) cells: usize,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            strings: Vec::new(),
            string_bytes: 0,
            mappings: Vec::new(),
            newest_offset: Vec::new(),
            frames: Vec::new(),
            next_symbol: 0,
            nodes: vec![Node { parent: 0, frame: u32::MAX, newest_child: 0, depth: 0 }],
            threads: Vec::new(),
            cells: Vec::new(),
            order: Vec::new(),
            rank: Vec::new(),
            end_unix_ms: 0,
            trends: HashMap::new(),
            undo: Vec::new(),
        }
    }
}

impl Dictionary {
    /// The state at a block's start. What was remembered to undo the block before is forgotten.
    pub(crate) fn mark(&mut self) -> Mark {
        self.undo.clear();
        Mark {
            strings: self.strings.len(),
            string_bytes: self.string_bytes,
            mappings: self.mappings.len(),
            frames: self.frames.len(),
            next_symbol: self.next_symbol,
            nodes: self.nodes.len(),
            threads: self.threads.len(),
            cells: self.cells.len(),
        }
    }

    /// Returns to the last mark.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Child { parent, before } => {
                    if let Some(node) = self.nodes.get_mut(parent as usize) {
                        node.newest_child = before;
                    }
                }
                Undo::Offset { mapping, before } => {
                    if let Some(offset) = self.newest_offset.get_mut(mapping as usize) {
                        *offset = before;
                    }
                }
            }
        }
        self.strings.truncate(mark.strings);
        self.string_bytes = mark.string_bytes;
        self.mappings.truncate(mark.mappings);
        self.newest_offset.truncate(mark.mappings);
        self.frames.truncate(mark.frames);
        self.next_symbol = mark.next_symbol;
        self.nodes.truncate(mark.nodes);
        self.threads.truncate(mark.threads);
        self.cells.truncate(mark.cells);
    }

    pub(crate) fn add_string(&mut self, text: Arc<str>) -> Result<u32, Malformed> {
        let bytes = self.string_bytes + text.len();
        at_most("bytes of strings", bytes, MAX_STRING_BYTES)?;
        let id = add(&mut self.strings, text, "strings", MAX_STRINGS)?;
        self.string_bytes = bytes;
        Ok(id)
    }

    pub(crate) fn add_mapping(&mut self, mapping: Arc<Mapping>) -> Result<u32, Malformed> {
        let id = add(&mut self.mappings, mapping, "mappings", MAX_MAPPINGS)?;
        self.newest_offset.push(0);
        Ok(id)
    }

    pub(crate) fn add_frame(&mut self, frame: FrameEntry) -> Result<u32, Malformed> {
        add(&mut self.frames, frame, "frames", MAX_FRAMES)
    }

    pub(crate) fn add_node(&mut self, parent: u32, frame: u32) -> Result<u32, Malformed> {
        let depth = self.depth(parent) + 1;
        at_most("stack depth", depth, MAX_STACK_DEPTH)?;
        // At most 128.
        let depth = u8::try_from(depth).unwrap_or(u8::MAX);
        let node = Node { parent, frame, newest_child: 0, depth };
        add(&mut self.nodes, node, "stack nodes", MAX_NODES + 1)
    }

    pub(crate) fn add_thread(&mut self, thread: ThreadInfo) -> Result<u32, Malformed> {
        add(&mut self.threads, thread, "threads", MAX_THREADS)
    }

    pub(crate) fn add_cell(&mut self, thread: u32, stack: u32) -> Result<u32, Malformed> {
        add(&mut self.cells, Cell { thread, stack, unit_ns: 0, score: 0 }, "cells", MAX_CELLS)
    }

    /// The frame that a new node under `parent` most likely has: the callers of a function recur in the order in which
    /// they came first.
    pub(crate) fn predicted_frame(&self, parent: u32) -> i64 {
        match self.nodes.get(parent as usize) {
            Some(node) if parent > 0 => i64::from(node.frame) + 1,
            _ => 0,
        }
    }

    /// Near which offset a new frame of `mapping` under `parent` lies: by the newest sibling (in most cases the same
    /// function), else the caller, else the newest of the mapping.
    pub(crate) fn predicted_offset(&self, parent: u32, mapping: u32) -> u64 {
        let offset_in = |node: u32| {
            let node = self.nodes.get(node as usize).filter(|_| node > 0)?;
            match self.frames.get(node.frame as usize)? {
                FrameEntry::Address { mapping: other, offset } if *other == mapping => Some(*offset),
                _ => None,
            }
        };
        let sibling = self.nodes.get(parent as usize).and_then(|node| offset_in(node.newest_child));
        sibling
            .or_else(|| offset_in(parent))
            .unwrap_or_else(|| self.newest_offset.get(mapping as usize).copied().unwrap_or_default())
    }

    /// Tells the predictions that `node` is written or read.
    pub(crate) fn link(&mut self, node: u32) {
        let Some(Node { parent, frame, .. }) = self.nodes.get(node as usize).copied() else { return };
        if let Some(parent_node) = self.nodes.get_mut(parent as usize) {
            self.undo.push(Undo::Child { parent, before: parent_node.newest_child });
            parent_node.newest_child = node;
        }
        if let Some(FrameEntry::Address { mapping, offset }) = self.frames.get(frame as usize).copied()
            && let Some(newest) = self.newest_offset.get_mut(mapping as usize)
        {
            self.undo.push(Undo::Offset { mapping, before: *newest });
            *newest = offset;
        }
    }

    /// Cells that have a rank: those of earlier blocks.
    pub(crate) fn ranked(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn cell_of_rank(&self, rank: u32) -> Option<u32> {
        self.order.get(rank as usize).copied()
    }

    pub(crate) fn rank_of_cell(&self, cell: u32) -> Option<u32> {
        self.rank.get(cell as usize).copied()
    }

    /// Ends a block that named `cells`, each once: ranks all anew.
    pub(crate) fn settle(&mut self, cells: &[u32]) {
        for cell in &mut self.cells {
            cell.score -= cell.score >> SCORE_DECAY;
        }
        for id in cells {
            if let Some(cell) = self.cells.get_mut(*id as usize) {
                cell.score += SCORE_GAIN;
            }
        }
        self.order = (0..self.cells.len()).filter_map(|id| u32::try_from(id).ok()).collect();
        let score = |id: u32| self.cells.get(id as usize).map_or(0, |cell| cell.score);
        self.order.sort_unstable_by_key(|id| std::cmp::Reverse((score(*id), *id)));
        self.rank.resize(self.cells.len(), 0);
        for (rank, id) in (0_u32..).zip(&self.order) {
            if let Some(slot) = self.rank.get_mut(*id as usize) {
                *slot = rank;
            }
        }
    }

    pub(crate) fn depth(&self, stack: u32) -> usize {
        self.nodes.get(stack as usize).map_or(0, |node| usize::from(node.depth))
    }

    /// The frames of a stack, innermost first.
    pub(crate) fn stack(&self, stack: u32) -> Result<Stack, Malformed> {
        let mut frames = Vec::with_capacity(self.depth(stack));
        let mut id = stack;
        // A parent's number is below its child's, so this ends.
        while id > 0 {
            let node = entry(&self.nodes, id, "stack")?;
            frames.push(match entry(&self.frames, node.frame, "frame")? {
                FrameEntry::Symbol(name) => Frame::Symbol(Arc::clone(entry(&self.strings, *name, "string")?)),
                FrameEntry::Address { mapping, offset } => Frame::Address {
                    mapping: Arc::clone(entry(&self.mappings, *mapping, "mapping")?),
                    offset: *offset,
                },
            });
            id = node.parent;
        }
        Ok(Stack::from(frames))
    }
}

fn add<T>(entries: &mut Vec<T>, new: T, field: &'static str, limit: usize) -> Result<u32, Malformed> {
    let id = entries.len();
    at_most(field, id + 1, limit)?;
    entries.push(new);
    // All limits are far below 2^32.
    Ok(u32::try_from(id).unwrap_or(u32::MAX))
}

pub(crate) fn at_most(field: &'static str, value: usize, limit: usize) -> Result<(), Malformed> {
    if value > limit {
        return Err(Malformed::TooLarge { field, value: value as u64, limit: limit as u64 });
    }
    Ok(())
}

pub(crate) fn entry<'a, T>(entries: &'a [T], id: u32, field: &'static str) -> Result<&'a T, Malformed> {
    entries.get(id as usize).ok_or_else(|| Malformed::Index {
        field,
        value: u64::from(id),
        len: entries.len(),
    })
}
