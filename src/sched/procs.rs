//! P: taken, let go, handed off; the world stopped; their number changed.

use crate::{
    base::throw::throw,
    gmp::{M, P, SCHED, m_of_word, m_word},
    os::membarrier,
};
use core::sync::atomic::Ordering::*;

/// Takes an idle P that is in the caller's hands.
pub(crate) fn acquirep(mp: &'static M, pp: &'static P) {
    if mp.p.get().is_some() {
        throw("acquirep: already has a P");
    }
    if !pp.owner.acquire(m_word(mp)) {
        throw("acquirep: the P is not idle");
    }
    mp.p.set(Some(pp));
    mp.busy_without_p.store(false, Relaxed);
}

/// Takes the P that the waker of this M has set aside for it, if any.
pub(crate) fn acquire_nextp(mp: &'static M) {
    if let Some(pp) = mp.nextp.take() {
        acquirep(mp, pp);
    }
}

/// Lets go of the P that this M holds: Idle, in the caller's hands.
#[inline]
pub(crate) fn releasep(mp: &'static M) -> &'static P {
    let Some(pp) = mp.p.take() else {
        throw("releasep: no P");
    };
    pp.owner.release(m_word(mp));
    mp.oldp.set(Some(pp));
    pp
}

/// The heavy side of the handoff protocol for one P: takes it from the M
/// behind `m` if that is outside.
pub(crate) fn try_retake(
    pp: &'static P,
    m: u64,
    take: impl Fn(&'static P, u64) -> bool,
) -> bool {
    let mp = m_of_word(m);
    // Relaxed: a hint.
    if mp.in_runtime.load(Relaxed) {
        return false;
    }
    // sysmon, or who stops the world (invariant 5 of `owner`).
    let _one = SCHED.retaking.lock();
    if !pp.owner.begin_retake(m) {
        return false;
    }
    membarrier::everywhere();
    if mp.in_runtime.load(Acquire) {
        pp.owner.cancel_retake(m);
        return false;
    }
    take(pp, m)
}

/// Stops a P in the caller's hands.
pub(super) fn stop_in_hand(pp: &'static P) {
    if !pp.owner.stop() {
        throw("stop: the P is not idle");
    }
}
