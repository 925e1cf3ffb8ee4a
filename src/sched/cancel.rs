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
use core::{ffi::c_void, marker::PhantomData};

/// Every call that may wait and that a cancel ends calls this first.
///
/// Errors: `ECANCELED`.
#[inline]
pub(crate) fn check() -> Result<()> {
    match arch::getg() {
        Some(gp) if gp.park.must_give_up() => Err(Errno(libc::ECANCELED)),
        _ => Ok(()),
    }
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
    shield(gp);
    Ok(())
}

fn shield(gp: &G) {
    gp.shields.set(gp.shields.get() + 1);
    gp.park.shield(true);
}

/// `gmp_shield_leave`.
///
/// Errors: `EPERM` without a `gmp_shield_enter`.
pub(crate) fn shield_leave() -> Result<()> {
    let Some(gp) = on_goroutine() else { return Ok(()) };
    let left = gp.shields.get().checked_sub(1).ok_or(Errno(libc::EPERM))?;
    gp.shields.set(left);
    if left == 0 && !gp.has(gflag::ENDING) {
        gp.park.shield(false);
    }
    Ok(())
}

/// Shields a goroutine, or a stand-in, which is never cancelled, once more.
#[cfg(not(shuttle))]
pub(super) fn shield_more(gp: &G) {
    if !gp.is_host() {
        shield(gp);
    }
}

/// Puts back the number of shields that a goroutine had.
#[cfg(not(shuttle))]
pub(super) fn shields_back(gp: &G, shields: u16) {
    if gp.is_host() {
        return;
    }
    gp.shields.set(shields);
    if shields == 0 && !gp.has(gflag::ENDING) {
        gp.park.shield(false);
    }
}

/// Shields a goroutine whose function is over, so that it can clean up.
pub(super) fn shield_for_good(gp: &G) {
    gp.set_flag(gflag::ENDING);
    gp.park.shield(true);
}

/// A shield that the library puts around its own waits.
#[must_use]
pub(crate) struct Shield {
    not_send: PhantomData<*const ()>,
}

impl Shield {
    pub(crate) fn enter() -> Self {
        if let Some(gp) = on_goroutine() {
            shield(gp);
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
