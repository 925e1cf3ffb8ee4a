//! Run queues: a P's own with its `runnext`, and the global one.
//!
//! ```text
//!   runqput(next) --> runnext --what was there--> runq --full--> global queue
//!                        |                          |                 |
//!                        +------> runqget <---------+  look_global <--+
//! ```
//! `runnext` goes before the ring, but for at most [`TICK`] times in a row
//! while others wait there. A P takes its share of the global queue every
//! [`TICK`]th switch, and whenever its own queue is empty.

use crate::gmp::{G, OwnedP, P, RUNQ, SCHED, SchedLocked, allp, gomaxprocs};
use core::{ptr, sync::atomic::Ordering::*};

/// Every so often the scheduler looks at the global queue and the timers.
pub(crate) const TICK: u32 = 61;

/// Queues a runnable goroutine on this P; `next` puts it before the others,
/// and what was there behind them.
pub(crate) fn runqput(pp: OwnedP, gp: &'static G, next: bool) {
    let mut item = ptr::from_ref(gp).cast_mut();
    if next {
        // Relaxed: only the owner puts somebody there; a thief takes whom it
        // saw.
        let before = pp.runnext.load(Relaxed);
        if before.is_null() || alone() {
            // Release: publishes the goroutine to a thief.
            pp.runnext.store(item, Release);
            item = before;
        } else {
            // AcqRel: a thief takes it by the same word; Release publishes
            // the goroutine, Acquire the one that comes back.
            item = pp.runnext.swap(item, AcqRel);
        }
        if item.is_null() {
            return;
        }
    }
    // SAFETY: OwnedP holds the P.
    while !unsafe { pp.runq.push(item) } {
        if runqputslow(pp, item) {
            return;
        }
        // A thief took some while we looked, so there is room now.
    }
}

/// A full queue: its older half goes to the global one, `item` behind it.
#[cold]
fn runqputslow(pp: OwnedP, item: *mut G) -> bool {
    let mut sched = SCHED.lock();
    let mut put = |gp: *mut G| {
        // SAFETY: queues hold type-stable Gs.
        sched.globrunqput(unsafe { &*gp });
    };
    // SAFETY: OwnedP holds the P.
    let spilled = unsafe { pp.runq.spill(&mut put) };
    if spilled {
        put(item);
    }
    spilled
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

/// Whether a goroutine waits in any queue.
pub(super) fn work_queued() -> bool {
    SCHED.runqsize.load(Acquire) != 0
        || (0..gomaxprocs()).any(|id| !allp(id).runqempty())
}

/// Whether work waits that this P or an idle one could do; hints.
pub(crate) fn work_waits(pp: &P, now: i64) -> bool {
    !pp.runqempty()
        || SCHED.runqsize.load(Relaxed) != 0
        || pp.timers.next_when() <= now
}

/// Takes this P's share of the global queue; the first is the result.
pub(super) fn look_global(pp: OwnedP) -> Option<&'static G> {
    // Acquire: pairs with globrunqput.
    if SCHED.runqsize.load(Acquire) == 0 {
        return None;
    }
    globrunqget(&mut SCHED.lock(), pp)
}

/// Takes this P's share, but no more than half of what its queue has room for;
/// the first is the result.
pub(super) fn globrunqget(
    sched: &mut SchedLocked,
    pp: OwnedP,
) -> Option<&'static G> {
    let size = sched.runq.len();
    let share = size / gomaxprocs() as u32 + 1;
    let room = RUNQ as u32 - pp.runq.owner_len();
    let n = share.min(size).min(room / 2);
    let first = sched.globrunqpop()?;
    for _ in 1..n {
        let Some(gp) = sched.globrunqpop() else { break };
        // SAFETY: OwnedP holds the P.
        if !unsafe { pp.runq.push(ptr::from_ref(gp).cast_mut()) } {
            sched.globrunqputhead(gp);
            break;
        }
    }
    Some(first)
}

/// Queues a new goroutine: to run next, or behind the others where somebody
/// is next already. So several that start together run in the order in which
/// they were started, and the usual one costs no read-modify-write.
#[inline(always)]
pub(super) fn queue_new(pp: OwnedP, gp: &'static G) {
    // Relaxed: only the owner puts somebody there; a thief takes whom it saw.
    if pp.runnext.load(Relaxed).is_null() {
        // Release: publishes the goroutine to a thief.
        pp.runnext.store(ptr::from_ref(gp).cast_mut(), Release);
    } else {
        runqput(pp, gp, false);
    }
}
