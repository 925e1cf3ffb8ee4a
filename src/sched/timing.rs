//! Timers put on a P's heap and run when due; the sleep of the timekeeper, and
//! the polls of other threads.
//!
//! One idle M is the timekeeper: it sleeps until the earliest timer of all Ps
//! is due, or a descriptor with waiters is ready. The other idle Ms sleep until
//! they are woken. A thread that adds an earlier timer wakes the timekeeper.
//! `gmp::keeper` has the protocol, and what happens if the host closes the
//! poller.

use super::{
    enter::current_p,
    handoff::wakep,
    keeper::{deadline_moved, next_timer, wake_poller, wake_timekeeper},
    migrate, nothread,
    procs::acquirep,
    ready::ready_all,
};
use crate::{
    gmp::{
        CLOSING, COUNTERS, KEEPER, M, P, SCHED, STOP, allp,
        closing::Stage,
        gomaxprocs,
        keeper::{EARLIEST, Ended, Sleep, Timekeeper},
        wait::WakeList,
    },
    netpoll::{self, Polled},
    os::{OsFutex, Result, clock::nanotime},
    timers::{Deadline, Timer, Timers},
};
use core::{ptr, sync::atomic::Ordering::*};

/// Nanoseconds after the last poll when an M that finds other work polls too.
const LATE: i64 = 500_000;

/// Puts a timer on this P's heap, or without a P on P0's. The caller is inside.
///
/// # Safety
/// As [`Timers::add`].
pub(crate) unsafe fn add_timer(timer: &Timer, when: Deadline) {
    let when = when.max(Deadline::at(EARLIEST));
    let pp = current_p();
    let heap: &'static Timers = match pp {
        Some(pp) => &pp.get().timers,
        None => &allp(0).timers,
    };
    // SAFETY: this function has the contract of `Timers::add`.
    let first = unsafe { heap.add(timer, when) };
    timer_moved(when, first);
}

/// Wakes the M that has to look after a timer with a new time. `first`: the
/// timer may be the first of its heap now.
fn timer_moved(when: Deadline, first: bool) {
    if first {
        deadline_moved(when);
    }
    if current_p().is_none() {
        // The heap is not of a P that this M holds: a timekeeper has to look
        // after the timer or, while all Ps are busy, sysmon.
        if KEEPER.sleep() == Sleep::Nobody {
            wakep();
        }
        SCHED.lock().wake_sysmon();
    }
}

/// Makes a pending timer due at `when` instead, with `seq` for its function.
/// False if the timer is not pending. The caller is inside.
pub(crate) fn set_timer(timer: &Timer, when: Deadline, seq: u64) -> bool {
    let when = when.max(Deadline::at(EARLIEST));
    let set = Timers::set(timer, when, seq);
    if let Some(first) = set {
        timer_moved(when, first);
    }
    set.is_some()
}

/// Runs the due timers of `pp`, and returns how many. Their goroutines become
/// ready on this M's P, or without one in the global queue.
pub(crate) fn run_timers(pp: &'static P) -> usize {
    // Relaxed: a hint, and this is the look that it asks for.
    if pp.timer_due.load(Relaxed) {
        pp.timer_due.store(migrate::on(), Relaxed);
        if nothread::is_short() {
            run_others();
        }
    }
    let when = pp.timers.next_when();
    if when.is_never() {
        return 0;
    }
    let now = nanotime();
    if !when.has_passed(now) {
        return 0;
    }
    pp.timers.run(now)
}

/// Makes each busy M look at the timers, at its next switch.
#[cold]
pub(super) fn mark_timers_due() {
    for id in 0..gomaxprocs() {
        // Relaxed: a hint.
        allp(id).timer_due.store(true, Relaxed);
    }
}

/// Runs the due timers of all Ps: an idle P may have no M that comes for its
/// own.
#[cold]
fn run_others() {
    let now = nanotime();
    for timers in (0..gomaxprocs()).map(|id| &allp(id).timers) {
        if timers.next_when().has_passed(now) {
            timers.run(now);
        }
    }
}

