//! What a user of the heap asks about its memory besides allocating and
//! freeing: which object a pointer is in, how large it is, and to make it
//! larger.

use super::find::Object;
use super::mcache::MCache;
use super::mheap::MHeap;
use super::sizeclass::{CLASS, MAX_SMALL, PAGE, class_of, pages_for};
use super::specials::Weak;
use super::sweepgen::Phase;
use crate::base::sync::{Ordering::Acquire, fence, spin_loop};
use core::ptr::{self, NonNull};

impl MHeap {
    /// The object that `word` points into; None if there is none, or it is
    /// free. Waits for a sweeper, so the caller has no lock that one needs.
    #[must_use]
    pub fn object(&self, word: usize) -> Option<Object> {
        loop {
            match self.look(word) {
                Look::Sweeping => spin_loop(),
                Look::Free => return None,
                Look::Object(object) => return Some(object),
            }
        }
    }

    /// What `word` points into.
    pub(super) fn look(&self, word: usize) -> Look {
        let found = self.arenas().and_then(|arenas| {
            let object = arenas.find(word)?;
            Some((object, arenas.span(object.base)?))
        });
        let Some((object, s)) = found else { return Look::Free };
        let (pair, bit) = object.bit();
        let phase = s.sweepgen.phase(self.sweepgen());
        let (alloc, mark) = (pair.alloc() & bit, pair.mark() & bit);
        // Acquire: pairs with begins. Whoever has seen what a sweep has done to
        // the bits sees here that it has begun.
        fence(Acquire);
        if s.sweepgen.phase(self.sweepgen()) != phase {
            return Look::Sweeping;
        }
        // The two bits, as `bits` has them; together they are true only
        // outside of a sweep.
        let lives = match phase {
            Phase::Sweeping => return Look::Sweeping,
            Phase::Unswept | Phase::CachedUnswept => mark != 0,
            Phase::Ready | Phase::Cached => {
                alloc != 0 && mark == 0 && !object.is_in_a_list()
            }
        };
        if lives { Look::Object(object) } else { Look::Free }
    }

    /// The address of the object of a weak pointer, or 0 if it is gone.
    pub(crate) fn weak_get(&self, weak: &Weak) -> usize {
        loop {
            let look = weak.with(|object| match object {
                0 => Look::Free,
                _ => self.look(object),
            });
            match look {
                // It may be waiting for the lock of weak pointers.
                Look::Sweeping => spin_loop(),
                Look::Free => return 0,
                Look::Object(object) => return object.base,
            }
        }
    }
}

/// What a word points into.
pub(super) enum Look {
    Object(Object),
    /// Nothing, or an object that is free.
    Free,
    /// Nobody knows until the span is swept.
    Sweeping,
}

impl MCache {
    /// The object at `at`, with `size` bytes, here or elsewhere, with its
    /// contents. What an object that may hold pointers gains is zeroed. None
    /// without memory, or if no object begins at `at`; then nothing has
    /// changed.
    ///
    /// # Safety
    /// Nobody else uses the object.
    #[must_use]
    pub unsafe fn realloc(
        &self,
        at: NonNull<u8>,
        size: usize,
    ) -> Option<NonNull<u8>> {
        let old = self.heap().object(at.as_ptr().addr())?;
        if old.base != at.as_ptr().addr() {
            return None;
        }
        if fits(&old, size) {
            return Some(at);
        }
        let new = self.alloc(size, old.kind)?;
        let kept = old.size.min(size);
        // SAFETY: both have so many bytes, and `new` is nobody else's.
        unsafe { ptr::copy_nonoverlapping(at.as_ptr(), new.as_ptr(), kept) };
        let _ = self.free(old.base);
        Some(new)
    }
}

/// Whether `size` bytes have room, and a new object would be as large.
fn fits(old: &Object, size: usize) -> bool {
    let bytes = match size {
        0..=MAX_SMALL => CLASS[class_of(size)].size,
        _ => pages_for(size).saturating_mul(PAGE),
    };
    bytes == old.size && size <= old.room()
}
