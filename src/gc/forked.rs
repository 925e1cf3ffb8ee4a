//! The heap in the child of a fork.
//!
//! Where the parent's heap was in use, the child has it as it was, for good: a
//! thread may have been in the middle of a span. Objects can be read, and
//! nothing more is to be had. Where it was not, there is nothing that could be
//! half done, and the child begins a heap of its own like any process.
//!
//! "In use" begins before the first step of the first call (`kept::want`). A
//! fork between two steps finds it so.

use crate::{
    base::{
        print::SigWriter,
        shortcut::{Why, set_closed},
        sync::{AtomicBool, Ordering::Relaxed},
    },
    heap::{MHEAP, kept},
};
use core::fmt::Write as _;

/// The heap is that of a process before this one.
static LEFT: AtomicBool = AtomicBool::new(false);
/// Said once.
static SAID: AtomicBool = AtomicBool::new(false);

/// In the child of a fork, on its one thread.
pub(crate) fn in_child() {
    if kept::wanted() {
        LEFT.store(true, Relaxed);
        set_closed(Why::Child, true);
        // Else sysmon would wake up for it again and again.
        MHEAP.pacing.forget_use();
    }
}

/// Whether the heap stands still.
#[inline]
pub(super) fn is_left() -> bool {
    // Relaxed: set before the process has a second thread.
    LEFT.load(Relaxed)
}

/// Whether a call is refused for that, which is said once.
pub(super) fn refuses() -> bool {
    if is_left() && !SAID.swap(true, Relaxed) {
        say();
    }
    is_left()
}

#[cold]
fn say() {
    let mut w = SigWriter::stderr();
    let _ = writeln!(
        w,
        "gmprt: no heap in this process: it is the child of a fork, and its \
         parent had used the heap; objects can be read, and allocations \
         return NULL"
    );
    w.flush();
}
