//! All goroutines asleep.
//!
//! In a host a goroutine that waits may be woken by any of the host's threads,
//! so silence is no proof. Under `gmp_run_main` and on the exe path it is, if
//! every thread of the process is ours and idle, or waits in a call of ours
//! without a deadline. One thread that we know nothing about, and nothing is
//! said.

use super::mainthread;
use crate::{
    base::throw::fatal,
    gmp::{RELAY, SCHED, SchedLocked, allp, gcount, gomaxprocs},
    os::task::count_threads,
};
use core::sync::atomic::Ordering::*;

const MESSAGE: &str = "all goroutines are asleep - deadlock!";

/// Reports a deadlock if there is one.
pub(crate) fn check() {
    checkdead(&mut SCHED.lock());
}

/// The same, under the lock: somebody just went to sleep.
pub(crate) fn checkdead(sched: &mut SchedLocked) {
    // Relaxed: set before main runs.
    if SCHED.mains.load(Relaxed) != 0 && all_asleep(sched) {
        fatal(MESSAGE);
    }
}

/// Reports a deadlock of goroutines that are alone in the process, as sysmon
/// has found; none if there are no goroutines.
pub(super) fn check_alone() {
    // While all are asleep, no goroutine comes or goes.
    if all_asleep(&SCHED.lock()) && gcount() != 0 {
        fatal(MESSAGE);
    }
}

/// Whether nothing in this process can go on.
fn all_asleep(sched: &SchedLocked) -> bool {
    // Who keeps the time may sleep in the poller for nobody any more. If it
    // has just woken, there is a timer or a waiter that it woke for.
    let keeper = i32::from(SCHED.lastpoll.load(SeqCst) == 0);
    let asleep = sched.nmidle + sched.nmidlelocked + sched.nmsys + keeper;
    let asleep = i64::from(asleep);
    if sched.mcount() > asleep {
        return false;
    }
    let waiting = SCHED.nhostwait.load(SeqCst);
    let work = !sched.runq.is_empty()
        || SCHED.any_starved()
        || (0..gomaxprocs()).any(|id| !allp(id).runqempty())
        || crate::netpoll::waited_for()
        // A signal may come.
        || !RELAY.load(SeqCst).is_null()
        || super::keeper::next_timer() != crate::timers::FOREVER;
    if work {
        return false;
    }
    let left = i64::from(mainthread::main_has_left());
    let ours = sched.mcount() + i64::from(waiting) + left;
    count_threads().is_some_and(|n| n as i64 <= ours)
}
