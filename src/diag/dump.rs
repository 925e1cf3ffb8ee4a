//! The words for a goroutine in the message of a fatal error.
//!
//! ```text
//! goroutine 7 [chan receive] "reader"
//! ```
//!
//! The code may run on any thread, in a signal handler, under any lock, while
//! the other threads go on. So it neither locks nor allocates. Its view of
//! another thread's goroutine may be a moment old, and what that goroutine has
//! on its stack or has named itself with may be gone: such memory is read
//! through the kernel.

use crate::{
    arch,
    base::sync::{AtomicPtr, Ordering::*},
    gmp::{G, GStatus, gflag, wait::Wait},
};
use core::{cell::Cell, fmt, mem::offset_of, ptr};
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
            let wait = gp.waiting.load(Acquire).addr();
            match OwnMemory.u64((wait + offset_of!(Wait, reason)) as u64) {
                Some(reason) if wait != 0 => text(w, reason as usize)?,
                _ => w.write_str("waiting")?,
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
    text(w, name.addr())?;
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

/// Writes a C string of the host's on one line, up to a limit. Of a string that
/// is gone, nothing, or what is there now.
pub(super) fn text(w: &mut dyn fmt::Write, at: usize) -> fmt::Result {
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
