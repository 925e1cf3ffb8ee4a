//! Whether this process is the child of a fork in which no runtime runs yet,
//! and how the goroutine that forked ends there. How a child begins is in
//! `fork`.
//!
//! ```text
//!   Normal --fork--> Waits --a call that passes the gate--> Normal
//!             '----> DeadEnd    for good
//! ```
//! A child waits for its first call, so one that only executes another program
//! pays nothing. It is a dead end if a signal's handler has forked in the
//! middle of the runtime's code, which then goes on in the child, on data that
//! nobody else will finish.

use super::{current::this_m, enter::Inside, fiber};
use crate::{
    arch,
    base::{sanitize, turnstile::TURNSTILE},
    gmp::{G, GStatus, M, MKind, casgstatus, is_main_thread, lookup},
    os::thread,
};
use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering::*},
};

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Normal = 0,
    Waits = 1,
    DeadEnd = 2,
}

/// The M of the thread that forked, or null.
static M_OF_CHILD: AtomicPtr<M> = AtomicPtr::new(ptr::null_mut());
/// The goroutine that forked, or the stand-in of its host thread.
static G_OF_CHILD: AtomicPtr<G> = AtomicPtr::new(ptr::null_mut());
/// Until the first call: whether the M is in a callback, so that it stays
/// inside.
static IN_CALLBACK: AtomicBool = AtomicBool::new(false);

static STATE: AtomicU8 = AtomicU8::new(State::Normal as u8);

pub(super) fn set(state: State) {
    // Relaxed: set on the child's first thread, before it makes another; and
    // then behind the gate.
    STATE.store(state as u8, Relaxed);
}

/// How many forks lie between this process and the first one that has loaded
/// the library.
#[inline]
pub(crate) fn generation() -> u32 {
    TURNSTILE.generation()
}

/// Nobody of the runtime's has forked: a thread without a G.
pub(super) fn nobody_forked() {
    M_OF_CHILD.store(ptr::null_mut(), Relaxed);
    G_OF_CHILD.store(ptr::null_mut(), Relaxed);
}

/// `gp`, a goroutine or a stand-in, has forked on `mp`.
pub(super) fn forked_on(mp: &'static M, gp: &'static G) {
    M_OF_CHILD.store(ptr::from_ref(mp).cast_mut(), Relaxed);
    G_OF_CHILD.store(ptr::from_ref(gp).cast_mut(), Relaxed);
}

/// Who has forked.
pub(super) fn forker() -> Option<(&'static M, &'static G)> {
    // SAFETY: null, or a type-stable M.
    let mp = unsafe { M_OF_CHILD.load(Relaxed).as_ref() }?;
    // SAFETY: null, or a type-stable G.
    let gp = unsafe { G_OF_CHILD.load(Relaxed).as_ref() }?;
    Some((mp, gp))
}

/// Whether `gp` has forked, as a goroutine or as a stand-in.
pub(super) fn is_of_child(gp: &G) -> bool {
    ptr::eq(G_OF_CHILD.load(Relaxed), gp)
}

/// Whether `gp` outlives the fork: it has forked, or is the g0 of that M.
pub(crate) fn outlives(gp: &G) -> bool {
    forker().is_some_and(|(mp, it)| ptr::eq(it, gp) || mp.is_g0(gp))
}

/// The host thread of the stand-in `gp` ends.
pub(super) fn thread_ends(gp: &G) {
    if is_of_child(gp) {
        nobody_forked();
    }
}

/// Whether the M that forked was inside then, and so in a callback.
pub(super) fn was_inside(inside: bool) {
    IN_CALLBACK.store(inside, Relaxed);
}

/// Whether the M is in that callback still.
pub(super) fn is_in_callback() -> bool {
    IN_CALLBACK.load(Relaxed)
}

/// Whether this process is the child of a fork in which no runtime runs.
pub(crate) fn in_child() -> bool {
    STATE.load(Relaxed) != State::Normal as u8
}

/// Whether a fork made this process, or one that it comes from.
pub(crate) fn is_a_child() -> bool {
    generation() != 0
}

/// In a child: whether the goroutine of this handle is the one that forked.
pub(crate) fn is_here(handle: *mut core::ffi::c_void) -> bool {
    lookup(handle).is_ok_and(is_of_child)
}

/// Whether the runtime is off for good, and its locks may be held.
pub(crate) fn is_dead_end() -> bool {
    STATE.load(Relaxed) == State::DeadEnd as u8
}

/// Ends a call that has called an `unlockf`. If this is the child that the
/// `unlockf` has forked, the M stays inside until the runtime runs.
#[inline(always)]
pub(super) fn stay_inside(inside: Inside) {
    if in_child() {
        IN_CALLBACK.store(false, Relaxed);
        core::mem::forget(inside);
    }
}

/// Ends the thread of the goroutine that forked, when the goroutine has ended
/// in the child and no runtime runs there. On the main thread, and on a thread
/// of the host's (which ran it in place), ends the process: nothing is known to
/// be left in it.
pub(super) fn end_child() -> ! {
    let mp = this_m();
    if mp.kind.get() != MKind::Worker || is_main_thread(mp) {
        thread::exit_process(0);
    }
    let g0 = mp.g0();
    // SAFETY: mstart's base of this g0, which is live below us.
    unsafe { arch::gogo(g0.sched_sp.get(), g0) }
}

/// On g0: resumes the goroutine whose unlockf forked, without a P.
pub(super) fn resume(mp: &'static M, gp: &'static G) -> ! {
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
    mp.curg.store(ptr::from_ref(gp).cast_mut(), Relaxed);
    if sanitize::watches() {
        fiber::comes(gp, mp);
    }
    // SAFETY: gp is Running, ours, and suspended at sched_sp.
    unsafe { arch::gogo(gp.sched_sp.get(), gp) }
}
