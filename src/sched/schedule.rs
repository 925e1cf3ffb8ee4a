//! g0's loop: which goroutine runs next on this M, and the switch to it.
//!
//! ```text
//!             .-- next_here: another goroutine of this P --> its stack
//!   a stack --+
//!             '-- mcall --> schedule0 --> schedule --> execute --> its stack
//! ```
//! A goroutine that leaves its stack switches directly to the next one of its
//! P ([`switch_off`]). The detour by g0 is for what needs the scheduler: a
//! locked goroutine, the world to be stopped, a timer that is due, a late look
//! at the global queue, no memory for a stack, or nothing to run.
//!
//! Invariants:
//! 1. A goroutine that is switched to is Running, out of all queues, has a
//!    stack, and is suspended at `sched_sp`.
//! 2. The hook of the goroutine that was left runs first on the next stack.
//! 3. `nextg` is a goroutine that its M has taken from a queue and has to run
//!    on g0; an M that does something else puts it back.

use super::{
    child,
    current::{this_g, this_m},
    enter::owned_p,
    fiber, find,
    frame::bind_stack,
    handoff::{self, put_down, wakep},
    idle, lockthread, migrate,
    procs::{self, releasep},
    queue::runqget,
    ready, sigmask, starved, stw, threads,
};
use crate::{
    arch,
    base::{
        sanitize,
        throw::throw,
        trace::{self, Event, Kind},
    },
    gmp::{
        G, GStatus, Hook, HookFn, HookResult, M, MKind, OwnedP, SCHED, STOP,
        casgstatus, casgstatus_next, gflag, wait::Turn,
    },
};
use core::{ptr, sync::atomic::Ordering::*};

/// `mcall` runs it on g0: the hook of the goroutine that was left, then the
/// loop.
pub(crate) unsafe extern "C" fn schedule0(gp: *const G) -> ! {
    let mp = this_m();
    if sanitize::watches() {
        // SAFETY: mcall's argument, a type-stable G.
        fiber::left(unsafe { &*gp }, mp);
    }
    dropg(mp);
    let hook = mp.hook.take();
    if let Some(hook) = hook
        && (hook.run)(hook.gp, hook.arg) == HookResult::Ready
    {
        if child::in_child() {
            child::resume(mp, hook.gp);
        }
        // The wait has ended already: gp goes on at once, if this M has a P.
        resume_now(mp, hook.gp);
    }
    schedule()
}

/// From here on this M runs no goroutine. (A switch without g0 puts the next
/// one in the place of the last: `set_current`.)
#[inline(always)]
fn dropg(mp: &M) {
    // Release: pairs with `stop::counts`. A collection that sees it does
    // without the thread: the goroutine is off its stack.
    mp.curg.store(ptr::null_mut(), Release);
}

/// Resumes `gp`, whose wait had ended before its park was committed. Returns
/// if `gp` was queued instead.
fn resume_now(mp: &'static M, gp: &'static G) {
    let Some(pp) = owned_p(mp) else {
        ready::goready(gp, Turn::Last);
        return;
    };
    if mp.kind.get() == MKind::Host || gp.is_marked() {
        ready::goready(gp, Turn::Last);
        return;
    }
    // gp runs before the goroutine that next_here may have set aside.
    put_back_nextg(mp);
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    execute(mp, pp, gp)
}

/// The first call after a switch, on the new stack: runs the hook of the
/// goroutine that was left. Returns this thread's M.
#[inline(always)]
pub(crate) fn after_switch() -> &'static M {
    let mp = this_m();
    if let Some(hook) = mp.hook.take()
        && (hook.run)(hook.gp, hook.arg) == HookResult::Ready
    {
        // Its waker came before it was off its stack, and is not known here.
        trace::event(move || Event::of(Kind::EndedBy, 0));
        ready::goready(hook.gp, Turn::Next);
    }
    mp
}

/// Makes `gp` the goroutine that this M runs, in the place of the one whose
/// stack the caller is on; the switch to it follows.
#[inline(always)]
pub(crate) fn set_current(mp: &'static M, pp: OwnedP, gp: &'static G) {
    casgstatus_next(gp);
    becomes_current(mp, pp, gp);
}

#[inline(always)]
fn becomes_current(mp: &'static M, pp: OwnedP, gp: &'static G) {
    gp.m.set(mp);
    gp.reset_stackguard();
    pp.tick();
    // Release: pairs with `retake::request_yield`.
    mp.curg.store(ptr::from_ref(gp).cast_mut(), Release);
}

/// Runs `gp`, which is runnable and in no queue, on this M; from g0. Returns
/// only if there is no memory for its stack: `gp` waits in `starved` then.
pub(crate) fn execute(mp: &'static M, pp: OwnedP, gp: &'static G) {
    // The maker of a host's goroutine has published the mask before
    // (`sigmask`). Relaxed: as in `may_go_on`.
    if !mp.direct.load(Relaxed) {
        sigmask::take_on(mp);
    }
    if !gp.has(gflag::STARTED) && bind_stack(pp, gp).is_err() {
        starved::wait_for_stack(gp);
        return;
    }
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
    becomes_current(mp, pp, gp);
    if sanitize::watches() {
        fiber::comes(gp, mp);
    }
    // SAFETY: gp is Running, ours, suspended at sched_sp (invariant 1).
    unsafe { arch::gogo(gp.sched_sp.get(), gp) }
}

