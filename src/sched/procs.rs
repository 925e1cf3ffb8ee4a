//! P: taken, let go, handed off; the world stopped; their number changed.

use super::{
    enter::{Inside, current_p, owned_p, this_m},
    find, migrate, park,
    schedule::alone,
    threads::{startm, stopm},
    timing,
};
use crate::{
    base::{alloc::try_box, throw::throw},
    gmp::{
        G, GOMAXPROCS, M, MAIN_STARTED, MAXPROCS, NCPU, NCPUALLOWED, OwnedP, P,
        SCHED, allp, allp_push, gomaxprocs, m_of_word, m_word, nallp,
        owner::POwner, seed_of_p,
    },
    os::{Errno, Result, clock::nanotime, cpu, membarrier},
    stack,
};
use core::{ptr, sync::atomic::Ordering::*};

/// How long who stops the world waits before it looks again.
const STOP_LOOK: i64 = 50_000;

/// Takes an idle P that is in the caller's hands.
pub(crate) fn acquirep(mp: &'static M, pp: &'static P) {
    if !mp.p.get().is_null() {
        throw("acquirep: already has a P");
    }
    if !pp.owner.acquire(m_word(mp)) {
        throw("acquirep: the P is not idle");
    }
    mp.p.set(pp);
    mp.detached.store(false, Relaxed);
}

/// Takes the P that whoever woke this M has set aside for it, if any.
pub(crate) fn acquire_nextp(mp: &'static M) {
    let pp = mp.nextp.replace(ptr::null());
    // SAFETY: null, or a type-stable P in our hands.
    if let Some(pp) = unsafe { pp.as_ref() } {
        acquirep(mp, pp);
    }
}

