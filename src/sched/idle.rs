//! Idle Ms: put to sleep, and woken.
//!
//! Invariant 1: an M sleeps on its own note only, in [`stopm`] or in
//! `lockthread::stoplockedm`, without a P, and each sleep has one waker. The
//! waker of an idle M has taken the M off the list; the waker of a locked M has
//! taken the M's goroutine out of its queue. Either has set `nextp` before.

use super::{deadlock, procs::acquire_nextp};
use crate::gmp::{COUNTERS, M, P, SCHED, SchedLocked};
use core::sync::atomic::Ordering::*;

/// Wakes an idle M to run `pp`, or without one to look for work. False if no M
/// is idle.
pub(super) fn wake_idle(pp: Option<&'static P>) -> bool {
    let Some(mp) = mget(&mut SCHED.lock()) else { return false };
    mp.spinning.set(pp.is_none());
    mp.nextp.set(pp);
    COUNTERS.wakeups.add(1);
    mp.park.wakeup();
    true
}

pub(super) fn mget(sched: &mut SchedLocked) -> Option<&'static M> {
    let mp = sched.midle?;
    sched.midle = mp.schedlink.take();
    sched.nmidle -= 1;
    Some(mp)
}

/// Puts this M, which has no P and does not spin, to sleep until a waker has a
/// P for it, or wants it to look for work.
pub(crate) fn stopm(mp: &'static M) {
    mp.busy_without_p.store(false, Relaxed);
    let mut sched = SCHED.lock();
    mp.schedlink.set(sched.midle.replace(mp));
    sched.nmidle += 1;
    deadlock::checkdead(&mut sched);
    drop(sched);
    COUNTERS.sleeps.add(1);
    mp.park.sleep();
    mp.park.clear();
    acquire_nextp(mp);
}
