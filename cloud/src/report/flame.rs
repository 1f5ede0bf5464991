//! Folded stacks as nested boxes, widest first.

use std::collections::BTreeMap;

use super::format::precise;

/// Deeper frames are not drawn.
const MAX_DEPTH: usize = 48;

/// Narrower boxes, as a share of the whole, are not drawn: nobody could see them.
const MIN_SHARE: f64 = 0.002;

/// A frame and what it called.
#[derive(Debug, Default)]
struct Node {
    nanoseconds: u64,
    children: BTreeMap<String, Self>,
}

/// One box. Offsets and widths are shares of the whole, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) depth: usize,
    pub(crate) left: f64,
    pub(crate) width: f64,
    pub(crate) nanoseconds: u64,
}

/// A flame graph: its boxes, its depth, and the CPU time it stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Flame {
    pub(crate) frames: Vec<Frame>,
    pub(crate) depth: usize,
    pub(crate) nanoseconds: u64,
    /// CPU time per thread, longest first.
    pub(crate) threads: Vec<(String, u64)>,
}

/// Lays out folded stacks of the form `vehicle;thread;outermost;...;innermost nanoseconds`. The vehicle is left out;
/// lines that are not of this form are skipped.
pub(crate) fn flame(folded: &str) -> Flame {
    let mut root = Node::default();
    for line in folded.lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else { continue };
        let Ok(nanoseconds) = count.parse::<u64>() else { continue };
        let Some((_vehicle, stack)) = stack.split_once(';') else { continue };
        let mut node = &mut root;
        node.nanoseconds = node.nanoseconds.saturating_add(nanoseconds);
        for name in stack.split(';').take(MAX_DEPTH) {
            node = node.children.entry(name.to_owned()).or_default();
            node.nanoseconds = node.nanoseconds.saturating_add(nanoseconds);
        }
    }
    let mut flame = Flame { nanoseconds: root.nanoseconds, ..Flame::default() };
    flame.threads = root.children.iter().map(|(name, node)| (name.clone(), node.nanoseconds)).collect();
    flame.threads.sort_by_key(|it| std::cmp::Reverse(it.1));
    if root.nanoseconds > 0 {
        lay_out(&root, 0, 0.0, precise(root.nanoseconds), &mut flame);
    }
    flame
}

fn lay_out(node: &Node, depth: usize, mut left: f64, whole: f64, flame: &mut Flame) {
    let mut children: Vec<_> = node.children.iter().collect();
    children.sort_by_key(|it| std::cmp::Reverse(it.1.nanoseconds));
    for (name, child) in children {
        let width = precise(child.nanoseconds) / whole;
        if width < MIN_SHARE {
            continue;
        }
        flame.depth = flame.depth.max(depth + 1);
        flame.frames.push(Frame { name: name.clone(), depth, left, width, nanoseconds: child.nanoseconds });
        lay_out(child, depth + 1, left, whole, flame);
        left += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_nest_and_add_up() {
        let flame = flame("V;bus;main;poll 30\nV;bus;main;send 10\nW;io;main 60\nbroken\nV;x y\n");
        assert_eq!(flame.nanoseconds, 100);
        assert_eq!(flame.threads, [("io".to_owned(), 60), ("bus".to_owned(), 40)]);
        let boxes: Vec<_> =
            flame.frames.iter().map(|it| (it.name.as_str(), it.depth, it.left, it.width)).collect();
        assert_eq!(
            boxes,
            [
                ("io", 0, 0.0, 0.6),
                ("main", 1, 0.0, 0.6),
                ("bus", 0, 0.6, 0.4),
                ("main", 1, 0.6, 0.4),
                ("poll", 2, 0.6, 0.3),
                ("send", 2, 0.6 + 0.3, 0.1),
            ]
        );
        assert_eq!(flame.depth, 3);
    }

    #[test]
    fn depth_and_width_are_bounded() {
        let deep = format!("V;t{} 1000\nV;u 1\n", ";f".repeat(1000));
        let flame = flame(&deep);
        assert_eq!(flame.depth, MAX_DEPTH);
        assert!(flame.frames.iter().all(|it| it.name != "u"), "a box of a thousandth is drawn");
    }
}
