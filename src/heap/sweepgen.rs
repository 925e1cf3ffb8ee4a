//! Where a span is between two collections: Go's `sweepgen`.
//!
//! The heap has a generation h, and adds 2 when marking ends. One word in each
//! span then says, beside h:
//!
//! ```text
//!   h - 2  unswept: dead objects are in it      -> h - 1  acquire
//!   h - 1  somebody sweeps it                   -> h      swept
//!   h      swept, in a list of its central      -> h + 3  cache
//!   h + 3  swept, in an mcache                  -> h      uncache
//!   h + 1  was cached (h + 3) before h moved    -> h - 1  uncache: Stale
//! ```
//! When h moves, `h` becomes `h - 2` and `h + 3` becomes `h + 1`, without a
//! store to any span.
//!
//! Invariants:
//! 1. The word changes from h - 2, h, h + 1 and h + 3 under the lock of the
//!    span's central. So while a thread holds that lock, such a span stays
//!    what it is.
//! 2. From `acquire`, or from an `uncache` that is Stale, until `swept` the
//!    thread that made the change is the only one that touches the span's alloc
//!    bits, and no other thread its marks.
//! 3. h moves while the world is stopped and nobody sweeps: no word is h - 1.
//!
//! Orderings: the lock orders all changes but that of `swept`. A thread may
//! look without the lock, so `swept` releases and `phase` acquires. A thread
//! that wants the bits too looks at the word before and after them, as at a
//! seqlock: a sweep's begin has a release fence, and an acquire fence stands
//! before the second look.

use crate::base::sync::{AtomicU32, Ordering::*, const_unless_loom, fence};
use crate::base::throw::throw;

/// The word of a span.
#[derive(Debug)]
pub struct SweepGen(AtomicU32);

/// What the word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Unswept,
    Sweeping,
    Ready,
    Cached,
    /// Cached since before the last collection.
    CachedUnswept,
}

/// How a span leaves an mcache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Uncached {
    /// Swept: into a list with it.
    Ready,
    /// The caller sweeps it now (invariant 2).
    Stale,
}

impl SweepGen {
    const_unless_loom! {
        /// A span that is swept, as a new one is.
        pub fn new(h: u32) -> Self {
            Self(AtomicU32::new(h))
        }
    }

    /// Makes a span that nobody else knows a new one.
    pub fn reset(&self, h: u32) {
        // Pairs with the acquire of phase.
        self.0.store(h, Release);
    }

    #[inline]
    pub fn phase(&self, h: u32) -> Phase {
        // Pairs with the release of swept.
        match self.0.load(Acquire).wrapping_sub(h) as i32 {
            -2 => Phase::Unswept,
            -1 => Phase::Sweeping,
            0 => Phase::Ready,
            1 => Phase::CachedUnswept,
            3 => Phase::Cached,
            _ => throw("phase: bad sweepgen"),
        }
    }

    /// Whether the phase is Ready or Cached.
    #[inline(always)]
    pub fn is_swept(&self, h: u32) -> bool {
        // Pairs with the release of swept.
        matches!(self.0.load(Acquire).wrapping_sub(h), 0 | 3)
    }

    /// The caller has taken the span out of a list, under the lock, and sweeps.
    pub fn acquire(&self, h: u32) {
        self.change(h, h.wrapping_sub(2), h.wrapping_sub(1));
        begins();
    }

    /// The sweep that began with `acquire`, or with a stale `uncache`, is done.
    pub fn swept(&self, h: u32) {
        // Pairs with the acquire of phase.
        if self.0.load(Relaxed) != h.wrapping_sub(1) {
            throw("swept: bad sweepgen");
        }
        self.0.store(h, Release);
    }

    /// The caller has taken the span out of a list, under the lock, into an
    /// mcache.
    pub fn cache(&self, h: u32) {
        self.change(h, h, h.wrapping_add(3));
    }

    /// Out of an mcache, under the lock.
    pub fn uncache(&self, h: u32) -> Uncached {
        if self.phase(h) == Phase::CachedUnswept {
            self.0.store(h.wrapping_sub(1), Relaxed);
            begins();
            return Uncached::Stale;
        }
        self.change(h, h.wrapping_add(3), h);
        Uncached::Ready
    }

    fn change(&self, _h: u32, from: u32, to: u32) {
        // Relaxed: invariant 1. So no exchange is needed; a mistake is noticed.
        if self.0.load(Relaxed) != from {
            throw("sweepgen: a change from another state");
        }
        // Release: as that of swept, of which this thread knows by the lock.
        self.0.store(to, Release);
    }
}

/// A sweep begins, before any bit changes. Release: pairs with `look`, which
/// has no lock.
fn begins() {
    fence(Release);
}
