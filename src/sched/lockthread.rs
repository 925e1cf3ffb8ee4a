//! LockOSThread: a goroutine and a thread that run nothing but each other.
//!
//! ```text
//!   locked goroutine        its M
//!     runs                    runs it
//!     parks                   gives its P away, sleeps (stoplockedm)
//!     is scheduled, by        is handed that M's P, wakes
//!       another M               (startlockedm)
//!     ends                    ends too (mexit); a host's thread is unlocked
//! ```
//! The M ends with its goroutine because the host may have changed the thread
//! for it.
//!
//! Invariants:
//! 1. `gp.lockedm` is the M if and only if the M's `lockedg` is `gp`. Only the
//!    M's own thread changes the two. (`migrate` marks goroutines that are not
//!    locked in `lockedm` too.)
//! 2. A locked M that sleeps is woken with a P, once for each time that its
//!    goroutine is scheduled: by `startlockedm`, or by `nothread`'s rescue.
//! 3. A locked goroutine's M makes no thread of its own (`threads`,
//!    invariant 1).

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
    gmp::{COUNTERS, G, HOST_WAITS, M, MKind, OwnedP, SCHED, gflag},
    os::{Errno, Result},
};
use core::sync::atomic::Ordering::*;

/// Locks the current goroutine to its thread; nests. Does nothing on a host
/// thread: its code never leaves it.
pub(crate) fn lock_os_thread() {
    let Some(gp) = on_goroutine() else { return };
    let mp = gp.mp();
    mp.lockedext.set(mp.lockedext.get() + 1);
    tie(gp, mp);
}

/// Undoes one [`lock_os_thread`].
///
/// Errors: `EPERM` without a lock.
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

/// Locks `gp`, which runs on `mp`, to it.
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

/// In the child of a fork: the M that goes on there is locked.
pub(super) fn count_again() {
    SCHED.nmlocked.fetch_add(1, Relaxed);
}

/// Counts locked Ms, which the limit of threads leaves out. But `runtime_main`
/// is locked only as it starts: an M too many would be made meanwhile, and
/// stay.
fn count_locked(gp: &G, mp: &M, change: i32) {
    // A nested lock changes nothing, and host threads do not count.
    let apart = gp.has(gflag::SYSTEM) || mp.kind.get() == MKind::Host;
    if gp.lockedm.get().is_none() && !apart {
        // Relaxed: a measure.
        SCHED.nmlocked.fetch_add(change, Relaxed);
    }
}

/// Sleeps until this M's locked goroutine is to run; returns it and a P for it.
#[inline(never)]
pub(crate) fn stoplockedm(mp: &'static M) -> (OwnedP, &'static G) {
    if owned_p(mp).is_some() {
        handoffp(releasep(mp));
    }
    loop {
        count_asleep(mp, 1);
        super::deadlock::check();
        COUNTERS.sleeps.add(1);
        super::suspended::safely(|| mp.park.sleep());
        mp.park.clear();
        acquire_nextp(mp);
        // Invariant 1: no other thread unlocks it.
        let locked = mp.lockedg.get();
        if let (Some(pp), Some(gp)) = (owned_p(mp), locked) {
            return (pp, gp);
        }
    }
}

/// Counts an M that sleeps for its goroutine, for the check of deadlocks.
fn count_asleep(mp: &M, change: i32) {
    if mp.kind.get() == MKind::Host {
        HOST_WAITS.add(change);
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
    COUNTERS.wakeups.add(1);
    locked.park.wakeup();
    stopm(mp);
}

/// Unlocks a goroutine that has ended. True: it was locked to a thread of ours,
/// and this M has to end with it.
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
