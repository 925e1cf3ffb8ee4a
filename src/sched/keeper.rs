//! Whether somebody keeps the time, and how that sleep is broken.
//!
//! The M that keeps the time is in `timing`, with the protocol. Here is what
//! every other thread asks and does.

use crate::{
    gmp::{Ask, SCHED, allp, ask, gomaxprocs},
    netpoll,
    timers::FOREVER,
};
use core::sync::atomic::{Ordering::*, fence};

/// No timer is due before: `polluntil` is 0 where nobody sleeps.
pub(super) const EARLIEST: i64 = 1;

/// The earliest timer of all Ps.
pub(crate) fn next_timer() -> i64 {
    (0..gomaxprocs())
        .map(|id| allp(id).timers.next_when())
        .min()
        .unwrap_or(FOREVER)
}

/// Whether there are timers or waiters for descriptors, and nobody sleeps for
/// them.
pub(super) fn unkept() -> bool {
    SCHED.lastpoll.load(SeqCst) != 0
        && (next_timer() != FOREVER || netpoll::waited_for())
}

/// Wakes who sleeps in the poller; from any thread, whatever it holds.
pub(super) fn break_poll() {
    if !netpoll::break_poll() {
        // Which takes locks, and sysmon holds none.
        ask(Ask::Poller);
    }
}

/// Wakes the keeper of the time if it sleeps past `when`; from any thread.
pub(crate) fn poll_break(when: i64) {
    fence(SeqCst);
    let until = SCHED.polluntil.load(SeqCst);
    // 0: nobody keeps the time, or it is being woken.
    if until == 0 || until <= when {
        return;
    }
    // Who takes the value away wakes, once.
    if SCHED.polluntil.compare_exchange(until, 0, SeqCst, SeqCst).is_ok() {
        match SCHED.pollnet.load(SeqCst) {
            true => break_poll(),
            false => SCHED.pollnote.wakeup(),
        }
    }
}

/// Whether somebody waits for a descriptor and nobody polls.
pub(super) fn unpolled() -> bool {
    SCHED.lastpoll.load(SeqCst) != 0 && netpoll::waited_for()
}
