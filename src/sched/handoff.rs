//! Handoff: which M gets a P that another thread lets go of, and which M is
//! woken for new work.
//!
//! ```text
//!   handoffp --work in the global queue--> startm --> an idle M, or a new one
//!      |                                     ^          (none: `nothread`)
//!      +--> put_down --work on this P--------+
//!              |
//!              +--the world is to stop--> Stopped
//!              +--otherwise--> the idle list; wakep if work waits elsewhere
//! ```
//! [`wakep`] wakes an M only if a P is idle and no M spins (`gmp::spinning`).

use super::{
    current::{on_goroutine, this_m},
    enter::{Inside, owned_p},
    idle::wake_idle,
    keeper::{deadline_moved, unkept},
    nothread,
    procs::{acquirep, note, releasep, stop_in_hand},
    queue::{alone, work_queued},
    threads::newm,
};
use crate::{
    base::trace::Kind,
    gmp::{
        CLOSING, M, MAIN_STARTED, MKind, OwnedP, P, SCHED, STOP, allp,
        closing::Stage, gomaxprocs,
    },
    stack,
};
use core::sync::atomic::Ordering::*;

/// Gives a P in hand to an M if there is work for it, on the P or in the global
/// queue. Otherwise puts the P on the idle list.
///
/// For the global queue [`put_down`] would wake an M without a P. The M that
/// let go of the P may take it back (`regain_p`) before the woken M is up, and
/// may do so again and again: then the work never runs. So the P comes with the
/// wake-up.
pub(crate) fn handoffp(pp: &'static P) {
    // SAFETY: in hand, as the caller says.
    unsafe { OwnedP::new(pp) }.count_handoff();
    note(Kind::Handoff, pp, 0);
    // Acquire: pairs with globrunqput.
    if SCHED.runqsize.load(Acquire) != 0 {
        startm(Some(pp));
    } else {
        put_down(pp);
    }
}

/// Puts a P in hand on the idle list, and wakes an M for work that waits
/// elsewhere. A P with work on it goes to an M instead, and a P that the
/// stopper of the world waits for is stopped.
pub(crate) fn put_down(pp: &'static P) {
    if !pp.runqempty() {
        startm(Some(pp));
        return;
    }
    let mut sched = SCHED.lock();
    if STOP.is_wanted() {
        stop_in_hand(pp);
        STOP.arrive();
        return;
    }
    let first = sched.pidle.is_none();
    sched.pidleput(pp);
    drop(sched);
    // Other queues may hold work. If no P was idle before, there may be no
    // timekeeper.
    if SCHED.nmspinning.put_down() && (work_queued() || first && unkept()) {
        wakep();
    }
    let when = pp.timers.next_when();
    if !when.is_never() {
        deadline_moved(when);
        // Without a timekeeper sysmon looks after this P's timers.
        SCHED.lock().wake_sysmon();
    }
}

/// Wakes an M for new work, if a P is idle and no M spins.
#[inline]
pub(crate) fn wakep() {
    if SCHED.nmspinning.wanted(npidle) {
        wakep_slow();
    }
}

/// [`wakep`] for work that the caller has just put on its own P. If that is
/// only the goroutine in `runnext`, a wake-up may not be worth its price
/// (`P::waking`).
#[inline(always)]
pub(crate) fn wakep_for(pp: OwnedP) {
    if alone() {
        return;
    }
    let partner = pp.ring_is_empty();
    if partner && pp.waking.suppressed() {
        return;
    }
    if !SCHED.nmspinning.wanted(npidle) {
        return;
    }
    if partner {
        pp.waking.woke();
    }
    wakep_slow();
}

/// The number of idle Ps; a hint (`gmp::spinning`).
#[inline(always)]
fn npidle() -> i32 {
    SCHED.npidle.load(Relaxed)
}

#[cold]
fn wakep_slow() {
    // Acquire: pairs with runtime_main, which sets the flag once Ms may start.
    if !MAIN_STARTED.load(Acquire) {
        return;
    }
    if SCHED.nmspinning.start_if_none() {
        startm(None);
    }
}

/// Hands off the P of this M, whose goroutine goes where it needs no P.
pub(crate) fn give_up_p(mp: &'static M) {
    if owned_p(mp).is_some() {
        handoffp(releasep(mp));
    }
}

/// Takes back the P that this M had last, if that P is idle.
pub(crate) fn regain_p(mp: &'static M) {
    // Relaxed: a hint.
    if owned_p(mp).is_some() || SCHED.npidle.load(Relaxed) == 0 {
        return;
    }
    let Some(pp) = mp.oldp.get() else { return };
    let mut sched = SCHED.lock();
    if !STOP.is_wanted() && sched.pidletake(pp) {
        drop(sched);
        acquirep(mp, pp);
    }
}

/// Takes the dead Gs and the stacks from idle Ps. Returns the number of Ps.
pub(crate) fn flush_idle() -> usize {
    let mut flushed = 0;
    for id in 0..gomaxprocs() {
        let pp = allp(id);
        let mut sched = SCHED.lock();
        if !sched.pidletake(pp) {
            continue;
        }
        // SAFETY: taken off the idle list, so in hand (invariant 1 of `procs`).
        let own = unsafe { OwnedP::new(pp) };
        while let Some(gp) = own.gfree().pop_front() {
            sched.gfree.push_front(gp);
        }
        stack::flush(&pp.stacks);
        sched.pidleput(pp);
        drop(sched);
        // A maker of work found one idle P less meanwhile, and may have woken
        // no M.
        if SCHED.nmspinning.put_down() && work_queued() {
            wakep();
        }
        flushed += 1;
    }
    flushed
}

/// Hands off the P of the caller's goroutine at once, without sysmon: the
/// goroutine is about to block in foreign code.
pub(crate) fn entersyscall() {
    let inside = Inside::enter();
    if !inside.nested() && on_goroutine().is_some() {
        give_up_p(this_m());
    }
}

/// Ends what [`entersyscall`] began: the goroutine takes its old P again if
/// that is idle, and otherwise goes on without a P. Never blocks, never changes
/// the thread.
pub(crate) fn exitsyscall() {
    let inside = Inside::enter();
    if !inside.nested() && on_goroutine().is_some() {
        regain_p(this_m());
    }
}

/// Makes an M run `pp`, which is in hand. Without a `pp` the M looks for work:
/// it counts as spinning already, and takes an idle P when it is up, if there
/// still is one and work. Until then a host thread may take that P, and run the
/// goroutine that it joins.
///
/// If no thread can be made, the P goes to the idle list (`nothread`).
pub(crate) fn startm(pp: Option<&'static P>) {
    if wake_idle(pp) {
        return;
    }
    if CLOSING.has_come(Stage::Leaving) {
        // There is nothing to run.
        match pp {
            Some(pp) => nothread::put_away(pp),
            None => SCHED.nmspinning.stop(),
        }
        return;
    }
    if let Err(e) = newm(MKind::Worker, None, pp) {
        nothread::refused(pp, e);
    }
}
