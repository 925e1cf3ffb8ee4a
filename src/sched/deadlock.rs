//! All goroutines asleep.
//!
//! In a host a goroutine that waits may be woken by any of the host's threads,
//! so silence is no proof. Under `gmp_run_main` and on the exe path it is, if
//! every thread of the process is ours and idle, or waits in a call of ours
//! without a deadline. One thread that we know nothing about, and nothing is
//! said.

use crate::{
    base::throw::fatal,
    gmp::{SCHED, SchedLocked, allp, gomaxprocs},
    os::task::count_threads,
};
use core::sync::atomic::Ordering::*;

/// Reports a deadlock if there is one.
pub(crate) fn check() {
    checkdead(&mut SCHED.lock());
}

/// The same, under the lock: somebody just went to sleep.
pub(crate) fn checkdead(sched: &mut SchedLocked) {
    // Relaxed: set before main runs.
    if SCHED.mains.load(Relaxed) == 0 {
        return;
    }
    // Who keeps the time may sleep in the poller for nobody any more. If it
    // has just woken, there is a timer or a waiter that it woke for.
    let keeper = i32::from(SCHED.lastpoll.load(SeqCst) == 0);
    let asleep = sched.nmidle + sched.nmidlelocked + sched.nmsys + keeper;
    let asleep = i64::from(asleep);
    if sched.mcount() > asleep {
        return;
    }
    let waiting = SCHED.nhostwait.load(SeqCst);
    let work = !sched.runq.is_empty()
        || super::starved::any()
        || (0..gomaxprocs()).any(|id| !allp(id).runqempty())
        || crate::netpoll::waited_for()
        || super::timing::next_timer() != super::park::FOREVER;
    if work {
        return;
    }
    let ours = sched.mcount() + i64::from(waiting);
    if count_threads().is_none_or(|n| n as i64 > ours) {
        return;
    }
    fatal("all goroutines are asleep - deadlock!");
}
