//! Timers: put on a P's heap, run when due; and the timekeeper, which sleeps
//! until then, and polls descriptors meanwhile.
//!
//! One idle M keeps the time: it sleeps until the earliest timer of all Ps,
//! on a note or in the poller. The other Ms sleep until they are woken. An M
//! that adds an earlier timer wakes the timekeeper. The protocol, and what
//! happens where the host closes the poller, is `gmp::keeper`'s.

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
        KEEPER, M, P, SCHED, STOP, allp, gomaxprocs,
        keeper::{EARLIEST, Ended, Sleep, Timekeeper},
        wait::WakeList,
    },
    netpoll::{self, Polled},
    os::{OsFutex, Result, clock::nanotime},
    timers::{Deadline, Timer, Timers},
};
use core::{ptr, sync::atomic::Ordering::*};

/// In nanoseconds: a P that switches looks at descriptors so often at least.
const LATE: i64 = 500_000;

/// Puts a timer on this P's heap, or on some P's. The caller is inside.
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
    // SAFETY: not pending, and stays in place: the caller promises both.
    let first = unsafe { heap.add(timer, when) };
    timer_moved(when, first);
}

/// A timer has a new time, and may be the first of its heap now.
fn timer_moved(when: Deadline, first: bool) {
    if first {
        deadline_moved(when);
    }
    if current_p().is_none() {
        // No M that holds a P knows of the timer: a timekeeper is needed, or,
        // where all Ps are busy, sysmon.
        if KEEPER.sleep() == Sleep::Nobody {
            wakep();
        }
        SCHED.lock().wake_sysmon();
    }
}

/// Lets a timer that is pending fire at `when` instead, with `seq` for its
/// function. False if it is not pending. The caller is inside.
pub(crate) fn set_timer(timer: &Timer, when: Deadline, seq: u64) -> bool {
    let when = when.max(Deadline::at(EARLIEST));
    let set = Timers::set(timer, when, seq);
    if let Some(first) = set {
        timer_moved(when, first);
    }
    set.is_some()
}

/// Runs what is due on this P's heap, whose goroutines become ready here.
pub(crate) fn run_timers(pp: &'static P) -> usize {
    // Relaxed: a hint, and this is the look.
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

/// Each M that is busy looks at the timers at its next switch.
#[cold]
pub(super) fn mark_timers_due() {
    for id in 0..gomaxprocs() {
        // Relaxed: a hint.
        allp(id).timer_due.store(true, Relaxed);
    }
}

/// Runs what is due on any P: an idle one may have no M that comes for it.
#[cold]
fn run_others() {
    let now = nanotime();
    for timers in (0..gomaxprocs()).map(|id| &allp(id).timers) {
        if timers.next_when().has_passed(now) {
            timers.run(now);
        }
    }
}

/// Sleeps until the next timer or a descriptor that is ready, if no other M
/// does. True: this M has a P again, and what was due is ready. The M has no P
/// while it sleeps.
pub(super) fn sleep_as_timekeeper(mp: &'static M) -> bool {
    let wanted = !next_timer().is_never() || netpoll::waited_for();
    if !wanted {
        return false;
    }
    let Some(timekeeper) = KEEPER.become_timekeeper() else { return false };
    let polled = if netpoll::polls() {
        sleep_in_poller(timekeeper, mp)
    } else {
        // No goroutine waits for a descriptor, or none has yet.
        timekeeper.sleep_on_note(latest_on_note, nanotime);
        Polled::Ready(WakeList::new())
    };
    let pp = SCHED.lock().pidleget();
    if let Some(pp) = pp {
        acquirep(mp, pp);
    }
    // Without a P they go to the global queue. Relaxed: a hint, that the world
    // may be about to be stopped.
    if pp.is_some() || !STOP.is_wanted() {
        for id in 0..gomaxprocs() {
            run_timers(allp(id));
        }
    }
    ready_all(renewed(polled));
    pp.is_some()
}

/// Until when the timekeeper may sleep: the next timer, or no time at all
/// while work waits that no other M can come for.
fn latest() -> i64 {
    if nothread::keeper_is_needed() { EARLIEST } else { next_timer().ns() }
}

/// The same on the note: no time at all once there is a waiter to poll for.
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

/// What a poll has brought, and a new poller where there is need of one.
fn renewed(polled: Polled) -> WakeList {
    match polled {
        Polled::Ready(list) => list,
        Polled::Lost(list) => {
            // If that fails, all waiters have been told.
            let _told = renew_poller();
            list
        }
    }
}

/// Makes the poller anew if the host has closed it: all waiters try again.
/// Where that fails, their waits end with the error. The caller is inside.
///
/// Errors: those of [`netpoll::start`].
#[cold]
pub(crate) fn renew_poller() -> Result<()> {
    let (list, result) = match netpoll::renew() {
        Ok(None) => return Ok(()),
        Ok(Some(list)) => (list, Ok(())),
        Err(why) => (netpoll::end_waits(why), Err(why)),
    };
    KEEPER.abandon(nanotime);
    ready_all(list);
    wakep();
    result
}

/// What sysmon does where the poller could not be notified.
pub(super) fn renew_and_notify() {
    if renew_poller().is_ok() {
        // Or else it is lost once more, and the next one asks.
        let _notified = netpoll::break_poll();
    }
}

/// Takes what is ready, if no M keeps the time; on an M that found no other
/// work, or sysmon's.
pub(super) fn look_net() -> WakeList {
    let polls = netpoll::waited_for()
        && netpoll::started()
        && KEEPER.may_poll(nanotime);
    if polls { renewed(netpoll::poll(0)) } else { WakeList::new() }
}

/// The same on a P that has found other work for so long that it is late.
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

/// A goroutine is about to wait for a descriptor, and has been counted: an M
/// has to poll. A timekeeper that sleeps on the note does not.
pub(crate) fn waiter_comes() {
    match KEEPER.sleep() {
        Sleep::Nobody => wakep(),
        Sleep::OnNote(_) => wake_timekeeper(),
        Sleep::InPoller(_) => {}
    }
}
