//! The child of a fork, which has one thread: the other threads of the runtime,
//! and the goroutines on them, are in the parent only.
//!
//! The goroutine that forked goes on in the child. A call that passes the gate
//! fails there with `ENOTSUP`. A call that does not pass the gate finds its M
//! inside for good, as in a callback, and so does not switch. When its function
//! returns, the goroutine ends like a thread: it runs the functions that it has
//! put off, then its thread ends, and the process with its last thread.
//!
//! Invariant 1: nothing that runs in the child takes a lock of the runtime. A
//! thread of the parent's may have held it at the fork.

use super::{child::IN_CHILD, ending};
use crate::{
    arch,
    base::trace,
    gmp::{G, GStatus, M, STOP, casgstatus},
};
use core::{ptr, sync::atomic::Ordering::*};

/// In the child, from `pthread_atfork`: from now on nothing switches.
pub(crate) fn begin_child() {
    if IN_CHILD.swap(true, Relaxed) {
        return;
    }
    // The rings and the file of a trace are the parent's.
    trace::set_hook(None);
    // g0's loop looks at it, should this thread be on its way there.
    STOP.want();
    let Some(gp) = arch::getg() else { return };
    let mp = gp.mp();
    mp.in_runtime.store(true, Relaxed);
    // On g0 an unlockf has forked: `resume` calls it then.
    if !mp.is_g0(gp) {
        ending::see_to_end(gp);
    }
}

/// On g0: resumes the goroutine whose unlockf forked, with or without a P.
pub(super) fn resume(mp: &'static M, gp: &'static G) -> ! {
    ending::see_to_end(gp);
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
    mp.curg.store(ptr::from_ref(gp).cast_mut(), Relaxed);
    // SAFETY: gp is Running, ours, and suspended at sched_sp.
    unsafe { arch::gogo(gp.sched_sp.get(), gp) }
}
