//! Want of threads: what happens where a thread that is needed cannot be had.
//!
//! `pthread_create` may refuse once, for a moment or for good (RLIMIT_NPROC, a
//! pids cgroup, memory, a filter of system calls); the host's hook may fail;
//! the limit of `GMP_MAXTHREADS` may be reached. None of these is fatal. Work
//! waits then, and an M that exists runs it, or the next thread that can be
//! had. Besides a new one these may run what waits:
//!
//! | M | sleeps | brought by |
//! |---|---|---|
//! | idle | in `stopm`, on the idle list | `startm` |
//! | timekeeper | in `sleep_as_timekeeper`, on no list | a break of its sleep |
//! | locked | in `stoplockedm` | its own goroutine, and no other |
//! | blocked in C | outside, without a P | itself: back, it takes an idle P |
//!
//! Invariants:
//! 1. An M whose thread cannot be made is given back, and with it what it was
//!    to bring: its P goes to the idle list, or is stopped for the stopper
//!    of the world; its place among those that spin is left.
//! 2. The starter, which has asked for the thread and has given these back,
//!    looks whether work waits beside an idle P ([`rescue`]). If so, and no M
//!    spins, the starter wakes an idle M; if there is none, it brings locked
//!    goroutines that wait to their Ms, breaks the keeper's sleep, and wakes
//!    sysmon out of its deep sleep.
//! 3. The keeper looks for such work once more after it has published until
//!    when it sleeps, if a thread was refused lately ([`keeper_is_needed`]).
//!    So the break of invariant 2 finds it asleep, or the keeper finds the
//!    work.
//! 4. While work waits beside an idle P, or a goroutine waits for a descriptor
//!    and no M polls, sysmon naps, and tries again at each look: after 10 ms at
//!    most. An idle process has neither, and sysmon sleeps.
//!    Where timers of an idle P are due, it has each busy M come by the
//!    scheduler, and run them there: no busy M would otherwise look at them.
//! 5. The limit counts neither the Ms of locked goroutines, nor m0 once it
//!    is wedged, nor host threads; and it never refuses the only M that could
//!    run goroutines which are not locked.
//!
//! ```text
//!   starter that is refused    keeper                    maker of work
//!     count -= 1, P is idle      publish its sleep   (c)   queue the work
//!     STARVED = true      (a)    fence                     fence
//!     fence                      STARVED, and work         a P idle and
//!     take that sleep     (b)      beside an idle P:       no M spins:
//!       away, if it is set         no sleep          (d)     wake one
//! ```
//! (a) pairs with (d) and (c) with (b): one of them sees the other. A maker
//! that still counted on the spinner has queued before the fence of the
//! starter's `stop` (`gmp::spinning`), and the starter looks afterwards.
//!
//! Between two tries with the system at least [`PAUSE`] passes: a refusal costs
//! as much as a thread, and each maker of work asks for one.
//!
//! Rejected: a fatal error beyond some number of threads, as in Go (a program
//! that runs well with 10,000 threads runs with one less); a retry on the spot
//! (the maker of work would sleep); keeping the P for a thread that comes
//! later (an M that returns from C could not take it).

use super::{
    idle::wake_idle,
    keeper::{self, unpolled},
    queue::work_queued,
};
use crate::{
    base::print::SigWriter,
    gmp::{
        HOST_WAITS, M, MAXTHREADS, MKind, OwnedP, P, SCHED, STOP, SchedLocked,
    },
    os::{Errno, Result, clock::nanotime},
};
use core::{
    fmt::Write,
    mem,
    sync::atomic::{AtomicBool, AtomicI64, Ordering::*},
};

/// In nanoseconds: nobody asks the system for a thread again so soon after it
/// has refused one.
const PAUSE: i64 = 5_000_000;

/// A thread was refused, and none has been made since.
static STARVED: AtomicBool = AtomicBool::new(false);
/// When the system last refused one; 0 if it gave one since.
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

/// The system has made a thread, or refused one.
pub(super) fn tried(result: Result<()>) {
    match result {
        Err(_) => REFUSED.store(nanotime(), Relaxed),
        Ok(()) if STARVED.load(Relaxed) => {
            REFUSED.store(0, Relaxed);
            STARVED.store(false, Relaxed);
        }
        Ok(()) => {}
    }
}

/// No thread came for an M that was to bring `pp`, or else to spin.
#[cold]
pub(super) fn refused(pp: Option<&'static P>, why: Errno) {
    match pp {
        None => SCHED.nmspinning.stop(),
        Some(pp) => put_away(pp),
    }
    STARVED.store(true, SeqCst);
    rescue();
    warn_no_thread(why);
}

/// Puts a P in the caller's hands on the idle list, or stops it.
fn put_away(pp: &'static P) {
    let mut sched = SCHED.lock();
    if STOP.is_wanted() {
        let _stopped = pp.owner.stop();
        STOP.arrive();
    } else {
        sched.pidleput(pp);
    }
}

/// Finds an M for work beside an idle P, where no new thread is to be had:
/// invariant 2.
fn rescue() {
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
        // One that is about to sleep has counted on us.
    }
    if !work_beside_idle() {
        return;
    }
    bring_locked();
    keeper::wake_timekeeper();
    SCHED.lock().wake_sysmon();
}

/// Whether something waits that an idle P could do.
fn work_beside_idle() -> bool {
    SCHED.npidle.load(SeqCst) != 0 && (work_queued() || keeper::unkept())
}

/// Whether the timekeeper, which has published until when it sleeps,
/// has to run goroutines instead: invariant 3.
pub(super) fn keeper_is_needed() -> bool {
    STARVED.load(SeqCst) && SCHED.npidle.load(SeqCst) != 0 && work_queued()
}

/// Whether sysmon has to stay awake though nothing runs: invariant 4. Timers
/// it serves in its sleep.
pub(super) fn sysmon_is_needed() -> bool {
    work_queued() || unpolled()
}

/// Whether a thread was refused lately: then busy Ms do for idle Ps, too.
pub(super) fn is_short() -> bool {
    // Relaxed: a hint.
    STARVED.load(Relaxed)
}

/// How many goroutines of the global queue one look for locked ones passes.
const LOOK: u32 = 256;

/// Hands idle Ps to Ms whose locked goroutines are runnable: nobody else can
/// run these, and they need no thread.
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

/// Gives an idle P to an M that sleeps until its goroutine is to run.
fn bring(sched: &mut SchedLocked, mp: &'static M) {
    let Some(pp) = sched.pidleget() else { return };
    if mp.kind.get() == MKind::Host {
        HOST_WAITS.add(-1);
    } else {
        // Under the lock: no moment without work and without an M awake.
        sched.nmidlelocked -= 1;
    }
    mp.nextp.set(Some(pp));
    mp.park.wakeup();
}

/// Moves what waits on idle Ps to the global queue.
fn gather(sched: &mut SchedLocked) {
    let mut at = sched.pidle;
    while let Some(pp) = at {
        at = pp.link.get();
        // SAFETY: idle, and on the list under our lock: in our hands.
        let own = unsafe { OwnedP::new(pp) };
        own.drain(|gp| sched.globrunqput(gp));
    }
}

/// Says once that no more threads are to be had.
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
