//! The search for leaked goroutines, as a dump asks for it. `reach` has what it
//! is.

use super::{cycle::gc_search, malloc, reach::Waits};
use crate::{heap::MHEAP, os::Errno, sched::child};
use core::sync::atomic::Ordering::Relaxed;

/// What a search has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Searched {
    /// There is no heap in use.
    Unused,
    /// The flags of all goroutines are of now.
    Yes,
    /// It was not possible.
    Failed,
}

/// Searches for leaked goroutines, where the heap is in use.
pub(crate) fn search(waits: &Waits) -> Searched {
    if MHEAP.arenas().is_none() || child::is_a_child() {
        return Searched::Unused;
    }
    let searched = malloc::begin().and_then(|mp| {
        if mp.in_runtime.load(Relaxed) {
            return Err(Errno(libc::EDEADLK));
        }
        gc_search(waits)
    });
    searched.map_or(Searched::Failed, |()| Searched::Yes)
}