/// Lets go of the P that this M holds: Idle, in the caller's hands.
pub(crate) fn releasep(mp: &'static M) -> &'static P {
    let pp = mp.p.replace(ptr::null());
    // SAFETY: null, or a type-stable P.
    let Some(pp) = (unsafe { pp.as_ref() }) else {
        throw("releasep: no P");
    };
    pp.owner.release(m_word(mp));
    mp.oldp.set(pp);
    pp
}

/// Finds an M for a P in the caller's hands, if there is work for it; else it
/// goes to the idle list. For a caller who may want it back soon: who is woken
/// without it might come too late again and again.
pub(crate) fn handoffp(pp: &'static P) {
    // Acquire: pairs with globrunqput.
    if SCHED.runqsize.load(Acquire) != 0 {
        startm(Some(pp));
    } else {
        put_down(pp);
    }
}

/// Puts a P in the caller's hands on the idle list, unless there is work on it,
/// and wakes an M for work that waits elsewhere.
pub(crate) fn put_down(pp: &'static P) {
    if !pp.runqempty() {
        startm(Some(pp));
        return;
    }
    let mut sched = SCHED.lock();
    if SCHED.gcwaiting.load(Relaxed) {
        stop_in_hand(pp);
        sched.stopwait -= 1;
        if sched.stopwait == 0 {
            SCHED.stopnote.wakeup();
        }
        return;
    }
    let first = sched.pidle.is_null();
    sched.pidleput(pp);
    drop(sched);
    // Others may have some, and where all were busy, timers.
    if SCHED.nmspinning.put_down()
        && (find::work_queued() || first && timing::unkept())
    {
        wakep();
    }
    let when = pp.timers.next_when();
    if when != i64::MAX {
        timing::poll_break(when);
        // Nobody may be keeping the time.
        SCHED.lock().wake_sysmon();
    }
}

fn stop_in_hand(pp: &'static P) {
    if !pp.owner.stop() {
        throw("stop: the P is not idle");
    }
}

/// Wakes an M for new work, if a P is idle and nobody looks for work already.
#[inline]
pub(crate) fn wakep() {
    if SCHED.nmspinning.wanted(npidle) {
        wakep_slow();
    }
}

/// [`wakep`] for work that the caller has just put on its own P. Where that is
/// only what runs next there, a wake-up may not be worth its price.
#[inline(always)]
pub(crate) fn wakep_for(pp: OwnedP) {
    if alone() {
        return;
    }
    let partner = pp.runq.owner_sees_empty();
    if partner && pp.waking.skips() {
        return;
    }
    if !SCHED.nmspinning.wanted(npidle) {
        return;
    }
    if partner {
        pp.waking.made();
    }
    wakep_slow();
}

/// A hint (`gmp::spinning`).
#[inline(always)]
fn npidle() -> i32 {
    SCHED.npidle.load(Relaxed)
}

#[cold]
fn wakep_slow() {
    // Acquire: pairs with runtime_main, which sets it once Ms may start.
    if !MAIN_STARTED.load(Acquire) {
        return;
    }
    if SCHED.nmspinning.claim() {
        startm(None);
    }
}

/// The goroutine of this M goes where it needs no P.
pub(crate) fn give_up_p(mp: &'static M) {
    if owned_p(mp).is_some() {
        handoffp(releasep(mp));
    }
}

/// Takes the P back that this M had last, if it is idle.
pub(crate) fn regain_p(mp: &'static M) {
    // Relaxed: a hint.
    if owned_p(mp).is_some() || SCHED.npidle.load(Relaxed) == 0 {
        return;
    }
    // SAFETY: null, or a type-stable P.
    let Some(pp) = (unsafe { mp.oldp.get().as_ref() }) else { return };
    let mut sched = SCHED.lock();
    if !SCHED.gcwaiting.load(Relaxed) && sched.pidletake(pp) {
        drop(sched);
        acquirep(mp, pp);
    }
}

/// Stops this M's P for who stops the world, and sleeps.
pub(crate) fn gcstopm(mp: &'static M) {
    if mp.spinning.replace(false) {
        SCHED.nmspinning.stop();
    }
    let mut sched = SCHED.lock();
    if !SCHED.gcwaiting.load(Relaxed) {
        return;
    }
    let pp = mp.p.replace(ptr::null());
    // SAFETY: this M holds it, as schedule and findrunnable know.
    unsafe { &*pp }.owner.stop_own(m_word(mp));
    mp.oldp.set(pp);
    sched.stopwait -= 1;
    if sched.stopwait == 0 {
        SCHED.stopnote.wakeup();
    }
    drop(sched);
    stopm(mp);
}

/// Stops every P. The caller holds `SCHED.resize`, is inside, and has no P
/// afterwards. Goroutines outside go on, without a P.
fn stop_the_world() {
    if let Some(pp) = current_p() {
        let mp = this_m();
        mp.p.set(ptr::null());
        pp.get().owner.stop_own(m_word(mp));
    }
    let mut sched = SCHED.lock();
    SCHED.stopnote.clear();
    SCHED.gcwaiting.store(true, SeqCst);
    while let Some(pp) = sched.pidleget() {
        stop_in_hand(pp);
    }
    sched.stopwait = running_ps();
    let mut left = sched.stopwait;
    drop(sched);
    while left > 0 {
        let woken = SCHED.stopnote.sleep_until(nanotime() + STOP_LOOK);
        if woken {
            return;
        }
        left = retake_stopped();
    }
}

fn running_ps() -> i32 {
    (0..gomaxprocs())
        .filter(|&id| allp(id).owner.load() != POwner::Stopped)
        .count() as i32
}

/// Stops the Ps whose goroutines are outside. Returns how many are left to
/// stop themselves.
fn retake_stopped() -> i32 {
    for id in 0..gomaxprocs() {
        let pp = allp(id);
        let POwner::Running(m) = pp.owner.load() else { continue };
        if !try_retake(pp, m, |pp, m| pp.owner.take_stopped(m)) {
            continue;
        }
        let mut sched = SCHED.lock();
        sched.stopwait -= 1;
        if sched.stopwait == 0 {
            // Nobody else wakes the note: they do so at 0 only.
            return 0;
        }
    }
    // Those that stop themselves wake the note at 0.
    SCHED.lock().stopwait.max(1)
}

/// The heavy side of the handoff protocol for one P: takes it from the M
/// behind `m` if that is outside.
pub(crate) fn try_retake(
    pp: &'static P,
    m: u64,
    take: impl Fn(&'static P, u64) -> bool,
) -> bool {
    let mp = m_of_word(m);
    // Relaxed: a hint.
    if mp.in_runtime.load(Relaxed) {
        return false;
    }
    // sysmon, or who stops the world (invariant 5 of `owner`).
    let _one = SCHED.retaking.lock();
    if !pp.owner.begin_retake(m) {
        return false;
    }
    membarrier::everywhere();
    if mp.in_runtime.load(Acquire) {
        pp.owner.cancel_retake(m);
        return false;
    }
    take(pp, m)
}

/// Lets the Ps run again: those with work get an M, the others go idle.
fn start_the_world() {
    let mut with_work = ptr::null::<P>();
    let mut sched = SCHED.lock();
    SCHED.gcwaiting.store(false, SeqCst);
    for id in (0..gomaxprocs()).rev() {
        let pp = allp(id);
        pp.owner.restart();
        if pp.runqempty() {
            sched.pidleput(pp);
        } else {
            pp.link.set(with_work);
            with_work = pp;
        }
    }
    sched.wake_sysmon();
    drop(sched);
    // SAFETY: null, or a P that the loop above chained.
    while let Some(pp) = unsafe { with_work.as_ref() } {
        with_work = pp.link.replace(ptr::null());
        startm(Some(pp));
    }
    wakep();
}

/// Makes Ps until there are `n`, which are Stopped and not yet in use. The
/// caller holds `SCHED.resize`, or nobody else is there.
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

/// Makes `n` the number of Ps, which are there. The world is stopped; all Ps
/// are Stopped.
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
    // SAFETY: the world is stopped, and we stopped it: its Ps are ours.
    let own = unsafe { OwnedP::new(pp) };
    let mut sched = SCHED.lock();
    let mut put = |gp: *mut G| {
        // SAFETY: queues hold type-stable Gs.
        sched.globrunqput(unsafe { &*gp });
    };
    let next = pp.runnext.swap(ptr::null_mut(), AcqRel);
    if !next.is_null() {
        put(next);
    }
    // SAFETY: as above.
    while let Some(gp) = unsafe { pp.runq.pop() } {
        put(gp);
    }
    while let Some(gp) = own.gfree().pop_front() {
        sched.gfree.push_front(gp);
    }
    drop(sched);
    stack::flush(&pp.stacks);
    pp.timers.move_to(&allp(0).timers);
}

/// `schedinit`'s part: the first Ps; m0 takes P0, the others go idle.
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

/// `gmp_set_maxprocs`: the former number; `n < 1` only asks. More than
/// [`MAXPROCS`] counts as that. Never blocks for long, never moves the caller;
/// a goroutine has no P afterwards.
///
/// Errors: `EDEADLK` from inside a callback: the world would wait for it;
/// `ENOMEM`.
pub(crate) fn set_maxprocs(n: i32) -> Result<i32> {
    let n = (n.max(0) as usize).min(MAXPROCS);
    if n < 1 {
        return Ok(gomaxprocs() as i32);
    }
    if park::in_callback() {
        return Err(Errno(libc::EDEADLK));
    }
    let _one = SCHED.resize.lock();
    let old = gomaxprocs();
    if n == old {
        return Ok(old as i32);
    }
    make_procs(n)?;
    let inside = Inside::enter();
    stop_the_world();
    set_procs(n);
    start_the_world();
    drop(inside);
    Ok(old as i32)
}

/// CPUs that this process may use. Whoever sets the number of Ps does not need
/// it, so the quota, in several files, is read when it is asked for first.
///
/// Errors: `ENOMEM`.
pub(crate) fn num_cpu() -> Result<usize> {
    // Relaxed: nothing comes with it; two that ask at once find the same.
    match NCPU.load(Relaxed) {
        0 => {
            let n = cpu::within_quota(NCPUALLOWED.load(Relaxed))?;
            NCPU.store(n, Relaxed);
            Ok(n)
        }
        n => Ok(n),
    }
}

/// Ps that hold dead Gs and stacks although they are idle give them back.
pub(crate) fn flush_idle() -> usize {
    let mut flushed = 0;
    for id in 0..gomaxprocs() {
        let pp = allp(id);
        let mut sched = SCHED.lock();
        if !sched.pidletake(pp) {
            continue;
        }
        // SAFETY: off the idle list and Idle: in our hands, nobody else's.
        let own = unsafe { OwnedP::new(pp) };
        while let Some(gp) = own.gfree().pop_front() {
            sched.gfree.push_front(gp);
        }
        stack::flush(&pp.stacks);
        sched.pidleput(pp);
        drop(sched);
        // Who made work meanwhile found one idle P less.
        if SCHED.nmspinning.put_down() && find::work_queued() {
            wakep();
        }
        flushed += 1;
    }
    flushed
}

/// This M comes to the scheduler without a P: takes an idle one, or sleeps.
pub(crate) fn without_p(mp: &'static M) {
    if mp.spinning.get() {
        find::rest(mp);
        return;
    }
    let mut sched = SCHED.lock();
    if !SCHED.gcwaiting.load(Relaxed)
        && let Some(pp) = sched.pidleget()
    {
        drop(sched);
        acquirep(mp, pp);
        return;
    }
    drop(sched);
    stopm(mp);
}
