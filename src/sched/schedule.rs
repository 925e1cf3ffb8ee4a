//! g0's loop: what runs next on this M, and the switch into it.

use super::{
    enter::{owned_p, this_m},
    find, fork, host, lockthread, migrate,
    newproc::bind_stack,
    park::{self, TICK},
    procs, sigmask, starved, threads,
};
use crate::{
    arch,
    base::throw::throw,
    gmp::{
        G, GStatus, HookResult, M, MKind, OwnedP, SCHED, casgstatus, gflag,
        gomaxprocs,
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
        if fork::in_child() {
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
        park::ready(gp, false);
        return;
    };
    if mp.kind.get() == MKind::Host || migrate::is_marked(gp) {
        park::ready(gp, false);
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
        park::ready(hook.gp, true);
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
        if mp.kind.get() == MKind::Host && mp.lockedg.get().is_null() {
            let (pp, gp) = host::come_or_leave(mp);
            execute(mp, pp, gp);
            continue;
        }
        if !mp.lockedg.get().is_null() {
            let (pp, gp) = lockthread::stoplockedm(mp);
            execute(mp, pp, gp);
            continue;
        }
        let Some(pp) = owned_p(mp) else {
            procs::without_p(mp);
            continue;
        };
        // Relaxed: gcstopm looks again under the lock.
        if SCHED.gcwaiting.load(Relaxed) {
            if fork::in_child() {
                fork::end_child();
            }
            put_back_nextg(mp);
            procs::gcstopm(mp);
            continue;
        }
        let found = match take_nextg(mp) {
            Some(gp) => Some((pp, gp)),
            None => find::findrunnable(mp, pp),
        };
        let Some((pp, gp)) = found else { continue };
        if mp.spinning.get() {
            find::resetspinning(mp);
        }
        if gp.lockedm.get().is_null() || comes_here(mp, pp, gp) {
            execute(mp, pp, gp);
        }
    }
}

/// Whether this M runs `gp`, which is locked or marked; else another one does.
#[cold]
fn comes_here(mp: &'static M, pp: OwnedP, gp: &'static G) -> bool {
    if migrate::is_marked(gp) {
        return migrate::comes_here(mp, pp, gp);
    }
    lockthread::startlockedm(mp, gp);
    false
}

/// What the goroutine that left found for us.
pub(super) fn take_nextg(mp: &M) -> Option<&'static G> {
    let found = mp.nextg.replace(ptr::null());
    // SAFETY: null, or a type-stable G that next_here took from its P.
    unsafe { found.as_ref() }
}

/// The M does something else: others may run what was found for it.
fn put_back_nextg(mp: &M) {
    if let Some(gp) = take_nextg(mp) {
        SCHED.lock().globrunqputhead(gp);
        procs::wakep();
    }
}

/// Whether this M may go on to something of its own choice: nothing wants the
/// scheduler.
#[inline(always)]
pub(crate) fn may_go_on(mp: &M, pp: OwnedP) -> bool {
    mp.kind.get() == MKind::Worker
        && mp.lockedg.get().is_null()
        // Relaxed: hints; schedule looks again.
        && !SCHED.gcwaiting.load(Relaxed)
        && !pp.timer_due.load(Relaxed)
        && !pp.schedtick.load(Relaxed).is_multiple_of(TICK)
}

/// Takes what runs next on this P: `runnext`, unless it came first too often
/// in a row while others wait, else the oldest of the queue.
#[inline(always)]
pub(crate) fn runqget(pp: OwnedP) -> Option<&'static G> {
    let alone = alone();
    // Relaxed: only the owner sets it to something.
    let next = pp.runnext.load(Relaxed);
    if !next.is_null() && pp.streak.get() < TICK {
        let taken = take_runnext(pp, next, alone);
        if !taken.is_null() {
            pp.streak.set(pp.streak.get() + 1);
            // SAFETY: queues hold type-stable Gs.
            return Some(unsafe { &*taken });
        }
    }
    pp.streak.set(0);
    let oldest = match alone {
        // SAFETY: OwnedP holds the P, the only one.
        true => unsafe { pp.runq.pop_alone() },
        // SAFETY: OwnedP holds the P.
        false => unsafe { pp.runq.pop() },
    };
    if let Some(gp) = oldest {
        // SAFETY: queues hold type-stable Gs.
        return Some(unsafe { &*gp });
    }
    if next.is_null() {
        return None;
    }
    let taken = take_runnext(pp, next, alone);
    // SAFETY: null, or a type-stable G.
    unsafe { taken.as_ref() }
}

/// Takes `next` out of `runnext`, or null where a thief came first.
#[inline(always)]
fn take_runnext(pp: OwnedP, next: *mut G, alone: bool) -> *mut G {
    if alone {
        pp.runnext.store(ptr::null_mut(), Relaxed);
        return next;
    }
    // AcqRel: as in runqput.
    pp.runnext.swap(ptr::null_mut(), AcqRel)
}

/// Whether there is one P only: nobody takes anything from its queue, nor
/// could do its work. That changes while the world is stopped.
#[inline(always)]
pub(crate) fn alone() -> bool {
    gomaxprocs() == 1
}

/// `mstart` calls it on a new M, on g0; returns when the M ends.
#[unsafe(no_mangle)]
extern "C" fn mstart1() {
    let mp = this_m();
    let g0 = arch::getg();
    if !ptr::eq(mp.g0.get(), g0) {
        throw("mstart1: bad g0");
    }
    threads::minit();
    if let Some(f) = mp.mstartfn.get() {
        f();
    }
    procs::acquire_nextp(mp);
    schedule()
}
