//! Idle Ms: put to sleep, and woken; and ended if they are not needed.
//!
//! A burst of goroutines that block in C makes a thread for each. Afterwards
//! these threads are idle, and cost memory: stacks, and what the C library
//! keeps for a thread. So an idle M ends after some minutes
//! (`GMPDEBUG=idlethread`), unless it is one of as many as there are Ps, which
//! stay for the next work.
//!
//! ```text
//!             stopm                     waker
//!   no list ---------> on the list ------------> off it, to be woken --> runs
//!                           | the deadline
//!                           '-----------------> off it: the thread ends
//! ```
//! The list is last in, first out: the Ms at its bottom are those that were
//! idle longest, and the number below an M changes only as those below end. An
//! M that finds at least GOMAXPROCS idle Ms when it comes to the list sleeps
//! with a deadline, and the others sleep without one. So each M that is not
//! needed wakes up once, to end, and no thread of an idle process wakes up more
//! often. Rejected: a look now and then, by sysmon or by the timekeeper, which
//! would wake a process that is idle.
//!
//! Invariants:
//! 1. An M sleeps on its own note only, in [`stopm`] or in
//!    `lockthread::stoplockedm`, without a P, and each sleep has one waker. The
//!    waker of an idle M has taken the M off the list; the waker of a locked M
//!    has taken the M's goroutine out of its queue. Either has set `nextp`
//!    before.
//! 2. `M::idle` is set while the M is on the list, and is cleared under
//!    `sched.lock`: by a waker, which wakes the M then, or by the M, which then
//!    ends and has no waker (`Note::sleep_listed`).
//! 3. m0 and Ms that a host thread lends do not end here: m0 is known by name.

use super::{deadlock, procs::acquire_nextp, threadend};
use crate::{
    gmp::{
        CLOSING, COUNTERS, DEBUG, M, MKind, P, SCHED, SchedLocked,
        closing::Stage, gomaxprocs, runtime_m0,
    },
    os::{LockGuard, clock::nanotime},
};
use core::{ptr, sync::atomic::Ordering::*};

const NS_PER_MS: i64 = 1_000_000;

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

/// Takes the M that is idle for the shortest time off the list.
pub(super) fn mget(sched: &mut SchedLocked) -> Option<&'static M> {
    let mp = sched.midle?;
    unlist(sched, mp);
    Some(mp)
}

/// Puts `mp` on top of the list.
fn mput(sched: &mut SchedLocked, mp: &'static M) {
    let next = sched.midle.replace(mp);
    if let Some(next) = next {
        next.idleprev.set(Some(mp));
    }
    mp.schedlink.set(next);
    mp.idleprev.set(None);
    mp.idle.set(true);
    sched.nmidle += 1;
}

/// Takes `mp` off the list.
fn unlist(sched: &mut SchedLocked, mp: &'static M) {
    let (prev, next) = (mp.idleprev.take(), mp.schedlink.take());
    if let Some(next) = next {
        next.idleprev.set(prev);
    }
    match prev {
        Some(prev) => prev.schedlink.set(next),
        None => sched.midle = next,
    }
    mp.idle.set(false);
    sched.nmidle -= 1;
}

/// Puts this M, which has no P and does not spin, to sleep until a waker has a
/// P for it, or wants it to look for work. An M that is not needed may end here
/// instead.
pub(crate) fn stopm(mp: &'static M) {
    mp.busy_without_p.store(false, Relaxed);
    let mut sched = SCHED.lock();
    if CLOSING.has_come(Stage::Leaving) {
        leave(mp, sched);
    }
    mput(&mut sched, mp);
    let spare = sched.nmidle > gomaxprocs() as i32;
    deadlock::checkdead(&mut sched);
    drop(sched);
    COUNTERS.sleeps.add(1);
    let deadline = if spare { end_of(mp) } else { i64::MAX };
    if !mp.park.sleep_listed(deadline, || withdraw(mp)) {
        threadend::leave(mp);
    }
    mp.park.clear();
    acquire_nextp(mp);
}

/// Until when `mp`, which is not needed, may be idle.
fn end_of(mp: &M) -> i64 {
    let ends = matches!(mp.kind.get(), MKind::Worker | MKind::Early)
        && !ptr::eq(mp, &runtime_m0);
    match DEBUG.idlethread.load(Relaxed) {
        ms if ends && ms != 0 => {
            nanotime().saturating_add(i64::from(ms) * NS_PER_MS)
        }
        _ => i64::MAX,
    }
}

/// The deadline of `mp` has come: takes the M off the list, and counts it as
/// gone. False if a waker has taken it off, or if threads are hard to get: a
/// process that was ever refused one keeps those that it has.
#[cold]
fn withdraw(mp: &'static M) -> bool {
    let mut sched = SCHED.lock();
    if !mp.idle.get() || sched.thread_warned {
        return false;
    }
    unlist(&mut sched, mp);
    threadend::count_end(&mut sched);
    true
}

/// Ends this M, and its thread, in the stage Leaving. On g0, without a P.
pub(super) fn leave(
    mp: &'static M,
    mut sched: LockGuard<'_, SchedLocked>,
) -> ! {
    threadend::count_end(&mut sched);
    drop(sched);
    threadend::leave(mp)
}

/// In the stage Leaving: wakes all idle Ms, which then end.
pub(super) fn wake_all() {
    while wake_idle_quietly() {}
}

fn wake_idle_quietly() -> bool {
    let Some(mp) = mget(&mut SCHED.lock()) else { return false };
    mp.spinning.set(false);
    mp.nextp.set(None);
    mp.park.wakeup();
    true
}
