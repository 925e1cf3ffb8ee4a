//! A host thread that joins a goroutine runs it in place, which saves waking a
//! thread.
//!
//! That is possible while the goroutine has not started. The host thread takes
//! an idle P and becomes its M, with its own stack as g0. When the goroutine
//! parks or ends, it is a host thread again. Meanwhile it has the control words
//! and the signal mask of every M, and cannot be cancelled; its own come back
//! afterwards. In a process with Python no host thread does so (`python`).

use super::{procs::acquirep, schedule, sigmask, threads};
use crate::{
    arch,
    base::sanitize,
    gmp::{DEBUG, G, P, SCHED, STOP, gflag},
    os::{
        self,
        raw::{NoCancel, defer_cancel},
    },
};
use core::{ptr, sync::atomic::Ordering::*};

/// Runs `target` on this host thread, which has a G, until `target` first
/// parks. It does so only if that is cheap: `target` has not started, is the
/// newest in the global queue, needs no thread of its own, and a P is idle,
/// besides one for what was queued before.
pub(crate) fn run_in_place(gp: &'static G, target: &'static G) {
    // Relaxed: hints, checked again under the lock.
    if !DEBUG.hostrun.load(Relaxed) || SCHED.npidle.load(Relaxed) == 0 {
        return;
    }
    let Some(pp) = take_both(target) else { return };
    let mp = gp.mp();
    let errno = os::errno::KeepErrno::new();
    // A pthread_cancel of this thread is not meant for the goroutine.
    defer_cancel();
    let cancel = NoCancel::new();
    let mask = sigmask::InPlace::enter();
    threads::give_sigstack(mp);
    mp.in_runtime.store(true, Relaxed);
    acquirep(mp, pp);
    mp.nextg.set(Some(target));
    arch::setg(mp.g0.get());
    sanitize::ignore();
    // SAFETY: g is this M's g0, whose base is here.
    unsafe { arch::g0call(in_place) };
    sanitize::heed();
    arch::setg(Some(gp));
    mp.curg.store(ptr::null_mut(), Relaxed);
    mp.in_runtime.store(false, Release);
    drop(mask);
    drop(cancel);
    drop(errno);
}

/// Takes `target` out of the global queue and an idle P off its list, both or
/// neither.
fn take_both(target: &'static G) -> Option<&'static P> {
    let mut sched = SCHED.lock();
    if STOP.is_wanted()
        || sched.pidle.is_none()
        // The goroutine queued before has woken an M, which takes a P when it
        // comes up: leave one for it.
        || sched.runq.len() > 1 && SCHED.npidle.load(Relaxed) < 2
        || !sched.globrunqtake_newest(target)
    {
        return None;
    }
    // Out of the queue, so its fields are ours to read.
    if target.has(gflag::LOCK_AT_START | gflag::STARTED | gflag::STEPS) {
        sched.globrunqput(target);
        return None;
    }
    sched.pidleget()
}

unsafe extern "C" fn in_place() {
    schedule::schedule()
}
