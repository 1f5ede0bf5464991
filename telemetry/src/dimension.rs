//! What a sample's weight measures. All dimensions share one coordinate system of threads and stacks, so that the same
//! function is the same place in each; a mark on top of the stack says which one it is.

use std::sync::Arc;

use crate::sample::Frame;

/// A dimension of a profile. On the wire it is the innermost frame of the stack, a symbol (see [`Dimension::mark`]);
/// CPU time has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Nanoseconds on a CPU.
    Cpu,
    /// Nanoseconds asleep, from leaving the CPU to the wake-up. The frame below the mark names the system call where it is
    /// known.
    Blocked,
    /// Nanoseconds ready to run and waiting for a CPU.
    RunQueue,
    /// Nanoseconds waiting for a lock, in the kernel or by futex.
    Lock,
    /// Bytes of pages that the kernel handed out.
    Pages,
    /// Bytes that a program took from its allocator.
    Heap,
    /// Nanoseconds that requests to a block device took, from being made to being done, on the stack that made or issued
    /// them.
    BlockIo,
}

/// Unit of a dimension's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightUnit {
    /// Time.
    Nanoseconds,
    /// Memory.
    Bytes,
}

impl Dimension {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::Blocked, Self::RunQueue, Self::Lock, Self::Pages, Self::Heap, Self::BlockIo];

    /// The symbol that marks a stack as this dimension's; `None` for CPU time.
    pub fn mark(self) -> Option<&'static str> {
        match self {
            Self::Cpu => None,
            Self::Blocked => Some("[blocked]"),
            Self::RunQueue => Some("[run queue]"),
            Self::Lock => Some("[lock]"),
            Self::Pages => Some("[pages]"),
            Self::Heap => Some("[heap]"),
            Self::BlockIo => Some("[block io]"),
        }
    }

    /// The same as a frame, to be put before the stack's innermost one.
    pub fn frame(self) -> Option<Frame> {
        self.mark().map(|mark| Frame::Symbol(Arc::from(mark)))
    }

    /// What the weights of this dimension count.
    pub fn unit(self) -> WeightUnit {
        match self {
            Self::Pages | Self::Heap => WeightUnit::Bytes,
            _ => WeightUnit::Nanoseconds,
        }
    }

    /// Reads a stack's mark: the dimension, and the stack without the mark.
    pub fn of(stack: &[Frame]) -> (Self, &[Frame]) {
        if let Some((Frame::Symbol(name), rest)) = stack.split_first() {
            let marked = Self::ALL.into_iter().find(|dimension| dimension.mark() == Some(&**name));
            if let Some(dimension) = marked {
                return (dimension, rest);
            }
        }
        (Self::Cpu, stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_stack_is_read_back_and_an_unmarked_one_is_cpu_time() {
        let place = Frame::Symbol("main".into());
        for dimension in Dimension::ALL {
            let stack: Vec<Frame> = dimension.frame().into_iter().chain([place.clone()]).collect();
            assert_eq!(Dimension::of(&stack), (dimension, std::slice::from_ref(&place)));
        }
        assert_eq!(Dimension::of(&[]), (Dimension::Cpu, &[][..]));
    }

    #[test]
    fn only_the_innermost_frame_is_a_mark() {
        let stack = [Frame::Symbol("main".into()), Frame::Symbol("[lock]".into())];
        assert_eq!(Dimension::of(&stack), (Dimension::Cpu, &stack[..]));
    }
}
