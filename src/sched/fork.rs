//! The child of a fork: the runtime's threads, and the goroutines on them, are
//! in the parent only.
//!
//! The one that forked goes on in the child, on the only thread there. What it
//! calls says `ENOTSUP` at the gate. What does not pass the gate finds its M
//! inside for good, as in a callback: it does not switch. When its function
//! returns, it ends as a thread does that returns: with what it has put off,
//! then the thread, and with the last thread the process.
//!
//! Locks of the runtime may be held in the child, by threads that are not
//! there: nothing that runs in it takes one.

use super::{
    ending,
    enter::{Inside, this_m},
    threads,
};
use crate::{
    arch,
    gmp::{G, GStatus, M, MKind, SCHED, casgstatus},
    os::thread,
};
use core::{
    ptr,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// Set in the child, on its only thread, and never again.
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// Whether this process is the child of a fork of one with a runtime.
pub(crate) fn in_child() -> bool {
    // Relaxed: it was set on the first thread, before any other began.
    IN_CHILD.load(Relaxed)
}

/// In the child, from `pthread_atfork`: nobody switches any more.
pub(crate) fn begin_child() {
    if IN_CHILD.swap(true, Relaxed) {
        return;
    }
    // g0's loop, should one be on its way there, looks at it.
    SCHED.gcwaiting.store(true, Relaxed);
    // SAFETY: null, or this thread's G, which is type-stable.
    let Some(gp): Option<&G> = (unsafe { arch::getg().as_ref() }) else {
        return;
    };
    let mp = gp.mp();
    mp.in_runtime.store(true, Relaxed);
    // On g0 an unlockf has forked: `resume` does it.
    if !ptr::eq(mp.g0.get(), gp) {
        ending::see_to_end(gp);
    }
}

/// The end of a call that an unlockf came back from: in a child that it has
/// made, the M stays inside.
#[inline(always)]
pub(super) fn stay_inside(inside: Inside) {
    if in_child() {
        core::mem::forget(inside);
    }
}

/// On g0: the goroutine whose unlockf forked goes on, whosever its P was.
pub(super) fn resume(mp: &'static M, gp: &'static G) -> ! {
    ending::see_to_end(gp);
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
    mp.curg.store(ptr::from_ref(gp).cast_mut(), Relaxed);
    // SAFETY: gp is Running, ours, and suspended at sched_sp.
    unsafe { arch::gogo(gp.sched_sp.get(), gp) }
}

/// The goroutine that forked has ended in the child, or waits where nobody
/// will wake it: its thread ends. On a thread of the host's, which ran it in
/// place, the process does, as there is nothing else in it that is known.
pub(super) fn end_child() -> ! {
    let mp = this_m();
    if mp.kind.get() != MKind::Worker || threads::is_main_thread(mp) {
        thread::exit_process(0);
    }
    let g0 = mp.g0.get();
    // SAFETY: this M's g0, type-stable.
    let base = unsafe { (*g0).sched_sp.get() };
    // SAFETY: mstart's base of this g0, which is live on this thread.
    unsafe { arch::gogo(base, g0) }
}