/// Sleeps as the timekeeper until the next timer is due or a descriptor is
/// ready, unless another M does or there is neither. This M comes without a P.
/// True: it has one now, and has made ready what was due.
pub(super) fn sleep_as_timekeeper(mp: &'static M) -> bool {
    let wanted = !next_timer().is_never() || netpoll::waited_for();
    if !wanted || CLOSING.has_come(Stage::Leaving) {
        return false;
    }
    let Some(timekeeper) = KEEPER.become_timekeeper() else { return false };
    COUNTERS.sleeps.add(1);
    let polled = if netpoll::polls() {
        sleep_in_poller(timekeeper, mp)
    } else {
        // There is no poller yet, or it fails and has no waiters.
        timekeeper.sleep_on_note(latest_on_note, nanotime);
        Polled::Ready(WakeList::new())
    };
    let pp = SCHED.lock().pidleget();
    if let Some(pp) = pp {
        acquirep(mp, pp);
    }
    // Without a P, goroutines go to the global queue; not if the world is to
    // stop, which is a hint here.
    if pp.is_some() || !STOP.is_wanted() {
        for id in 0..gomaxprocs() {
            run_timers(allp(id));
        }
    }
    ready_all(renewed(polled));
    pp.is_some()
}

/// Until when the timekeeper may sleep: until the next timer, or not at all
/// while work waits for which no other M can come.
fn latest() -> i64 {
    if nothread::keeper_is_needed() { EARLIEST } else { next_timer().ns() }
}

/// [`latest`] for a sleep on the note: not at all once the poller is the place
/// to sleep.
fn latest_on_note() -> i64 {
    if netpoll::polls() { EARLIEST } else { latest() }
}

fn sleep_in_poller(
    timekeeper: Timekeeper<'_, OsFutex>,
    mp: &'static M,
) -> Polled {
    let poll = |until| {
        let never = Deadline::at(until).is_never();
        netpoll::poll(match never {
            true => until,
            false => (until - nanotime()).max(0),
        })
    };
    let m = ptr::from_ref(mp).addr();
    let (polled, ended) = timekeeper.sleep_in_poller(m, latest, nanotime, poll);
    match ended {
        Ended::Kept => {}
        Ended::Abandoned => wake_poller(),
    }
    polled
}

/// The waiters that a poll found ready. If the poller was lost, makes a new
/// one.
fn renewed(polled: Polled) -> WakeList {
    match polled {
        Polled::Ready(list) => list,
        Polled::Lost(list) => {
            // If this fails, all waits have ended with the error.
            let _told = renew_poller();
            list
        }
    }
}

/// Makes the poller anew if the host has closed it: all waiters try again. If
/// that fails, their waits end with the error. The caller is inside.
///
/// Errors: those of [`netpoll::start`].
#[cold]
pub(crate) fn renew_poller() -> Result<()> {
    // Before all waiters are looked for: a waker does not reach the sleeper,
    // and timers may be due meanwhile.
    let abandon = || {
        KEEPER.abandon(nanotime);
        wakep();
    };
    let (list, result) = match netpoll::renew(abandon) {
        Ok(None) => return Ok(()),
        Ok(Some(list)) => (list, Ok(())),
        Err(why) => {
            let list = netpoll::end_waits(why);
            abandon();
            (list, Err(why))
        }
    };
    ready_all(list);
    wakep();
    result
}

/// For sysmon, after a waker could not notify the poller.
pub(super) fn renew_and_notify() {
    if renew_poller().is_ok() {
        // If this fails the poller is lost again, and the next waker asks.
        let _notified = netpoll::break_poll();
    }
}

/// Polls without a sleep, unless the timekeeper or another thread polls now.
/// For an M that found no other work, and for sysmon.
pub(super) fn look_net() -> WakeList {
    let polls = netpoll::waited_for()
        && netpoll::started()
        && KEEPER.may_poll(nanotime);
    if polls { renewed(netpoll::poll(0)) } else { WakeList::new() }
}

/// [`look_net`] for an M that finds other work, once the last poll is [`LATE`]
/// ago.
pub(super) fn look_net_late() -> WakeList {
    let late = || {
        let last = KEEPER.last_poll();
        last.is_some_and(|last| nanotime() - last >= LATE)
    };
    if !netpoll::waited_for() || !late() {
        return WakeList::new();
    }
    look_net()
}

/// Makes sure that an M polls, for a caller that has counted itself as a waiter
/// for a descriptor. A timekeeper that sleeps on the note does not poll.
pub(crate) fn waiter_comes() {
    match KEEPER.sleep() {
        Sleep::Nobody => wakep(),
        Sleep::OnNote(_) => wake_timekeeper(),
        Sleep::InPoller(_) => {}
    }
}
