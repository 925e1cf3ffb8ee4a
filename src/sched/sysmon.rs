//! sysmon: the thread that watches all others, without a P.
//!
//! A goroutine may block or compute in foreign code, and then its M looks at
//! nothing else. sysmon takes the P from such an M (`retake`), polls
//! descriptors while all Ps are busy, wakes Ms for work that was left, and
//! serves the requests of other threads (`Ask`). It sleeps between two looks:
//!
//! | sleep | until | woken by |
//! |---|---|---|
//! | nap | the next look, or the next timer | `ask` |
//! | deep, if nothing runs or waits | an M takes a P; forcegc is due | `ask`, |
//! |  |  | `wake_sysmon` |
//!
//! A nap lasts 0.25 ms while work waits behind a goroutine that does not move,
//! 1 ms while work waits, and otherwise twice as long each time, up to 10 ms.
//! `wake_sysmon` is called where an idle P is taken, where a timer is left to
//! no M that holds a P, where a thread or memory for a stack cannot be had, and
//! at the first allocation in the heap after a collection.
//! `gmp::watchman` has the protocol of the sleep.

use super::{
    background::{self, SCAVENGER},
    deadlock,
    handoff::wakep,
    keeper::{self, next_timer},
    nomain::NoMain,
    nothread,
    ready::{ready_all, ready_permit},
    retake::Watch,
    sigmask, starved,
    stats::{self, Stats},
    template::{start_template_thread, start_wanted},
    threads::newm,
    timing::{self, look_net, renew_and_notify},
};
use crate::{
    base::{
        print::SigWriter,
        trace::{self, Event, Kind},
    },
    gmp::{
        Ask, CLOSING, DEBUG, KEEPER, MKind, RUNTIME_INIT_TIME, SCHED, SIGNALER,
        SYSMON, allp, closing::Stage, gomaxprocs, renew_waitmark,
        watchman::Depth,
    },
    heap::MHEAP,
    netpoll,
    os::{Result, clock::nanotime, membarrier},
    stack,
    timers::Deadline,
};
use core::{
    fmt::Write,
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering::*},
};

const US: i64 = 1_000;
/// Nap while work is stuck behind a goroutine.
const NAP_STUCK: i64 = 250 * US;
/// Nap while work waits.
const NAP_WAITS: i64 = 1000 * US;
/// The longest nap.
const NAP_MAX: i64 = 10_000 * US;
/// Nanoseconds after which sysmon polls if no M has, and verifies speculation.
const POLL_AFTER: i64 = 10_000 * US;
/// The first time after the start that the scavenger is woken.
const SCAVENGE_AFTER: i64 = 100_000 * US;
/// A look that comes so late does not tell whether a thread is blocked.
const OVERSLEPT: i64 = 2_000 * US;

/// What sysmon does at each look for a layer above: a [`Watcher`], or null.
static WATCHER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Gets the time of the look, and returns when the next has to come. It is
/// quick, and neither parks nor locks.
pub(crate) type Watcher = fn(now: i64) -> i64;

/// Has sysmon call `watcher` at each look.
pub(crate) fn set_watcher(watcher: Watcher) {
    WATCHER.store(watcher as *mut (), Release);
}

fn watch_for_above(now: i64) -> i64 {
    let watcher = WATCHER.load(Acquire);
    if watcher.is_null() {
        return Deadline::NEVER.ns();
    }
    // SAFETY: a Watcher, from set_watcher.
    let watcher = unsafe { mem::transmute::<*mut (), Watcher>(watcher) };
    watcher(now)
}

/// Starts sysmon's thread.
///
/// Errors: those of `newm`.
pub(crate) fn start_sysmon() -> Result<()> {
    newm(MKind::Sysmon, Some(sysmon), None)
}

