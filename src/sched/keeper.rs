//! Whether there is a timekeeper, and how other threads wake it.
//!
//! `gmp::keeper` has the protocol, and `timing` the timekeeper's own part.

use crate::{
    gmp::{
        Ask, KEEPER, allp, ask, gomaxprocs,
        keeper::{EARLIEST, Wake},
    },
    netpoll,
    timers::Deadline,
};

/// The earliest timer of all Ps.
pub(crate) fn next_timer() -> Deadline {
    (0..gomaxprocs())
        .map(|id| allp(id).timers.next_when())
        .min()
        .unwrap_or(Deadline::NEVER)
}

/// Whether there are timers or waiters for descriptors, and no timekeeper.
pub(super) fn unkept() -> bool {
    !KEEPER.is_kept() && (!next_timer().is_never() || netpoll::waited_for())
}

/// Wakes the M that sleeps in the poller; from any thread, under any locks.
pub(super) fn wake_poller() {
    if !netpoll::break_poll() {
        // A new poller takes locks, so it is for sysmon, which holds none.
        ask(Ask::Poller);
    }
}

/// Wakes the timekeeper if it sleeps past `when`; from any thread.
pub(crate) fn deadline_moved(when: Deadline) {
    match KEEPER.deadline_moved(when.ns()) {
        Wake::Done => {}
        Wake::Poller => wake_poller(),
    }
}

/// Wakes the timekeeper if it sleeps; from any thread.
pub(super) fn wake_timekeeper() {
    deadline_moved(Deadline::at(EARLIEST));
}

/// Whether there are waiters for descriptors, and no timekeeper to poll.
pub(super) fn unpolled() -> bool {
    !KEEPER.is_kept() && netpoll::waited_for()
}
