//! One collection, as far as it concerns memory: what comes before and after
//! marking, and the sweep of all that nobody allocates from.
//!
//! ```text
//!   sweep_all   the last collection's garbage is swept: no word is h - 2
//!     -- the world stops --
//!   begin       every mcache is prepared and settled: all marks are 0
//!   Marking     (mark)
//!   end         h moves: every span is unswept, and its marks are its objects
//!     -- the world goes on --
//!   sweepone    by allocation and in the background, span by span
//! ```

use super::gcwork::Work;
use super::mark::{Marking, Range, Roots};
use super::mcache::MCache;
use super::mheap::MHeap;

impl MHeap {
    /// Sweeps one span: Go's `sweepone`. False: all are swept, or being swept.
    pub fn sweepone(&self) -> bool {
        let h = self.sweepgen();
        let Some(s) = self.next_unswept(h) else { return false };
        self.sweep_span(s);
        true
    }

    /// Sweeps all spans. No mcache has one from before.
    pub fn sweep_all(&self) {
        while self.sweepone() {}
    }

    /// [`Self::begin`], after which no mcache has a span: so nothing is left
    /// for their owners to do when the generation has moved.
    pub fn begin_flushed<'a>(
        &self,
        caches: impl Iterator<Item = &'a MCache> + Clone,
    ) {
        self.begin(caches.clone());
        caches.for_each(MCache::release_all);
    }

    /// Before marking. The world is stopped, all is swept, and `caches` are all
    /// mcaches.
    pub fn begin<'a>(&self, caches: impl Iterator<Item = &'a MCache> + Clone) {
        for cache in caches.clone() {
            cache.prepare_for_sweep();
            cache.flush_freed();
        }
        // What one has freed may be in a span that another one caches.
        caches.for_each(MCache::settle);
    }

    /// After marking, which has found `marked` bytes. The world is stopped.
    pub fn end(&self, marked: usize) {
        self.advance(marked);
    }

    /// A collection by a thread that has stopped all others, which have
    /// published what they know in `roots`. Returns the bytes that live; None
    /// without memory, and nothing has happened.
    ///
    /// # Safety
    /// The words of `roots` can be read, and `caches` are all mcaches.
    pub unsafe fn collect<'a>(
        &self,
        work: &Work,
        caches: impl Iterator<Item = &'a MCache> + Clone,
        roots: &[Range],
    ) -> Option<usize> {
        let marking = Marking::new(self, work, Roots::plain(roots), 1)?;
        self.begin(caches);
        self.sweep_all();
        marking.run::<true>();
        let marked = marking.finish();
        self.end(marked);
        Some(marked)
    }
}
