//! A sampler in the allocator: what the daemon itself takes from the heap, on average once in so many bytes.
//!
//! Marks lie on the line of all bytes ever taken, at random, with a mean distance of [`MEAN`]. An allocation on which a mark
//! falls is told with the weight `size / (1 - exp(-size / MEAN))`, which makes the sum of weights an unbiased estimate
//! of all bytes taken. Between marks an allocation costs one subtraction in thread-local memory.
#![allow(unsafe_code, reason = "an allocator is an unsafe trait of the language")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Mean distance of the marks in bytes.
pub const MEAN: u64 = 512 * 1_024;
/// Classes of size, each a power of two.
pub const CLASSES: usize = 40;

/// The allocator of every program built of this crate.
#[global_allocator]
pub static HEAP: Sampled<System> = Sampled::new(System);

/// An allocator that counts a sample of what goes through it, and else does what `A` does.
#[derive(Debug)]
pub struct Sampled<A> {
    inner: A,
    totals: Totals,
}

/// What was sampled since the start.
#[derive(Debug)]
pub struct Totals {
    /// Estimated bytes by class: of allocations of 2^n to 2^(n+1) - 1 bytes.
    bytes: [AtomicU64; CLASSES],
    samples: AtomicU64,
}

thread_local! {
    /// Bytes until the next mark; negative numbers mean that one was passed. `const`, so that the first access does not
    /// allocate.
    static LEFT: Cell<i64> = const { Cell::new(0) };
    /// State of the generator of distances; 0 before the first draw.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

impl<A> Sampled<A> {
    /// Wraps an allocator.
    pub const fn new(inner: A) -> Self {
        Self {
            inner,
            totals: Totals { bytes: [const { AtomicU64::new(0) }; CLASSES], samples: AtomicU64::new(0) },
        }
    }

    /// What was sampled since the start.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    fn count(&self, size: usize) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // A thread that is ending counts no more.
        let passed = LEFT.try_with(|left| {
            let rest = left.get().saturating_sub(size);
            left.set(rest);
            rest < 0
        });
        if passed == Ok(true) {
            self.totals.sample(size.unsigned_abs());
        }
    }
}

impl Totals {
    /// Estimated bytes taken from the heap.
    pub fn bytes(&self) -> u64 {
        self.bytes.iter().map(|it| it.load(Ordering::Relaxed)).fold(0, u64::saturating_add)
    }

    /// The same by class of size.
    pub fn by_class(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.bytes.get(class).map_or(0, |it| it.load(Ordering::Relaxed)))
    }

    /// Allocations that were sampled.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Out of line: it happens once in [`MEAN`] bytes. Nothing here allocates.
    #[cold]
    fn sample(&self, size: u64) {
        let first = STATE.try_with(|state| state.get() == 0).unwrap_or(false);
        let _ending = LEFT.try_with(|left| left.set(draw()));
        if first {
            // The thread had no mark yet; its first one has just been drawn.
            return;
        }
        let class = (size.max(1).ilog2() as usize).min(CLASSES - 1);
        if let Some(bytes) = self.bytes.get(class) {
            bytes.fetch_add(weight(size), Ordering::Relaxed);
        }
        self.samples.fetch_add(1, Ordering::Relaxed);
    }
}

/// What an allocation on which a mark fell stands for.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes lie below 2^53, and the quotient is positive"
)]
fn weight(size: u64) -> u64 {
    let chance = -(-(size as f64) / MEAN as f64).exp_m1();
    (size as f64 / chance) as u64
}

/// Draws the distance to the next mark: exponential, by inversion.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "53 bits fit a double, and the distance is far below 2^53"
)]
fn draw() -> i64 {
    let random = STATE.try_with(|state| {
        // Marsaglia's xorshift; the address of a thread's own cell seeds each thread differently.
        let seed = if state.get() == 0 { std::ptr::from_ref(state) as usize as u64 | 1 } else { state.get() };
        let mut mixed = seed;
        mixed ^= mixed << 13;
        mixed ^= mixed >> 7;
        mixed ^= mixed << 17;
        state.set(mixed.max(1));
        mixed.wrapping_mul(0x2545_F491_4F6C_DD1D)
    });
    let share = ((random.unwrap_or(1 << 63) >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
    (-share.ln() * MEAN as f64) as i64
}

// SAFETY: every call is handed on to `A` as it came, and what `A` gives is handed back; counting neither allocates nor
// touches the memory.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Sampled<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller keeps to the contract of this function, which is that of `A`.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: as above.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { self.inner.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.inner.dealloc(pointer, layout) }
    }
}

/// Gives memory that is free back to the system, also from the midst of the heap. For after a large piece of work that is not
/// done again; takes some milliseconds. Does nothing where the C library has no such call.
pub fn give_back() {
    // SAFETY: the call looks after the allocator's own state under its own lock, and moves nothing that is in use.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_true_whatever_the_sizes() {
        for size in [64_usize, 4_096, 100_000, 2_000_000] {
            let sampled = Sampled::new(System);
            let rounds = 2_000 * 512 * 1_024 / size.min(512 * 1_024);
            for _ in 0..rounds {
                sampled.count(size);
            }
            let truth = (rounds * size) as u64;
            let estimate = sampled.totals().bytes();
            assert!(estimate.abs_diff(truth) < truth / 8, "{size}: {estimate} of {truth}");
            assert_eq!(sampled.totals().by_class()[size.ilog2() as usize], estimate);
        }
    }

    #[test]
    fn memory_is_handed_on_as_the_inner_allocator_gives_it() {
        let sampled = Sampled::new(System);
        let layout = Layout::from_size_align(1_024, 64).unwrap();
        // SAFETY: the layout is not empty, and the block is given back once, with the same layout.
        unsafe {
            let block = sampled.alloc_zeroed(layout);
            assert!(!block.is_null() && block.addr().is_multiple_of(64) && *block.add(1_023) == 0);
            sampled.dealloc(block, layout);
        }
    }
}
