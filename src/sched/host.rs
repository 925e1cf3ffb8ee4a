//! Threads that are not ours.
//!
//! A host thread gets a G and an M of its own at its first call that blocks.
//! Its park is a sleep of the thread; everything else about waiting is as for
//! a goroutine, so that a waiter is always a G. Both go when the thread ends
//! (a pthread key's destructor; a thread-local's would pin the library).
//!
//! A host thread that joins a goroutine which has not started may run it in
//! place ([`run_in_place`]): it takes an idle P, becomes that P's M on its own
//! stack as g0, and is a host thread again when the goroutine parks or ends.
//! Meanwhile it is as every M: control words, signal mask, no cancel. What it
//! had itself comes back afterwards.
//!
//! A thread that is cancelled while it waits goes on to wait: its record is in
//! queues. No call is a point of cancellation (`os::raw`).

use super::{
    calls, deadlock, ending,
    enter::owned_p,
    fork, goexit, leave, lockthread, newproc,
    procs::{acquirep, put_down, releasep, wakep},
    schedule, sigmask,
    threads::{self, allocm, freem},
};
use crate::{
    arch,
    gmp::{
        DEBUG, G, GStatus, HookFn, HookResult, M, MKind, OwnedP, P, SCHED,
        casgstatus, gflag,
        parkword::{Cause, Fire, Ticket},
    },
    os::{
        self, Errno, Result,
        raw::{NoCancel, defer_cancel},
        thread,
    },
};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicU32, Ordering::*},
};

/// The pthread key of host threads' Gs, plus 1; 0 until it is made.
static KEY: AtomicU32 = AtomicU32::new(0);

/// Makes the key. Part of `libpreinit`.
pub(crate) fn hostinit() {
    if KEY.load(Acquire) == 0
        && let Ok(key) = thread::key_create(detach)
    {
        KEY.store(key + 1, Release);
    }
}

/// What a host's first call of the library does, once the runtime is up.
pub(crate) fn first_call() {
    sigmask::first_call();
    lockthread::find_python();
}

/// Gives this host thread its G.
///
/// Errors: `ENOMEM`.
#[cold]
pub(crate) fn attach() -> Result<&'static G> {
    let key = KEY.load(Acquire).checked_sub(1).ok_or(Errno::ENOMEM)?;
    lockthread::find_python();
    leave::watch_main_thread();
    let gp = newproc::gfget(None).ok_or(Errno::ENOMEM)?;
    let Some(mp) = allocm(MKind::Host) else {
        newproc::gfput(None, gp);
        return Err(Errno::ENOMEM);
    };
    mp.errno.set(os::errno_location());
    mp.cxa.set(ptr::null_mut());
    mp.procid.store(thread::gettid(), Release);
    mp.in_runtime.store(false, Relaxed);
    gp.flags.set(gflag::HOST | gflag::SYSTEM);
    gp.goid.set(SCHED.goidgen.fetch_add(1, Relaxed) + 1);
    gp.m.set(mp);
    casgstatus(gp, GStatus::Dead, GStatus::Runnable);
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
    let value = ptr::from_ref(gp).cast_mut().cast();
    if let Err(e) = thread::key_set(key, value) {
        free(gp);
        return Err(e);
    }
    arch::setg(gp);
    Ok(gp)
}

/// The thread ends: the key's destructor.
unsafe extern "C" fn detach(value: *mut c_void) {
    let gp = value.cast::<G>().cast_const();
    // SAFETY: attach's value, a type-stable G.
    let gp: &'static G = unsafe { &*gp };
    // Calls that it has left by a jump.
    ending::run_records(gp);
    super::local::destroy(gp);
    arch::setg(ptr::null());
    if !fork::in_child() {
        free(gp);
    }
}

fn free(gp: &'static G) {
    let mp = gp.mp();
    threads::drop_sigstack(mp);
    freem(mp);
    casgstatus(gp, GStatus::Running, GStatus::Dead);
    goexit::gdestroy(gp, None);
}

/// Blocks this thread until `ticket` is fired or the deadline passes. `hook`
/// does what runs on g0 for a goroutine.
pub(crate) fn park(
    gp: &'static G,
    ticket: Ticket,
    deadline: i64,
    (hook, arg): (HookFn, usize),
) -> Cause {
    let mp = gp.mp();
    defer_cancel();
    if !gp.defers.get().is_null() {
        calls::look(gp);
    }
    casgstatus(gp, GStatus::Running, GStatus::Waiting);
    if hook(gp, arg) == HookResult::Left {
        sleep(gp, mp, ticket, deadline);
    }
    casgstatus(gp, GStatus::Waiting, GStatus::Running);
    gp.park.finish()
}

