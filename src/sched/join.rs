//! Who waits for a goroutine's end; the protocol is `gmp::joinword`'s.
//!
//! Where the ending goroutine finds a waiter before it leaves its stack, and
//! nothing wants the scheduler, it goes straight on to that waiter
//! ([`take_waiter`]), which then runs the hook of the end first.

use super::{
    cancel,
    enter::{Inside, current_p},
    host, inplace,
    park::{self, Wait, gopark},
    ready::ready,
};
use crate::{
    arch,
    gmp::{
        G, GStatus, OwnedP, gdestroy, generation_of,
        joinword::{End, JoinState, Words},
        lookup,
        parkword::{Cause, Fire, Ticket, WaitKind},
    },
    os::{Errno, Result, clock::nanotime, thread::osyield},
    timers,
};
use core::{ffi::c_void, ptr};

/// Who waits.
struct Joiner {
    gp: &'static G,
    ticket: Ticket,
}

/// The waiter that [`take_waiter`] found, if any.
#[must_use]
pub(crate) enum Waiter {
    /// [`ended`] is still to be called.
    None,
    /// [`handed_over`] is, and nobody to be readied.
    Woken,
    /// [`handed_over`] is, and this one to be readied.
    ToReady(&'static G),
}

/// Ends the wait of the goroutine that joins `gp`, which is about to leave its
/// stack.
#[inline(always)]
pub(crate) fn take_waiter(gp: &G) -> Waiter {
    match gp.joiner.take_waiter(gp.words()) {
        None => Waiter::None,
        Some(record) => wake(record),
    }
}

/// Ends the wait of a record that was taken.
fn wake(record: usize) -> Waiter {
    let joiner = record as *const Joiner;
    // SAFETY: the waiter stays until the word is no longer ENDING.
    let &Joiner { gp: waiter, ticket } = unsafe { &*joiner };
    match waiter.park.fire(ticket, Cause::Wake) {
        Fire::Parked => Waiter::ToReady(waiter),
        Fire::BeforePark | Fire::Lost => Waiter::Woken,
    }
}

/// From the hook of `goexit1`: `gp` has ended, and nobody uses its stack.
#[inline(always)]
pub(crate) fn ended(gp: &'static G, pp: Option<OwnedP>) {
    if gp.joiner.detached() {
        gdestroy(gp, pp);
    } else {
        ended_slow(gp, pp);
    }
}

fn ended_slow(gp: &'static G, pp: Option<OwnedP>) {
    match gp.joiner.end(gp.words()) {
        End::Detached => gdestroy(gp, pp),
        End::Exited => {}
        End::Record(record) => {
            handed_over(gp, wake(record));
        }
    }
}

/// The same after a [`take_waiter`] that found a waiter, who frees `gp` now.
pub(crate) fn handed_over(gp: &'static G, waiter: Waiter) {
    gp.joiner.hand_over();
    if let Waiter::ToReady(waiter) = waiter {
        ready(waiter, true);
    }
}

/// Waits for `handle`'s goroutine to end, and releases it.
///
/// Errors: `EINVAL` (stale, not joinable, or somebody joins it already),
/// `EDEADLK` (itself, or inside a callback), `ETIMEDOUT`, `ECANCELED`: it can
/// be joined again after the last two.
pub(crate) fn join(handle: *mut c_void, deadline: i64) -> Result<()> {
    cancel::check()?;
    let target = lookup(handle)?;
    let words = Words::of(generation_of(handle));
    if arch::getg().is_some_and(|me| ptr::eq(me, target)) {
        return Err(Errno(libc::EDEADLK));
    }
    let gp = host::current()?;
    if gp.is_host() && deadline == timers::FOREVER && unstarted(target) {
        inplace::run_in_place(gp, target);
    }
    loop {
        match settled(target, words) {
            JoinState::Joinable => {}
            JoinState::Exited => return take_exited(target, words),
            _ => return Err(Errno::EINVAL),
        }
        if let Some(result) = wait(gp, target, words, deadline) {
            return result;
        }
    }
}

fn unstarted(target: &G) -> bool {
    target.readgstatus() == GStatus::Runnable
}

/// What is there, once the end is over that is under way.
#[inline(always)]
fn settled(target: &G, words: Words) -> JoinState {
    loop {
        match target.joiner.look(words) {
            JoinState::Ending => osyield(),
            seen => return seen,
        }
    }
}

/// Frees what has ended, if nobody else does.
fn take_exited(target: &'static G, words: Words) -> Result<()> {
    if !target.joiner.take(words) {
        return Err(Errno::EINVAL);
    }
    let _inside = Inside::enter();
    gdestroy(target, current_p());
    Ok(())
}

/// Waits once; None: the word changed before, look again.
fn wait(
    gp: &'static G,
    target: &'static G,
    words: Words,
    deadline: i64,
) -> Option<Result<()>> {
    if deadline != timers::FOREVER && deadline <= nanotime() {
        return Some(Err(Errno(libc::ETIMEDOUT)));
    }
    let ticket = gp.park.arm(WaitKind::Cancellable);
    let joiner = Joiner { gp, ticket };
    let record = ptr::from_ref(&joiner) as usize;
    if !target.joiner.enter(words, record) {
        // Nobody has the ticket: we end the wait ourselves.
        let _early = gp.park.fire(ticket, Cause::Wake);
        gp.park.finish();
        return None;
    }
    let cause = gopark(
        gp,
        Wait {
            ticket,
            unlock: park::unlock_nothing,
            arg: 0,
            reason: c"join",
            deadline,
        },
    );
    if cause != Cause::Wake && target.joiner.leave(words, record) {
        return Some(park::outcome(cause));
    }
    // It has ended, perhaps at the same moment as the deadline: ours to free.
    let _ours = settled(target, words);
    let _inside = Inside::enter();
    gdestroy(target, current_p());
    Some(Ok(()))
}

/// Gives a handle up: the goroutine is freed at its end, or now.
///
/// Errors: `EINVAL` as for [`join`].
pub(crate) fn release(handle: *mut c_void) -> Result<()> {
    let target = lookup(handle)?;
    let words = Words::of(generation_of(handle));
    loop {
        match settled(target, words) {
            JoinState::Joinable if target.joiner.release(words) => {
                return Ok(());
            }
            JoinState::Joinable => {}
            JoinState::Exited => return take_exited(target, words),
            _ => return Err(Errno::EINVAL),
        }
    }
}
