//! The world stopped, to change the number of Ps (procresize), and to collect.
//!
//! The actor that stops the world, the *stopper*, waits until every P is
//! Stopped. Then no M runs, steals or queues on any P. Goroutines outside go on
//! meanwhile, without a P; a collection then stops their threads (`suspended`).
//!
//! ```text
//!   stop_the_world: the stop is wanted
//!     the stopper's own P, idle Ps --> Stopped at once, by the stopper
//!     a P whose M is inside        --> its M stops it (gcstopm, or where the M
//!                                      lets go of it) and counts down
//!     a P whose M is outside       --> the stopper takes it (retake_stopped)
//!   all are Stopped: set_procs
//!     start_the_world              --> with an M, or idle
//! ```
//! `gmp::stopcount` has the protocol of the count.
//!
//! Invariants:
//! 1. There is one stopper at a time: the holder of `SCHED.resize`.
//! 2. A Stopped P is on no list, and only the stopper touches its owner-only
//!    fields.
//! 3. The world is stopped while `MAIN_STARTED` is set only, which
//!    [`stop_for_good`] clears as a stopper. A host thread that has passed the
//!    gate of a runtime that ended may come here at any moment of the next
//!    start. It must not: the main goroutine runs on m0 alone and on m0's P,
//!    and no thread could be made for that P, as sysmon is not there yet. And
//!    after the end the Ps stay Stopped until the next start.

use super::{
    child,
    current::{in_callback, this_m},
    enter::{Inside, current_p},
    handoff::{startm, wakep},
    idle::stopm,
    keeper::unkept,
    migrate,
    procs::{acquirep, note, stop_in_hand, try_retake},
    queue::work_queued,
    suspended,
};
use crate::{
    base::{alloc::try_box, random::seed_of_p, throw::throw, trace::Kind},
    gmp::{
        ALLP, GOMAXPROCS, M, MAIN_STARTED, MAXPROCS, NCPU, NCPUALLOWED, OwnedP,
        P, SCHED, STOP, allp, allp_push, gomaxprocs, m_word, nallp,
        owner::POwner,
    },
    os::{
        Errno, LongLockGuard, Result,
        clock::{nanotime, usleep},
        cpu,
    },
    stack,
};
use core::sync::atomic::{AtomicI64, Ordering::*};

/// Nanoseconds between two looks of the stopper for Ms that are outside.
const STOP_LOOK: i64 = 50_000;

/// Stops this M's P for the stopper, and sleeps; only if a stop is wanted
/// still.
pub(crate) fn gcstopm(mp: &'static M) {
    if child::in_child() {
        // A signal handler has forked on g0: no thread starts the world again.
        child::end_child();
    }
    if mp.spinning.replace(false) {
        SCHED.nmspinning.stop();
    }
    let sched = SCHED.lock();
    if !STOP.is_wanted() {
        return;
    }
    // schedule and findrunnable come here with a P.
    let Some(pp) = mp.take_p() else { throw("gcstopm: no P") };
    note(Kind::DropP, pp, 0);
    pp.owner.stop_own(m_word(mp));
    mp.oldp.set(Some(pp));
    STOP.arrive();
    drop(sched);
    stopm(mp);
}

/// Stops every P, the stopper's own too. The stopper is inside.
fn stop_the_world() {
    if let Some(pp) = current_p() {
        let mp = this_m();
        mp.set_p(None);
        note(Kind::DropP, pp.get(), 0);
        pp.get().owner.stop_own(m_word(mp));
    }
    let mut sched = SCHED.lock();
    STOP.want();
    while let Some(pp) = sched.pidleget() {
        stop_in_hand(pp);
    }
    let wait = STOP.expect(running_ps());
    drop(sched);
    if wait {
        STOP.wait(|| nanotime() + STOP_LOOK, retake_stopped);
    }
}

fn running_ps() -> i32 {
    (0..gomaxprocs())
        .filter(|&id| allp(id).owner.load() != POwner::Stopped)
        .count() as i32
}

/// Stops the Ps whose Ms are outside. True: one of these was the last P that
/// had to stop.
fn retake_stopped() -> bool {
    for id in 0..gomaxprocs() {
        let pp = allp(id);
        let POwner::Running(m) = pp.owner.load() else { continue };
        if !try_retake(pp, m, |pp, m| pp.owner.take_stopped(m)) {
            continue;
        }
        let _sched = SCHED.lock();
        if STOP.arrive_taken() {
            return true;
        }
    }
    false
}

