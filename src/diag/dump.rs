//! The words for a goroutine in the message of a fatal error.
//!
//! ```text
//! goroutine 7 [chan receive] "reader"
//! ```
//!
//! The code may run on any thread, in a signal handler, under any lock, while
//! the other threads go on. So it neither locks nor allocates, and its view of
//! another thread's goroutine may be a moment old.

use crate::{
    arch,
    base::sync::{AtomicPtr, Ordering::*},
    gmp::{G, GStatus, gflag},
};
use core::{
    cell::Cell,
    ffi::{CStr, c_char},
    fmt, ptr,
};
use gmprt_inspect::memory::{Memory, OwnMemory};

/// The most goroutines that are listed.
pub(super) const MAX_LISTED: usize = 1000;
/// The most bytes shown of a name or a reason.
const MAX_TEXT: usize = 80;

/// The goroutine that the message names already, or null.
static TOLD: AtomicPtr<G> = AtomicPtr::new(ptr::null_mut());

/// The goroutine of this thread, also while g0 runs for it.
pub(crate) fn failing() -> Option<&'static G> {
    let gp = arch::getg()?;
    // SAFETY: null, or a type-stable M.
    let mp = unsafe { gp.m.get().as_ref() }?;
    if !mp.is_g0(gp) {
        return Some(gp);
    }
    // SAFETY: null, or a type-stable G.
    unsafe { mp.curg.load(Acquire).as_ref() }
}

/// The goroutine of this thread, as [`failing`], but no host thread's stand-in.
pub(super) fn failing_goroutine() -> Option<&'static G> {
    failing().filter(|gp| peek(&gp.flags) & gflag::HOST == 0)
}

/// Whether a G is a goroutine, or the stand-in of a thread.
pub(super) fn alive(gp: &G) -> bool {
    // A g0 has no number and never a status.
    !matches!(gp.readgstatus(), GStatus::Idle | GStatus::Dead)
}

/// Writes `goroutine 7 [running] "name"`.
pub(crate) fn head(w: &mut dyn fmt::Write, gp: &G) -> fmt::Result {
    write!(w, "goroutine {} [", peek(&gp.goid))?;
    let status = gp.readgstatus();
    match status {
        GStatus::Waiting => {
            // SAFETY: null, or on the stack of a goroutine that waits. The
            // report takes the risk that it goes on just now.
            match unsafe { gp.waiting.load(Acquire).as_ref() } {
                Some(wait) => text(w, wait.reason)?,
                None => w.write_str("waiting")?,
            }
        }
        GStatus::Running => w.write_str("running")?,
        GStatus::Runnable => w.write_str("runnable")?,
        GStatus::Idle => w.write_str("idle")?,
        GStatus::Dead => w.write_str("dead")?,
    }
    w.write_str("]")?;
    name(w, gp)
}

/// Writes ` "name"` if `gp` has a name.
pub(crate) fn name(w: &mut dyn fmt::Write, gp: &G) -> fmt::Result {
    let name = gp.name.load(Acquire);
    if name.is_null() {
        return Ok(());
    }
    w.write_str(" \"")?;
    text(w, name)?;
    w.write_str("\"")
}

/// Leaves the line of `gp` out, since the message of the fatal error has it.
pub(crate) fn told(gp: &G) {
    TOLD.store(ptr::from_ref(gp).cast_mut(), Relaxed);
}

/// Whether [`told`] was called for the G at `g`.
pub(super) fn is_told(g: usize) -> bool {
    TOLD.load(Relaxed).addr() == g
}

/// Writes a C string of the host's on one line, up to a limit.
pub(crate) fn text(w: &mut dyn fmt::Write, s: *const c_char) -> fmt::Result {
    // SAFETY: a name or a reason, which lives while its goroutine has it. The
    // report takes the risk that the goroutine loses it just now.
    let s = unsafe { CStr::from_ptr(s) }.to_bytes();
    line(w, &s[..s.len().min(MAX_TEXT)])
}

/// [`text`] of a string that may be gone; then nothing, or what is there now.
pub(super) fn lost_text(w: &mut dyn fmt::Write, at: usize) -> fmt::Result {
    let mut room = [0; MAX_TEXT];
    let text = OwnMemory.c_str(at as u64, &mut room);
    line(w, text.unwrap_or_default())
}

/// Writes text of the host's on one line.
fn line(w: &mut dyn fmt::Write, s: &[u8]) -> fmt::Result {
    for chunk in s.utf8_chunks() {
        for c in chunk.valid().chars() {
            w.write_char(if c.is_control() { '?' } else { c })?;
        }
        if !chunk.invalid().is_empty() {
            w.write_char('?')?;
        }
    }
    Ok(())
}

/// Reads a field of a G that may be another thread's.
pub(super) fn peek<T: Copy>(cell: &Cell<T>) -> T {
    // SAFETY: aligned and initialised; on this processor a word that another
    // thread writes reads as the old value or the new one.
    unsafe { cell.as_ptr().read_volatile() }
}
