//! Threads that are not ours.
//!
//! A host thread gets a G and an M of its own at its first call that may block,
//! so that a waiter is always a G. Its park is a sleep of the thread; all else
//! about waiting is as for a goroutine. G and M are given back when the thread
//! ends, by the destructor of a pthread key. (The destructor of a thread-local
//! would pin the library.)
//!
//! A thread that `pthread_cancel` hits while it waits goes on waiting, because
//! its record is in queues. No call is a point of cancellation (`os::raw`).

use super::{
    calls, child, deadlock, defers, ending, mainthread, python,
    schedule::Departure,
    sigmask, suspended,
    threads::{self, allocm, freem},
};
use crate::{
    arch,
    gmp::{
        CLOSING, G, GStatus, HOST_WAITS, HookResult, M, MKind, SCHED, SYSMON,
        casgstatus,
        closing::Stage,
        gdestroy, gfget, gflag, gfput,
        parkword::{Cause, Fire, Ticket, WaitKind},
        renew_waitmark,
        waitfor::Wait,
        waitmark,
    },
    os::{
        self, Errno, Result, clock::nanotime, key::Key, raw::defer_cancel,
        thread,
    },
    timers::Deadline,
};
use core::{
    ffi::c_void,
    iter, ptr,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// Has each host thread's G.
static KEY: Key = Key::new();

/// Makes the key. Part of `libpreinit`.
pub(crate) fn hostinit() {
    // Without it no host thread gets a G.
    let _is_there = KEY.make(detach);
}

/// Deletes the key: the ends of host threads are no concern of the library's
/// any more. Their Gs and Ms stay theirs, and get a value of the next key when
/// the thread waits again. No thread forks meanwhile.
pub(super) fn delete_key() {
    KEY.delete();
    for mp in attached() {
        // SeqCst: after the key is gone. Pairs with take_key.
        mp.ends_untold.store(true, SeqCst);
    }
}

/// All Ms of host threads that have one.
fn attached() -> impl Iterator<Item = &'static M> {
    // Acquire: pairs with publish.
    each_hostm().filter(|mp| mp.tp.load(Acquire) != 0)
}

/// In the stage Closed: ends the waits of all host threads, but for those that
/// a cancel would not end either. True: some have not noticed yet.
pub(super) fn end_waits() -> bool {
    let nudge = |mp: &M| CLOSING.nudge(&mp.park) && !mp.lasts.load(Relaxed);
    attached().fold(false, |some, mp| some | nudge(mp))
}

/// Whether a host thread that lives has a signal stack of ours.
pub(super) fn has_sigstacks() -> bool {
    attached().any(|mp| {
        let tid = mp.procid.load(Relaxed);
        mp.gsignal.get().1 != 0 && thread::exists(tid)
    })
}

/// Frees the G and M of each host thread that has ended without the key's
/// destructor, since the key was deleted.
pub(super) fn sweep() {
    for mp in attached() {
        let of = || (mp.tp.load(Acquire), mp.procid.load(Relaxed));
        let thread @ (tp, tid) = of();
        // Again, once the thread is known to have ended: its destructor may
        // have begun before the key was deleted, and has freed both then.
        if tp != 0 && !thread::exists(tid) && of() == thread {
            let gp = mp.standin.load(Relaxed).cast_const();
            // SAFETY: a type-stable G, which no thread has any more.
            let gp: &'static G = unsafe { &*gp };
            ending::forget(gp);
            super::local::forget(gp);
            mp.tp.store(0, Relaxed);
            give_back(gp, mp);
        }
    }
}

/// The library is unloaded: frees what it has from malloc for host threads that
/// live.
///
/// # Safety
/// No thread is in a call, or will make one.
pub(super) unsafe fn free_all() {
    for mp in attached() {
        // SAFETY: a type-stable G.
        if let Some(gp) = unsafe { mp.standin.load(Relaxed).as_ref() } {
            ending::forget(gp);
        }
        defers::free_kept(mp);
    }
}

/// A host thread that waits after another start: its key is another one.
#[cold]
fn attach_again(gp: &'static G, mp: &M) {
    // The wait finds out by itself that the runtime ends.
    let _has_key = take_key(gp, mp);
}

