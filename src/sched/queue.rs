//! Run queues: a P's own ring with its `runnext`, and the global queue.
//!
//! ```text
//!   runqput(Next) --> runnext --what was there--> runq --full--> global queue
//!                        |                          |                 |
//!                        +------> runqget <---------+  look_global <--+
//! ```
//! `runnext` goes before the ring, but for at most [`TICK`] times in a row
//! while others wait there. A P takes its share of the global queue after
//! [`TICK`] switches, and whenever its own queue is empty. If few wait there,
//! and more here than [`SOON`], it takes one only, and looks again after so
//! many switches: the others would come behind all that wait here.
//!
//! Invariants:
//! 1. Only the holder of a P ([`OwnedP`]) puts goroutines into its queue; a
//!    thief takes from the ring, and takes only the `runnext` that it has seen.
//! 2. Queues hold type-stable Gs, so what a thief reads is always a G.
//! 3. With one P ([`alone`]) there is no thief, and plain stores do. The number
//!    of Ps changes only while the world is stopped.

use crate::gmp::{
    G, OwnedP, P, RUNQ, SCHED, SchedLocked, allp, gomaxprocs, wait::Turn,
};
use core::sync::atomic::Ordering::*;

/// After so many switches a P looks at the global queue and at descriptors.
pub(crate) const TICK: u32 = 61;
/// A queue with more goroutines than this holds many.
pub(super) const MANY: u32 = 16;
/// After so many it looks again if it has taken one of few only. Each look
/// costs a lock and the detour by g0, so less often than yields look.
const SOON: u32 = 8;

/// Queues a runnable goroutine on this P. If its turn is next, the former
/// `runnext` goes to the end of the ring.
pub(crate) fn runqput(pp: OwnedP, gp: &'static G, turn: Turn) {
    let gp = match turn {
        Turn::Last => gp,
        Turn::Next => match pp.put_next(gp, alone()) {
            Some(before) => before,
            None => return,
        },
    };
    while !pp.push(gp) {
        if runqputslow(pp, gp) {
            return;
        }
        // A thief has taken some meanwhile, so there is room now.
    }
}

/// Moves the older half of a full ring to the global queue, with `gp` behind
/// it. False: the ring is not full any more.
#[cold]
fn runqputslow(pp: OwnedP, gp: &'static G) -> bool {
    let mut sched = SCHED.lock();
    let spilled = pp.spill(|gp| sched.globrunqput(gp));
    if spilled {
        sched.globrunqput(gp);
    }
    spilled
}

/// Takes the next goroutine of this P: `runnext`, or the oldest of the ring if
/// `runnext` came first too often in a row.
#[inline(always)]
pub(crate) fn runqget(pp: OwnedP) -> Option<&'static G> {
    let alone = alone();
    let next = pp.next();
    if let Some(next) = next
        && pp.streak.get() < TICK
        && let Some(gp) = pp.take_next(next, alone)
    {
        pp.streak.set(pp.streak.get() + 1);
        return Some(gp);
    }
    pp.streak.set(0);
    pp.pop(alone).or_else(|| pp.take_next(next?, alone))
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
        || pp.timers.next_when().has_passed(now)
}

/// Takes this P's share of the global queue, or one of few (module); returns
/// the first goroutine.
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
    let room = RUNQ as u32 - pp.ring_len();
    let n = if size <= MANY && pp.ring_len() > SOON {
        if size > 1 {
            pp.late_within(SOON);
        }
        1
    } else {
        share.min(size).min(room / 2)
    };
    let first = sched.globrunqpop()?;
    for _ in 1..n {
        let Some(gp) = sched.globrunqpop() else { break };
        if !pp.push(gp) {
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
    if !pp.put_next_if_none(gp) {
        runqput(pp, gp, Turn::Last);
    }
}
