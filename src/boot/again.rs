//! The start of the runtime in the child of a fork, at its first call that
//! passes the gate.
//!
//! There is no m0 and no start path: settings, signal handlers and Ps are there
//! already. The statics of the parent's run are put back (`reset`), the thread
//! that has forked joins the new run with its goroutine (`sched::fork`), and
//! what `runtime_main` has started is started again. The calling thread may be
//! another one that the child has made.

use super::{doinit, phase::State, reset};
use crate::{
    block::notify,
    diag::{dumpsignal, lockwait},
    gmp::{MAIN_STARTED, RUNTIME_INIT_TIME, gomaxprocs, renew_waitmark},
    os::{Result, clock::nanotime},
    sched::{self, background, child, fork, handoff::wakep, sigmask, stw},
};
use core::sync::atomic::Ordering::*;

/// Starts the runtime; returns the state that follows.
///
/// Errors: those of [`sched::start_sysmon`], and `ENOMEM`; then the child is as
/// it was before.
pub(super) fn start() -> Result<State> {
    // SAFETY: the gate lets one thread in. Others have made no call that passes
    // it, and the parent's threads are not there.
    unsafe { reset::all(child::outlives) };
    let now = nanotime();
    RUNTIME_INIT_TIME.store(now, Relaxed);
    renew_waitmark(now);
    stw::procs_again(gomaxprocs());
    background::start_both()?;
    lockwait::start()?;
    notify::start_again()?;
    let next = doinit::start_again()?;
    // Until now the calls above have made no thread, as MAIN_STARTED is not
    // set.
    sched::start_sysmon()?;
    // SAFETY: a child that waits for its first call, which is this one.
    unsafe { fork::take_over() };
    // Release: pairs with the acquire of wakep_slow.
    MAIN_STARTED.store(true, Release);
    dumpsignal::start();
    sigmask::tell_sysmon();
    wakep();
    Ok(next)
}