/// sysmon's thread. Returns when the runtime ends.
fn sysmon() {
    // Takes milliseconds in a process with threads; no thread waits for sysmon.
    let _again_later = membarrier::register();
    renew_waitmark(nanotime());
    let mut watch = Watch::new();
    let mut nap = NAP_WAITS;
    let mut schedtrace = Trace::default();
    let mut nomain = NoMain::default();
    let (mut quiet, mut verified, mut watched) = (0, 0, 0);
    loop {
        let latest = nomain.next().min(schedtrace.next()).min(watched);
        let due = sleep(nap, quiet > 1, latest);
        if CLOSING.has_come(Stage::Leaving) {
            return;
        }
        let now = nanotime();
        renew_waitmark(now);
        serve();
        schedtrace.print(now);
        let found = watch.look(now, now - due < OVERSLEPT);
        poll_for_the_busy(now);
        verify_speculation(now, &mut verified);
        wake_for_work(now);
        starved::again();
        scavenge(now);
        force_gc(now);
        trace::event(counters);
        if MHEAP.arenas().is_some() {
            trace::event(heap_counters);
        }
        nomain.look(now);
        watched = watch_for_above(now);
        quiet = if found.running == 0 { quiet + 1 } else { 0 };
        nap = if found.stuck {
            NAP_STUCK
        } else if found.waits {
            NAP_WAITS
        } else {
            (nap * 2).clamp(NAP_WAITS, NAP_MAX)
        };
    }
}

/// Naps or, if `quiet` and nothing runs, sleeps deeply; not past `latest`.
/// Returns when the sleep was to end, or now if a waker ended it.
fn sleep(nap: i64, quiet: bool, latest: i64) -> i64 {
    let now = nanotime();
    let mut depth = Depth::Nap;
    // 50 us at least: a due timer may have to wait for an M.
    let mut until = (now + nap).min(next_timer().ns().max(now + 50 * US));
    let mut sched = SCHED.lock();
    let idle = SCHED.npidle.load(SeqCst) as usize == gomaxprocs();
    let over = quiet && idle && !netpoll::any_unverified();
    if over && !nothread::sysmon_is_needed() {
        depth = Depth::Deep;
        until = deep_until(now);
        // Once more: at the last check a thread may have been about to end.
        deadlock::checkdead(&mut sched);
    }
    until = until.min(latest);
    SYSMON.fall_asleep(depth);
    drop(sched);
    if SYSMON.sleep_until(until) { nanotime() } else { until }
}

/// Until when sysmon may sleep deeply: without a timekeeper, the next timer;
/// and where the heap was used, until it has to be collected. Overdue is what
/// cannot be had now.
fn deep_until(now: i64) -> i64 {
    let mut until = Deadline::NEVER.ns();
    if !KEEPER.is_kept() {
        until = next_timer().ns();
    }
    if SCHED.any_starved() {
        until = until.min(now + starved::AGAIN);
    }
    if let Some(due) = MHEAP.pacing.forced_at() {
        until = until.min(due.max(now + NAP_MAX));
    }
    until
}

/// Serves the requests of other threads.
fn serve() {
    let asked = SYSMON.take_asked();
    if asked & Ask::Template as u32 != 0 {
        start_template_thread();
    }
    if asked & Ask::Threads as u32 != 0 {
        // None are left if the template thread has made them.
        let _any = start_wanted();
    }
    if asked & Ask::Mask as u32 != 0 {
        sigmask::of_sysmon();
    }
    if asked & Ask::Poller as u32 != 0 {
        renew_and_notify();
    }
    if asked & Ask::Signals as u32 != 0 {
        // Fails before the relay has begun, which then looks first.
        let _nobody = ready_permit(SIGNALER.load(Acquire));
    }
}

/// Polls if no M has for a while, since all Ps are busy.
fn poll_for_the_busy(now: i64) {
    if KEEPER.last_poll().is_some_and(|last| now - last > POLL_AFTER) {
        ready_all(look_net());
    }
}

/// Asks the kernel about the descriptors for which goroutines have waited for a
/// while without having asked it (`netpoll::speculation`).
fn verify_speculation(now: i64, verified: &mut i64) {
    if netpoll::any_unverified() && now - *verified > POLL_AFTER {
        *verified = now;
        ready_all(netpoll::verify());
    }
}

