//! From a word that may be a pointer to the object that it points into: Go's
//! `findObject`.
//!
//! Any word may be asked about. The answer costs the arena's entry, the entry
//! of the page, and a multiplication; the bits are not looked at.
//!
//! Invariants:
//! 1. `base` is where an object of a span begins, allocated or not, and the
//!    word is less than `size` above it. What is left over at the end of a span
//!    belongs to no object.

use super::arena::{Arenas, HeapArena, PageInfo};
use super::bits::Pair;
use super::seal::is_sealed;
use super::sizeclass::{CLASS, GRANULE, Kind, PAGE};

/// A place for an object.
#[derive(Clone, Copy)]
pub struct Object {
    pub base: usize,
    pub size: usize,
    pub class: usize,
    pub kind: Kind,
    arena: &'static HeapArena,
}

impl Object {
    /// Its bits.
    #[inline(always)]
    pub fn bit(&self) -> (&'static Pair, u64) {
        (self.arena.pair(self.base), 1 << (self.base / GRANULE % 64))
    }

    /// Bytes that its user has.
    pub fn room(&self) -> usize {
        if self.class == 0 { self.size } else { CLASS[self.class].room }
    }

    /// Whether a pointer to its end may be one to the next object.
    pub fn is_full(&self) -> bool {
        self.room() == self.size
    }

    /// Whether it is allocated, in a span that is swept.
    pub fn is_allocated(&self) -> bool {
        let (pair, bit) = self.bit();
        pair.alloc() & bit != 0 && !self.is_in_a_list()
    }

    /// Whether it is free, and in a list from which it is handed out again.
    pub fn is_in_a_list(&self) -> bool {
        self.class != 0 && is_sealed(self.base)
    }
}

impl Arenas {
    /// The place for an object that `word` points into; None if there is none.
    #[inline(always)]
    pub fn find(self, word: usize) -> Option<Object> {
        let arena = self.of(word)?;
        let page = arena.page(word);
        if page == PageInfo::NONE {
            return None;
        }
        let n = page.class();
        if n == 0 {
            return self.find_large(word);
        }
        let class = &CLASS[n];
        let span = (word & !(PAGE - 1)) - page.back() * PAGE;
        let index = class.index(word - span);
        if index >= class.nelems {
            return None;
        }
        let base = span + index * class.size;
        let kind = page.kind();
        Some(Object { base, size: class.size, class: n, kind, arena })
    }

    /// [`Self::find`] of a large object.
    #[cold]
    pub fn find_large(self, word: usize) -> Option<Object> {
        let s = self.span(word)?;
        let (base, size, kind) = (s.base.get(), s.elemsize.get(), s.kind.get());
        let arena = self.of(base)?;
        Some(Object { base, size, class: 0, kind, arena })
    }
}
