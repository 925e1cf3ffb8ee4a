//! The end of an M and of its thread.
//!
//! | M | ends |
//! |---|---|
//! | one whose locked goroutine has ended | with it (`goexit::mexit`) |
//! | an idle one that is not needed | after a while (`idle`) |
//!
//! The M is counted as gone under the lock of the scheduler, while it may still
//! be seen in lists of threads. Then it leaves g0's stack to the function with
//! which its thread began (`threads`): that gives back the signal stack and the
//! M, whose memory stays for the next thread, and the thread ends.

use crate::{
    arch,
    gmp::{COUNTERS, M, SchedLocked},
};

/// Counts this M as gone. It has no P, or hands it off next.
pub(super) fn count_end(sched: &mut SchedLocked) {
    sched.nmfreed += 1;
    COUNTERS.threads_ended.add(1);
}

/// Ends the thread of `mp`, this M, which [`count_end`] has counted; on g0.
pub(super) fn leave(mp: &'static M) -> ! {
    let g0 = mp.g0();
    // SAFETY: mstart's base of this g0, which is live below us.
    unsafe { arch::gogo(g0.sched_sp.get(), g0) }
}
