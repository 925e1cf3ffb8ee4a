//! A barrier that one side has for nothing.
//!
//! Two threads each store one word and then load the other's: at least one
//! has to see the other's store. Both would need a full fence between store
//! and load. Where one side is hot and the other rare, the hot side only keeps
//! the compiler from reordering ([`light`]), and the rare one has every thread
//! of the process pass a full barrier ([`Futex::barrier`](super::Futex), by
//! membarrier). Then either the hot side's store comes before that barrier, and
//! the rare side's load sees it; or its load comes after, and sees the rare
//! side's store.
//!
//! Where the kernel has no such barrier the hot side uses fences from then on
//! ([`use_fences`]).

#[cfg(not(any(loom, shuttle)))]
use super::sync::{AtomicBool, Ordering::*, compiler_fence, fence};
#[cfg(loom)]
use super::sync::{Ordering::SeqCst, fence};

#[cfg(not(any(loom, shuttle)))]
static FENCES: AtomicBool = AtomicBool::new(false);

/// From now on [`light`] is a fence. A thread that does not see this yet may
/// have a store under way, which arrives within nanoseconds: the caller lets
/// some time pass, and only then says that they are [`settled`].
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn use_fences() {
    FENCES.store(true, SeqCst);
}

#[cfg(not(any(loom, shuttle)))]
static SETTLED: AtomicBool = AtomicBool::new(false);

/// All threads know by now that [`light`] is a fence.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn settle() {
    SETTLED.store(true, SeqCst);
}

/// Whether [`light`] is a fence to all threads.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn settled() -> bool {
    SETTLED.load(Acquire)
}

/// The hot side, between its store and its load.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
pub(crate) fn light() {
    compiler_fence(SeqCst);
    // Relaxed: see use_fences.
    if FENCES.load(Relaxed) {
        fence(SeqCst);
    }
}

/// The same, where threads are a model's: both sides use fences there.
#[cfg(loom)]
pub(crate) fn light() {
    fence(SeqCst);
}

/// The same where all accesses are sequentially consistent.
#[cfg(shuttle)]
pub(crate) fn light() {}
