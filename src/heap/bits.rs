//! The two bits of each granule: *alloc* and *mark*, in words side by side.
//!
//! ```text
//!   alloc mark
//!     0    0    free, or not the start of an object
//!     1    0    allocated, or freed and to be handed out again (`freelist`);
//!               in an unswept span: dead
//!     1    1    in an unswept span, or while marking: reached
//!     1    1    in a cached span that is swept: freed by another thread, and
//!               about to be free
//! ```
//! Only the granule with which an object begins has bits. A word that points
//! into an object costs the marker one line of them.
//!
//! Invariants:
//! 1. mark = 1 implies alloc = 1.
//! 2. alloc is written by the thread that holds the span: the owner of the
//!    mcache that caches it, its sweeper, or the holder of its central's lock.
//! 3. A span that is swept and not cached has no mark outside of marking.
//!
//! Each of these calls looks at both words, so what frees for another thread
//! and what settles exclude each other by the central's lock. The owner of an
//! mcache frees in its own spans without it, and is kept apart from others that
//! free the same object by the object's `seal`.
//!
//! Nothing is published by these bits, so all is Relaxed: who holds a span
//! changes under its central's lock, and marking begins and ends at a stop.

use crate::base::sync::{AtomicU64, Ordering::Relaxed};

/// The bits of 64 granules.
#[derive(Debug)]
#[repr(C)]
pub struct Pair {
    /// atomic, written by invariant 2
    alloc: AtomicU64,
    /// atomic
    mark: AtomicU64,
}

/// What marking an object has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Marked {
    /// It was not marked before, and this marker scans it.
    Now,
    /// Another candidate has led to it, or there is no object.
    Not,
}

impl Default for Pair {
    /// Free granules, where there is no mapping to be zeroed.
    fn default() -> Self {
        Self { alloc: AtomicU64::new(0), mark: AtomicU64::new(0) }
    }
}

impl Pair {
    #[inline(always)]
    pub fn alloc(&self) -> u64 {
        self.alloc.load(Relaxed)
    }

    #[inline(always)]
    pub fn mark(&self) -> u64 {
        self.mark.load(Relaxed)
    }

    /// Makes free granules the starts of objects. The caller holds the span.
    #[inline(always)]
    pub fn set_alloc(&self, bits: u64) {
        self.alloc.store(self.alloc.load(Relaxed) | bits, Relaxed);
    }

    /// Frees objects. The caller holds the span.
    #[inline(always)]
    pub fn clear_alloc(&self, bits: u64) {
        self.alloc.store(self.alloc.load(Relaxed) & !bits, Relaxed);
    }

    /// Marks the object at `bit`. With ALONE no other thread marks.
    #[inline(always)]
    pub fn try_mark<const ALONE: bool>(&self, bit: u64) -> Marked {
        let mark = self.mark.load(Relaxed);
        if self.alloc.load(Relaxed) & !mark & bit == 0 {
            return Marked::Not;
        }
        if ALONE {
            self.mark.store(mark | bit, Relaxed);
            return Marked::Now;
        }
        // One of two markers finds the bit 0, and scans.
        match self.mark.fetch_or(bit, Relaxed) & bit {
            0 => Marked::Now,
            _ => Marked::Not,
        }
    }

    /// Takes a mark away: the sweep will free the object. False: it had none.
    pub fn unmark(&self, bit: u64) -> bool {
        self.mark.fetch_and(!bit, Relaxed) & bit != 0
    }

    /// Tells the holder of a cached span that an object is freed; false if it
    /// was already, or is not allocated.
    pub fn free_later(&self, bit: u64) -> bool {
        self.alloc.load(Relaxed) & bit != 0
            && self.mark.fetch_or(bit, Relaxed) & bit == 0
    }

    /// Frees what [`Self::free_later`] named. The caller holds the span;
    /// returns the bits.
    pub fn settle(&self) -> u64 {
        let freed = match self.mark.load(Relaxed) {
            0 => 0,
            _ => self.mark.swap(0, Relaxed),
        };
        self.clear_alloc(freed);
        freed
    }

    /// Frees what is not marked, and takes the marks away. Returns what it has
    /// freed, and what lives. The caller holds the span.
    #[inline(always)]
    pub fn sweep(&self) -> (u64, u64) {
        let (alloc, live) = (self.alloc.load(Relaxed), self.mark.load(Relaxed));
        self.alloc.store(live, Relaxed);
        self.mark.store(0, Relaxed);
        (alloc & !live, live)
    }
}
