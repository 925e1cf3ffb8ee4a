//! Parking and readying: how a goroutine leaves its stack to wait, and how it
//! comes back. A yield, which waits for nothing, is in `yields`.
//!
//! A wait, from the side of whoever blocks:
//! 1. `let gp = current()?` (a host thread gets its G here);
//! 2. `let t = gp.park.arm(kind)`, or with the lock of 3 held, `wait::arm`;
//! 3. put `(gp, t)` where the waker will find it, under that object's lock;
//! 4. `gopark(gp, Wait { ticket: t, … })`, whose `unlock` lets wakers in;
//! 5. the [`Cause`] says who won. Not the waker: take yourself out again.
//!
//! And of whoever wakes: take `(gp, t)` out under the lock, `fire`, and on
//! [`Fire::Parked`] call [`ready`].
//!
//! The way off the stack is `schedule::switch_off`.

use super::{
    calls::{self, Unlockf},
    cancel, child, context,
    enter::{Inside, owned_p},
    host::{self, current},
    python,
    ready::ready,
    schedule::{Off, after_switch, switch_off},
    timing::add_timer,
    yields::gosched,
};
use crate::{
    gmp::{
        G, GStatus, HookResult, M, casgstatus,
        parkword::{Cause, Fire, Ticket, WaitKind},
    },
    os::{Errno, Result, clock::nanotime},
    timers::{FOREVER, Timer, Timers},
};
use core::{ffi::CStr, pin::pin, ptr, sync::atomic::Ordering::*};

/// How a goroutine waits.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub ticket: Ticket,
    /// Called with `arg` once the goroutine is off its stack and committed:
    /// lets in the wakers that need what it unlocks. A deadline or a cancel
    /// may have won by then, so it must not touch the goroutine.
    pub unlock: fn(arg: usize),
    pub arg: usize,
    /// What it waits for, as a C string that outlives the wait.
    pub reason: &'static CStr,
    /// Absolute nanoseconds, or [`FOREVER`].
    pub deadline: i64,
}

/// Nothing to unlock.
pub(crate) fn unlock_nothing(_arg: usize) {}

/// Parks the current goroutine until its ticket is fired: Running -> Waiting
/// -> Running. On a host thread it blocks the thread.
///
/// The caller may wake up on another M: it re-reads all per-M and per-P state.
pub(crate) fn gopark(gp: &'static G, wait: Wait) -> Cause {
    let inside = Inside::enter_on(gp.mp());
    let reason = wait.reason.as_ptr().cast_mut();
    // Release: who sees the pointer may read the string.
    gp.waitreason.store(reason, Release);
    if gp.is_host() {
        let arg = ptr::from_ref(&wait) as usize;
        return host::park(gp, wait.ticket, wait.deadline, (park_hook, arg));
    }
    if wait.deadline != FOREVER {
        return park_timed(gp, &wait);
    }
    let mp = park_now(gp, Off::park(&wait));
    let cause = gp.park.finish();
    inside.leave_on(mp);
    cause
}

#[cold]
fn park_timed(gp: &'static G, wait: &Wait) -> Cause {
    let arg = ptr::from_ref(gp) as usize;
    let timer = pin!(Timer::new(timed_out, arg, wait.ticket.raw()));
    // SAFETY: pinned, and removed below before it goes.
    unsafe { add_timer(&timer, wait.deadline) };
    park_now(gp, Off::park(wait));
    let cause = gp.park.finish();
    if cause != Cause::Timeout {
        Timers::remove(&timer);
    }
    cause
}

/// A deadline has come: the timer's function.
fn timed_out(arg: usize, ticket: u64) {
    let gp = arg as *const G;
    // SAFETY: a G is type-stable; the ticket tells whether it still waits.
    let gp = unsafe { &*gp };
    if gp.park.fire(Ticket::from_raw(ticket), Cause::Timeout) == Fire::Parked {
        ready(gp, true);
    }
}