/// Wakes an M if a P is idle and goroutines, due timers or waiters for
/// descriptors are left.
fn wake_for_work(now: i64) {
    // Relaxed: hints; wakep looks again.
    if SCHED.npidle.load(Relaxed) == 0 {
        return;
    }
    let waits = SCHED.runqsize.load(Relaxed) != 0
        || next_timer().has_passed(now)
        || keeper::unpolled()
        || (0..gomaxprocs()).any(|id| !allp(id).runqempty());
    if waits {
        wakep();
        if nothread::is_short() {
            timing::mark_timers_due();
        }
    }
}

/// What the timeline counts.
fn counters() -> Event {
    let queued = |id| {
        let pp = allp(id);
        u64::from(pp.runq_len()) + u64::from(pp.next().is_some())
    };
    // Relaxed: a measure.
    let global = u64::from(SCHED.runqsize.load(Relaxed));
    let runnable = global + (0..gomaxprocs()).map(queued).sum::<u64>();
    let live = crate::gmp::gcount() as u64;
    Event::of(Kind::Counters, 0).with(live, runnable)
}

fn heap_counters() -> Event {
    let (live, goal) = (MHEAP.live(), MHEAP.pacing.trigger());
    Event::of(Kind::Heap, 0).with(live as u64, goal as u64)
}

/// Wakes the scavenger if there are idle stacks. Not at the start, whose own
/// stacks were idle for a moment: the wake-up could make a thread in a process
/// that only loads the library.
fn scavenge(now: i64) {
    // Relaxed: set before this thread was made.
    if now - RUNTIME_INIT_TIME.load(Relaxed) < SCAVENGE_AFTER {
        return;
    }
    // Relaxed: a hint.
    if SCAVENGER.load(Relaxed) == 0 || !stack::scavenge_wanted() {
        return;
    }
    background::wake(&SCAVENGER);
}

/// Has the heap collected where it was not for long, but was used.
fn force_gc(now: i64) {
    if MHEAP.pacing.forced_at().is_some_and(|due| now >= due) {
        background::forcegc();
    }
}

/// `GMPDEBUG=schedtrace=MS`: a line when the runtime starts and at each
/// multiple of so many milliseconds from there, with the numbers that
/// `gmp_get_stats` gives; and with `scheddetail=1` a line for each P. Where
/// sysmon comes too late for a line, it prints the next one.
#[derive(Default)]
struct Trace {
    /// The number of the next line, as a multiple of the period.
    next: i64,
}

impl Trace {
    /// When the next line is due.
    fn next(&self) -> i64 {
        match Self::period() {
            0 => Deadline::NEVER.ns(),
            // Relaxed: set before this thread was made.
            period => RUNTIME_INIT_TIME.load(Relaxed) + self.next * period,
        }
    }

    /// Nanoseconds between two lines; 0: there are none.
    fn period() -> i64 {
        // Relaxed: set at boot.
        i64::from(DEBUG.schedtrace.load(Relaxed)) * 1000 * US
    }

    fn print(&mut self, now: i64) {
        if now < self.next() {
            return;
        }
        let Stats { uptime, goroutines, procs, threads, .. } = stats::read();
        self.next = uptime / Self::period() + 1;
        let mut w = SigWriter::stderr();
        let _ = writeln!(
            w,
            "SCHED {}ms: gomaxprocs={} idleprocs={} threads={} \
             spinningthreads={} idlethreads={} detached={} runqueue={} \
             goroutines={}",
            uptime / (1000 * US),
            procs.all,
            procs.idle,
            threads.all,
            threads.spinning,
            threads.idle,
            threads.detached,
            procs.runq_global,
            goroutines.live,
        );
        if DEBUG.scheddetail.load(Relaxed) {
            detail(&mut w);
        }
        w.flush();
    }
}

fn detail(w: &mut SigWriter) {
    for id in 0..gomaxprocs() {
        let pp = allp(id);
        let _ = writeln!(
            w,
            "  P{id}: {:?} schedtick={} runqsize={} timers={}",
            pp.owner.load(),
            pp.counts().switches,
            stats::queued_on(pp),
            pp.timers.counts().0,
        );
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    WATCHER.store(ptr::null_mut(), Relaxed);
}
