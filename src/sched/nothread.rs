//! No thread to be had: what happens where a thread is needed and refused.
//!
//! `pthread_create` may refuse once, for a moment or for good (RLIMIT_NPROC, a
//! pids cgroup, memory, a filter of system calls); the host's hook may fail;
//! the limit of `GMP_MAXTHREADS` may be reached. None of these is fatal: the
//! work waits until a thread can be made, or an M that exists runs it:
//!
//! | M | sleeps | woken by |
//! |---|---|---|
//! | idle | in `stopm`, on the idle list | `wake_idle` |
//! | timekeeper | in `sleep_as_timekeeper`, on no list | `wake_timekeeper` |
//! | locked | in `stoplockedm` | `bring_locked`, for its own goroutine only |
//! | blocked in C | outside, without a P | no actor: back, it takes an idle P |
//!
//! The *refused* thread is the one that tried to make another, for an M: a
//! maker of work, say, or the template thread.
//!
//! Invariants:
//! 1. The refused thread gives the M back, and all that the M was to bring: the
//!    M's P goes to the idle list, or is stopped for the stopper of the world;
//!    an M without a P no longer counts as a spinner.
//! 2. After that the refused thread looks whether work waits beside an idle P
//!    ([`rescue`]). If so, and no M spins, it wakes an idle M. If no M is idle,
//!    it gives idle Ps to locked Ms whose goroutines wait, wakes the
//!    timekeeper, and wakes sysmon out of its deep sleep.
//! 3. If a thread was refused lately, the timekeeper looks for such work after
//!    it has published until when it sleeps ([`keeper_is_needed`]). So the
//!    refused thread finds it asleep, or the timekeeper finds the work.
//! 4. While work waits beside an idle P, or a waiter for a descriptor has no M
//!    that polls, sysmon naps, and tries to get a thread at each look: after 10
//!    ms at most. In an idle process there is neither, and sysmon sleeps
//!    deeply. If timers of an idle P are due, sysmon makes each busy M come by
//!    the scheduler and run them, as otherwise no busy M looks at them.
//! 5. The limit counts neither the Ms of locked goroutines, nor m0 once it is
//!    wedged, nor host threads. It never refuses the only M that could run
//!    goroutines which are not locked.
//!
//! ```text
//!   refused thread             timekeeper                maker of work
//!     count -= 1, or the P       publish `sleep`    (c)    queue the work
//!       to the idle list         fence                     fence
//!     SCARCE = true       (a)    SCARCE, and work          a P is idle and
//!     fence                        beside an idle P:       no M spins:
//!     take `sleep` away,  (b)      no sleep         (d)      wake one
//!       if it is set
//! ```
//! (a) pairs with (d), and (c) with (b): the refused thread sees the sleep, or
//! the timekeeper sees the refusal. A maker that still saw the M counted has
//! queued its work before the fence in `stop` (`gmp::spinning`), and the
//! refused thread looks after that fence.
//!
//! Between two tries with the system at least [`PAUSE`] passes: a refusal costs
//! as much as a thread, and each maker of work would try.
//!
//! Rejected: a fatal error beyond some number of threads, as in Go (a program
//! that runs well with 10,000 threads runs with one less); a retry on the spot
//! (the maker of work would sleep); keeping the P for a thread that comes later
//! (an M that returns from C could not take it).

use super::{
    idle::wake_idle,
    keeper::{self, unpolled},
    queue::work_queued,
};
use crate::{
    base::print::SigWriter,
    gmp::{
        COUNTERS, HOST_WAITS, M, MAXTHREADS, MKind, OwnedP, P, SCHED, STOP,
        SchedLocked,
    },
    os::{Errno, Result, clock::nanotime},
};
use core::{
    fmt::Write,
    mem,
    sync::atomic::{AtomicBool, AtomicI64, Ordering::*, fence},
};

/// Nanoseconds for which no worker's thread is asked of the system after it has
/// refused one.
const PAUSE: i64 = 5_000_000;

/// A thread was refused, and none has been made since.
static SCARCE: AtomicBool = AtomicBool::new(false);
/// When the system last refused one; 0 if it has made one since.
static REFUSED: AtomicI64 = AtomicI64::new(0);

impl SchedLocked {
    /// Whether the limit forbids one more M (invariant 5).
    pub(crate) fn at_thread_limit(&self) -> bool {
        // Relaxed: a goroutine that is being locked or unlocked now counts
        // either way.
        let locked = i64::from(SCHED.nmlocked.load(Relaxed));
        let counted = self.mcount() - locked - i64::from(self.nmwedged);
        let workers = self.mcount() - locked - i64::from(self.nmsys);
        workers > 0 && counted >= i64::from(MAXTHREADS.load(Relaxed))
    }
}

