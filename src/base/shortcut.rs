//! Whether a call of the heap may take its short way: one word, so that the
//! call looks at one thing instead of three.
//!
//! The short way is closed as long as there is one reason. A caller that looks
//! just before it is closed goes on, as one that has come a moment earlier; so
//! only what may wait for such a caller is a reason. The caller looks after the
//! store that [`super::barrier`] calls (a): that is what [`Why::Fences`] asks.

use super::sync::{AtomicU32, Ordering::*};

/// Why it is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Why {
    /// The runtime is not up, or a sanitizer watches.
    NotUp = 1,
    /// Each so manyth allocation collects, which the short way does not count.
    Stress = 2,
    /// The kernel has no membarrier.
    Fences = 4,
    /// This child of a fork has no heap.
    Child = 8,
    /// Memcheck is told of the words that a free looks at.
    Memcheck = 16,
}

static CLOSED: AtomicU32 = AtomicU32::new(Why::NotUp as u32);

/// Closes it, or takes the reason away.
pub(crate) fn set_closed(why: Why, closed: bool) {
    if closed {
        CLOSED.fetch_or(why as u32, SeqCst);
    } else {
        CLOSED.fetch_and(!(why as u32), SeqCst);
    }
}

/// Whether the short way is open.
#[inline(always)]
pub(crate) fn is_open() -> bool {
    // Acquire: pairs with set_closed; the whole start comes before the call.
    CLOSED.load(Acquire) == 0
}
