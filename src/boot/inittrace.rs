//! `GMPDEBUG=inittrace=1`: how long each stage of the start takes.
//!
//! Each stage reports its beginning once, and lasts until the next one begins,
//! from the loading thread to m0's. A stage that contains others counts only up
//! to the first of them, so all stages add up to the total. The times are
//! always taken, which costs less than a test of the setting. They are printed
//! when the runtime is up:
//!
//! ```text
//! init rt0_go 1254 ns @41230 ns
//! init total 241007 ns
//! ```
//!
//! The functions of `GMP_INIT` have a line each when they return.

use crate::{
    base::{
        print::SigWriter,
        sync::{AtomicI64, AtomicPtr, AtomicUsize, Ordering::*},
    },
    os::clock::nanotime,
};
use core::{
    ffi::{CStr, c_char},
    fmt::Write as _,
    ptr,
};

/// More than there are stages.
const MAX: usize = 48;

struct Stage {
    /// atomic: a constant C string
    name: AtomicPtr<c_char>,
    /// atomic: when it began
    start: AtomicI64,
}

static STAGES: [Stage; MAX] = [const {
    Stage { name: AtomicPtr::new(ptr::null_mut()), start: AtomicI64::new(0) }
}; MAX];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Notes that a stage of the start begins.
pub(super) fn stage(name: &'static CStr) {
    inittrace_stage(name.as_ptr());
}

/// [`stage`] for assembly. `name` is a constant C string.
#[unsafe(no_mangle)]
extern "C" fn inittrace_stage(name: *const c_char) {
    // Relaxed, all three: stages never overlap, and the thread of one makes the
    // thread of the next.
    let at = COUNT.fetch_add(1, Relaxed);
    let Some(slot) = STAGES.get(at) else { return };
    slot.name.store(name.cast_mut(), Relaxed);
    slot.start.store(nanotime(), Relaxed);
}

/// Prints that a function of the host's, called at time `start`, has returned.
pub(super) fn print_task(name: &CStr, start: i64) {
    let span = nanotime() - start;
    let since = start - STAGES[0].start.load(Relaxed);
    let mut w = SigWriter::stderr();
    w.bytes(b"init ");
    w.bytes(name.to_bytes());
    // A SigWriter reports no errors.
    let _ = writeln!(w, " {span} ns @{since} ns");
}

/// Prints all stages when the start is over.
pub(super) fn print() {
    let end = nanotime();
    let count = COUNT.load(Relaxed).min(MAX);
    let begin = STAGES[0].start.load(Relaxed);
    let mut w = SigWriter::stderr();
    for (i, stage) in STAGES[..count].iter().enumerate() {
        let start = stage.start.load(Relaxed);
        let next = STAGES[..count].get(i + 1);
        let until = next.map_or(end, |s| s.start.load(Relaxed));
        let name = stage.name.load(Relaxed);
        // SAFETY: a constant C string, as its field says.
        let name = unsafe { CStr::from_ptr(name) };
        w.bytes(b"init ");
        w.bytes(name.to_bytes());
        // A SigWriter reports no errors.
        let _ = writeln!(w, " {} ns @{} ns", until - start, start - begin);
    }
    let _ = writeln!(w, "init total {} ns", end - begin);
}
