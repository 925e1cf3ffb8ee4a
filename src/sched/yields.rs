//! Yielding (Gosched): a goroutine that could go on lets others run first.
//!
//! Goroutines that wait on this P run before the yielder, which queues behind
//! them. A P with goroutines of its own looks at the global queue only after
//! many switches (`queue`). So a yield looks there too: the first goroutine
//! that waits there runs at the next yield or at the one after it, the second
//! one or two yields later, and so on.
//!
//! | this P's queue | global queue | a yield |
//! |---|---|---|
//! | empty | empty | goes on at once |
//! | any | empty | runs the next one here |
//! | empty | any | takes this P's share of the global queue |
//! | few or many | few | in turns: the next one here; the first one there |
//! | few | many | in turns: the next one here; the share |
//! | many | many | runs the next one here |
//!
//! In turns, because threads that fill the global queue all the time would
//! otherwise keep the goroutines here from running. Of few the others stay,
//! unless no more than eight wait here, because they would come behind these.
//! If both queues hold many, most are probably yielders that did not fit the
//! P's queue; a look at the global queue at each yield would cost them more
//! than the switch. Then a P that is late takes as many as there is room for,
//! and the yielder queues behind all once the global queue is longer than
//! [`LONG`].

use super::{
    current::{in_callback, this_m},
    depart::depart,
    enter::{Inside, owned_p},
    handoff::wakep,
    queue::{self, MANY, runqput},
    schedule::Departure,
    suspended,
};
use crate::{
    arch,
    gmp::{
        G, GStatus, HookResult, M, MKind, OwnedP, RUNQ, SCHED, STOP, wait::Turn,
    },
    netpoll,
};
use core::sync::atomic::Ordering::*;

/// A yielder queues behind a global queue longer than this.
const LONG: u32 = 4 * RUNQ as u32;

/// The departure of a yielder that queues on its P.
pub(super) const BEHIND_OURS: Departure =
    Departure { hook: yield_hook, arg: 0, to_g0: false };
/// The departure of a yielder that queues in the global queue.
const BEHIND_ALL: Departure =
    Departure { hook: behind_all, arg: 0, to_g0: true };

/// Lets others run (Gosched). A host thread yields to other threads; inside a
/// callback nothing happens.
pub(crate) fn gosched() {
    let Some(gp) = arch::getg() else {
        crate::os::thread::osyield();
        return;
    };
    if gp.is_host() {
        if !in_callback() {
            gp.reset_stackguard();
            suspended::newcomer();
            crate::os::thread::osyield();
        }
        return;
    }
    let mp = gp.mp();
    let inside = Inside::enter_on(mp);
    if inside.nested() {
        return;
    }
    let pp = owned_p(mp);
    // Relaxed: a hint.
    let waiting = SCHED.runqsize.load(Relaxed);
    if waiting != 0 {
        if pp.is_none_or(|pp| serves_global(pp, waiting)) {
            let mp = leave_for_all(gp, mp, pp);
            return inside.leave_on(mp);
        }
    } else if let Some(pp) = pp
        && pp.owner_sees_empty()
        && !yield_worth(pp)
    {
        pp.tick();
        gp.reset_stackguard();
        return inside.leave_on(mp);
    }
    let to = GStatus::Runnable;
    inside.leave_on(depart(gp, mp, pp, to, |_| BEHIND_OURS));
}

/// How a goroutine yields.
pub(super) enum Yield {
    /// Nothing waits, and it goes on at once.
    None,
    /// By [`BEHIND_OURS`].
    Ours,
    /// As [`give_way`] says.
    All,
}

/// How `gp`, a goroutine of steps that yields with that P, leaves; as in
/// [`gosched`].
#[inline(always)]
pub(super) fn kind_of(gp: &G, pp: Option<OwnedP>) -> Yield {
    // Relaxed: a hint.
    let waiting = SCHED.runqsize.load(Relaxed);
    if waiting != 0 {
        if pp.is_none_or(|pp| serves_global(pp, waiting)) {
            return Yield::All;
        }
    } else if let Some(pp) = pp
        && pp.owner_sees_empty()
        && !yield_worth(pp)
    {
        pp.tick();
        gp.reset_stackguard();
        return Yield::None;
    }
    Yield::Ours
}

/// Whether a yield looks at the global queue, which holds `waiting` goroutines.
#[inline(always)]
fn serves_global(pp: OwnedP, waiting: u32) -> bool {
    waiting <= MANY || pp.ring_len() <= MANY
}

/// A yield that looks at the global queue.
#[cold]
fn leave_for_all(
    gp: &'static G,
    mp: &'static M,
    pp: Option<OwnedP>,
) -> &'static M {
    depart(gp, mp, pp, GStatus::Runnable, |mp| give_way(mp, pp))
}

/// Whether a yield with empty queues may still find something to run.
fn yield_worth(pp: OwnedP) -> bool {
    // Relaxed: hints; the scheduler looks again.
    STOP.is_wanted()
        || pp.timer_due.load(Relaxed)
        || (pp.is_late()
            && (!pp.timers.next_when().is_never() || netpoll::waited_for()))
}

/// Chooses the goroutine to run next, and the departure of the yielder.
pub(super) fn give_way(mp: &M, pp: Option<OwnedP>) -> Departure {
    let Some(pp) = pp else { return BEHIND_ALL };
    let turn = pp.owner_sees_empty() || !pp.global_turn.get();
    pp.global_turn.set(turn);
    if mp.kind.get() != MKind::Worker || mp.lockedg.get().is_some() {
        // An M for one goroutine only hands its P on; the next M looks. A P
        // with no other goroutine takes its share first, which the yielder
        // comes behind.
        pp.global_first.set(turn);
        return if pp.owner_sees_empty() { BEHIND_ALL } else { BEHIND_OURS };
    }
    let next = if turn { queue::look_global(pp) } else { None };
    let Some(next) = next else { return BEHIND_OURS };
    // g0 runs it, after the yielder is queued.
    mp.nextg.set(Some(next));
    Departure { to_g0: true, ..BEHIND_OURS }
}

/// The hook that queues a yielder on its P.
fn yield_hook(gp: &'static G, arg: usize) -> HookResult {
    match owned_p(this_m()) {
        Some(pp) => queue_behind(gp, pp),
        None => behind_all(gp, arg),
    }
}

/// [`yield_hook`] with the P.
#[inline(always)]
pub(super) fn queue_behind(gp: &'static G, pp: OwnedP) -> HookResult {
    // Relaxed: a hint. Beyond LONG the yielder would pass the global queue
    // each time.
    if SCHED.runqsize.load(Relaxed) > LONG {
        return behind_all(gp, 0);
    }
    runqput(pp, gp, Turn::Last);
    HookResult::Left
}

/// The hook that queues a yielder behind the global queue.
#[cold]
fn behind_all(gp: &'static G, _arg: usize) -> HookResult {
    SCHED.lock().globrunqput(gp);
    // This M may sleep next, without a look at the queue.
    wakep();
    HookResult::Left
}

/// Lets others run if sysmon has requested it, or a collection that sends no
/// signal; for long loops.
#[inline]
pub(crate) fn checkpoint() {
    if arch::getg().is_some_and(G::yield_requested) {
        gosched();
    }
}
