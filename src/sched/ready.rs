//! Readying: a parked goroutine becomes runnable, or its host thread wakes.
//!
//! Invariant 1: only the winner of a wait's ticket (`gmp::parkword`) readies
//! its goroutine, once.

use super::{
    enter::{Inside, owned_p},
    handoff::{wakep, wakep_for},
    queue::runqput,
};
use crate::{
    arch,
    base::trace::{self, Event, Kind},
    gmp::{
        G, GStatus, HOST_WAITS, SCHED, casgstatus, generation_of, lookup_live,
        parkword::Fire,
        wait::{Turn, WakeList},
    },
    os::{Errno, Result},
};
use core::ffi::c_void;

/// Makes a parked goroutine runnable, or wakes a host thread; called by the
/// winner of its ticket.
#[inline]
pub(crate) fn goready(gp: &'static G, turn: Turn) {
    if gp.is_host() {
        return ready_host(gp);
    }
    ready(gp, turn);
}

/// Queues a parked goroutine. It takes this `turn` on the caller's P, or goes
/// to the global queue if the caller has none.
#[inline]
fn ready(gp: &'static G, turn: Turn) {
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    let Some(me) = arch::getg() else {
        return ready_without_p(gp);
    };
    let mp = me.mp();
    let inside = Inside::enter_on(mp);
    match owned_p(mp) {
        Some(pp) => {
            runqput(pp, gp, turn);
            wakep_for(pp);
        }
        None => ready_without_p(gp),
    }
    inside.leave_on(mp);
}

#[cold]
fn ready_host(gp: &'static G) {
    wake(gp);
}

#[cold]
fn ready_without_p(gp: &'static G) {
    SCHED.lock().globrunqput(gp);
    wakep();
}

/// Readies a list. A single goroutine runs next; several queue up, in order,
/// behind those of this P.
pub(crate) fn ready_all(mut list: WakeList) {
    let turn = if list.is_single() { Turn::Next } else { Turn::Last };
    while let Some(gp) = list.pop() {
        goready(gp, turn);
    }
}

/// `gmp_ready`: leaves one permit, and ends a `gmp_park` that waits for it.
///
/// Errors: `EINVAL` for null, or a goroutine that has ended.
pub(crate) fn ready_permit(handle: *mut c_void) -> Result<()> {
    let gp = lookup_live(handle)?;
    let fire = gp.park.give_permit(generation_of(handle));
    if fire.ok_or(Errno::EINVAL)? == Fire::Parked {
        goready(gp, Turn::Next);
    }
    Ok(())
}

/// Wakes the host thread of `gp`, whose ticket the caller won. The thread does
/// not count as asleep from here on, even before it runs.
pub(crate) fn wake(gp: &'static G) {
    let mp = gp.mp();
    trace::event(move || Event::of(Kind::Ready, gp.goid.get()));
    HOST_WAITS.wake(&mp.hostwait);
    mp.park.wakeup();
}
