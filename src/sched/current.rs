//! The caller: the goroutine, host thread or M from which a call came.
//!
//! The functions here read this thread's g, take no lock and never block.
//!
//! | caller | g | [`on_goroutine`] | [`self_g`] |
//! |---|---|---|---|
//! | a goroutine | its G | g | g |
//! | code on g0 (the scheduler, an `unlockf`) | g0 | none | none |
//! | a host thread after its first call that blocks | its stand-in | none | g |
//! | a host thread before that | none | none | none |

use crate::{
    arch,
    gmp::{G, M},
    os::{Errno, Result},
};
use core::sync::atomic::Ordering::*;

/// The calling goroutine.
pub(crate) fn on_goroutine() -> Option<&'static G> {
    let gp = arch::getg()?;
    (!gp.is_host() && !gp.mp().is_g0(gp)).then_some(gp)
}

/// The calling goroutine, unless the call comes from a callback.
///
/// Errors: `EPERM` in a callback, and if there is no goroutine.
pub(crate) fn current_goroutine() -> Result<&'static G> {
    let gp = on_goroutine().ok_or(Errno(libc::EPERM))?;
    // Relaxed: this thread writes it.
    if gp.mp().in_runtime.load(Relaxed) {
        return Err(Errno(libc::EPERM));
    }
    Ok(gp)
}

/// The caller's G: a goroutine, or the stand-in of a host thread.
pub(crate) fn self_g() -> Option<&'static G> {
    let gp = arch::getg()?;
    (!gp.mp().is_g0(gp)).then_some(gp)
}

/// Whether the caller is a callback, which must not wait: this M is inside.
pub(crate) fn in_callback() -> bool {
    // Relaxed: this thread writes it.
    arch::getg().is_some_and(|gp| gp.mp().in_runtime.load(Relaxed))
}

/// Whether this thread has a G already. Then `host::current` allocates nothing
/// and may be called under a lock.
pub(crate) fn has_g() -> bool {
    arch::getg().is_some()
}

/// This thread's G. The thread must be ours, or have a G.
#[inline(always)]
pub(crate) fn this_g() -> &'static G {
    // SAFETY: a thread of ours has g set before any code of ours runs on it; on
    // another one the caller has seen its G.
    unsafe { arch::getg().unwrap_unchecked() }
}

/// This thread's M. The thread must be ours, or have a G.
#[inline(always)]
pub(crate) fn this_m() -> &'static M {
    this_g().mp()
}
