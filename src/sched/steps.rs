//! Goroutines that run in steps: they have a stack during a step, and none
//! while they wait.
//!
//! A step is a call of the host's function on a stack that the goroutine
//! borrows. The function returns where a goroutine's function would wait, and
//! is called again when that wait is over. So a wait costs a descriptor and the
//! record that the host keeps (`block::steps`), and no stack: a coroutine of
//! C++ is such a function. To all else a goroutine of steps is a goroutine: it
//! is queued, stolen, woken, cancelled, joined and dumped as one. A call that
//! blocks inside of a step parks as everywhere, and the goroutine keeps the
//! stack meanwhile.
//!
//! ```text
//!               execute, relay, or a step before it on this stack
//!   no stack ------------------------------------------------> in a step
//!   Runnable,                                                  STARTED
//!   Waiting  <-- hook: commits, lets wakers in -- [`leave`] <-- returns
//! ```
//! [`leave`] takes the first of these ways that is open:
//!
//! | way | open if | the stack |
//! |---|---|---|
//! | next step | the next goroutine of this P runs in steps | goes to it |
//! | relay | that one is new | goes to it |
//! | switch | another one is next on this P | freed by the hook |
//! | to g0 | always | freed by the hook |
//!
//! Invariants:
//! 1. Before the hook commits the wait, the step has returned, and the stack is
//!    no longer the goroutine's. So a waker may have the next step run at once
//!    on another M.
//! 2. Without `STARTED` the G has no stack and no frame at `sched_sp`: a G that
//!    becomes runnable is bound to a stack as a new one is.
//! 3. The frames below [`leave`] refer to nothing of the goroutine that left:
//!    after a *next step* they serve the next one.
//!
//! What belongs to the thread does not outlast a step: `errno` and the signal
//! mask (unless the goroutine is locked to its thread). Exceptions that are
//! handled are no concern, as no step returns from a handler.
//!
//! Rejected:
//! - Steps on g0's stack: a call in them that blocks could not park.
//! - The wait queued inside of the step, with its lock held until the step has
//!   returned: the host's code would run with a lock of the runtime held, and a
//!   call there would lock it again. So the step names its wait, and the loop
//!   around the steps queues it.

use super::{
    current::this_m,
    enter::{self, Inside, owned_p},
    fiber,
    frame::{bind_stack, move_in},
    migrate,
    park::{OffStack, departure, let_in},
    queue::runqget,
    ready::goready,
    schedule::{self, Departure},
    sigmask, starved,
    timing::add_timer,
    yields::{self, BEHIND_OURS, Yield},
};
use crate::{
    arch,
    base::sanitize,
    gmp::{
        G, GStatus, Hook, HookResult, INLINE_ARGS, M, OwnedP, SCHED,
        casgstatus, gflag,
        offsets::GOSTART_SPACE,
        parkword::Ticket,
        wait::{Turn, Unlock, Wait},
        waitmark,
    },
    stack::{self, Stack},
    timers::Timer,
};
use core::{mem, ptr, sync::atomic::Ordering::*};

/// Makes `gp`, whose step has returned, wait without a stack until `ticket` is
/// fired, or `timer` fires it at the deadline of `wait`. `unlock` lets wakers
/// in. Returns the goroutine whose step is next on this stack, outside.
///
/// # Safety
/// `wait` and `timer` stay until the next step of `gp`, and until then `timer`
/// is removed. The caller is the loop around the steps of `gp`.
#[inline(always)]
pub(crate) unsafe fn leave<U: Unlock>(
    gp: &'static G,
    wait: *const Wait,
    ticket: Ticket,
    timer: Option<&Timer>,
    unlock: U,
) -> &'static G {
    let mp = gp.mp();
    mem::forget(Inside::enter_on(mp));
    // Release: a dump that sees the pointer may read the wait.
    gp.waiting.store(wait.cast_mut(), Release);
    // Relaxed: a measure.
    gp.waitsince.store(waitmark(), Relaxed);
    if let Some(timer) = timer {
        // SAFETY: the wait is there, the caller promises.
        let deadline = unsafe { (*wait).deadline };
        // SAFETY: it stays, and is removed, the caller promises.
        unsafe { add_timer(timer, deadline) };
    }
    if migrate::on() && gp.lockedm.get().is_none() {
        migrate::mark(gp);
    }
    let left = let_in(ticket, unlock);
    let how = departure(&left);
    go_on(gp, mp, owned_p(mp), GStatus::Waiting, how, |_| left.off_stack(gp))
}

/// Lets others run before the next step of `gp`. Returns the goroutine whose
/// step is next on this stack, outside.
///
/// # Safety
/// The caller is the loop around the steps of `gp`.
pub(crate) unsafe fn give_way(gp: &'static G) -> &'static G {
    let mp = gp.mp();
    let inside = Inside::enter_on(mp);
    let pp = owned_p(mp);
    match yields::kind_of(gp, pp) {
        Yield::None => {
            inside.leave_on(mp);
            gp
        }
        Yield::Ours => {
            mem::forget(inside);
            go_on(gp, mp, pp, GStatus::Runnable, BEHIND_OURS, |pp| {
                yields::queue_behind(gp, pp)
            })
        }
        Yield::All => {
            mem::forget(inside);
            give_way_to_all(gp, mp, pp)
        }
    }
}

/// The same where the global queue has goroutines.
#[cold]
#[inline(never)]
fn give_way_to_all(
    gp: &'static G,
    mp: &'static M,
    pp: Option<OwnedP>,
) -> &'static G {
    let how = yields::give_way(mp, pp);
    let now = |_| (how.hook)(gp, how.arg);
    go_on(gp, mp, pp, GStatus::Runnable, how, now)
}

