//! Whether this process is the child of a fork, and the end of what runs there.
//! How a child begins is in `fork`.

use super::{current::this_m, enter::Inside};
use crate::{
    arch,
    gmp::{MKind, is_main_thread},
    os::thread,
};
use core::sync::atomic::{AtomicBool, Ordering::*};

/// Set in the child, on its only thread, and never again.
pub(super) static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// Whether this process is the child of a fork of one with a runtime.
pub(crate) fn in_child() -> bool {
    // Relaxed: it was set on the first thread, before any other began.
    IN_CHILD.load(Relaxed)
}

/// The end of a call that an unlockf came back from: in a child that it has
/// made, the M stays inside.
#[inline(always)]
pub(super) fn stay_inside(inside: Inside) {
    if in_child() {
        core::mem::forget(inside);
    }
}

/// The goroutine that forked has ended in the child, or waits where nobody
/// will wake it: its thread ends. On a thread of the host's, which ran it in
/// place, the process does, as there is nothing else in it that is known.
pub(super) fn end_child() -> ! {
    let mp = this_m();
    if mp.kind.get() != MKind::Worker || is_main_thread(mp) {
        thread::exit_process(0);
    }
    let g0 = mp.g0();
    // SAFETY: mstart's base of this g0, which is live on this thread.
    unsafe { arch::gogo(g0.sched_sp.get(), g0) }
}
