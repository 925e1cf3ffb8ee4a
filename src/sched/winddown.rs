//! The end of the runtime, step by step: `boot::shutdown` has the order, and
//! `gmp::closing` the stages.
//!
//! | step | what ends | how |
//! |---|---|---|
//! | [`cancel_everybody`] | the host's goroutines | each is cancelled |
//! | [`try_close`] | | the world is stopped, and none is found |
//! | [`stayers_live`] | the library's goroutines | each returns at its permit |
//! | [`end_waits`] | waits of host threads | each thread ends its own |
//! | [`end_threads`] | all Ms | each comes to `stopm`, or its loop ends |
//! | [`settle`] | | what Ms have left is given back |
//!
//! An M that ends leaves its thread through the base of its g0, as an M whose
//! locked goroutine has ended does. `os::thread` joins these threads, or waits
//! until the kernel has forgotten them, where a hook of the host's makes them.
//!
//! What outlives the end: Gs and Ms, for the next start. An old handle stays
//! stale then, and a host thread that has a G keeps it.
//!
//! Invariants:
//! 1. One thread at a time is here, of the host's, and not in a callback.
//! 2. From [`end_threads`] on no M is left, so no lock of the runtime is
//!    contended but by host threads.

use super::{
    background,
    cancel::{end_wait, post},
    host, idle,
    keeper::wake_timekeeper,
    mainthread, nothread,
    ready::{ready_all, ready_permit},
    sigmask,
    stw::{self, StoppedWorld},
    sysmon, template,
    threads::{self, THREAD_START},
};
use crate::{
    base::throw::throw,
    gmp::{
        Ask, CLOSING, G, GStatus, MKind, SCHED, SYSMON, ask, closing::Stage,
        each_g, each_m, gflag, handle_of, reset_m0, runtime_m0,
    },
    netpoll,
    os::{
        clock::{nanotime, usleep},
        mem, membarrier, thread,
    },
    stack,
};
use core::{ptr, sync::atomic::Ordering::*};
use std::vec::Vec;

/// Microseconds between two looks, at first and at most.
const NAP: u32 = 20;
const NAP_MOST: u32 = 1_000;
/// Nanoseconds after which an M counts as one that does not come.
const PATIENCE: i64 = 60_000_000_000;

/// Pauses between looks, which grow.
pub(crate) struct Nap(u32);

impl Nap {
    pub(crate) fn new() -> Self {
        Self(NAP)
    }

    pub(crate) fn take(&mut self) {
        usleep(self.0);
        self.0 = (self.0 * 2).min(NAP_MOST);
    }
}

/// Whether there is a goroutine in `gp`, which may end at any moment.
fn lives(gp: &G) -> bool {
    !matches!(gp.readgstatus(), GStatus::Dead | GStatus::Idle)
        && !gp.has(gflag::HOST)
}

/// Cancels all goroutines of the host's that have not been cancelled yet.
pub(crate) fn cancel_everybody() {
    let theirs = |gp: &&G| lives(gp) && !gp.has(gflag::SYSTEM);
    let mut posted = false;
    for gp in each_g().filter(theirs) {
        posted |= !gp.park.cancelled() && post(handle_of(gp)).is_ok();
    }
    if posted {
        membarrier::everywhere();
        each_g().filter(theirs).for_each(|gp| end_wait(gp, handle_of(gp)));
    }
}

/// Moves to the stage Closed if no goroutine is left but the library's that
/// stay until then.
pub(crate) fn try_close() -> bool {
    // With the world stopped no M makes one. A thread without a P looks at the
    // stage under the lock.
    let Some(_stopped) = StoppedWorld::begin() else {
        throw("try_close: the runtime has ended");
    };
    let _sched = SCHED.lock();
    let none = each_g().all(|gp| !lives(gp) || gp.has(gflag::STAYS));
    if none {
        CLOSING.set(Stage::Closed);
    }
    none
}