/// This thread's end is the library's concern from now on.
///
/// Errors: `ENOMEM`; `ESHUTDOWN` if the runtime has ended meanwhile.
fn take_key(gp: &'static G, mp: &M) -> Result<()> {
    // SeqCst: before the look at the key, which comes after the value is set.
    // Pairs with delete_key: there is a key yet, or this stays true.
    mp.ends_untold.store(false, SeqCst);
    match KEY.set(ptr::from_ref(gp).cast()) {
        Ok(number) => {
            mp.key.set(number);
            mainthread::watch_main_thread();
            if KEY.number() != number {
                // It may have come after the end of the runtime.
                mainthread::unwatch();
            }
            Ok(())
        }
        Err(e) => {
            mp.ends_untold.store(true, SeqCst);
            Err(e)
        }
    }
}

/// Why the last wait of this host thread has ended early: the runtime ends.
pub(crate) fn take_shutdown() -> bool {
    let host = arch::getg().filter(|gp| gp.is_host());
    host.is_some_and(|gp| gp.mp().shut.take())
}

/// What a host's first call of the library does, once the runtime is up.
pub(crate) fn first_call() {
    sigmask::first_call();
    python::find_python();
}

/// Gives this host thread its G.
///
/// Errors: `ENOMEM`; `ESHUTDOWN` while the runtime ends.
#[cold]
pub(crate) fn attach() -> Result<&'static G> {
    if CLOSING.has_come(Stage::Closed) {
        return Err(Errno(libc::ESHUTDOWN));
    }
    python::find_python();
    let gp = gfget(None).ok_or(Errno::ENOMEM)?;
    let Some(mp) = allocm(MKind::Host) else {
        gfput(None, gp);
        return Err(Errno::ENOMEM);
    };
    mp.errno.set(os::errno_location());
    mp.cxa.set(ptr::null_mut());
    mp.procid.store(thread::gettid(), Release);
    mp.in_runtime.store(false, Relaxed);
    threads::join_turnstile(mp);
    gp.flags.set(gflag::HOST | gflag::SYSTEM);
    gp.func.set(None);
    gp.gopc.set(0);
    gp.parent.set(0);
    gp.goid.set(SCHED.goidgen.fetch_add(1, Relaxed) + 1);
    gp.m.set(mp);
    casgstatus(gp, GStatus::Dead, GStatus::Runnable);
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
    publish(gp, mp);
    if let Err(e) = take_key(gp, mp) {
        free(gp);
        return Err(e);
    }
    mp.suspend.reset();
    arch::setg(Some(gp));
    // What the thread gets from now on, a collection finds.
    suspended::newcomer();
    Ok(gp)
}

/// The thread ends: the key's destructor.
unsafe extern "C" fn detach(value: *mut c_void) {
    let gp = value.cast::<G>().cast_const();
    // SAFETY: attach's value, a type-stable G.
    let gp: &'static G = unsafe { &*gp };
    // For calls that the thread has left by a jump.
    ending::run_records(gp);
    super::local::destroy(gp);
    // For panics that a destructor has recovered.
    ending::run_records(gp);
    arch::setg(None);
    if !child::is_dead_end() {
        child::thread_ends(gp);
        free(gp);
    }
}

fn free(gp: &'static G) {
    let mp = gp.mp();
    mp.tp.store(0, Relaxed);
    threads::leave_turnstile(mp);
    give_back(gp, mp);
}

fn give_back(gp: &'static G, mp: &'static M) {
    threads::drop_sigstack(mp);
    freem(mp);
    casgstatus(gp, GStatus::Running, GStatus::Dead);
    gdestroy(gp, None);
}

/// The Ms that are, or have been, those of host threads. None is taken out.
pub(crate) static HOSTMS: AtomicPtr<M> = AtomicPtr::new(ptr::null_mut());

