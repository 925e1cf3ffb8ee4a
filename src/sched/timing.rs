//! Timers: put on a P's heap, run when due; and who sleeps until then, and
//! polls descriptors meanwhile.
//!
//! One idle M keeps the time: it sleeps until the earliest timer of all Ps
//! (`lastpoll` is 0 meanwhile); the others sleep until woken. Who adds an
//! earlier timer breaks that sleep ([`poll_break`]). As with spinning: the
//! keeper publishes until when it sleeps, then looks at the timers; who adds a
//! timer looks at what the keeper published afterwards.
//!
//! It sleeps on a note, or, once anybody has waited for a descriptor, in the
//! poller (`pollnet` says which, written before `polluntil`). Where the host
//! closes the poller under it, it is abandoned, and another keeps the time.

use super::{
    enter::current_p,
    handoff::wakep,
    keeper::{EARLIEST, break_poll, next_timer, poll_break},
    migrate, nothread,
    procs::acquirep,
    ready::ready_all,
};
use crate::{
    gmp::{M, P, SCHED, allp, gomaxprocs, wait::WakeList},
    netpoll::{self, KEEPER, Polled},
    os::{Result, clock::nanotime},
    timers::{FOREVER, Timer, Timers},
};
use core::{
    ptr,
    sync::atomic::{Ordering::*, fence},
};

/// In nanoseconds: a P that switches looks at descriptors so often at least.
const LATE: i64 = 500_000;

/// Puts a timer on this P's heap, or on some P's. The caller is inside.
///
/// # Safety
/// As [`Timers::add`].
pub(crate) unsafe fn add_timer(timer: &Timer, when: i64) {
    let when = when.max(EARLIEST);
    let pp = current_p();
    let heap: &'static Timers = match pp {
        Some(pp) => &pp.get().timers,
        None => &allp(0).timers,
    };
    // SAFETY: as the caller promises.
    let first = unsafe { heap.add(timer, when) };
    heed(when, first);
}

/// A timer has a new time, and may be the first of its heap now.
fn heed(when: i64, first: bool) {
    if first {
        poll_break(when);
    }
    if current_p().is_none() {
        // Nobody that holds a P knows of it: somebody has to keep the time,
        // or, where all Ps are busy, sysmon.
        if SCHED.polluntil.load(SeqCst) == 0 {
            wakep();
        }
        SCHED.lock().wake_sysmon();
    }
}

/// Lets a timer that is pending fire at `when` instead, with `seq` for its
/// function. False if it is not pending. The caller is inside.
pub(crate) fn set_timer(timer: &Timer, when: i64, seq: u64) -> bool {
    let when = when.max(EARLIEST);
    let set = Timers::set(timer, when, seq);
    if let Some(first) = set {
        heed(when, first);
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
    if when == FOREVER {
        return 0;
    }
    let now = nanotime();
    if when > now {
        return 0;
    }
    pp.timers.run(now)
}

/// Each M that is busy looks at the timers at its next switch.
#[cold]
pub(super) fn heed_timers() {
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
        if timers.next_when() <= now {
            timers.run(now);
        }
    }
}

/// Sleeps until the next timer or a descriptor that is ready, if nobody else
/// does. True: this M has a P again, and what was due is ready. The M has no P
/// while it sleeps.
pub(super) fn keep_time(mp: &'static M) -> bool {
    let wanted = next_timer() != FOREVER || netpoll::waited_for();
    if !wanted || SCHED.lastpoll.swap(0, SeqCst) == 0 {
        return false;
    }
    let polled = if netpoll::polls() { sleep_in_poll(mp) } else { sleep() };
    let pp = SCHED.lock().pidleget();
    if let Some(pp) = pp {
        acquirep(mp, pp);
    }
    // Without a P they go to the global queue. Relaxed: a hint, that the world
    // may be about to be stopped.
    if pp.is_some() || !SCHED.gcwaiting.load(Relaxed) {
        for id in 0..gomaxprocs() {
            run_timers(allp(id));
        }
    }
    ready_all(renewed(polled));
    pp.is_some()
}