/// Whether an M may be made now.
///
/// Errors: `EAGAIN` at the limit, or shortly after the system has refused one.
pub(super) fn may_make(kind: MKind) -> Result<()> {
    // Relaxed, here and below: a measure.
    let refused = REFUSED.load(Relaxed);
    let pause =
        kind == MKind::Worker && refused != 0 && nanotime() - refused < PAUSE;
    if pause || SCHED.lock().at_thread_limit() {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// Notes that the system has made a thread, or refused one.
pub(super) fn tried(result: Result<()>) {
    match result {
        Err(_) => REFUSED.store(nanotime(), Relaxed),
        Ok(()) if SCARCE.load(Relaxed) => {
            REFUSED.store(0, Relaxed);
            SCARCE.store(false, Relaxed);
        }
        Ok(()) => {}
    }
}

/// This thread was refused another one, for an M that was to bring `pp`, or
/// without a `pp` to spin: invariants 1 and 2.
#[cold]
pub(super) fn refused(pp: Option<&'static P>, why: Errno) {
    COUNTERS.threads_refused.add(1);
    match pp {
        None => SCHED.nmspinning.stop(),
        Some(pp) => put_away(pp),
    }
    SCARCE.store(true, SeqCst);
    rescue();
    warn_no_thread(why);
}

/// Puts a P in hand on the idle list, or stops it for the stopper.
pub(super) fn put_away(pp: &'static P) {
    let mut sched = SCHED.lock();
    if STOP.is_wanted() {
        let _stopped = pp.owner.stop();
        STOP.arrive();
    } else {
        sched.pidleput(pp);
    }
}

/// Finds an M that exists for work beside an idle P: invariant 2.
fn rescue() {
    // Between the P on the idle list and the looks: the columns.
    fence(SeqCst);
    while work_beside_idle() {
        if !SCHED.nmspinning.start_if_none() {
            // An M spins, and looks once more when it stops.
            return;
        }
        if wake_idle(None) {
            return;
        }
        SCHED.nmspinning.stop();
        if SCHED.lock().nmidle == 0 {
            break;
        }
        // An M that has gone to sleep meanwhile may rely on this spinner.
    }
    if !work_beside_idle() {
        return;
    }
    bring_locked();
    keeper::wake_timekeeper();
    SCHED.lock().wake_sysmon();
}

/// Whether a P is idle while goroutines are queued, or while no M keeps the
/// time for timers or waiters for descriptors.
fn work_beside_idle() -> bool {
    SCHED.npidle.load(SeqCst) != 0 && (work_queued() || keeper::unkept())
}

/// Whether the timekeeper, which has published until when it sleeps, has to run
/// goroutines instead: invariant 3.
pub(super) fn keeper_is_needed() -> bool {
    SCARCE.load(SeqCst) && SCHED.npidle.load(SeqCst) != 0 && work_queued()
}

/// Whether sysmon must not sleep deeply though nothing runs: invariant 4. For
/// timers it may: its deep sleep ends at the next one.
pub(super) fn sysmon_is_needed() -> bool {
    work_queued() || unpolled()
}

/// Whether a thread was refused lately: then busy Ms run the timers of idle Ps.
pub(super) fn is_short() -> bool {
    // Relaxed: a hint.
    SCARCE.load(Relaxed)
}

/// Goroutines of the global queue that [`bring_locked`] looks at, at most.
const LOOK: u32 = 256;

/// Gives idle Ps to Ms whose locked goroutines are runnable: no other M can run
/// these, and they need no new thread.
fn bring_locked() {
    let mut sched = SCHED.lock();
    let any = sched.nmidlelocked != 0 || HOST_WAITS.count() != 0;
    if !any || STOP.is_wanted() {
        return;
    }
    gather(&mut sched);
    for _ in 0..sched.runq.len().min(LOOK) {
        if sched.pidle.is_none() {
            return;
        }
        let Some(gp) = sched.globrunqpop() else { return };
        match gp.lockedm.get() {
            Some(mp) if gp.is_locked() => bring(&mut sched, mp),
            _ => sched.globrunqput(gp),
        }
    }
}

/// Gives an idle P to a locked M, which sleeps until its goroutine is to run.
fn bring(sched: &mut SchedLocked, mp: &'static M) {
    let Some(pp) = sched.pidleget() else { return };
    if mp.kind.get() == MKind::Host {
        HOST_WAITS.add(-1);
    } else {
        // Under the lock: `checkdead` sees the goroutine queued or the M awake.
        sched.nmidlelocked -= 1;
    }
    mp.nextp.set(Some(pp));
    COUNTERS.wakeups.add(1);
    mp.park.wakeup();
}

/// Moves the goroutines of idle Ps to the global queue.
fn gather(sched: &mut SchedLocked) {
    let mut at = sched.pidle;
    while let Some(pp) = at {
        at = pp.link.get();
        // SAFETY: on the idle list, under the lock (invariant 1 of `procs`).
        let own = unsafe { OwnedP::new(pp) };
        own.drain(|gp| sched.globrunqput(gp));
    }
}

/// Warns once that no more threads are to be had.
#[cold]
pub(crate) fn warn_no_thread(why: Errno) {
    let mut sched = SCHED.lock();
    if mem::replace(&mut sched.thread_warned, true) {
        return;
    }
    let n = sched.mcount();
    drop(sched);
    let mut w = SigWriter::stderr();
    let _ = writeln!(
        w,
        "gmprt: no more than {n} threads to be had (error {}); work waits \
         until there are more, or until one is free (GMP_MAXTHREADS, \
         RLIMIT_NPROC)",
        why.0
    );
    w.flush();
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    SCARCE.store(false, Relaxed);
    REFUSED.store(0, Relaxed);
}
