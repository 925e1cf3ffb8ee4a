//! A pointer to no object, given to a call that wants one. The call returns an
//! error. A pointer into a goroutine's stack is told in words too, once: such
//! memory goes by itself, and a program that frees it takes it for something
//! else.

use crate::{
    base::{
        print::SigWriter,
        sync::{AtomicBool, Ordering::Relaxed},
    },
    gmp::{G, GStatus, each_g},
    heap::{MHEAP, SpanState},
    os::Errno,
};
use core::{cell::Cell, fmt::Write as _};

/// Said once.
static SAID: AtomicBool = AtomicBool::new(false);

/// What `call` returns for such a pointer: Go's `badPointer`, which throws.
#[cold]
pub(super) fn bad_pointer(call: &str, at: usize) -> Errno {
    if MHEAP.state_of(at) == SpanState::Manual && !SAID.swap(true, Relaxed) {
        say(call, at);
    }
    Errno::EINVAL
}

fn say(call: &str, at: usize) {
    let mut w = SigWriter::stderr();
    let _ = write!(w, "gmprt: {call}: {at:#x} is no object of the heap: ");
    let _ = match each_g().find(|gp| is_on_stack(gp, at)) {
        Some(gp) => {
            let id = peek(&gp.goid);
            writeln!(w, "it lies on the stack of goroutine {id}")
        }
        None => writeln!(w, "it lies in memory for stacks of goroutines"),
    };
    w.flush();
}

/// Whether `at` is on the stack of a goroutine, which may end meanwhile.
fn is_on_stack(gp: &G, at: usize) -> bool {
    let ended = [GStatus::Idle, GStatus::Dead].contains(&gp.readgstatus());
    let (lo, hi) = (peek(&gp.stack_lo), peek(&gp.stack_hi));
    !ended && !gp.is_host() && (lo..hi).contains(&at)
}

/// Reads a word that its owner may write meanwhile.
fn peek<T: Copy>(cell: &Cell<T>) -> T {
    // SAFETY: aligned and initialised; on this processor a word that another
    // thread writes reads as the old value or the new one.
    unsafe { cell.as_ptr().read_volatile() }
}
