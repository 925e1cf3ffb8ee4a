//! The runtime put back to what it was before the start, so that it can start
//! once more: in the child of a fork, where nothing else of the parent's
//! runtime is there, and wherever a runtime has ended.
//!
//! A static belongs to the process or to a *run*, the time from one start to
//! the next. Each file puts its own statics of a run back, in a function whose
//! name begins with `reset`; this file has the one list of those functions.
//! `tests/tidy/statics.rs` names the statics that belong to the process, each
//! with its reason, and finds a static that neither knows.
//!
//! Memory is not given back here. Ps, Gs and slabs of descriptors stay where
//! they are and become empty; Ms and stacks are left to their owner.

use super::doinit;
use crate::{
    block::notify,
    diag::{dumpsignal, lockwait, look},
    gmp::{G, reset_counters, reset_gs, reset_m0, reset_sched},
    netpoll,
    sched::{
        background, deadlock, host, nothread, retake, starved, sysmon, threads,
    },
    trace,
};

/// Puts all statics of a run back. The Gs that `stays` accepts stay as they
/// are; all others are dead, and their handles stale.
///
/// # Safety
/// No other thread runs code of the library, nor does an M run a goroutine but
/// one of those that stay.
pub(super) unsafe fn all(stays: impl Fn(&G) -> bool) {
    // SAFETY: for all of them as the caller promises.
    unsafe { run_through() };
    // SAFETY: the caller promises. After `reset_sched`, whose list they go to.
    unsafe { reset_gs(stays) };
}

/// [`all`] where the start was under way: all is as before it.
///
/// # Safety
/// As [`all`], and no goroutine has run.
pub(super) unsafe fn before_start() {
    // SAFETY: the caller promises.
    unsafe { all(|_| false) };
    // SAFETY: the caller promises.
    unsafe { reset_m0() };
}

/// # Safety
/// As [`all`].
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one promise for all")]
unsafe fn run_through() {
    // SAFETY: no other thread runs code of the library, the caller promises.
    unsafe {
        doinit::reset();
        trace::reset_session();
        trace::reset_recorders();
        lockwait::reset();
        dumpsignal::reset();
        look::reset();
        notify::reset();
        netpoll::reset_poller();
        netpoll::reset_speculation();
        netpoll::reset_descs();
        sysmon::reset();
        background::reset();
        host::reset();
        retake::reset();
        starved::reset();
        threads::reset();
        nothread::reset();
        deadlock::reset();
        reset_counters();
        reset_sched();
    }
}