/// Lets the Ps run again: a P with goroutines gets an M, the others go idle.
fn start_the_world() {
    let mut with_work = None;
    let mut sched = SCHED.lock();
    STOP.end();
    for id in (0..gomaxprocs()).rev() {
        let pp = allp(id);
        pp.owner.restart();
        if pp.runqempty() {
            sched.pidleput(pp);
        } else {
            pp.link.set(with_work.replace(pp));
        }
    }
    sched.wake_sysmon();
    drop(sched);
    while let Some(pp) = with_work {
        with_work = pp.link.take();
        startm(Some(pp));
    }
    // As in `put_down`: no P was idle meanwhile.
    if SCHED.nmspinning.put_down() && (work_queued() || unkept()) {
        wakep();
    }
}

/// The only stopper; None where there is no runtime (invariant 3).
fn stopper() -> Option<LongLockGuard<'static, ()>> {
    let one = suspended::safely(|| SCHED.resize.lock());
    // Acquire: pairs with the release in `runtime_main::initialise`.
    MAIN_STARTED.load(Acquire).then_some(one)
}

/// Stops the world if `wanted` says so, once no other thread has it stopped,
/// asks `f`, and starts it again. None if not wanted, or if the runtime has
/// ended. Not from a callback.
pub(crate) fn while_stopped_if<R>(
    wanted: impl FnOnce() -> bool,
    f: impl FnOnce() -> R,
) -> Option<R> {
    let one = stopper()?;
    wanted().then(|| {
        let _stopped = StoppedWorld::begin_with(one);
        f()
    })
}

/// Nanoseconds for which a stop waits at most after the one before it.
const REST: i64 = 1_000_000;
/// When the world was started last, and for how long it had been stopped.
/// Under `SCHED.resize`.
static STARTED: AtomicI64 = AtomicI64::new(0);
static STOOD: AtomicI64 = AtomicI64::new(0);

/// The caller is the next stopper: waits until the program has gone on for as
/// long as the world was stopped last, or for [`REST`], or until a signal
/// handler has run here. Where one stop follows the other, as in a loop of
/// `gmp_gc`, or of allocations at the limit, the next would come while threads
/// wake up from the last, or return from the handler of its signal: they would
/// get no further.
pub(crate) fn rest() {
    let rest = STOOD.load(Relaxed).min(REST);
    let left = STARTED.load(Relaxed) + rest - nanotime();
    if left > 0 {
        usleep((left / 1000 + 1) as u32);
    }
}

/// All Ps are Stopped while it lives. Its thread is inside.
pub(crate) struct StoppedWorld {
    began: i64,
    /// Dropped in this order.
    _inside: Inside,
    _one: LongLockGuard<'static, ()>,
}

impl StoppedWorld {
    /// None if the runtime has ended. Not from a callback.
    pub(crate) fn begin() -> Option<Self> {
        stopper().map(Self::begin_with)
    }

    fn begin_with(one: LongLockGuard<'static, ()>) -> Self {
        rest();
        let began = nanotime();
        let inside = Inside::enter();
        stop_the_world();
        Self { began, _inside: inside, _one: one }
    }
}

impl Drop for StoppedWorld {
    fn drop(&mut self) {
        start_the_world();
        let now = nanotime();
        STARTED.store(now, Relaxed);
        STOOD.store(now - self.began, Relaxed);
    }
}

/// Stops all Ps and empties them, as the runtime has ended: no M is left. The
/// next start's [`procresize`] makes them idle.
pub(super) fn stop_for_good() {
    let _one = SCHED.resize.lock();
    // Relaxed: read under the lock, or by a thread of the next start.
    MAIN_STARTED.store(false, Relaxed);
    stop_the_world();
    for id in 0..nallp() {
        empty_p(allp(id));
    }
    for id in 0..nallp() {
        allp(id).timers.give_up();
        allp(id).timers.shrink();
    }
    let _sched = SCHED.lock();
    STOP.end();
}

