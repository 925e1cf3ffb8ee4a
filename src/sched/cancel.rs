//! Cancelling goroutines, and shields against it.
//!
//! A cancel is posted in the goroutine's park word, for good. It ends the wait
//! that is under way, if that is one of those that it may end, after a barrier
//! in every thread (`parkword`), and every call that could wait looks for it
//! before it does anything ([`check`]). Behind a shield the goroutine does not
//! see it: waits are armed as if it could not come, and `check` is content.

use super::{current::on_goroutine, ready::ready};
use crate::{
    arch,
    gmp::{G, generation_of, gflag, lookup_live, parkword::Fire},
    os::{Errno, Result, membarrier},
};
use core::{ffi::c_void, marker::PhantomData, ptr};

/// First in every call that may wait and that a cancel ends.
///
/// Errors: `ECANCELED`.
#[inline]
pub(crate) fn check() -> Result<()> {
    match arch::getg() {
        Some(gp) if gp.park.must_give_up() => Err(Errno(libc::ECANCELED)),
        _ => Ok(()),
    }
}

/// `gmp_cancel`: from now on, calls of that goroutine that may wait give up.
///
/// Errors: `EINVAL` for null, or a goroutine that has ended; `EPERM` for the
/// stand-in of a host thread.
pub(crate) fn cancel(handle: *mut c_void) -> Result<()> {
    let gp = post(handle)?;
    // Its own is seen by what it does next.
    if !arch::getg().is_some_and(|me| ptr::eq(me, gp)) {
        membarrier::everywhere();
        end_wait(gp, handle);
    }
    Ok(())
}

/// The same for each of many, but for those that have ended: for the price of
/// one barrier.
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

/// Posts a cancel; a barrier and [`end_wait`] follow.
fn post(handle: *mut c_void) -> Result<&'static G> {
    let gp = lookup_live(handle)?;
    if gp.is_host() {
        return Err(Errno(libc::EPERM));
    }
    let posted = gp.park.post_cancel(generation_of(handle));
    posted.map(|()| gp).ok_or(Errno::EINVAL)
}

fn end_wait(gp: &'static G, handle: *mut c_void) {
    let fire = gp.park.end_cancelled(generation_of(handle), &gp.claim);
    if fire == Fire::Parked {
        ready(gp, true);
    }
}

/// Whether the calling goroutine was cancelled, behind a shield or not.
pub(crate) fn cancelled() -> bool {
    on_goroutine().is_some_and(|gp| gp.park.cancelled())
}

/// `gmp_shield_enter`; host threads are never cancelled.
pub(crate) fn shield_enter() {
    if let Some(gp) = on_goroutine() {
        gp.shields.set(gp.shields.get() + 1);
        gp.park.shield(true);
    }
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

/// The goroutine's function is over: what runs now cleans up.
pub(super) fn shield_for_good(gp: &G) {
    gp.set_flag(gflag::ENDING);
    gp.park.shield(true);
}

/// A shield around waits of the library's own.
#[must_use]
pub(crate) struct Shield {
    not_send: PhantomData<*const ()>,
}

impl Shield {
    pub(crate) fn enter() -> Self {
        shield_enter();
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