fn sleep(gp: &'static G, mp: &'static M, ticket: Ticket, deadline: i64) {
    if deadline == super::park::FOREVER {
        count_asleep(gp, mp);
        deadlock::check();
        mp.park.sleep();
    } else if !mp.park.sleep_until(deadline) {
        if gp.park.fire(ticket, Cause::Timeout) != Fire::Lost {
            // Nobody else will wake us.
            return;
        }
        // Somebody won just now, and wakes us.
        mp.park.sleep();
    }
    mp.park.clear();
}

/// Counts this thread as asleep, unless it has been woken already. A waker
/// that finds `hostwait` set takes it away and counts down; it may do so
/// before we count up, so the sum errs towards awake.
fn count_asleep(gp: &G, mp: &M) {
    mp.hostwait.store(true, SeqCst);
    if gp.park.waiting(&gp.claim) || !mp.hostwait.swap(false, SeqCst) {
        SCHED.nhostwait.fetch_add(1, SeqCst);
    }
}

/// Wakes the host thread of `gp`, whose ticket the caller won. From then on
/// it does not count as asleep: it is about to run.
pub(crate) fn wake(gp: &'static G) {
    let mp = gp.mp();
    if mp.hostwait.swap(false, SeqCst) {
        SCHED.nhostwait.fetch_sub(1, SeqCst);
    }
    mp.park.wakeup();
}

/// This host thread, which has a G and wants `target` to end, runs it here
/// until it first parks, if that is cheap: it has not started, is the newest
/// in the global queue, needs no thread of its own, and a P is idle, besides
/// one for what was queued before it.
pub(crate) fn run_in_place(gp: &'static G, target: &'static G) {
    // Relaxed: hints, checked again under the lock.
    if !DEBUG.hostrun.load(Relaxed) || SCHED.npidle.load(Relaxed) == 0 {
        return;
    }
    let Some(pp) = take_both(target) else { return };
    let mp = gp.mp();
    let errno = os::errno::KeepErrno::new();
    // The goroutine is not this thread, and so not cancelled with it.
    defer_cancel();
    let cancel = NoCancel::new();
    let mask = sigmask::InPlace::enter();
    threads::give_sigstack(mp);
    mp.in_runtime.store(true, Relaxed);
    acquirep(mp, pp);
    mp.nextg.set(target);
    arch::setg(mp.g0.get());
    // SAFETY: g is this M's g0, whose base is here.
    unsafe { arch::g0call(in_place) };
    arch::setg(gp);
    mp.curg.store(ptr::null_mut(), Relaxed);
    mp.in_runtime.store(false, Release);
    drop(mask);
    drop(cancel);
    drop(errno);
}

/// Takes `target` out of the global queue and an idle P off its list, both or
/// neither.
fn take_both(target: &'static G) -> Option<&'static P> {
    let mut sched = SCHED.lock();
    if SCHED.gcwaiting.load(Relaxed)
        || sched.pidle.is_null()
        // What was queued before has woken an M, which takes a P when it
        // comes up: one is left for it.
        || sched.runq.len() > 1 && SCHED.npidle.load(Relaxed) < 2
        || !sched.globrunqtake_newest(target)
    {
        return None;
    }
    // In our hands now, so its fields are ours to read.
    if target.has(gflag::LOCK_AT_START) || target.has(gflag::STARTED) {
        sched.globrunqput(target);
        return None;
    }
    sched.pidleget()
}

unsafe extern "C" fn in_place() {
    schedule::schedule()
}

/// On g0 of a host thread: the goroutine that came to run in place, and the P
/// for it; or, when that is off, back to where the host called us. The P is
/// somebody else's then.
pub(crate) fn come_or_leave(mp: &'static M) -> (OwnedP, &'static G) {
    if let Some(gp) = schedule::take_nextg(mp) {
        match owned_p(mp) {
            // Relaxed: put_down looks again under the lock.
            Some(pp) if !SCHED.gcwaiting.load(Relaxed) => return (pp, gp),
            _ if fork::in_child() => fork::end_child(),
            _ => {
                SCHED.lock().globrunqputhead(gp);
                wakep();
            }
        }
    }
    if owned_p(mp).is_some() {
        put_down(releasep(mp));
    }
    mp.detached.store(false, Relaxed);
    let g0 = mp.g0.get();
    // SAFETY: this M's g0, type-stable.
    let base = unsafe { (*g0).sched_sp.get() };
    // SAFETY: the base is in run_in_place, live below us.
    unsafe { arch::gogo(base, g0) }
}
