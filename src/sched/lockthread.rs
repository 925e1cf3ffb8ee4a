//! LockOSThread: a goroutine and a thread that run nothing but each other.
//!
//! A locked goroutine that parks leaves its M asleep (`stoplockedm`); whoever
//! schedules it hands its P over to that M (`startlockedm`). If it ends
//! locked, the thread ends too: the host may have changed it.

use super::{
    current::{on_goroutine, this_m},
    enter::owned_p,
    handoff::handoffp,
    idle::stopm,
    procs::{acquire_nextp, releasep},
    sigmask,
};
use crate::{
    base::throw::throw,
    gmp::{G, M, MKind, OwnedP, SCHED},
    os::{Errno, Result},
};
use core::sync::atomic::Ordering::*;

/// Locks the current goroutine to its thread; nests. On a host thread it does
/// nothing: that is locked by nature.
pub(crate) fn lock_os_thread() {
    let Some(gp) = on_goroutine() else { return };
    let mp = gp.mp();
    mp.lockedext.set(mp.lockedext.get() + 1);
    tie(gp, mp);
}

/// Undoes one [`lock_os_thread`].
///
/// Errors: `EPERM` without one.
pub(crate) fn unlock_os_thread() -> Result<()> {
    let Some(gp) = on_goroutine() else { return Ok(()) };
    let mp = gp.mp();
    let depth = mp.lockedext.get();
    if depth == 0 {
        return Err(Errno(libc::EPERM));
    }
    mp.lockedext.set(depth - 1);
    if depth == 1 {
        untie(gp, mp);
    }
    Ok(())
}

pub(super) fn tie(gp: &'static G, mp: &'static M) {
    count_locked(gp, mp, 1);
    gp.lockedm.set(Some(mp));
    mp.lockedg.set(Some(gp));
}

pub(super) fn untie(gp: &'static G, mp: &'static M) {
    gp.lockedm.set(None);
    mp.lockedg.set(None);
    count_locked(gp, mp, -1);
}

/// Counts Ms that run one goroutine only, for the limit of threads.
fn count_locked(gp: &G, mp: &M, change: i32) {
    // A lock that nests changes nothing, and host threads do not count.
    if gp.lockedm.get().is_none() && mp.kind.get() != MKind::Host {
        // Relaxed: a measure.
        SCHED.nmlocked.fetch_add(change, Relaxed);
    }
}

/// Sleeps until this M's locked goroutine is to run; returns it and its P.
pub(crate) fn stoplockedm(mp: &'static M) -> (OwnedP, &'static G) {
    if owned_p(mp).is_some() {
        handoffp(releasep(mp));
    }
    loop {
        count_asleep(mp, 1);
        super::deadlock::check();
        mp.park.sleep();
        mp.park.clear();
        acquire_nextp(mp);
        // Set while locked, which only its own thread undoes.
        let locked = mp.lockedg.get();
        if let (Some(pp), Some(gp)) = (owned_p(mp), locked) {
            return (pp, gp);
        }
    }
}

/// Counts an M that waits for its goroutine: ours, or a host's thread.
fn count_asleep(mp: &M, change: i32) {
    if mp.kind.get() == MKind::Host {
        SCHED.nhostwait.fetch_add(change, SeqCst);
    } else {
        SCHED.lock().nmidlelocked += change;
    }
}

/// Hands this M's P to the M that `gp` is locked to, and sleeps.
pub(crate) fn startlockedm(mp: &'static M, gp: &'static G) {
    let Some(locked) = gp.lockedm.get() else {
        throw("startlockedm: not locked");
    };
    count_asleep(locked, -1);
    let pp = releasep(mp);
    locked.nextp.set(Some(pp));
    locked.park.wakeup();
    stopm(mp);
}

/// A goroutine has ended. True: it was locked, and this M ends with it. It
/// makes no thread until then (`must_ask`), as the host may have changed it. A
/// host's thread is only unlocked.
pub(crate) fn ended(gp: &'static G) -> bool {
    if gp.lockedm.get().is_none() {
        return false;
    }
    let mp = this_m();
    untie(gp, mp);
    mp.lockedext.set(0);
    if mp.kind.get() != MKind::Host {
        return true;
    }
    sigmask::put_back();
    false
}
