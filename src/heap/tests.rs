//! What the tests of a heap share. Each test has a heap of its own, which
//! stays.

use super::*;
use core::ptr::NonNull;

pub(super) fn heap() -> &'static MHeap {
    let heap = Box::leak(Box::new(MHeap::new()));
    heap.init().unwrap();
    heap
}

/// Random numbers that are the same each time (xorshift64*).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Less than `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// Word `i` of the object at `at`.
pub(super) fn word(at: usize, i: usize) -> *mut usize {
    (at as *mut usize).wrapping_add(i)
}

pub(super) fn set(at: usize, i: usize, value: usize) {
    // SAFETY: a word of an object of the test's.
    unsafe { *word(at, i) = value };
}

pub(super) fn get(at: usize, i: usize) -> usize {
    // SAFETY: a word of an object of the test's.
    unsafe { *word(at, i) }
}

pub(super) fn address(p: Option<NonNull<u8>>) -> usize {
    p.expect("memory").as_ptr().addr()
}

/// A collection with one mcache, after which all is swept.
pub(super) fn collect(work: &Work, cache: &MCache, roots: &[usize]) -> usize {
    let range = roots.as_ptr_range();
    let roots = [(range.start.addr(), range.end.addr())];
    let caches = core::iter::once(cache);
    // SAFETY: `roots` is a slice; the heap has this mcache only.
    let marked = unsafe { cache.heap().collect(work, caches, &roots) };
    cache.prepare_for_sweep();
    cache.heap().sweep_all();
    marked.expect("memory")
}
