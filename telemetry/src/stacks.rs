//! The stack tree and the cells of a stream, as both ends know them, and how a block names them.

use std::collections::HashMap;

use crate::contexts::{Contexts, Tag, bit_len};
use crate::decoder::Malformed;
use crate::dictionary::{add, at_most, entry};
use crate::limits::{MAX_CELLS, MAX_NODES, MAX_STACK_DEPTH};
use crate::ranges::Coder;

/// Children that are offered one by one, and looked through for a neighbour; those behind are named by number.
const OFFERED: usize = 16;
/// The kind of a symbol's place; that of the root is 0, that of a place in mapping n is n + 2.
pub(crate) const SYMBOL: u32 = 1;

/// Where a frame is: a string's number, or an offset in a mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) kind: u32,
    pub(crate) value: u64,
}

/// A stack: a place under the stack of its callers.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    place: Place,
    parent: u32,
    /// The child that was added or named last; 0 for none.
    newest: u32,
    /// The sibling that was so before this one; 0 for none.
    older: u32,
    kids: u32,
    /// New cells that went through it, and those that ended in it.
    uses: u16,
    ends: u8,
    depth: u8,
}

/// A thread on a stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) thread: u32,
    pub(crate) stack: u32,
    /// Weight of its last sample in the unit of its dimension, which the next will most likely have too.
    pub(crate) unit: u64,
    /// Blocks that named it.
    hits: u8,
    first: u32,
    last: u32,
}

/// Sizes of the tables that stacks refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) strings: usize,
    pub(crate) mappings: usize,
    pub(crate) threads: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Stacks {
    /// The root is node 0.
    nodes: Vec<Node>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) contexts: Contexts,
    /// The string that the next new symbol names if it comes right behind the symbol before.
    next_symbol: u64,
    /// Blocks since the keyframe.
    blocks: u32,
    /// Where things are; only a sender asks.
    index: Option<Index>,
}

#[derive(Debug, Clone, Default)]
struct Index {
    /// By parent and place.
    nodes: HashMap<(u32, Place), u32>,
    /// By thread and stack.
    cells: HashMap<(u32, u32), u32>,
}

impl Default for Stacks {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            cells: Vec::new(),
            contexts: Contexts::default(),
            next_symbol: 0,
            blocks: 0,
            index: None,
        }
    }
}

impl Stacks {
    /// What a sender begins with.
    pub(crate) fn of_sender() -> Self {
        Self { index: Some(Index::default()), ..Self::default() }
    }

    fn child(&self, parent: u32, place: Place) -> Option<u32> {
        self.index.as_ref()?.nodes.get(&(parent, place)).copied()
    }

    /// Of a sender: the node that these places lead to from the root as far as they are known, and how many that are.
    pub(crate) fn known(&self, outermost_first: impl Iterator<Item = Option<Place>>) -> (u32, usize) {
        let (mut node, mut len) = (0, 0);
        for place in outermost_first {
            match place.and_then(|place| self.child(node, place)) {
                Some(child) => (node, len) = (child, len + 1),
                None => break,
            }
        }
        (node, len)
    }

    /// Of a sender: the cell of a thread on a known stack.
    pub(crate) fn cell(&self, thread: u32, stack: u32) -> Option<u32> {
        self.index.as_ref()?.cells.get(&(thread, stack)).copied()
    }

    /// Codes which of the known cells the block names. `named` is in order, and empty at a receiver.
    pub(crate) fn named(&mut self, coder: &mut impl Coder, named: &[u32]) -> Vec<u32> {
        let (mut wanted, mut found) = (named.iter().peekable(), Vec::new());
        for (id, cell) in (0_u32..).zip(&self.cells) {
            let [age, life] =
                [cell.last, cell.first].map(|at| u64::from(bit_len((self.blocks - at).into()).min(5)));
            let about = u64::from(cell.hits.min(12)) * 64 + age * 8 + life;
            let is_named = wanted.next_if_eq(&&id).is_some();
            if self.contexts.bit(coder, Tag::Present, about, 0, is_named) {
                found.push(id);
            }
        }
        found
    }