/// The library is unloaded: frees the Ps.
///
/// # Safety
/// Nobody uses a P any more.
pub(super) unsafe fn free_procs() {
    for place in ALLP.iter().take(nallp()) {
        let pp = place.swap(core::ptr::null_mut(), Relaxed);
        // SAFETY: from the Box in make_procs, and nobody uses it.
        drop(unsafe { Box::from_raw(pp) });
    }
}

/// Makes Ps until there are `n`; new ones are Stopped, and not in use yet. The
/// caller holds `SCHED.resize`, or is `schedinit`.
///
/// Errors: `ENOMEM`.
fn make_procs(n: usize) -> Result<()> {
    while nallp() < n {
        let id = nallp();
        let pp = try_box(P::new(id as u32)).ok_or(Errno::ENOMEM)?;
        pp.rng.set(seed_of_p(id as u64));
        migrate::new_p(&pp);
        allp_push(Box::leak(pp));
    }
    Ok(())
}

/// Makes `n` the number of Ps in use. So many exist, and all Ps are Stopped.
fn set_procs(n: usize) {
    if n == 0 || n > nallp() {
        throw("procresize: invalid arg");
    }
    for id in n..gomaxprocs() {
        empty_p(allp(id));
    }
    GOMAXPROCS.store(n, Release);
}

/// Moves everything out of a P that goes out of use.
fn empty_p(pp: &'static P) {
    // SAFETY: the P is Stopped, and this is the stopper (invariant 2).
    let own = unsafe { OwnedP::new(pp) };
    let mut sched = SCHED.lock();
    own.drain(|gp| sched.globrunqput(gp));
    while let Some(gp) = own.gfree().pop_front() {
        sched.gfree.push_front(gp);
    }
    drop(sched);
    stack::flush(&pp.stacks);
    pp.timers.move_to(&allp(0).timers);
}

/// Makes the first Ps, for `schedinit`: m0 takes P0, the others go idle.
///
/// Errors: `ENOMEM`.
pub(crate) fn procresize(n: usize) -> Result<()> {
    make_procs(n)?;
    set_procs(n);
    let mut sched = SCHED.lock();
    for id in (0..n).rev() {
        let pp = allp(id);
        pp.owner.restart();
        if id > 0 {
            sched.pidleput(pp);
        }
    }
    drop(sched);
    acquirep(&crate::gmp::runtime_m0, allp(0));
    Ok(())
}

/// In the child of a fork, where all Ps are as new: `n` of them, all idle.
pub(crate) fn procs_again(n: usize) {
    set_procs(n);
    let mut sched = SCHED.lock();
    for id in (0..n).rev() {
        let pp = allp(id);
        migrate::new_p(pp);
        pp.owner.restart();
        sched.pidleput(pp);
    }
}

/// `gmp_set_maxprocs`: changes the number of Ps to `n`, at most [`MAXPROCS`],
/// and returns the former number; `n < 1` changes nothing. Never blocks for
/// long, never moves the caller to another thread. A goroutine has no P
/// afterwards.
///
/// Errors: `EDEADLK` inside a callback, which must not wait; `ENOMEM`;
/// `ESHUTDOWN` if the runtime has ended meanwhile.
pub(crate) fn set_maxprocs(n: i32) -> Result<i32> {
    let n = (n.max(0) as usize).min(MAXPROCS);
    if n < 1 {
        return Ok(gomaxprocs() as i32);
    }
    if in_callback() {
        return Err(Errno(libc::EDEADLK));
    }
    let Some(one) = stopper() else { return Err(Errno(libc::ESHUTDOWN)) };
    let old = gomaxprocs();
    if n == old {
        return Ok(old as i32);
    }
    make_procs(n)?;
    let stopped = StoppedWorld::begin_with(one);
    set_procs(n);
    drop(stopped);
    Ok(old as i32)
}

/// CPUs that this process may use. Several files hold the quota, so they are
/// read at the first call: a program that sets the number of Ps may need none.
///
/// Errors: `ENOMEM`.
pub(crate) fn num_cpu() -> Result<usize> {
    // Relaxed: the number publishes nothing else, and two threads that read
    // the files at once find the same.
    match NCPU.load(Relaxed) {
        0 => {
            let n = cpu::within_quota(NCPUALLOWED.load(Relaxed))?;
            NCPU.store(n, Relaxed);
            Ok(n)
        }
        n => Ok(n),
    }
}
