//! The end of a goroutine, and what its thread runs next.
//!
//! A goroutine ends on its own stack, which can be freed only once the thread
//! has left it. `goexit1` takes the first of these ways that is open:
//!
//! | way | open if | the stack |
//! |---|---|---|
//! | handover | the joiner waits already | freed by the hook |
//! | relay | nobody can join, and the next goroutine is new | the next one's |
//! | switch | another goroutine is next on this P | freed by the hook |
//! | to g0 | always | freed by the hook |
//!
//! The hook runs first in the context that comes next, as after every switch.
//! A relay has nothing to switch, and the top of the stack is in the cache.
//!
//! Invariants:
//! 1. Until [`exit_hook`] runs, on another stack, the stack is in use.
//! 2. In a relay it stays in use: `gostart` leaves [`GOSTART_SPACE`] bytes free
//!    at its top, above all frames of the goroutine that ends, and the next
//!    goroutine's arguments are moved there.
//! 3. The joiner is woken once: by [`hand_over`] before the switch, or by the
//!    hook. The hook's argument says which.

use super::{
    context,
    current::{this_g, this_m},
    deadlock, ending,
    enter::{Inside, owned_p},
    frame::{bind_stack, move_in},
    handoff::handoffp,
    join::{self, Waiter},
    lockthread, migrate,
    procs::releasep,
    queue::{self, TICK},
    schedule, stackmark, starved, threadend,
};
use crate::{
    arch,
    gmp::{
        G, GStatus, Hook, HookResult, INLINE_ARGS, M, OwnedP, SCHED,
        casgstatus, count_end, drop_name, gdestroy, gflag, is_main_thread,
        offsets::GOSTART_SPACE,
    },
    stack,
};
use core::{ptr, sync::atomic::Ordering::*};

/// The last call on a goroutine's stack: its function has returned, or has been
/// unwound.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn goexit1() -> ! {
    let gp = this_g();
    if !gp.defers.get().is_null() || !gp.locals.get().is_null() {
        ending::run(gp);
    }
    core::mem::forget(Inside::enter());
    let mp = gp.mp();
    context::save(gp, mp);
    casgstatus(gp, GStatus::Running, GStatus::Dead);
    match owned_p(mp) {
        Some(pp) if schedule::may_go_on(mp, pp) => go_on(gp, mp, pp),
        _ => to_g0(gp, mp, OPEN),
    }
}

/// Leaves by the cheapest way that is open.
#[inline(always)]
fn go_on(gp: &'static G, mp: &'static M, pp: OwnedP) -> ! {
    let detached = gp.joiner.detached();
    let arg = match if detached { Join::Open } else { hand_over(gp, pp) } {
        Join::Next(waiter) => switch(gp, mp, pp, WOKEN, waiter),
        Join::Open => OPEN,
        Join::Woken => WOKEN,
        Join::Ready(waiter) => ptr::from_ref(waiter) as usize,
    };
    let Some(next) = queue::runqget(pp) else { to_g0(gp, mp, arg) };
    if next.lockedm.get().is_some() {
        mp.nextg.set(Some(next));
        to_g0(gp, mp, arg);
    }
    if !next.has(gflag::STARTED) {
        if detached && plain(gp) && inherits(gp, next) {
            relay(gp, mp, pp, next);
        }
        if bind_stack(pp, next).is_err() {
            mp.nextg.set(Some(next));
            to_g0(gp, mp, arg);
        }
    }
    switch(gp, mp, pp, arg, next)
}

/// The hook's argument: [`Join::Open`], [`Join::Woken`], or the address of the
/// joiner's G, which the hook readies.
const OPEN: usize = 0;
const WOKEN: usize = 1;

/// Switches to `next`, whose stack is bound.
#[inline(always)]
fn switch(
    gp: &'static G,
    mp: &'static M,
    pp: OwnedP,
    arg: usize,
    next: &'static G,
) -> ! {
    mp.hook.set(Some(Hook { run: exit_hook, gp, arg }));
    schedule::set_current(mp, pp, next);
    // SAFETY: next is Running, ours, and suspended at sched_sp.
    unsafe { arch::go_leave(next.sched_sp.get(), next) }
}

/// Switches to g0, which finds the next goroutine.
#[cold]
fn to_g0(gp: &'static G, mp: &M, arg: usize) -> ! {
    if migrate::on() && !gp.is_locked() {
        migrate::tell_astray(gp);
    }
    mp.hook.set(Some(Hook { run: exit_hook, gp, arg }));
    // SAFETY: gp runs on its own stack, and schedule0 leaves g0 only through
    // gogo.
    unsafe { arch::mcall(schedule::schedule0) };
    crate::base::throw::throw("goexit1: a dead goroutine runs");
}

