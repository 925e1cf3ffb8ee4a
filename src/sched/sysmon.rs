//! sysmon: the thread that watches, without a P.
//!
//! It naps between looks: 0.25 ms while work waits behind a goroutine that
//! does not move, 1 ms while work waits, then twice as long each time up to
//! 10 ms; never past the next timer. When nothing runs sysmon sleeps until an
//! M takes a P; but while there is no thread for work that waits (`nothread`),
//! sysmon tries for one at each look.
//!
//! | sleep | until | woken by |
//! |---|---|---|
//! | a nap | the next look | `ask` |
//! | deep | something runs | `ask`, `pidleget`, an orphan's timer, want of |
//! | | | memory for a stack |
//!
//! The protocol of that sleep is `gmp::watchman`'s.

use super::{
    background::SCAVENGER,
    deadlock,
    handoff::wakep,
    keeper::{self, next_timer},
    nomain::NoMain,
    nothread,
    ready::{ready_all, ready_permit},
    retake::Watch,
    sigmask, starved,
    template::{start_template, start_wanted},
    threads::newm,
    timing::{self, look_net, renew_and_notify},
};
use crate::{
    base::print::SigWriter,
    gmp::{
        Ask, DEBUG, KEEPER, MKind, RUNTIME_INIT_TIME, SCHED, SIGNALER, SYSMON,
        allp, gomaxprocs, watchman::Depth,
    },
    netpoll,
    os::{Result, clock::nanotime, membarrier},
    stack,
    timers::Deadline,
};
use core::{ffi::c_void, fmt::Write, sync::atomic::Ordering::*};

const US: i64 = 1_000;
/// Nap while work is stuck behind a goroutine.
const NAP_STUCK: i64 = 250 * US;
/// Nap while work waits.
const NAP_WAITS: i64 = 1000 * US;
/// The longest nap.
const NAP_MAX: i64 = 10_000 * US;
/// Descriptors are looked at by an M or by sysmon at least so often.
const POLL_AFTER: i64 = 10_000 * US;
/// A look that comes later than this past its time tells nothing.
const OVERSLEPT: i64 = 2_000 * US;

/// Starts sysmon's thread.
///
/// Errors: those of `newm`.
pub(crate) fn start_sysmon() -> Result<()> {
    newm(MKind::Sysmon, Some(sysmon), None)
}

