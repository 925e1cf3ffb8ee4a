//! The list of goroutines after a fatal error; `GMP_TRACEBACK` says which ones.
//!
//! ```text
//! goroutine 7 [chan receive] "reader", started by goroutine 1
//! ```
//!
//! The code may run on any thread, in a signal handler, under any lock, while
//! the other threads go on. So it neither locks nor allocates, and its view of
//! another thread's goroutine may be a moment old. It serves a report before
//! the abort and no decision.

use crate::{
    arch,
    base::{
        print::SigWriter,
        sync::{AtomicPtr, Ordering::*},
    },
    gmp::{DEBUG, G, GStatus, Traceback, each_g, gflag},
};
use core::{
    cell::Cell,
    ffi::{CStr, c_char},
    fmt::{self, Write as _},
    ptr,
};

/// The most goroutines that are listed.
const MAX_LISTED: usize = 1000;
/// The most bytes shown of a name or a reason.
const MAX_TEXT: usize = 80;

/// The goroutine that the message names already, or null.
static TOLD: AtomicPtr<G> = AtomicPtr::new(ptr::null_mut());

/// Lists goroutines on standard error; the hook of `throw` and `fatal`.
pub(crate) fn print_goroutines() {
    let level = DEBUG.traceback();
    let mut w = SigWriter::stderr();
    match level {
        Traceback::None => {}
        Traceback::Single => match failing() {
            Some(gp) => line(&mut w, gp),
            None => list(&mut w, level),
        },
        Traceback::All | Traceback::System => list(&mut w, level),
    }
}

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

fn list(w: &mut SigWriter, level: Traceback) {
    let shown = |gp: &&G| {
        let system = peek(&gp.flags) & gflag::SYSTEM != 0;
        alive(gp) && (!system || level >= Traceback::System)
    };
    let mut all = each_g().filter(shown);
    all.by_ref().take(MAX_LISTED).for_each(|gp| line(w, gp));
    let more = all.count();
    if more > 0 {
        // A SigWriter reports no errors.
        let _ = writeln!(w, "... and {more} goroutines more");
    }
}

fn alive(gp: &G) -> bool {
    // A g0 has no number and never a status.
    !matches!(gp.readgstatus(), GStatus::Idle | GStatus::Dead)
}

fn line(w: &mut SigWriter, gp: &G) {
    if ptr::eq(TOLD.load(Relaxed), gp) {
        return;
    }
    // A SigWriter reports no errors.
    let _ = head(w, gp);
    let parent = peek(&gp.parent);
    if parent != 0 {
        let _ = write!(w, ", started by goroutine {parent}");
    }
    let _ = writeln!(w);
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

/// Leaves `gp` out of the list, since the message of the fatal error names it.
pub(crate) fn told(gp: &G) {
    TOLD.store(ptr::from_ref(gp).cast_mut(), Relaxed);
}

/// Writes a C string of the host's on one line, up to a limit.
pub(crate) fn text(w: &mut dyn fmt::Write, s: *const c_char) -> fmt::Result {
    // SAFETY: a name or a reason, which lives while its goroutine has it. The
    // report takes the risk that the goroutine loses it just now.
    let s = unsafe { CStr::from_ptr(s) }.to_bytes();
    for chunk in s[..s.len().min(MAX_TEXT)].utf8_chunks() {
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
fn peek<T: Copy>(cell: &Cell<T>) -> T {
    // SAFETY: aligned and initialised; on this processor a word that another
    // thread writes reads as the old value or the new one.
    unsafe { cell.as_ptr().read_volatile() }
}
