//! A P taken, let go, retaken and stopped.
//!
//! | P | becomes | by |
//! |---|---|---|
//! | on the idle list | in hand | `pidleget`, `pidletake` |
//! | in hand | on the idle list | `pidleput` |
//! | in hand | held by an M | `acquirep` |
//! | held | in hand | `releasep`; `try_retake`, if the M is outside |
//! | in hand | Stopped | `stop_in_hand` |
//!
//! `gmp::owner` has the protocol between the holder of a P and a retaker.
//!
//! Invariant 1: a P in hand is Idle and on no list, and only the thread that
//! took it there touches its owner-only fields. A P on the idle list is in the
//! hands of the holder of `sched.lock`.

use crate::{
    base::{
        throw::throw,
        trace::{self, Event, Kind},
    },
    gmp::{M, P, SCHED, m_of_word, m_word},
    os::membarrier,
};
use core::sync::atomic::Ordering::*;

/// Gives this M a P that is in hand.
pub(crate) fn acquirep(mp: &'static M, pp: &'static P) {
    wirep(mp, pp);
    mp.busy_without_p.store(false, Relaxed);
    mp.suspend.got_p();
    note(Kind::TakeP, pp, 0);
}

/// Ties the two together.
#[inline]
fn wirep(mp: &'static M, pp: &'static P) {
    if mp.p.get().is_some() {
        throw("wirep: already has a P");
    }
    if !pp.owner.acquire(m_word(mp)) {
        throw("wirep: the P is not idle");
    }
    mp.set_p(Some(pp));
}

/// Takes the P that the waker of this M has set aside for it, if any.
pub(crate) fn acquire_nextp(mp: &'static M) {
    if let Some(pp) = mp.nextp.take() {
        acquirep(mp, pp);
    }
}

/// Lets go of the P that this M holds: the P is in hand then.
#[inline]
pub(crate) fn releasep(mp: &'static M) -> &'static P {
    let Some(pp) = mp.take_p() else {
        throw("releasep: no P");
    };
    note(Kind::DropP, pp, 0);
    pp.owner.release(m_word(mp));
    mp.oldp.set(Some(pp));
    pp
}

/// Tells the trace of P `pp`.
pub(super) fn note(kind: Kind, pp: &P, b: u64) {
    trace::event(move || Event::of(kind, 0).with(u64::from(pp.id), b));
}

/// The heavy side of the protocol of `gmp::owner` for one P: takes the P from
/// the M behind `m` if that M is outside.
pub(crate) fn try_retake(
    pp: &'static P,
    m: u64,
    take: impl Fn(&'static P, u64) -> bool,
) -> bool {
    let mp = m_of_word(m);
    // Relaxed: a hint. No look at work on the heap, which is over soon: the M
    // then gives way (`enter::give_way`).
    if mp.in_runtime.load(Relaxed) {
        return false;
    }
    // One retaker at a time: sysmon or the stopper (invariant 5 of `owner`).
    let _one = SCHED.retaking.lock();
    if !pp.owner.begin_retake(m) {
        return false;
    }
    membarrier::everywhere();
    if mp.is_inside() {
        pp.owner.cancel_retake(m);
        return false;
    }
    let taken = take(pp, m);
    if taken {
        trace::event(move || retaken(pp, mp));
    }
    taken
}

/// The event of `pp`, just taken from `mp`.
fn retaken(pp: &P, mp: &M) -> Event {
    // SAFETY: null, or a type-stable G.
    let gp = unsafe { mp.curg.load(Relaxed).as_ref() };
    let busy = mp.busy_without_p.load(Relaxed);
    // SAFETY: aligned and initialised; the goroutine is outside, or else the
    // event names the one that was.
    let goid = gp.map_or(0, |gp| unsafe { gp.goid.as_ptr().read_volatile() });
    let pp = u64::from(pp.id);
    Event::of(Kind::Retake, goid).with(pp, u64::from(busy))
}

/// Stops a P in hand.
pub(super) fn stop_in_hand(pp: &'static P) {
    if !pp.owner.stop() {
        throw("stop: the P is not idle");
    }
}