/// Goes off the stack and comes back, perhaps on another M.
#[inline(always)]
fn park_now(gp: &'static G, off: Off) -> &'static M {
    let mp = gp.mp();
    let pinned = python::pin_python(gp, mp);
    context::save(gp, mp);
    casgstatus(gp, GStatus::Running, GStatus::Waiting);
    switch_off(gp, mp, owned_p(mp), off);
    let mp = after_switch();
    context::restore(gp, mp);
    if pinned {
        python::unpin_python(gp);
    }
    mp
}

impl Off {
    fn park(wait: &Wait) -> Self {
        let arg = ptr::from_ref(wait) as usize;
        Self { hook: park_hook, arg, to_g0: false }
    }
}

/// The hook of gopark: commits, then lets wakers in. In this order who wakes
/// under the lock finds a goroutine that is off its stack, and has until its
/// `ready` to fill in what the goroutine waits for.
fn park_hook(gp: &'static G, arg: usize) -> HookResult {
    // SAFETY: the Wait on the parked goroutine's stack, which stays as it is
    // until somebody wins the ticket and readies it: after this copy.
    let wait = unsafe { *(arg as *const Wait) };
    let parked = gp.park.commit(wait.ticket);
    (wait.unlock)(wait.arg);
    if parked { HookResult::Left } else { HookResult::Ready }
}

/// Sleeps until `deadline`.
///
/// Errors: `ECANCELED`; as [`current`].
pub(crate) fn sleep_until(deadline: i64) -> Result<()> {
    let gp = current()?;
    cancel::check()?;
    if deadline <= nanotime() {
        gosched();
        return Ok(());
    }
    match wait_for_nothing(gp, c"sleep", deadline) {
        Cause::Cancel => Err(Errno(libc::ECANCELED)),
        Cause::Wake | Cause::Timeout => Ok(()),
    }
}

/// Waits for what nobody will send: a deadline, a cancel.
pub(crate) fn wait_for_nothing(
    gp: &'static G,
    reason: &'static CStr,
    deadline: i64,
) -> Cause {
    let wait = Wait {
        ticket: gp.park.arm(WaitKind::Cancellable),
        unlock: unlock_nothing,
        arg: 0,
        reason,
        deadline,
    };
    gopark(gp, wait)
}

#[derive(Clone, Copy)]
struct UserPark {
    wait: Wait,
    unlockf: Option<Unlockf>,
}

/// `gmp_park`: waits for a permit, which a `gmp_ready` leaves. `unlockf` runs
/// on g0 when the goroutine is Waiting; 0 from it resumes at once.
///
/// Errors: as [`current`].
pub(crate) fn park_user(
    mut unlockf: Option<Unlockf>,
    reason: &'static CStr,
    deadline: i64,
) -> Result<Cause> {
    let gp = current()?;
    let inside = Inside::enter();
    gp.waitreason.store(reason.as_ptr().cast_mut(), Release);
    let wait = Wait {
        ticket: gp.park.arm(WaitKind::Park),
        unlock: unlock_nothing,
        arg: 0,
        reason,
        deadline,
    };
    if let Some(u) = &mut unlockf {
        u.handle = crate::gmp::handle_of(gp);
    }
    let user = UserPark { wait, unlockf };
    let arg = ptr::from_ref(&user) as usize;
    let cause = if gp.is_host() {
        host::park(gp, wait.ticket, deadline, (user_hook, arg))
    } else {
        park_user_goroutine(gp, wait, arg)
    };
    child::stay_inside(inside);
    // The permit that ended the wait, or that came during it, is used up; it
    // counts for more than a deadline that passed at the same time. A cancel
    // leaves it.
    if cause == Cause::Cancel || gp.park.must_give_up() {
        return Ok(Cause::Cancel);
    }
    Ok(if gp.park.take_permit() { Cause::Wake } else { cause })
}

fn park_user_goroutine(gp: &'static G, wait: Wait, arg: usize) -> Cause {
    let ticket = wait.ticket.raw();
    let timer = pin!(Timer::new(timed_out, ptr::from_ref(gp) as usize, ticket));
    if wait.deadline != FOREVER {
        // SAFETY: pinned, and removed below before it goes.
        unsafe { add_timer(&timer, wait.deadline) };
    }
    park_now(gp, Off { hook: user_hook, arg, to_g0: true });
    let cause = gp.park.finish();
    if wait.deadline != FOREVER && cause != Cause::Timeout {
        Timers::remove(&timer);
    }
    cause
}

/// The hook of gmp_park; on g0, or on the host thread itself.
fn user_hook(gp: &'static G, arg: usize) -> HookResult {
    let user = arg as *const UserPark;
    // SAFETY: on the parked one's stack, which stays until the ticket is won
    // and it is readied: after these copies.
    let UserPark { wait, unlockf } = unsafe { *user };
    if let Some(u) = unlockf
        && !calls::unlock(gp, &u)
    {
        // BeforePark: ours. Lost: fired meanwhile, before any commit, so the
        // winner leaves the readying to us as well.
        let _won = gp.park.fire(wait.ticket, Cause::Wake);
        return HookResult::Ready;
    }
    if gp.park.commit(wait.ticket) {
        HookResult::Left
    } else {
        HookResult::Ready
    }
}

/// Parks a goroutine of the library until `ready_permit` or the deadline;
/// may return early.
pub(crate) fn park_plain(reason: &'static CStr, deadline: i64) {
    if park_user(None, reason, deadline).is_err() {
        crate::base::throw::throw("park_plain: not on a goroutine");
    }
}

/// A wait's end as the caller sees it.
pub(crate) fn outcome(cause: Cause) -> Result<()> {
    match cause {
        Cause::Wake => Ok(()),
        Cause::Timeout => Err(Errno(libc::ETIMEDOUT)),
        Cause::Cancel => Err(Errno(libc::ECANCELED)),
    }
}

/// What a call that cannot be interrupted looks at before it starts.
///
/// Errors: `ECANCELED`, `ETIMEDOUT`.
pub(crate) fn before_blocking(deadline: i64) -> Result<()> {
    cancel::check()?;
    if deadline != FOREVER && deadline <= nanotime() {
        return Err(Errno(libc::ETIMEDOUT));
    }
    Ok(())
}