/// Leaves the stack of `gp` for good. Returns if it goes to a goroutine of
/// steps. `now` does what the hook of `how` does, on the stack that `gp` has
/// left, with the P of `mp`.
#[inline(always)]
fn go_on(
    gp: &'static G,
    mp: &'static M,
    pp: Option<OwnedP>,
    to: GStatus,
    how: Departure,
    now: impl FnOnce(OwnedP) -> HookResult,
) -> &'static G {
    // Invariant 2, from the status on.
    gp.clear_flag(gflag::STARTED);
    casgstatus(gp, GStatus::Running, to);
    let next = match pp {
        Some(pp) if !how.to_g0 && schedule::may_go_on(mp, pp) => {
            runqget(pp).map(|next| (pp, next))
        }
        _ => None,
    };
    let Some((pp, next)) = next else { to_g0(gp, mp, how) };
    if next.lockedm.get().is_some() {
        mp.nextg.set(Some(next));
        to_g0(gp, mp, how);
    }
    if !next.has(gflag::STARTED) {
        if inherits(gp, next) {
            return hand_on(gp, mp, pp, next, now);
        }
        if bind_stack(pp, next).is_err() {
            mp.nextg.set(Some(next));
            to_g0(gp, mp, how);
        }
    }
    switch(gp, mp, pp, next, how)
}

/// Whether `next`, which has no stack, can have that of `gp`.
#[inline(always)]
fn inherits(gp: &G, next: &G) -> bool {
    const { assert!(INLINE_ARGS <= GOSTART_SPACE) };
    let large =
        next.has(gflag::ARGS) && next.args_len.get() as usize > INLINE_ARGS;
    !next.has(gflag::SIZED)
        && !large
        && gp.stack_class.get() == stack::default_class()
}

/// Gives the stack to `next`: returns it, outside, if it runs in steps, else
/// begins it.
#[inline(always)]
fn hand_on(
    gp: &'static G,
    mp: &'static M,
    pp: OwnedP,
    next: &'static G,
    now: impl FnOnce(OwnedP) -> HookResult,
) -> &'static G {
    let Some(stack) = gp.take_stack() else {
        crate::base::throw::throw("steps: no stack");
    };
    let sp = move_in(next, stack);
    schedule::set_current(mp, pp, next);
    arch::setg(Some(next));
    // Invariant 1: the stack is that of `next`.
    if now(pp) == HookResult::Ready {
        goready(gp, Turn::Next);
    }
    if next.flags.get() & (gflag::STEPS | gflag::LOCK_AT_START) == gflag::STEPS
    {
        enter::leave_on(mp);
        return next;
    }
    // SAFETY: next is Running, ours, and has not begun; the stack is its own,
    // and nothing of `gp` is left there (invariant 3).
    unsafe { arch::go_restart(sp) }
}

/// Switches to `next`, whose stack is bound.
#[inline(never)]
fn switch(
    gp: &'static G,
    mp: &'static M,
    pp: OwnedP,
    next: &'static G,
    how: Departure,
) -> ! {
    mp.hook.set(Some(Hook { run: off_stack, gp, arg: left(&how) }));
    schedule::set_current(mp, pp, next);
    // SAFETY: next is Running, ours, and suspended at sched_sp.
    unsafe { arch::go_leave(next.sched_sp.get(), next) }
}

/// Switches to g0, which finds the next goroutine.
#[cold]
#[inline(never)]
fn to_g0(gp: &'static G, mp: &'static M, how: Departure) -> ! {
    mp.hook.set(Some(Hook { run: off_stack, gp, arg: left(&how) }));
    // SAFETY: gp runs on its own stack, and schedule0 leaves g0 only through
    // gogo.
    unsafe { arch::mcall(schedule::schedule0) };
    crate::base::throw::throw("steps: a stack that was left runs");
}

/// The argument of [`off_stack`].
#[inline(always)]
fn left(how: &Departure) -> usize {
    ptr::from_ref(how).addr()
}

/// The hook where the stack is free from now on: takes it from `gp`, calls the
/// hook of the departure, and frees the stack.
fn off_stack(gp: &'static G, arg: usize) -> HookResult {
    // SAFETY: from `left`, on the stack that is freed below.
    let how = unsafe { &*(arg as *const Departure) };
    let stack = gp.take_stack();
    // Invariant 1. From here on `gp` may run elsewhere, unless it is Ready.
    let result = (how.hook)(gp, how.arg);
    if let Some(stack) = stack {
        free(stack);
    }
    result
}

/// Frees a stack that a goroutine of steps has left.
fn free(stack: Stack) {
    if sanitize::watches() {
        // SAFETY: the goroutine has left it, and its hook has run.
        unsafe { fiber::left_between(stack.lo, stack.hi) };
    }
    let pp = owned_p(this_m());
    if !stack::stackfree_kept(pp.map(|p| &p.get().stacks), stack) {
        stack::stackfree_slow(stack);
    }
    // After the free: `starved`, invariant 2.
    if SCHED.any_starved() {
        starved::freed(pp.map(|p| p.get()));
    }
}

/// A step of `gp` has returned: the thread gets its signal mask back, and the
/// goroutine does not keep its own.
#[inline(always)]
pub(crate) fn step_ends(gp: &G) {
    if gp.has(gflag::SIGMASK) {
        drop_mask(gp);
    }
}

#[cold]
fn drop_mask(gp: &G) {
    if !gp.is_locked() {
        sigmask::save(gp);
        gp.clear_flag(gflag::SIGMASK);
    }
}
