//! Whether this process is the child of a fork, and how the goroutine that
//! forked ends there. How a child begins is in `fork`.

use super::{current::this_m, enter::Inside};
use crate::{
    arch,
    gmp::{MKind, is_main_thread},
    os::thread,
};
use core::sync::atomic::{AtomicBool, Ordering::*};

/// Set in the child, on its only thread, for good.
pub(super) static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// Whether this process is the child of a fork, made while the runtime was up.
pub(crate) fn in_child() -> bool {
    // Relaxed: set by the child's first thread before it makes another.
    IN_CHILD.load(Relaxed)
}

/// Ends a call that has called an `unlockf`. If this is the child that the
/// `unlockf` has forked, the M stays inside.
#[inline(always)]
pub(super) fn stay_inside(inside: Inside) {
    if in_child() {
        core::mem::forget(inside);
    }
}

/// Ends the thread of the goroutine that forked, when the goroutine has ended
/// in the child or waits there for nobody. On the main thread, and on a thread
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
