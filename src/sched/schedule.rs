//! g0's loop: what runs next on this M, and the switch into it.
//!
//! A goroutine that leaves its stack runs what is next on its P directly
//! ([`switch_off`]), without a visit to g0, unless something there wants the
//! scheduler: a locked thread, the world to be stopped, a timer that is due,
//! every 61st time, or nothing to run.

use super::{
    child,
    current::{this_g, this_m},
    enter::owned_p,
    find, fork,
    frame::bind_stack,
    handoff::{self, put_down, wakep},
    lockthread, migrate,
    procs::{self, releasep},
    queue::{TICK, runqget},
    ready, sigmask, starved, stw, threads,
};
use crate::{
    arch,
    base::throw::throw,
    gmp::{
        G, GStatus, Hook, HookFn, HookResult, M, MKind, OwnedP, SCHED,
        casgstatus, gflag,
    },
};
use core::{ptr, sync::atomic::Ordering::*};

/// What `mcall` runs on g0: the hook of the goroutine that was left, then the
/// loop.
pub(crate) unsafe extern "C" fn schedule0(_gp: *const G) -> ! {
    let mp = this_m();
    mp.curg.store(ptr::null_mut(), Relaxed);
    let hook = mp.hook.take();
    if let Some(hook) = hook
        && (hook.run)(hook.gp, hook.arg) == HookResult::Ready
    {
        if child::in_child() {
            fork::resume(mp, hook.gp);
        }
        // On g0 nobody is in between: it goes on at once, if there is a P.
        resume_now(mp, hook.gp);
    }
    schedule()
}

/// A park was over before it began.
fn resume_now(mp: &'static M, gp: &'static G) {
    let Some(pp) = owned_p(mp) else {
        ready::ready(gp, false);
        return;
    };
    if mp.kind.get() == MKind::Host || gp.is_marked() {
        ready::ready(gp, false);
        return;
    }
    // next_here may have found another one, which has to wait then.
    put_back_nextg(mp);
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    execute(mp, pp, gp)
}

/// First after a switch, on the new stack: runs the hook that the goroutine
/// which was left has set. Returns this thread's M.
#[inline(always)]
pub(crate) fn after_switch() -> &'static M {
    let mp = this_m();
    if let Some(hook) = mp.hook.take()
        && (hook.run)(hook.gp, hook.arg) == HookResult::Ready
    {
        ready::ready(hook.gp, true);
    }
    mp
}

/// The bookkeeping of a goroutine that comes onto this M; the switch follows.
#[inline(always)]
pub(crate) fn come_on(mp: &'static M, pp: OwnedP, gp: &'static G) {
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
    gp.m.set(mp);
    gp.reset_stackguard();
    pp.tick();
    // Release: sysmon and dumps read it.
    mp.curg.store(ptr::from_ref(gp).cast_mut(), Release);
}

/// Runs `gp`, which is runnable and ours, on this M; from g0. Returns if there
/// is no memory for its stack: it is queued where it waits for that.
pub(crate) fn execute(mp: &'static M, pp: OwnedP, gp: &'static G) {
    // Whoever queued a goroutine of the host's has told the mask before.
    if mp.kind.get() == MKind::Early {
        sigmask::settle(mp);
    }
    if !gp.has(gflag::STARTED) && bind_stack(pp, gp).is_err() {
        starved::wait_for_stack(gp);
        return;
    }
    come_on(mp, pp, gp);
    // SAFETY: gp is Running, ours, and suspended at sched_sp.
    unsafe { arch::gogo(gp.sched_sp.get(), gp) }
}

/// One round of the scheduler: finds a runnable goroutine and runs it.
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
        if SCHED.gcwaiting.load(Relaxed) {
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

/// Whether this M runs `gp`, which is locked or marked; else another one does.
#[cold]
fn comes_here(mp: &'static M, pp: OwnedP, gp: &'static G) -> bool {
    if gp.is_marked() {
        return migrate::comes_here(mp, pp, gp);
    }
    lockthread::startlockedm(mp, gp);
    false
}

/// The M does something else: others may run what was found for it.
fn put_back_nextg(mp: &M) {
    if let Some(gp) = mp.nextg.take() {
        SCHED.lock().globrunqputhead(gp);
        handoff::wakep();
    }
}

/// Whether this M may go on to something of its own choice: nothing wants the
/// scheduler.
#[inline(always)]
pub(crate) fn may_go_on(mp: &M, pp: OwnedP) -> bool {
    mp.kind.get() == MKind::Worker
        && mp.lockedg.get().is_none()
        // Relaxed: hints; schedule looks again.
        && !SCHED.gcwaiting.load(Relaxed)
        && !pp.timer_due.load(Relaxed)
        && !pp.schedtick.load(Relaxed).is_multiple_of(TICK)
}

/// `mstart` calls it on a new M, on g0; returns when the M ends.
#[unsafe(no_mangle)]
extern "C" fn mstart1() {
    let mp = this_m();
    if !mp.is_g0(this_g()) {
        throw("mstart1: bad g0");
    }
    threads::minit();
    if let Some(f) = mp.mstartfn.get() {
        f();
    }
    procs::acquire_nextp(mp);
    schedule()
}

/// How a goroutine leaves its stack.
#[derive(Clone, Copy)]
pub(crate) struct Off {
    pub hook: HookFn,
    pub arg: usize,
    /// The hook has to run on g0.
    pub to_g0: bool,
}

/// What runs next on this P, if it can be switched to right here.
#[inline(always)]
fn next_here(mp: &'static M, pp: OwnedP) -> Option<&'static G> {
    if !may_go_on(mp, pp) {
        return None;
    }
    let gp = runqget(pp)?;
    let fit = gp.lockedm.get().is_none()
        && (gp.has(gflag::STARTED) || bind_stack(pp, gp).is_ok());
    if !fit {
        // Found, but for g0 to run.
        mp.nextg.set(Some(gp));
        return None;
    }
    Some(gp)
}

/// Leaves the stack of `gp`, whose status says why, for what is next; the
/// next context runs the hook. Returns when `gp` runs again; the caller then
/// calls [`after_switch`].
#[inline(always)]
pub(crate) fn switch_off(
    gp: &'static G,
    mp: &'static M,
    pp: Option<OwnedP>,
    off: Off,
) {
    mp.hook.set(Some(Hook { run: off.hook, gp, arg: off.arg }));
    let next = match pp {
        Some(pp) if !off.to_g0 => next_here(mp, pp).map(|g| (pp, g)),
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
    come_on(mp, pp, next);
    // SAFETY: next is Running, ours, and suspended at sched_sp.
    unsafe { arch::gswitch(gp.sched_sp.as_ptr(), next.sched_sp.get(), next) };
}

/// On g0 of a host thread: the goroutine that came to run in place, and the P
/// for it; or, when that is off, back to where the host called us. The P is
/// somebody else's then.
pub(crate) fn come_or_leave(mp: &'static M) -> (OwnedP, &'static G) {
    if let Some(gp) = mp.nextg.take() {
        match owned_p(mp) {
            // Relaxed: put_down looks again under the lock.
            Some(pp) if !SCHED.gcwaiting.load(Relaxed) => return (pp, gp),
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
    mp.detached.store(false, Relaxed);
    let g0 = mp.g0();
    // SAFETY: the base is in run_in_place, live below us.
    unsafe { arch::gogo(g0.sched_sp.get(), g0) }
}
