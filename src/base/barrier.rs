//! A fence between two threads that costs the hot thread nothing.
//!
//! Two threads each store one word and then load the other's word: at least
//! one of the two must see the other's store. Usually both need a full fence
//! between store and load. Where one side is hot and the other rare, the rare
//! side can pay for both:
//!
//! ```text
//!   hot side                      rare side
//!     (a) store X                   (d) store Y
//!     (b) light()                   (e) Futex::barrier(), by membarrier:
//!     (c) load Y                        every thread passes a full barrier
//!                                   (f) load X
//! ```
//! [`light`] only keeps the compiler from exchanging (a) and (c). (b) pairs
//! with (e):
//! the hot thread passes the barrier of (e) either after (a), and then (f)
//! sees (a); or before (a), and then (c) sees (d).
//!
//! Where the kernel has no membarrier, [`use_fences`] turns (b) into a fence.

#[cfg(not(any(loom, shuttle)))]
use super::shortcut;
#[cfg(not(any(loom, shuttle)))]
use super::sync::{AtomicBool, Ordering::*, compiler_fence, fence};
#[cfg(loom)]
use super::sync::{Ordering::SeqCst, fence};

#[cfg(not(any(loom, shuttle)))]
static FENCES: AtomicBool = AtomicBool::new(false);

/// Makes [`light`] a fence from now on. A thread that does not see the change
/// yet may have a store in flight, which lands within nanoseconds. So the
/// caller lets some time pass before it calls [`settle`].
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn use_fences() {
    shortcut::set_closed(shortcut::Why::Fences, true);
    FENCES.store(true, SeqCst);
}

#[cfg(not(any(loom, shuttle)))]
static SETTLED: AtomicBool = AtomicBool::new(false);

/// Records that [`light`] is a fence to all threads by now.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn settle() {
    SETTLED.store(true, SeqCst);
}

/// Whether [`light`] is a fence to all threads.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn settled() -> bool {
    SETTLED.load(Acquire)
}

/// The hot side's step (b), between its store and its load.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
pub(crate) fn light() {
    compiler_fence(SeqCst);
    // Relaxed: the caller of use_fences waits until all threads see it.
    if FENCES.load(Relaxed) {
        fence(SeqCst);
    }
}

/// Step (b) under loom, where both sides use fences.
#[cfg(loom)]
pub(crate) fn light() {
    fence(SeqCst);
}

/// Step (b) under shuttle, where all accesses are sequentially consistent.
#[cfg(shuttle)]
pub(crate) fn light() {}
