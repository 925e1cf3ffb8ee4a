//! Run queues: a P's own ring with its `runnext`, and the global queue.
//!
//! ```text
//!   runqput(next) --> runnext --what was there--> runq --full--> global queue
//!                        |                          |                 |
//!                        +------> runqget <---------+  look_global <--+
//! ```
//! `runnext` goes before the ring, but for at most [`TICK`] times in a row
//! while others wait there. A P takes its share of the global queue every
//! [`TICK`]th switch, and whenever its own queue is empty.
//!
//! Invariants:
//! 1. Only the holder of a P ([`OwnedP`]) puts goroutines into its queue; a
//!    thief takes from the ring, and takes only the `runnext` that it has seen.
//! 2. Queues hold type-stable Gs, so what a thief reads is always a G.
//! 3. With one P ([`alone`]) there is no thief, and plain stores do. The number
//!    of Ps changes only while the world is stopped.

use crate::gmp::{G, OwnedP, P, RUNQ, SCHED, SchedLocked, allp, gomaxprocs};
use core::{ptr, sync::atomic::Ordering::*};

/// Every so many switches a P looks at the global queue and at descriptors.
pub(crate) const TICK: u32 = 61;

/// Queues a runnable goroutine on this P. `next`: before all others; the former
/// `runnext` goes to the end of the ring.
pub(crate) fn runqput(pp: OwnedP, gp: &'static G, next: bool) {
    let mut item = ptr::from_ref(gp).cast_mut();
    if next {
        // Relaxed: only the owner puts a goroutine there (invariant 1).
        let before = pp.runnext.load(Relaxed);
        if before.is_null() || alone() {
            // Release: publishes the goroutine to a thief.
            pp.runnext.store(item, Release);
            item = before;
        } else {
            // AcqRel, as a thief changes the same word: Release publishes the
            // new goroutine, Acquire covers the old one, which comes back.
            item = pp.runnext.swap(item, AcqRel);
        }
        if item.is_null() {
            return;
        }
    }
    // SAFETY: OwnedP holds the P (invariant 1).
    while !unsafe { pp.runq.push(item) } {
        if runqputslow(pp, item) {
            return;
        }
        // A thief has taken some meanwhile, so there is room now.
    }
}

/// Moves the older half of a full ring to the global queue, with `item` behind
/// it. False: the ring is not full any more.
#[cold]
fn runqputslow(pp: OwnedP, item: *mut G) -> bool {
    let mut sched = SCHED.lock();
    let mut put = |gp: *mut G| {
        // SAFETY: not null, so a type-stable G (invariant 2).
        sched.globrunqput(unsafe { &*gp });
    };
    // SAFETY: OwnedP holds the P (invariant 1).
    let spilled = unsafe { pp.runq.spill(&mut put) };
    if spilled {
        put(item);
    }
    spilled
}

/// Takes the next goroutine of this P: `runnext`, or the oldest of the ring if
/// `runnext` came first too often in a row.
#[inline(always)]
pub(crate) fn runqget(pp: OwnedP) -> Option<&'static G> {
    let alone = alone();
    // Relaxed: only the owner puts a goroutine there (invariant 1).
    let next = pp.runnext.load(Relaxed);
    if !next.is_null() && pp.streak.get() < TICK {
        let taken = take_runnext(pp, next, alone);
        if !taken.is_null() {
            pp.streak.set(pp.streak.get() + 1);
            // SAFETY: not null, so a type-stable G (invariant 2).
            return Some(unsafe { &*taken });
        }
    }
    pp.streak.set(0);
    let oldest = match alone {
        // SAFETY: OwnedP holds the P, and it is the only one (invariant 3).
        true => unsafe { pp.runq.pop_alone() },
        // SAFETY: OwnedP holds the P (invariant 1).
        false => unsafe { pp.runq.pop() },
    };
    if let Some(gp) = oldest {
        // SAFETY: not null, so a type-stable G (invariant 2).
        return Some(unsafe { &*gp });
    }
    if next.is_null() {
        return None;
    }
    let taken = take_runnext(pp, next, alone);
    // SAFETY: null, or a type-stable G (invariant 2).
    unsafe { taken.as_ref() }
}

/// Takes `next` out of `runnext`; null if a thief was faster.
#[inline(always)]
fn take_runnext(pp: OwnedP, next: *mut G, alone: bool) -> *mut G {
    if alone {
        pp.runnext.store(ptr::null_mut(), Relaxed);
        return next;
    }
    // AcqRel: as in runqput.
    pp.runnext.swap(ptr::null_mut(), AcqRel)
}

/// Whether there is only one P (invariant 3).
#[inline(always)]
pub(crate) fn alone() -> bool {
    gomaxprocs() == 1
}

/// Whether any queue holds a goroutine.
pub(super) fn work_queued() -> bool {
    SCHED.runqsize.load(Acquire) != 0
        || (0..gomaxprocs()).any(|id| !allp(id).runqempty())
}

/// Whether work waits that `pp` or an idle P could do; a hint.
pub(crate) fn work_waits(pp: &P, now: i64) -> bool {
    !pp.runqempty()
        || SCHED.runqsize.load(Relaxed) != 0
        || pp.timers.next_when() <= now
}

/// Takes this P's share of the global queue; returns the first goroutine.
pub(super) fn look_global(pp: OwnedP) -> Option<&'static G> {
    // Acquire: pairs with globrunqput.
    if SCHED.runqsize.load(Acquire) == 0 {
        return None;
    }
    globrunqget(&mut SCHED.lock(), pp)
}

/// [`look_global`] under the lock. At most half of the room in the P's ring is
/// filled.
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
        // SAFETY: OwnedP holds the P (invariant 1).
        if !unsafe { pp.runq.push(ptr::from_ref(gp).cast_mut()) } {
            sched.globrunqputhead(gp);
            break;
        }
    }
    Some(first)
}

/// Queues a new goroutine: as `runnext` if there is none, else behind the
/// others. So goroutines run in the order of their start, and the usual start
/// costs no read-modify-write.
#[inline(always)]
pub(super) fn queue_new(pp: OwnedP, gp: &'static G) {
    // Relaxed: only the owner puts a goroutine there (invariant 1).
    if pp.runnext.load(Relaxed).is_null() {
        // Release: publishes the goroutine to a thief.
        pp.runnext.store(ptr::from_ref(gp).cast_mut(), Release);
    } else {
        runqput(pp, gp, false);
    }
}
