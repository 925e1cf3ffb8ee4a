//! The search for leaked goroutines, as a dump asks for it. `reach` has what it
//! is.

use super::{cycle::gc_search, forked, malloc, reach::Waits};
use crate::{
    arch,
    os::{Errno, Result},
};
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

/// Whether there is anything to search for: the heap is in use.
pub(crate) fn are_wanted() -> bool {
    malloc::has_begun() && !forked::is_left()
}

/// Searches for leaked goroutines, where the heap is in use.
pub(crate) fn search(waits: &Waits) -> Searched {
    if !are_wanted() {
        return Searched::Unused;
    }
    let searched = may_collect().and_then(|()| gc_search(waits));
    searched.map_or(Searched::Failed, |()| Searched::Yes)
}

/// Whether this thread may wait for a collection. The one that writes the dumps
/// that a signal asks for is inside for good, and in no callback.
///
/// Errors: `EDEADLK` in a callback; `ENOTSUP`, `ENOMEM`.
fn may_collect() -> Result<()> {
    if arch::getg().is_some_and(|gp| gp.mp().is_system()) {
        return Ok(());
    }
    let mp = malloc::begin()?;
    if mp.in_runtime.load(Relaxed) {
        return Err(Errno(libc::EDEADLK));
    }
    Ok(())
}
