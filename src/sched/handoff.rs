//! Where a P goes that is let go, and which M is woken for new work.
//!
//! ```text
//!   handoffp --work in the global queue--> startm --> an idle M, or a new one
//!      |                                     ^          (none: `nothread`)
//!      +--> put_down --work on this P--------+
//!              |
//!              +--> the idle list; wakep if work waits elsewhere
//! ```
//! [`wakep`] wakes an M only where a P is idle and no M looks for work already
//! (`gmp::spinning`).

use super::{
    current::{on_goroutine, this_m},
    enter::{Inside, owned_p},
    idle::wake_idle,
    keeper::{deadline_moved, unkept},
    nothread,
    procs::{acquirep, releasep, stop_in_hand},
    queue::{alone, work_queued},
    threads::newm,
};
use crate::{
    gmp::{M, MAIN_STARTED, MKind, OwnedP, P, SCHED, STOP, allp, gomaxprocs},
    stack,
};
use core::sync::atomic::Ordering::*;

/// Finds an M for a P in the caller's hands, if there is work for it; else the
/// P goes to the idle list. For a caller that may want the P back soon: an M
/// that is woken without the P might come too late again and again.
pub(crate) fn handoffp(pp: &'static P) {
    // Acquire: pairs with globrunqput.
    if SCHED.runqsize.load(Acquire) != 0 {
        startm(Some(pp));
    } else {
        put_down(pp);
    }
}

/// Puts a P in the caller's hands on the idle list, unless there is work on it,
/// and wakes an M for work that waits elsewhere.
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
    // Others may have some, and where all were busy, timers.
    if SCHED.nmspinning.put_down() && (work_queued() || first && unkept()) {
        wakep();
    }
    let when = pp.timers.next_when();
    if !when.is_never() {
        deadline_moved(when);
        // Perhaps no M keeps the time.
        SCHED.lock().wake_sysmon();
    }
}

/// Wakes an M for new work, if a P is idle and no M looks for work already.
#[inline]
pub(crate) fn wakep() {
    if SCHED.nmspinning.wanted(npidle) {
        wakep_slow();
    }
}

/// [`wakep`] for work that the caller has just put on its own P. Where that is
/// only what runs next there, a wake-up may not be worth its price.
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

/// A hint (`gmp::spinning`).
#[inline(always)]
fn npidle() -> i32 {
    SCHED.npidle.load(Relaxed)
}

#[cold]
fn wakep_slow() {
    // Acquire: pairs with runtime_main, which sets it once Ms may start.
    if !MAIN_STARTED.load(Acquire) {
        return;
    }
    if SCHED.nmspinning.start_if_none() {
        startm(None);
    }
}

/// The goroutine of this M goes where it needs no P.
pub(crate) fn give_up_p(mp: &'static M) {
    if owned_p(mp).is_some() {
        handoffp(releasep(mp));
    }
}

/// Takes the P back that this M had last, if it is idle.
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

/// Ps that hold dead Gs and stacks although they are idle give them back.
pub(crate) fn flush_idle() -> usize {
    let mut flushed = 0;
    for id in 0..gomaxprocs() {
        let pp = allp(id);
        let mut sched = SCHED.lock();
        if !sched.pidletake(pp) {
            continue;
        }
        // SAFETY: off the idle list and Idle: in our hands, nobody else's.
        let own = unsafe { OwnedP::new(pp) };
        while let Some(gp) = own.gfree().pop_front() {
            sched.gfree.push_front(gp);
        }
        stack::flush(&pp.stacks);
        sched.pidleput(pp);
        drop(sched);
        // A maker of work has meanwhile found one idle P less.
        if SCHED.nmspinning.put_down() && work_queued() {
            wakep();
        }
        flushed += 1;
    }
    flushed
}

/// A goroutine is about to block in a call that is not ours: lets go of its P
/// at once, for an M that finds work for the P.
pub(crate) fn entersyscall() {
    let inside = Inside::enter();
    if !inside.nested() && on_goroutine().is_some() {
        give_up_p(this_m());
    }
}

/// It is back from such a call: takes its old P again if that is still idle,
/// and goes on without one if not. Never blocks, never changes the thread.
pub(crate) fn exitsyscall() {
    let inside = Inside::enter();
    if !inside.nested() && on_goroutine().is_some() {
        regain_p(this_m());
    }
}

/// Has some M run `pp`, which is in the caller's hands; or, without one, look
/// for work: it counts as spinning already, and takes an idle P when it comes
/// up, if there still is work and a P. Until then a host thread may take that
/// P and run what it joins itself.
///
/// Where no thread is to be had, the P goes to the idle list (`nothread`).
pub(crate) fn startm(pp: Option<&'static P>) {
    if wake_idle(pp) {
        return;
    }
    if let Err(e) = newm(MKind::Worker, None, pp) {
        nothread::refused(pp, e);
    }
}
