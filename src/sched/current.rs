//! The caller: which goroutine, host thread or M a call came from.
//!
//! Everything here reads this thread's g and what belongs to it, takes no lock
//! and never blocks.

use crate::{
    arch,
    gmp::{G, M},
    os::{Errno, Result},
};
use core::{ptr, sync::atomic::Ordering::*};

/// Whether the caller runs on a goroutine of ours.
pub(crate) fn on_goroutine() -> Option<&'static G> {
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    let gp: &'static G = unsafe { gp.as_ref() }?;
    (!gp.is_host() && !ptr::eq(gp.mp().g0.get(), gp)).then_some(gp)
}

/// The same, for what may not be done from inside a callback.
///
/// Errors: `EPERM`.
pub(crate) fn current_goroutine() -> Result<&'static G> {
    let gp = on_goroutine().ok_or(Errno(libc::EPERM))?;
    // Relaxed: this thread writes it.
    if gp.mp().in_runtime.load(Relaxed) {
        return Err(Errno(libc::EPERM));
    }
    Ok(gp)
}

/// The caller's G: a goroutine, or the stand-in of a host thread; none on a
/// host thread that has none, and on g0.
pub(crate) fn self_g() -> Option<&'static G> {
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    let gp: &'static G = unsafe { gp.as_ref() }?;
    (!ptr::eq(gp.mp().g0.get(), gp)).then_some(gp)
}

/// Whether the caller is inside a callback of ours, which may not wait.
pub(crate) fn in_callback() -> bool {
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    // Relaxed: this thread writes it.
    unsafe { gp.as_ref() }.is_some_and(|gp| gp.mp().in_runtime.load(Relaxed))
}

/// Whether this thread has a G already, so that `host::current` neither
/// allocates nor looks anything up and may be called under a lock.
pub(crate) fn has_g() -> bool {
    !arch::getg().is_null()
}

/// This thread's M; the thread is ours or has a G.
#[inline(always)]
pub(crate) fn this_m() -> &'static M {
    let gp = arch::getg();
    // SAFETY: not null, as the caller knows; type-stable.
    let gp: &G = unsafe { &*gp };
    gp.mp()
}