/// Gives each of the library's goroutines a permit, at which it ends; true:
/// some live yet. Repeated until they have ended, as they may have been about
/// to park. The list of all goroutines has them also where no handle is known:
/// a thread that has passed the gate of the last runtime may have made a second
/// one of a kind.
pub(crate) fn stayers_live() -> bool {
    let mut some = false;
    for gp in each_g().filter(|gp| lives(gp)) {
        some = true;
        let _ended = ready_permit(handle_of(gp));
    }
    some
}

/// Ends the waits of host threads; true: some have not noticed yet.
pub(crate) fn end_waits() -> bool {
    host::end_waits()
}

/// Ends all Ms and their threads. `each` is called again and again, for the
/// layers above to wake their threads. False: one does not come, as it sleeps
/// in a poller that the host has closed.
#[must_use]
pub(crate) fn end_threads(mut each: impl FnMut()) -> bool {
    let hosts = host_made();
    {
        let _sched = SCHED.lock();
        // Under the lock: invariant 3 of `gmp::closing`.
        CLOSING.set(Stage::Leaving);
    }
    let mut nap = Nap::new();
    let patience = nanotime() + PATIENCE;
    while SCHED.lock().mcount() > 0 {
        if nanotime() > patience {
            return false;
        }
        template::drop_wanted();
        idle::wake_all();
        wake_timekeeper();
        template::end_template();
        ask(Ask::End);
        each();
        nap.take();
    }
    thread::join_all();
    while hosts.iter().any(|&tid| thread::exists(tid)) {
        nap.take();
    }
    true
}

/// The threads of Ms that the host has made, which it may join or has detached.
fn host_made() -> Vec<i32> {
    let hook = !THREAD_START.load(Acquire).is_null();
    let made = |m0: bool| match m0 {
        true => !threads::M0_IS_OURS.load(Acquire),
        false => hook,
    };
    let mut tids = Vec::new();
    for mp in each_m().filter(|mp| mp.kind.get() != MKind::Host) {
        let tid = mp.procid.load(Acquire);
        let theirs = made(ptr::eq(mp, &runtime_m0));
        // Without memory: not waited for.
        if tid != 0 && theirs && tids.try_reserve(1).is_ok() {
            tids.push(tid);
        }
    }
    tids
}

/// Gives back what the Ms have left: stacks, the poller, keys.
pub(crate) fn settle() {
    stw::stop_for_good();
    // SAFETY: all goroutines have ended, and the Ps are empty.
    unsafe { stack::unmap_all() };
    netpoll::close();
    // A thread in a call that fails now may be among them.
    ready_all(netpoll::forget_files());
    host::delete_key();
    host::sweep();
    mainthread::unwatch();
    if let Some(gp) = super::current::self_g() {
        threads::drop_sigstack(gp.mp());
    }
    template::ended();
    sigmask::forget();
    let _none_is_served = SYSMON.take_asked();
    // SAFETY: they are of threads and goroutines that have ended.
    unsafe { background::reset() };
    // SAFETY: the same.
    unsafe { nothread::reset() };
    // SAFETY: the same.
    unsafe { sysmon::reset() };
    if !each_m().any(|mp| ptr::eq(mp, &runtime_m0)) {
        // In the child of a fork, which had no m0.
        // SAFETY: no thread has it.
        unsafe { reset_m0() };
    }
}

/// What a library that is unloaded before its first start gives back.
pub(crate) fn undo_preinit() {
    host::delete_key();
    mainthread::unwatch();
}

/// The library is unloaded: frees all that has stayed.
///
/// # Safety
/// The runtime has ended, and no thread is in a call.
pub(crate) unsafe fn free() {
    netpoll::free();
    // SAFETY: no thread is in a call.
    unsafe { host::free_all() };
    // SAFETY: no thread uses a P.
    unsafe { stw::free_procs() };
    // A signal stack of ours that a thread has yet lies there.
    if !host::has_sigstacks() {
        // SAFETY: no thread uses a G, an M or anything else of it.
        unsafe { mem::unmap_kept() };
    }
}
