//! Cancelling goroutines, and shields against cancels.
//!
//! ```text
//!   cancel: post it in the park word, for good
//!             --> barrier in every thread --> end the wait under way
//!   target: a call that may wait ---check: posted?---> ECANCELED
//!             --no--> waits, until woken or cancelled
//! ```
//! A cancel ends only a wait that is armed for it; the barrier and the park
//! word's protocol are `gmp::parkword`'s. Behind a shield the goroutine does
//! not see the cancel: [`check`] passes, and waits are armed without it.

use super::{current::on_goroutine, fiber, ready::goready};
use crate::{
    arch,
    gmp::{G, generation_of, gflag, lookup_live, parkword::Fire, wait::Turn},
    os::{Errno, Result, membarrier},
};
use core::{
    ffi::c_void,
    marker::PhantomData,
    sync::atomic::{Ordering::Release, compiler_fence},
};

/// Every call that may wait and that a cancel ends calls this first.
///
/// Errors: `ECANCELED`.
#[inline]
pub(crate) fn check() -> Result<()> {
    match arch::getg() {
        Some(gp) if must_give_up(gp) => Err(Errno(libc::ECANCELED)),
        _ => Ok(()),
    }
}

/// Whether `gp`, the caller, was cancelled, and no shield hides it.
#[inline]
pub(super) fn must_give_up(gp: &G) -> bool {
    gp.park.cancelled() && !gp.shielded()
}

/// `gmp_cancel`: from now on calls of that goroutine that may wait fail.
///
/// Errors: `EINVAL` for null, or a goroutine that has ended; `EPERM` for the
/// stand-in of a host thread.
pub(crate) fn cancel(handle: *mut c_void) -> Result<()> {
    let gp = post(handle)?;
    // The caller itself waits for nothing now, and its next call checks.
    if !arch::is_running(gp) {
        membarrier::everywhere();
        end_wait(gp, handle);
    }
    Ok(())
}

/// [`cancel`] for many goroutines, with one barrier for all. Those that have
/// ended are skipped.
pub(crate) fn cancel_each(handles: impl Iterator<Item = *mut c_void> + Clone) {
    let mut posted = false;
    for handle in handles.clone() {
        posted |= post(handle).is_ok();
    }
    if posted {
        membarrier::everywhere();
        handles.for_each(|handle| {
            if let Ok(gp) = lookup_live(handle) {
                end_wait(gp, handle);
            }
        });
    }
}

/// Posts a cancel. The caller then passes a barrier and calls [`end_wait`].
pub(super) fn post(handle: *mut c_void) -> Result<&'static G> {
    let gp = lookup_live(handle)?;
    if gp.is_host() {
        return Err(Errno(libc::EPERM));
    }
    fiber::cancelling(gp);
    let posted = gp.park.post_cancel(generation_of(handle));
    posted.map(|()| gp).ok_or(Errno::EINVAL)
}

/// Ends the wait of `gp` that is under way, if a cancel may end it.
pub(super) fn end_wait(gp: &'static G, handle: *mut c_void) {
    let fire = gp.park.end_cancelled(generation_of(handle), &gp.claim);
    if fire == Fire::Parked {
        // It is the winner's now.
        gp.clear_flag(gflag::LEAKED);
        goready(gp, Turn::Next);
    }
}

/// Whether the calling goroutine was cancelled; a shield does not hide it.
pub(crate) fn cancelled() -> bool {
    on_goroutine().is_some_and(|gp| {
        let cancelled = gp.park.cancelled();
        if cancelled {
            fiber::knows_of_cancel(gp);
        }
        cancelled
    })
}

/// Shields of the host's that nest; the count has room for the library's own.
const MAX_SHIELDS: u16 = 65_000;

/// `gmp_shield_enter`; host threads are never cancelled.
///
/// Errors: `EAGAIN` in too many shields.
pub(crate) fn shield_enter() -> Result<()> {
    let Some(gp) = on_goroutine() else { return Ok(()) };
    if gp.shields.get() >= MAX_SHIELDS {
        return Err(Errno::EAGAIN);
    }
    shield_more(gp);
    Ok(())
}

/// `gmp_shield_leave`.
///
/// Errors: `EPERM` without a `gmp_shield_enter`.
pub(crate) fn shield_leave() -> Result<()> {
    let Some(gp) = on_goroutine() else { return Ok(()) };
    // The one for good stays.
    let least = u16::from(gp.has(gflag::ENDING));
    let shields = gp.shields.get();
    if shields <= least {
        return Err(Errno(libc::EPERM));
    }
    gp.shields.set(shields - 1);
    Ok(())
}

/// Shields a goroutine once more; or a stand-in, where it changes nothing. What
/// is too much to count is left out: these are the library's own, of deferred
/// functions in one another, and each `gmp_call` puts back what it has found.
#[inline(always)]
pub(super) fn shield_more(gp: &G) {
    let more = gp.shields.get().wrapping_add(1);
    gp.shields.set(more);
    // Two stores take less than a choice of one, and less than a call.
    compiler_fence(Release);
    if more == 0 {
        gp.shields.set(u16::MAX);
    }
}

/// Puts back the number of shields that a goroutine had before it called a
/// function. That has not ended the goroutine.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn shields_back(gp: &G, shields: u16) {
    gp.shields.set(shields);
}

/// Shields a goroutine whose function is over, so that it can clean up.
pub(super) fn shield_for_good(gp: &G) {
    if !gp.has(gflag::ENDING) {
        gp.set_flag(gflag::ENDING);
        shield_more(gp);
    }
}

/// A shield that the library puts around its own waits.
#[must_use]
pub(crate) struct Shield {
    not_send: PhantomData<*const ()>,
}

impl Shield {
    pub(crate) fn enter() -> Self {
        if let Some(gp) = on_goroutine() {
            shield_more(gp);
        }
        Self { not_send: PhantomData }
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        if shield_leave().is_err() {
            crate::base::throw::throw("shield_leave: not entered");
        }
    }
}