/// Nobody waits for a descriptor, or nobody has yet.
fn sleep() -> Polled {
    SCHED.pollnote.clear();
    SCHED.pollnet.store(false, SeqCst);
    let mut until = publish_until();
    if netpoll::polls() {
        // Just now, and heed_net may have come before we published.
        until = EARLIEST;
    }
    let woken = SCHED.pollnote.sleep_until(until);
    if !woken && SCHED.polluntil.swap(0, SeqCst) == 0 {
        // A break is under way: it belongs to this sleep.
        SCHED.pollnote.sleep();
    }
    SCHED.lastpoll.store(nanotime(), SeqCst);
    Polled::Ready(WakeList::new())
}

fn sleep_in_poll(mp: &'static M) -> Polled {
    SCHED.pollnet.store(true, SeqCst);
    let m = ptr::from_ref(mp).addr();
    KEEPER.sleeps(m);
    let timeout = match publish_until() {
        FOREVER => FOREVER,
        until => (until - nanotime()).max(0),
    };
    let polled = netpoll::poll(timeout);
    if KEEPER.woke(m) {
        // A break that comes late makes the next sleep short, and no harm.
        kept();
    } else {
        // It may have been meant for the keeper.
        break_poll();
    }
    polled
}

/// The keeper sleeps in the poller no longer.
fn kept() {
    SCHED.polluntil.store(0, SeqCst);
    SCHED.lastpoll.store(nanotime(), SeqCst);
}

/// What a poll has brought, and a new poller where there is need of one.
fn renewed(polled: Polled) -> WakeList {
    match polled {
        Polled::Ready(list) => list,
        Polled::Lost(list) => {
            // Who waits has been told if it fails.
            let _told = renew_poller();
            list
        }
    }
}

/// Makes the poller anew if the host has closed it: all who wait try again.
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
    if KEEPER.abandon() {
        kept();
    }
    ready_all(list);
    wakep();
    result
}

/// What sysmon does where a bell could not be rung.
pub(super) fn renew_and_ring() {
    if renew_poller().is_ok() {
        // Or else it is lost once more, and the next one asks.
        let _rung = netpoll::break_poll();
    }
}

/// Takes what is ready, if nobody sleeps in the poller; on an M that found no
/// other work, or sysmon's.
pub(super) fn look_net() -> WakeList {
    if !netpoll::waited_for()
        || !netpoll::started()
        || SCHED.lastpoll.load(SeqCst) == 0
    {
        return WakeList::new();
    }
    let now = nanotime();
    let last = SCHED.lastpoll.load(SeqCst);
    // Not over the 0 of a keeper.
    let ours = last != 0
        && SCHED.lastpoll.compare_exchange(last, now, SeqCst, SeqCst).is_ok();
    if ours { renewed(netpoll::poll(0)) } else { WakeList::new() }
}

/// The same on a P that has found other work for so long that it is late.
pub(super) fn look_net_late() -> WakeList {
    let last = SCHED.lastpoll.load(Relaxed);
    if !netpoll::waited_for() || last == 0 || nanotime() - last < LATE {
        return WakeList::new();
    }
    look_net()
}

/// Somebody is about to wait for a descriptor: somebody has to poll. Who sleeps
/// on the note does not: it began before there was a poller.
pub(crate) fn heed_net() {
    if SCHED.polluntil.load(SeqCst) == 0 {
        wakep();
    } else if !SCHED.pollnet.load(SeqCst) {
        poll_break(EARLIEST);
    }
}

/// Says until when the keeper sleeps, and makes sure that no earlier timer
/// was added meanwhile, nor work that no other M can come for.
fn publish_until() -> i64 {
    let mut until = next_timer();
    SCHED.polluntil.store(until, SeqCst);
    loop {
        // Pairs with poll_break: whoever added an earlier timer since sees
        // what we published, or we see the timer here.
        fence(SeqCst);
        let next = next_timer();
        if nothread::keeper_is_needed() {
            return EARLIEST;
        }
        if next >= until {
            return until;
        }
        let moved =
            SCHED.polluntil.compare_exchange(until, next, SeqCst, SeqCst);
        if moved.is_err() {
            // Broken already: the note is or will be woken.
            return until;
        }
        until = next;
    }
}