/// The scheduler's loop: finds a runnable goroutine and runs it.
///
/// On g0, inside, with or without a P.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn schedule() -> ! {
    let mp = this_m();
    loop {
        if mp.kind.get() == MKind::Host && mp.lockedg.get().is_none() {
            let (pp, gp) = come_or_leave(mp);
            execute(mp, pp, gp);
            continue;
        }
        if mp.lockedg.get().is_some() {
            let (pp, gp) = lockthread::stoplockedm(mp);
            execute(mp, pp, gp);
            continue;
        }
        let Some(pp) = owned_p(mp) else {
            find::without_p(mp);
            continue;
        };
        // Relaxed: gcstopm looks again under the lock.
        if STOP.is_wanted() {
            if child::in_child() {
                child::end_child();
            }
            put_back_nextg(mp);
            stw::gcstopm(mp);
            continue;
        }
        let found = match mp.nextg.take() {
            Some(gp) => Some((pp, gp)),
            None => find::findrunnable(mp, pp),
        };
        let Some((pp, gp)) = found else { continue };
        if mp.spinning.get() {
            find::resetspinning(mp);
        }
        if gp.lockedm.get().is_none() || comes_here(mp, pp, gp) {
            execute(mp, pp, gp);
        }
    }
}

/// Whether this M is to run `gp`, which is locked or marked for migration; else
/// it has gone to another M.
#[cold]
fn comes_here(mp: &'static M, pp: OwnedP, gp: &'static G) -> bool {
    if gp.is_marked() {
        return migrate::comes_here(mp, pp, gp);
    }
    lockthread::startlockedm(mp, gp);
    false
}

/// Gives `nextg` to other Ms, as this one does something else (invariant 3).
fn put_back_nextg(mp: &M) {
    if let Some(gp) = mp.nextg.take() {
        SCHED.lock().globrunqputhead(gp);
        handoff::wakep();
    }
}

/// Whether this M may switch directly: nothing needs the scheduler.
#[inline(always)]
pub(crate) fn may_go_on(mp: &M, pp: OwnedP) -> bool {
    // Relaxed: a mask that comes late comes with the next switch.
    mp.direct.load(Relaxed)
        && mp.lockedg.get().is_none()
        // Relaxed: hints; schedule looks again.
        && !STOP.is_wanted()
        && !pp.timer_due.load(Relaxed)
        && !pp.is_late()
}

/// Called by `mstart` on g0 of a new M; returns when the M ends.
#[unsafe(no_mangle)]
extern "C" fn mstart1() {
    let mp = this_m();
    if !mp.is_g0(this_g()) {
        throw("mstart1: bad g0");
    }
    threads::minit();
    if let Some(f) = mp.mstartfn.get() {
        f();
        if mp.is_system() {
            // The runtime ends.
            idle::leave(mp, SCHED.lock());
        }
    }
    procs::acquire_nextp(mp);
    schedule()
}

/// How a goroutine leaves its stack.
#[derive(Clone, Copy)]
pub(crate) struct Departure {
    /// What has to be done once nobody uses the stack, and its argument.
    pub hook: HookFn,
    pub arg: usize,
    /// The hook has to run on g0.
    pub to_g0: bool,
}

/// The next goroutine of this P, if it can be switched to directly.
#[inline(always)]
fn next_here(mp: &'static M, pp: OwnedP) -> Option<&'static G> {
    if !may_go_on(mp, pp) {
        return None;
    }
    let gp = runqget(pp)?;
    let fit = gp.lockedm.get().is_none()
        && (gp.has(gflag::STARTED) || bind_stack(pp, gp).is_ok());
    if !fit {
        // g0 runs it (invariant 3).
        mp.nextg.set(Some(gp));
        return None;
    }
    Some(gp)
}

/// Leaves the stack of `gp`, whose status is set already, for the next
/// goroutine or g0. Returns when `gp` runs again; the caller then calls
/// [`after_switch`].
#[inline(always)]
pub(crate) fn switch_off(
    gp: &'static G,
    mp: &'static M,
    pp: Option<OwnedP>,
    departure: Departure,
) {
    let Departure { hook, arg, to_g0 } = departure;
    mp.hook.set(Some(Hook { run: hook, gp, arg }));
    let next = match pp {
        Some(pp) if !to_g0 => next_here(mp, pp).map(|g| (pp, g)),
        _ => None,
    };
    let Some((pp, next)) = next else {
        // SAFETY: gp runs on its own stack, and schedule0 leaves g0 only
        // through gogo.
        unsafe { arch::mcall(schedule0) };
        return;
    };
    if ptr::eq(next, gp) {
        crate::base::throw::throw("switch_off: queued while it ran");
    }
    set_current(mp, pp, next);
    // SAFETY: next is Running, ours, suspended at sched_sp (invariant 1).
    unsafe { arch::gswitch(gp.sched_sp.as_ptr(), next.sched_sp.get(), next) };
}

/// On g0 of a host thread: the goroutine to run in place and its P, if there is
/// one to run. Else gives the P up and returns to the host's call
/// (`inplace::run_in_place`).
pub(crate) fn come_or_leave(mp: &'static M) -> (OwnedP, &'static G) {
    if let Some(gp) = mp.nextg.take() {
        match owned_p(mp) {
            // Relaxed: put_down looks again under the lock.
            Some(pp) if !STOP.is_wanted() => return (pp, gp),
            _ if child::in_child() => child::end_child(),
            _ => {
                SCHED.lock().globrunqputhead(gp);
                wakep();
            }
        }
    }
    if owned_p(mp).is_some() {
        put_down(releasep(mp));
    }
    mp.busy_without_p.store(false, Relaxed);
    let g0 = mp.g0();
    // SAFETY: run_in_place's base of this g0, which is live below us.
    unsafe { arch::gogo(g0.sched_sp.get(), g0) }
}
