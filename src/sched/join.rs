//! Joins: waiting for a goroutine's end. The protocol is `gmp::joinword`'s.
//!
//! Where the ending goroutine finds a waiter before it leaves its stack, and
//! nothing wants the scheduler, it goes straight on to that waiter
//! ([`take_waiter`]), which then runs the hook of the end first.

use super::{
    cancel,
    enter::{Inside, owned_p},
    host, inplace,
    park::park,
    ready::goready,
};
use crate::{
    arch,
    base::trace::{self, Event, Kind},
    gmp::{
        G, GStatus, OwnedP, gdestroy, generation_of,
        joinword::{End, JoinState, Words},
        lookup,
        parkword::{Cause, Fire, Ticket},
        wait::{Turn, Wait},
    },
    os::{Errno, Result, thread::osyield},
    timers::Deadline,
};
use core::{ffi::c_void, mem, ptr};
use gmprt_inspect::memory::Memory;

/// The record of a wait for an end, on the joiner's stack.
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
    // SAFETY: the joiner stays until the word is no longer ENDING.
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

/// [`ended`] after a [`take_waiter`] that found a waiter, which frees `gp` now.
pub(crate) fn handed_over(gp: &'static G, waiter: Waiter) {
    gp.joiner.hand_over();
    if let Waiter::ToReady(waiter) = waiter {
        // Still the ended goroutine's number: the waiter frees it, once ready.
        trace::event(move || Event::of(Kind::EndedBy, gp.goid.get()));
        goready(waiter, Turn::Next);
    }
}

/// Waits for `handle`'s goroutine to end, and releases it.
///
/// Errors: `EINVAL` if the handle is stale, not joinable, or joined already;
/// `EDEADLK` from the goroutine itself, or inside a callback; `ETIMEDOUT` and
/// `ECANCELED`, after which it can be joined again.
pub(crate) fn join(handle: *mut c_void, deadline: Deadline) -> Result<()> {
    cancel::check()?;
    let target = lookup(handle)?;
    let words = Words::of(generation_of(handle));
    let gp = host::current()?;
    if ptr::eq(gp, target) {
        return Err(Errno(libc::EDEADLK));
    }
    if gp.is_host() && deadline.is_never() && unstarted(target) {
        inplace::run_in_place(gp, target);
    }
    loop {
        match settled(target, words) {
            JoinState::Joinable => {}
            JoinState::Exited => return take_exited(target, words, Some(gp)),
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

/// The state of the join word, once an end that is under way is over.
#[inline(always)]
fn settled(target: &G, words: Words) -> JoinState {
    loop {
        match target.joiner.look(words) {
            JoinState::Ending => osyield(),
            seen => return seen,
        }
    }
}

/// Frees a goroutine that has ended, if nobody else does; `me` is the caller.
#[inline(always)]
fn take_exited(
    target: &'static G,
    words: Words,
    me: Option<&'static G>,
) -> Result<()> {
    if !target.joiner.take(words) {
        return Err(Errno::EINVAL);
    }
    free(target, me);
    Ok(())
}

/// Frees a goroutine that has ended, on the P of `me`, the caller, if any.
#[inline(always)]
fn free(target: &'static G, me: Option<&'static G>) {
    let Some(me) = me else { return gdestroy(target, None) };
    let mp = me.mp();
    let inside = Inside::enter_on(mp);
    gdestroy(target, owned_p(mp));
    inside.leave_on(mp);
}

/// Waits once; None: the join word changed before that, look again.
fn wait(
    gp: &'static G,
    target: &'static G,
    words: Words,
    deadline: Deadline,
) -> Option<Result<()>> {
    if let Err(e) = deadline.check() {
        return Some(Err(e));
    }
    let wait = Wait::until(deadline, c"join").on(target).for_end_of(target);
    let ticket = wait.begin(gp);
    let joiner = Joiner { gp, ticket };
    let record = ptr::from_ref(&joiner) as usize;
    if !target.joiner.enter(words, record) {
        // Nobody else has the ticket: we end the wait ourselves.
        let _early = gp.park.fire(ticket, Cause::Wake);
        gp.park.finish();
        return None;
    }
    let cause = park(gp, &wait, ticket, ());
    if cause != Cause::Wake && target.joiner.leave(words, record) {
        return Some(cause.outcome());
    }
    // The goroutine has ended, perhaps when the deadline passed: it is ours to
    // free.
    let _ours = settled(target, words);
    free(target, Some(gp));
    Some(Ok(()))
}

/// The record of a join between two steps, in the host's memory.
#[repr(C)]
pub(crate) struct StepJoin {
    joiner: Joiner,
    target: &'static G,
    words: Words,
}

/// How a join by a goroutine of steps has begun.
#[must_use]
pub(crate) enum Begun {
    Over(Result<()>),
    /// It waits, as the record at the place says.
    Waits(Ticket),
}

/// [`join`] by `gp`, between two steps, as far as it goes without a wait. The
/// wait is written to `wait` and its record to `place`, for [`end_step`].
///
/// # Safety
/// Both are writable, and stay until the wait has ended.
pub(crate) unsafe fn begin_step(
    gp: &'static G,
    handle: *mut c_void,
    deadline: Deadline,
    wait: *mut Wait,
    place: *mut StepJoin,
) -> Begun {
    let words = Words::of(generation_of(handle));
    let target = match cancel::check().and_then(|()| lookup(handle)) {
        Ok(target) if ptr::eq(gp, target) => {
            return Begun::Over(Err(Errno(libc::EDEADLK)));
        }
        Ok(target) => target,
        Err(e) => return Begun::Over(Err(e)),
    };
    loop {
        match settled(target, words) {
            JoinState::Joinable => {}
            JoinState::Exited => {
                return Begun::Over(take_exited(target, words, Some(gp)));
            }
            _ => return Begun::Over(Err(Errno::EINVAL)),
        }
        if let Err(e) = deadline.check() {
            return Begun::Over(Err(e));
        }
        let way = Wait::until(deadline, c"join").on(target).for_end_of(target);
        let ticket = way.begin(gp);
        // SAFETY: writable, the caller promises.
        unsafe { wait.write(way) };
        let joiner = Joiner { gp, ticket };
        // SAFETY: writable, the caller promises.
        unsafe { place.write(StepJoin { joiner, target, words }) };
        if target.joiner.enter(words, place.addr()) {
            return Begun::Waits(ticket);
        }
        // As in `wait`.
        let _early = gp.park.fire(ticket, Cause::Wake);
        gp.park.finish();
    }
}

/// The result of a join that [`begin_step`] has begun, and that is over.
///
/// # Safety
/// `place` is as that has left it.
pub(crate) unsafe fn end_step(
    place: *const StepJoin,
    cause: Cause,
) -> Result<()> {
    // SAFETY: the caller promises.
    let &StepJoin { ref joiner, target, words } = unsafe { &*place };
    // As in `wait`.
    if cause != Cause::Wake && target.joiner.leave(words, place.addr()) {
        return cause.outcome();
    }
    let _ours = settled(target, words);
    free(target, Some(joiner.gp));
    Ok(())
}

/// For reports: the address of the G that waits for the end of `gp`, or of
/// something else if that wait ends just now.
pub(crate) fn joiner_of(memory: &dyn Memory, gp: &G) -> Option<usize> {
    let record = gp.joiner.record()?;
    let at = record + mem::offset_of!(Joiner, gp);
    memory.u64(at as u64).map(|gp| gp as usize)
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
            JoinState::Exited => {
                return take_exited(target, words, arch::getg());
            }
            _ => return Err(Errno::EINVAL),
        }
    }
}