/// The work that is left for the joiner of an ending goroutine.
enum Join {
    /// The hook looks for a joiner.
    Open,
    /// None: the joiner's wait is over.
    Woken,
    /// The hook readies this joiner.
    Ready(&'static G),
    /// This joiner is runnable, and comes next on this P.
    Next(&'static G),
}

/// Ends the wait of the joiner of `gp`, if there is one.
#[inline(always)]
fn hand_over(gp: &'static G, pp: OwnedP) -> Join {
    // As in runqget: the goroutines in the ring have waited long enough.
    if pp.streak.get() >= TICK {
        return Join::Open;
    }
    let waiter = match join::take_waiter(gp) {
        Waiter::None => return Join::Open,
        Waiter::Woken => return Join::Woken,
        Waiter::ToReady(waiter) => waiter,
    };
    if !waiter.is_suspended() || waiter.lockedm.get().is_some() {
        return Join::Ready(waiter);
    }
    pp.streak.set(pp.streak.get() + 1);
    casgstatus(waiter, GStatus::Waiting, GStatus::Runnable);
    Join::Next(waiter)
}

/// Whether `gp`, which nobody can join, leaves nothing to clean up.
#[inline(always)]
fn plain(gp: &G) -> bool {
    gp.flags.get() == gflag::STARTED
        && gp.name.load(Relaxed).is_null()
        && gp.at_end.get().is_null()
        && gp.lockedm.get().is_none()
}

/// Whether `next` can run on the stack of `gp`: the size is right, and the
/// arguments fit (invariant 2).
#[inline(always)]
fn inherits(gp: &G, next: &G) -> bool {
    const FITS: bool = INLINE_ARGS <= GOSTART_SPACE;
    FITS && !next.has(gflag::SIZED)
        && (!next.has(gflag::ARGS)
            || next.args_len.get() as usize <= INLINE_ARGS)
        && gp.stack_class.get() == stack::default_class()
}

/// Starts `next` on this stack, where `gp` ends.
#[inline(always)]
fn relay(gp: &'static G, mp: &'static M, pp: OwnedP, next: &'static G) -> ! {
    let Some(stack) = gp.take_stack() else {
        crate::base::throw::throw("relay: no stack");
    };
    let sp = move_in(next, stack);
    schedule::set_current(mp, pp, next);
    arch::setg(Some(next));
    forget_cxa(gp, mp);
    pp.count_end();
    gdestroy(gp, Some(pp));
    // SAFETY: next is Running, ours, and has not begun; the stack is its own,
    // and sp is above all frames of gp (invariant 2).
    unsafe { arch::go_restart(sp) }
}

/// The hook of goexit1: nobody uses the stack any more (invariant 1).
fn exit_hook(gp: &'static G, arg: usize) -> HookResult {
    let mp = this_m();
    let pp = owned_p(mp);
    if let Some(stack) = gp.take_stack() {
        if !stack::stackfree_kept(pp.map(|p| &p.get().stacks), stack) {
            free_slow(gp, stack);
        }
        // After the free: `starved`, invariant 2.
        if SCHED.any_starved() {
            starved::freed(pp.map(|p| p.get()));
        }
    }
    drop_name(gp);
    forget_cxa(gp, mp);
    count_end(pp, gp);
    let locked = lockthread::ended(gp);
    let at_end = gp.at_end.replace(ptr::null());
    // SAFETY: null, or kept until now by the layer that has set it.
    if let Some(at_end) = unsafe { at_end.as_ref() } {
        (at_end.run)(at_end);
    }
    match arg {
        OPEN => join::ended(gp, pp),
        WOKEN => join::handed_over(gp, Waiter::Woken),
        waiter => {
            let waiter = waiter as *const G;
            // SAFETY: from hand_over, a type-stable G.
            join::handed_over(gp, Waiter::ToReady(unsafe { &*waiter }));
        }
    }
    if locked {
        mexit(mp);
    }
    HookResult::Left
}

/// Frees the stack of `gp` past the caches, once its use is noted.
#[cold]
fn free_slow(gp: &G, stack: stack::Stack) {
    stackmark::ended(gp, stack);
    stack::stackfree_slow(stack);
}

/// Drops the exception that the goroutine was handling when it ended.
#[inline(always)]
fn forget_cxa(gp: &G, mp: &M) {
    // Where this M knows no C++, context::save has stored nothing.
    if !mp.cxa.get().is_null() {
        gp.cxa.set([0; 2]);
    }
}

/// Ends this M, whose locked goroutine has ended: its thread ends too. The
/// process's first thread sleeps for ever instead (it is *wedged*), as the
/// process would look dead without it.
pub(crate) fn mexit(mp: &'static M) -> ! {
    let wedged = is_main_thread(mp);
    let mut sched = SCHED.lock();
    // Before the P is handed off: that may make a new M in this one's place.
    if wedged {
        sched.nmsys += 1;
        sched.nmwedged += 1;
    } else {
        threadend::count_end(&mut sched);
    }
    drop(sched);
    if mp.p.get().is_some() && owned_p(mp).is_some() {
        handoffp(releasep(mp));
    }
    deadlock::check();
    if wedged {
        loop {
            mp.park.sleep();
            mp.park.clear();
        }
    }
    threadend::leave(mp)
}