/// sysmon's thread. Never returns.
fn sysmon() {
    // Takes milliseconds in a process with threads: here nobody waits for it.
    let _again_later = membarrier::register();
    let mut watch = Watch::new();
    let mut nap = NAP_WAITS;
    let mut trace = Trace::default();
    let mut nomain = NoMain::default();
    let (mut quiet, mut verified) = (0, 0);
    loop {
        let due = sleep(nap, quiet > 1, nomain.next());
        let now = nanotime();
        serve();
        trace.print(now, &watch);
        let found = watch.look(now, now - due < OVERSLEPT);
        poll_for_the_busy(now);
        verify_speculation(now, &mut verified);
        wake_for_work(now);
        starved::again();
        scavenge();
        nomain.look(now);
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

/// Naps, or sleeps until something runs, but not past `latest`. Returns when it
/// was to end.
fn sleep(nap: i64, quiet: bool, latest: i64) -> i64 {
    let now = nanotime();
    let mut depth = Depth::Nap;
    // At least a little, for a timer that nobody can serve yet.
    let mut until = (now + nap).min(next_timer().ns().max(now + 50 * US));
    let mut sched = SCHED.lock();
    let idle = SCHED.npidle.load(SeqCst) as usize == gomaxprocs();
    let over = quiet && idle && !netpoll::any_unverified();
    if over && !nothread::sysmon_is_needed() {
        depth = Depth::Deep;
        until = deep_until(now);
        // Once more, for an M that was on the way out at the last check.
        deadlock::checkdead(&mut sched);
    }
    until = until.min(latest);
    SYSMON.fall_asleep(depth);
    drop(sched);
    if SYSMON.sleep_until(until) { nanotime() } else { until }
}

/// Until when to sleep if nothing runs: the timekeeper keeps the time, or,
/// where there is none, sysmon does.
fn deep_until(now: i64) -> i64 {
    let mut until = Deadline::NEVER.ns();
    if !KEEPER.is_kept() {
        until = next_timer().ns();
    }
    if SCHED.any_starved() {
        until = until.min(now + starved::AGAIN);
    }
    // Relaxed: set at boot.
    let period = DEBUG.schedtrace.load(Relaxed);
    if period > 0 {
        until = until.min(now + i64::from(period) * 1000 * US);
    }
    until
}

/// Does what was asked.
fn serve() {
    let asked = SYSMON.take_asked();
    if asked & Ask::Template as u32 != 0 {
        start_template();
    }
    if asked & Ask::Threads as u32 != 0 {
        // None is left where the template thread has made them.
        let _any = start_wanted();
    }
    if asked & Ask::Mask as u32 != 0 {
        sigmask::of_sysmon();
    }
    if asked & Ask::Poller as u32 != 0 {
        renew_and_notify();
    }
    if asked & Ask::Signals as u32 != 0 {
        // Null before the relay has begun, which then looks before it parks.
        let _nobody = ready_permit(SIGNALER.load(Acquire));
    }
}

/// All Ps have been busy for a while, and no M has looked at descriptors.
fn poll_for_the_busy(now: i64) {
    if KEEPER.last_poll().is_some_and(|last| now - last > POLL_AFTER) {
        ready_all(look_net());
    }
}

/// Goroutines may wait for a descriptor without having asked the kernel
/// (`netpoll::speculation`): asks for those that have done so for a while.
fn verify_speculation(now: i64, verified: &mut i64) {
    if netpoll::any_unverified() && now - *verified > POLL_AFTER {
        *verified = now;
        ready_all(netpoll::verify());
    }
}

/// Wakes an M where a P is idle beside work, a due timer, or descriptors that
/// no M polls.
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

/// Wakes the scavenger if there are idle stacks.
fn scavenge() {
    // Relaxed: a hint.
    if SCAVENGER.load(Relaxed) == 0 || !stack::scavenge_wanted() {
        return;
    }
    let handle = SCAVENGER.swap(0, AcqRel) as *mut c_void;
    // It never ends; 0 is nobody.
    let _nobody = ready_permit(handle);
}

/// `GMPDEBUG=schedtrace=MS`: a line, or with `scheddetail=1` the Ps too. It
/// begins with how long the runtime has been up.
#[derive(Default)]
struct Trace {
    last: i64,
}

impl Trace {
    fn print(&mut self, now: i64, watch: &Watch) {
        // Relaxed: set at boot.
        let period = i64::from(DEBUG.schedtrace.load(Relaxed)) * 1000 * US;
        if period == 0 || now - self.last < period {
            return;
        }
        self.last = now;
        let sched = SCHED.lock();
        let (ms, idle) = (sched.mcount(), sched.nmidle);
        drop(sched);
        let mut w = SigWriter::stderr();
        let _ = writeln!(
            w,
            "SCHED {}ms: gomaxprocs={} idleprocs={} threads={ms} \
             spinningthreads={} idlethreads={idle} detached={} runqueue={} \
             goroutines={}",
            // Relaxed: set before this thread was made.
            (now - RUNTIME_INIT_TIME.load(Relaxed)) / 1_000_000,
            gomaxprocs(),
            SCHED.npidle.load(Relaxed),
            SCHED.nmspinning.count(),
            watch.without_p(),
            SCHED.runqsize.load(Relaxed),
            crate::gmp::gcount(),
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
            pp.schedtick.load(Relaxed),
            pp.runq_len(),
            pp.timers.len(),
        );
    }
}
