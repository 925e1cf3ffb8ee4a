//! The few free stacks that a P keeps for itself, so that the usual start and
//! end of a goroutine take no lock.
//!
//! Invariants:
//! 1. Only the M that holds the P, or the thread that has stopped the world,
//!    touches its cache. The next owner of the P sees all that the last one
//!    did (`owner`).
//! 2. `bases[..len]` are free slots of `class`, the latest one last.

use super::pool::{HALF, Stacks};
use super::slot::{GUARD, OWN, Stack, slot_len};
use crate::os::Result;
use core::cell::Cell;

/// How many stacks a cache holds. After half of them have moved, at least as
/// many calls of either kind pass before the next move.
const CAPACITY: usize = 2 * HALF;

/// A P's free stacks, of one class.
pub(crate) struct StackCache {
    /// `OWN` in a cache that was never used. owner: the P's
    class: Cell<u8>,
    /// Usable bytes of each stack; 0 in an unused cache. owner: the P's
    usable: Cell<usize>,
    /// owner: the P's
    len: Cell<usize>,
    /// owner: the P's
    bases: [Cell<usize>; CAPACITY],
}

// SAFETY: one thread at a time touches it, invariant 1.
unsafe impl Sync for StackCache {}

impl StackCache {
    pub(crate) const fn new() -> Self {
        Self {
            class: Cell::new(OWN),
            usable: Cell::new(0),
            len: Cell::new(0),
            bases: [const { Cell::new(0) }; CAPACITY],
        }
    }

    /// A cached stack, if those here have exactly `usable` bytes.
    #[inline(always)]
    pub(super) fn take_kept(&self, usable: usize) -> Option<Stack> {
        if self.usable.get() != usable {
            return None;
        }
        let last = self.len.get().checked_sub(1)?;
        let base = self.bases.get(last)?.get();
        self.len.set(last);
        let lo = base + GUARD;
        Some(Stack { lo, hi: lo + usable, class: self.class.get() })
    }

    /// A stack of `class`, which becomes the cache's class.
    pub(super) fn take(&self, pool: &Stacks, class: u8) -> Result<Stack> {
        if self.class.get() != class || self.len.get() == 0 {
            self.refill(pool, class)?;
        }
        let len = self.len.get() - 1;
        self.len.set(len);
        Ok(Stack::in_slot(self.bases[len].get(), class))
    }

    /// Fills the cache with stacks of `class`, at least one, and no others.
    #[cold]
    fn refill(&self, pool: &Stacks, class: u8) -> Result<()> {
        self.flush(pool);
        self.class.set(class);
        self.usable.set(slot_len(class) - GUARD);
        let mut bases = [0; HALF];
        let n = pool.take(class, &mut bases)?;
        for (cell, base) in self.bases.iter().zip(&bases[..n]) {
            cell.set(*base);
        }
        self.len.set(n);
        Ok(())
    }

    /// Keeps a free stack; false if it is of another class.
    #[inline(always)]
    pub(super) fn put(&self, pool: &Stacks, s: Stack) -> bool {
        if s.class != self.class.get() {
            return false;
        }
        if self.len.get() == CAPACITY {
            self.spill(pool, HALF);
        }
        let len = self.len.get();
        self.bases[len].set(s.base());
        self.len.set(len + 1);
        true
    }

    /// Usable bytes of all that it holds; from any thread, for statistics.
    pub(crate) fn bytes(&self) -> usize {
        let peek = |cell: &Cell<usize>| {
            // SAFETY: aligned and initialised; on this processor a word that
            // the owner writes meanwhile reads as the old value or the new one.
            unsafe { cell.as_ptr().read_volatile() }
        };
        peek(&self.len).min(CAPACITY) * peek(&self.usable)
    }

    /// Moves everything to the pool.
    pub(super) fn flush(&self, pool: &Stacks) {
        self.spill(pool, self.len.get());
    }

    /// Moves the `n` least recently used stacks to the pool.
    #[cold]
    fn spill(&self, pool: &Stacks, n: usize) {
        if n == 0 {
            return;
        }
        let len = self.len.get();
        let bases = self.bases.each_ref().map(Cell::get);
        pool.put(self.class.get(), &bases[..n]);
        for (cell, base) in self.bases.iter().zip(&bases[n..len]) {
            cell.set(*base);
        }
        self.len.set(len - n);
    }
}