    /// Codes a new cell: its thread as the difference to the one before, and the way to its stack. `places`, outermost
    /// first, and `thread` are what a sender says.
    pub(crate) fn add_cell(
        &mut self,
        coder: &mut impl Coder,
        bounds: Bounds,
        thread_before: u32,
        (thread, places): (u32, &[Place]),
    ) -> Result<u32, Malformed> {
        let step =
            self.contexts.number(coder, Tag::Thread, 0, u64::from(thread.saturating_sub(thread_before)));
        let thread = below(u64::from(thread_before).saturating_add(step), bounds.threads, "thread")?;
        let mut node = 0;
        let mut places = places.iter();
        loop {
            let wanted = places.next().copied();
            if self.ends(coder, node, wanted.is_none()) {
                break;
            }
            node = self.step(coder, bounds, node, wanted.unwrap_or_default())?;
        }
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.ends = node.ends.saturating_add(1);
        }
        let (first, last) = (self.blocks, self.blocks);
        let cell = Cell { thread, stack: node, unit: 0, hits: 0, first, last };
        let id = add(&mut self.cells, cell, "cells", MAX_CELLS)?;
        if let Some(index) = &mut self.index {
            index.cells.insert((thread, node), id);
        }
        Ok(id)
    }

    /// How often a block named this cell, as far as counts depend on it.
    pub(crate) fn habit(&self, cell: u32) -> u64 {
        self.cells.get(cell as usize).map_or(0, |it| it.hits.min(6)).into()
    }

    /// Ends a block that named `cells`, each once.
    pub(crate) fn settle(&mut self, cells: &[u32]) {
        for id in cells {
            if let Some(cell) = self.cells.get_mut(*id as usize) {
                cell.hits = cell.hits.saturating_add(1);
                cell.last = self.blocks;
            }
        }
        self.blocks = self.blocks.saturating_add(1);
    }

    pub(crate) fn depth(&self, stack: u32) -> usize {
        self.nodes.get(stack as usize).map_or(0, |node| node.depth.into())
    }

    /// The places of a stack, innermost first.
    pub(crate) fn places(&self, stack: u32) -> Result<Vec<Place>, Malformed> {
        let mut places = Vec::with_capacity(self.depth(stack));
        let mut id = stack;
        // A parent's number is below its child's, so this ends.
        while id > 0 {
            let node = entry(&self.nodes, id, "stack")?;
            places.push(node.place);
            id = node.parent;
        }
        Ok(places)
    }

    /// Codes whether a stack ends here.
    fn ends(&mut self, coder: &mut impl Coder, node: u32, ends: bool) -> bool {
        let Node { place, kids, ends: before, depth, .. } = self.node(node);
        let depth = if kids == 0 { u64::from(depth / 2) } else { 0 };
        let about = u64::from(before.min(2)) * 4 + u64::from(kids.min(2));
        self.contexts.bit(coder, Tag::End, about, u64::from(place.kind) * 64 + depth, ends)
    }

    /// Codes one step inwards, to a known child or a new one.
    fn step(
        &mut self,
        coder: &mut impl Coder,
        bounds: Bounds,
        node: u32,
        place: Place,
    ) -> Result<u32, Malformed> {
        let child = self.child(node, place);
        let Node { kids, uses, .. } = self.node(node);
        let uses = u64::from(bit_len(uses.into()).min(6));
        let is_new =
            kids == 0 || self.contexts.bit(coder, Tag::New, u64::from(kids.min(6)), uses, child.is_none());
        let next = if is_new {
            self.add_node(coder, bounds, node, place)?
        } else {
            self.choose(coder, node, child.unwrap_or_default())?
        };
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.uses = node.uses.saturating_add(1);
        }
        Ok(next)
    }

    /// Codes which known child, the one named last first. It becomes the first.
    fn choose(&mut self, coder: &mut impl Coder, parent: u32, wanted: u32) -> Result<u32, Malformed> {
        let mut left = self.node(parent).kids;
        let (mut before, mut child) = (0, self.node(parent).newest);
        for _ in 0..OFFERED {
            let uses = u64::from(bit_len(self.node(child).uses.into()).min(5));
            let others =
                if left < 4 { u64::from(left) } else { u64::from((2 + bit_len(left.into())).min(8)) };
            if left == 1 || self.contexts.bit(coder, Tag::Child, uses, others, child == wanted) {
                self.move_to_front(parent, before, child);
                return Ok(child);
            }
            left -= 1;
            (before, child) = (child, self.node(child).older);
        }
        // Rare: the numbers of children say nothing about each other.
        let child = self.contexts.number(coder, Tag::FarChild, 0, wanted.into());
        let child = below(child, self.nodes.len(), "stack")?;
        if child == 0 || self.node(child).parent != parent {
            return Err(Malformed::Order("stacks"));
        }
        Ok(child)
    }

    fn move_to_front(&mut self, parent: u32, before: u32, child: u32) {
        if before == 0 {
            return;
        }
        let (older, newest) = (self.node(child).older, self.node(parent).newest);
        for (id, value) in [(before, older), (child, newest)] {
            if let Some(node) = self.nodes.get_mut(id as usize) {
                node.older = value;
            }
        }
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.newest = child;
        }
    }

    /// Codes a new node, and makes it the first of its parent's children.
    fn add_node(
        &mut self,
        coder: &mut impl Coder,
        bounds: Bounds,
        parent: u32,
        wanted: Place,
    ) -> Result<u32, Malformed> {
        let kind = self.kind(coder, bounds, parent, wanted.kind)?;
        let value = if kind == SYMBOL {
            self.symbol(coder, bounds, wanted.value)?
        } else {
            let near = self.neighbour(parent, kind);
            let value = self.contexts.place(coder, kind.into(), near, wanted.value);
            let limit = u64::from(u64::BITS);
            value.ok_or(Malformed::TooLarge { field: "bits of an offset", value: limit + 1, limit })?
        };
        let depth = self.depth(parent) + 1;
        at_most("stack depth", depth, MAX_STACK_DEPTH)?;
        let place = Place { kind, value };
        let older = self.node(parent).newest;
        // The depth is at most 128.
        let depth = u8::try_from(depth).unwrap_or(u8::MAX);
        let node = Node { place, parent, older, depth, ..Node::default() };
        let id = add(&mut self.nodes, node, "stack nodes", MAX_NODES + 1)?;
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.newest = id;
            parent.kids += 1;
        }
        if let Some(index) = &mut self.index {
            index.nodes.insert((parent, place), id);
        }
        Ok(id)
    }

    /// Codes a place's kind, mostly that of its caller.
    fn kind(
        &mut self,
        coder: &mut impl Coder,
        bounds: Bounds,
        parent: u32,
        wanted: u32,
    ) -> Result<u32, Malformed> {
        let callers = self.node(parent).place.kind;
        let same = callers == wanted;
        if callers > 0 && self.contexts.bit(coder, Tag::SameKind, callers.into(), 0, same) {
            return Ok(callers);
        }
        let code = u64::from(wanted.saturating_sub(SYMBOL));
        let code = self.contexts.number(coder, Tag::Kind, callers.into(), code);
        below(code, bounds.mappings + 1, "mapping").map(|it| it + SYMBOL)
    }

    /// Codes a symbol's string, mostly the newest for a new symbol.
    fn symbol(&mut self, coder: &mut impl Coder, bounds: Bounds, wanted: u64) -> Result<u64, Malformed> {
        let next = self.next_symbol;
        let string = if self.contexts.bit(coder, Tag::NextSymbol, 0, 0, wanted == next) {
            next
        } else {
            let place = self.contexts.place(coder, SYMBOL.into(), None, wanted);
            place.unwrap_or(u64::MAX)
        };
        let string = u64::from(below(string, bounds.strings, "string")?);
        self.next_symbol = self.next_symbol.max(string + 1);
        Ok(string)
    }

    /// The offset of the newest child of that kind: most likely in the same function.
    fn neighbour(&self, parent: u32, kind: u32) -> Option<u64> {
        let mut child = self.node(parent).newest;
        for _ in 0..OFFERED {
            if child == 0 {
                break;
            }
            let Node { place, older, .. } = self.node(child);
            if place.kind == kind {
                return Some(place.value);
            }
            child = older;
        }
        None
    }

    /// A node; the root's twin where there is none of this number, which a caller has made sure of.
    fn node(&self, id: u32) -> Node {
        self.nodes.get(id as usize).copied().unwrap_or_default()
    }
}

