//! The caller: which goroutine, host thread or M a call came from.
//!
//! Everything here reads this thread's g and what belongs to it, takes no lock
//! and never blocks.

use crate::{
    arch,
    gmp::{G, M},
    os::{Errno, Result},
};
use core::sync::atomic::Ordering::*;

/// Whether the caller runs on a goroutine of ours.
pub(crate) fn on_goroutine() -> Option<&'static G> {
    let gp = arch::getg()?;
    (!gp.is_host() && !gp.mp().is_g0(gp)).then_some(gp)
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
    let gp = arch::getg()?;
    (!gp.mp().is_g0(gp)).then_some(gp)
}

/// Whether the caller is inside a callback of ours, which may not wait.
pub(crate) fn in_callback() -> bool {
    // Relaxed: this thread writes it.
    arch::getg().is_some_and(|gp| gp.mp().in_runtime.load(Relaxed))
}

/// Whether this thread has a G already, so that `host::current` neither
/// allocates nor looks anything up and may be called under a lock.
pub(crate) fn has_g() -> bool {
    arch::getg().is_some()
}

/// This thread's G; the thread is ours or has one.
#[inline(always)]
pub(crate) fn this_g() -> &'static G {
    // SAFETY: there is one, as the caller knows.
    unsafe { arch::getg().unwrap_unchecked() }
}

/// This thread's M; the thread is ours or has a G.
#[inline(always)]
pub(crate) fn this_m() -> &'static M {
    this_g().mp()
}
