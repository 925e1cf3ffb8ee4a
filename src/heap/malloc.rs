//! What a user of the heap asks about its memory besides allocating and
//! freeing: which object a pointer is in, how large it is, and to make it
//! larger.

use super::find::Object;
use super::mcache::MCache;
use super::mheap::MHeap;
use super::sizeclass::{CLASS, MAX_SMALL, PAGE, class_of, pages_for};
use super::sweepgen::Phase;
use crate::base::sync::spin_loop;
use core::ptr::{self, NonNull};

impl MHeap {
    /// The object that `word` points into; None if there is none, or it is
    /// free.
    #[must_use]
    pub fn object(&self, word: usize) -> Option<Object> {
        let arenas = self.arenas()?;
        loop {
            let object = arenas.find(word)?;
            let (pair, bit) = object.bit();
            let s = arenas.span(object.base)?;
            let phase = s.sweepgen.phase(self.sweepgen());
            let (alloc, mark) = (pair.alloc() & bit, pair.mark() & bit);
            // The two bits, as `bits` has them; together they are true only
            // outside of a sweep.
            return match phase {
                Phase::Sweeping => {
                    spin_loop();
                    continue;
                }
                Phase::Unswept | Phase::CachedUnswept => mark != 0,
                Phase::Ready | Phase::Cached => alloc != 0 && mark == 0,
            }
            .then_some(object);
        }
    }
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

/// Whether a new object of `size` bytes would be as large.
fn fits(old: &Object, size: usize) -> bool {
    let bytes = match size {
        0..=MAX_SMALL => CLASS[class_of(size)].size,
        _ => pages_for(size).saturating_mul(PAGE),
    };
    bytes == old.size
}