/// The caller's thread is found by its thread pointer from now on.
pub(super) fn publish(gp: &G, mp: &'static M) {
    mp.standin.store(ptr::from_ref(gp).cast_mut(), Relaxed);
    // Release: pairs with standin_of.
    mp.tp.store(arch::thread_pointer(), Release);
    if mp.hostlisted.replace(true) {
        return;
    }
    let mut head = HOSTMS.load(Acquire);
    loop {
        // SAFETY: null, or an M that was published, which is type-stable.
        mp.hostlink.set(unsafe { head.as_ref() });
        let new = ptr::from_ref(mp).cast_mut();
        match HOSTMS.compare_exchange(head, new, AcqRel, Acquire) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// The Ms that are, or have been, those of host threads.
pub(crate) fn each_hostm() -> impl Iterator<Item = &'static M> {
    // SAFETY: null, or a type-stable M.
    let first = unsafe { HOSTMS.load(Acquire).as_ref() };
    iter::successors(first, |mp: &&M| mp.hostlink.get())
}

/// In the child of a fork: the M of a host thread that ran the goroutine that
/// forked is one of ours from now on, and its stand-in is no more.
pub(super) fn becomes_worker(mp: &'static M) {
    mp.becomes_worker();
    mp.tp.store(0, Relaxed);
    mp.standin.store(ptr::null_mut(), Relaxed);
    // Cannot fail: the thread has a value already.
    let _no_more = KEY.set(ptr::null());
}

/// For reports: the stand-in of the thread that has this thread pointer and
/// this tid, if it has one.
pub(crate) fn standin_of(tp: usize, tid: u32) -> Option<&'static G> {
    // Acquire: pairs with publish.
    let mp = each_hostm().find(|mp| {
        mp.tp.load(Acquire) == tp && mp.procid.load(Relaxed) as u32 == tid
    })?;
    let gp = mp.standin.load(Relaxed).cast_const();
    // SAFETY: null, or a type-stable G.
    unsafe { gp.as_ref() }
}

/// Blocks this thread until `ticket` is fired or the deadline passes. The hook,
/// which a goroutine leaves to the next stack, runs here before the sleep.
pub(crate) fn park(
    gp: &'static G,
    ticket: Ticket,
    wait: &Wait,
    Departure { hook, arg, .. }: Departure,
) -> Cause {
    let mp = gp.mp();
    mp.shut.set(false);
    if mp.key.get() != KEY.number() {
        attach_again(gp, mp);
    }
    if SYSMON.is_deep() {
        // Nobody renews it before this thread sleeps.
        renew_waitmark(nanotime());
        gp.waitsince.store(waitmark(), Relaxed);
    }
    defer_cancel();
    if !gp.defers.get().is_null() {
        calls::look(gp);
    }
    casgstatus(gp, GStatus::Running, GStatus::Waiting);
    if hook(gp, arg) == HookResult::Left {
        // Relaxed: the note's word orders it, and the fences of `closing`.
        mp.lasts.store(wait.kind == WaitKind::Plain, Relaxed);
        let sleeps = || sleep(gp, mp, ticket, wait.deadline);
        if wait.deadline.is_never() {
            // The heap may begin meanwhile.
            suspended::safely_long(sleeps);
        } else {
            suspended::safely(sleeps);
        }
    }
    casgstatus(gp, GStatus::Waiting, GStatus::Running);
    gp.park.finish()
}

fn sleep(gp: &'static G, mp: &'static M, ticket: Ticket, deadline: Deadline) {
    if deadline.is_never() {
        let waiting = || gp.park.waiting(&gp.claim);
        HOST_WAITS.fall_asleep(&mp.hostwait, waiting);
        deadlock::check();
    }
    if mp.lasts.load(Relaxed) {
        // Only its waker ends it, which is a thread of the host's if the
        // runtime ends.
        mp.park.sleep();
    } else if !CLOSING.sleep(&mp.park, deadline.ns()) {
        // The deadline has passed, or the runtime ends.
        if gp.park.fire(ticket, Cause::Timeout) != Fire::Lost {
            // Nobody else will wake us.
            HOST_WAITS.wake(&mp.hostwait);
            mp.shut.set(!deadline.has_passed(nanotime()));
            return;
        }
        // A waker won just now, and wakes us.
        mp.park.sleep();
    }
    mp.park.clear();
}

/// The G of this thread, made for a host thread that had none.
///
/// Errors: `EDEADLK` inside a callback that may not park; `ENOMEM`.
pub(crate) fn current() -> Result<&'static G> {
    let Some(gp) = arch::getg() else { return attach() };
    // Relaxed: this thread writes it.
    if gp.mp().in_runtime.load(Relaxed) {
        return Err(Errno(libc::EDEADLK));
    }
    Ok(gp)
}

/// [`current`] for what is done at the end of a thread.
///
/// Errors: as [`current`]; `ESHUTDOWN` if the runtime has ended meanwhile.
pub(crate) fn current_until_its_end() -> Result<&'static G> {
    let gp = current()?;
    if gp.is_host() && gp.mp().key.get() != KEY.number() {
        take_key(gp, gp.mp())?;
    }
    Ok(gp)
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    each_hostm().for_each(|mp| mp.hostlisted.set(false));
    HOSTMS.store(ptr::null_mut(), Relaxed);
}