fn below(id: u64, len: usize, field: &'static str) -> Result<u32, Malformed> {
    let refused = Malformed::Index { field, value: id, len };
    u32::try_from(id).ok().filter(|id| (*id as usize) < len).ok_or(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::{Receiver, Sender};

    const WIDE: Bounds = Bounds { strings: 1_000, mappings: 10, threads: 10 };

    /// Sends cells and reads them where the tables are as long as `bounds` says: thread and places of each.
    fn sent(cells: &[(u32, Vec<Place>)], bounds: Bounds) -> Result<Vec<(u32, Vec<Place>)>, Malformed> {
        let (mut sender, mut stacks) = (Sender::new(), Stacks::of_sender());
        let mut before = 0;
        for (thread, places) in cells {
            stacks.add_cell(&mut sender, WIDE, before, (*thread, places))?;
            before = *thread;
        }
        let bytes = sender.finish();
        let (mut receiver, mut stacks) = (Receiver::new(&bytes), Stacks::default());
        let mut received = Vec::new();
        before = 0;
        for _ in cells {
            let id = stacks.add_cell(&mut receiver, bounds, before, (0, &[]))?;
            let cell = stacks.cells[id as usize];
            before = cell.thread;
            let places = stacks.places(cell.stack)?.into_iter().rev().collect();
            received.push((cell.thread, places));
        }
        assert!(receiver.rest().is_empty());
        Ok(received)
    }

    fn chain(depth: u64) -> Vec<(u32, Vec<Place>)> {
        vec![(0, (0..depth).map(|at| Place { kind: 2, value: at * 100 }).collect())]
    }

    #[test]
    fn the_deepest_stack_passes_and_one_frame_more_is_refused() {
        let deepest = chain(MAX_STACK_DEPTH as u64);
        assert_eq!(sent(&deepest, WIDE), Ok(deepest));
        let refused = sent(&chain(MAX_STACK_DEPTH as u64 + 1), WIDE);
        assert!(matches!(refused, Err(Malformed::TooLarge { field: "stack depth", .. })), "{refused:?}");
    }

    #[test]
    fn children_beyond_those_that_are_offered_are_found_too() {
        let child = |value| vec![Place { kind: 2, value: 7 }, Place { kind: 3, value }];
        let first = (0..60).map(|at| (0, child(at * 1_000)));
        // Known ones, the oldest first and then jumping about.
        let again = (0..60).chain([59, 0, 30, 1]).map(|at| (1, child(at * 1_000)));
        let symbols = (0..20).map(|at| (2, vec![Place { kind: SYMBOL, value: at * 37 % 20 }]));
        let cells: Vec<_> = first.chain(again).chain(symbols).collect();
        assert_eq!(sent(&cells, WIDE), Ok(cells));
    }

    #[test]
    fn what_points_past_a_table_is_refused() {
        let symbol = vec![(1, vec![Place { kind: SYMBOL, value: 5 }])];
        let index = |field, value, len| Err(Malformed::Index { field, value, len });
        assert_eq!(sent(&symbol, WIDE), Ok(symbol.clone()));
        assert_eq!(sent(&symbol, Bounds { threads: 1, ..WIDE }), index("thread", 1, 1));
        assert_eq!(sent(&symbol, Bounds { strings: 5, ..WIDE }), index("string", 5, 5));
        assert_eq!(sent(&chain(1), Bounds { mappings: 0, ..WIDE }), index("mapping", 1, 1));
    }
}
