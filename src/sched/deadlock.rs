//! Deadlocks: everything sleeps, and nothing will wake it.
//!
//! In a host any thread of the host's may wake a goroutine, so silence proves
//! nothing. Under `gmp_run_main` and on the exe path silence is a deadlock if
//! all of these hold:
//!
//! 1. Each M sleeps: it is idle, locked and waiting for its goroutine, a system
//!    M, or the timekeeper.
//! 2. Nothing is queued, and nothing can come: no timer, no descriptor that a
//!    goroutine waits for, no relayed signal, no memory for a stack.
//! 3. All threads of the process are Ms, host threads that wait in a call of
//!    the library's without a deadline, or what is left of the main thread. If
//!    there is one more, which the runtime does not know, the check is silent.

use super::mainthread;
use crate::{
    base::throw::fatal,
    gmp::{
        CLOSING, HOST_WAITS, KEEPER, SCHED, SIGNALER, SchedLocked, allp,
        closing::Stage, gcount, gomaxprocs,
    },
    os::task::count_threads,
};
use core::sync::atomic::{AtomicBool, Ordering::*};

const MESSAGE: &str = "all goroutines are asleep - deadlock!";

pub(crate) fn check() {
    checkdead(&mut SCHED.lock());
}

/// [`check`] under the lock. While the runtime ends there is a thread of the
/// host's that ends it.
pub(crate) fn checkdead(sched: &mut SchedLocked) {
    // Relaxed: set before main runs.
    if SCHED.mains.load(Relaxed) != 0
        && !CLOSING.has_come(Stage::Refusing)
        && all_asleep(sched)
    {
        tell();
    }
}

/// Reports a deadlock in a process that has no thread of the host's left
/// (`nomain`), if there are goroutines.
pub(super) fn check_alone() {
    // While all are asleep, no goroutine comes or goes.
    if all_asleep(&SCHED.lock()) && gcount() != 0 {
        tell();
    }
}

/// A deadlock was found, and its report is to come.
static FOUND: AtomicBool = AtomicBool::new(false);

/// Whether the process ends because of a deadlock.
pub(crate) fn found() -> bool {
    FOUND.load(Relaxed)
}

fn tell() -> ! {
    FOUND.store(true, Relaxed);
    fatal(MESSAGE);
}

/// Whether nothing in this process can go on (module).
fn all_asleep(sched: &SchedLocked) -> bool {
    // The timekeeper counts as asleep: it may sleep for nobody any more. If it
    // has just woken, the timer or waiter for which it woke is still there.
    let keeper = i32::from(KEEPER.is_kept());
    let asleep = sched.nmidle + sched.nmidlelocked + sched.nmsys + keeper;
    let asleep = i64::from(asleep);
    if sched.mcount() > asleep {
        return false;
    }
    let woken = HOST_WAITS.woken();
    let waiting = HOST_WAITS.count();
    let work = !sched.runq.is_empty()
        || SCHED.any_starved()
        || (0..gomaxprocs()).any(|id| !allp(id).runqempty())
        || crate::netpoll::waited_for()
        // A signal may come, and wake a goroutine.
        || !SIGNALER.load(SeqCst).is_null()
        || !super::keeper::next_timer().is_never();
    if work {
        return false;
    }
    let left = i64::from(mainthread::main_has_left());
    let ours = sched.mcount() + i64::from(waiting) + left;
    // A thread that the runtime does not know takes no lock to wake one of
    // these, and may have ended since: so the wake-ups are looked at last.
    count_threads().is_some_and(|n| n as i64 <= ours)
        && HOST_WAITS.woken() == woken
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    FOUND.store(false, Relaxed);
}
