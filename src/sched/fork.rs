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

use super::{child::IN_CHILD, ending};
use crate::{
    arch,
    gmp::{G, GStatus, M, SCHED, casgstatus},
};
use core::{ptr, sync::atomic::Ordering::*};

/// In the child, from `pthread_atfork`: nobody switches any more.
pub(crate) fn begin_child() {
    if IN_CHILD.swap(true, Relaxed) {
        return;
    }
    // g0's loop, should one be on its way there, looks at it.
    SCHED.gcwaiting.store(true, Relaxed);
    let Some(gp) = arch::getg() else { return };
    let mp = gp.mp();
    mp.in_runtime.store(true, Relaxed);
    // On g0 an unlockf has forked: `resume` does it.
    if !mp.is_g0(gp) {
        ending::see_to_end(gp);
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
