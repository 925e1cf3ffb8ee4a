//! `GMPDEBUG=migrate=1`: a goroutine that parks or yields goes on on another
//! thread, each time.
//!
//! Foreign code takes a thread's things for the goroutine's own: the owner of a
//! recursive mutex, the locale. Whether a goroutine still has them after a park
//! is chance as a rule; here it never has, so a program that relies on it fails
//! the first time. `docs/hazards.md` is for those who look for that.
//!
//! ```text
//!   parks ---mark---> lockedm = ELSEWHERE --scheduled by another M--> runs
//!                          ^                                |
//!                          +---- P and goroutine go to -----+ by its last M
//!                                another M, ours sleeps
//! ```
//!
//! All ways on look at `lockedm`, and come to g0 where there is one; so off, it
//! costs nothing: the mark is set behind a test that parks make for Python
//! (`python::pin_python`), and a yield leaves its goroutine's stack because
//! `timer_due` of each P is always set. A goroutine that is locked to its
//! thread, or has Python frames, stays there.
//!
//! Invariant: `lockedm` is `ELSEWHERE` from before a goroutine leaves its stack
//! until an M is about to run it, and never while it runs.

use super::{
    idle::{mget, stopm},
    procs::{acquirep, releasep},
    queue::{runqget, runqput},
    sigmask,
    threads::newm,
};
use crate::{
    base::print::SigWriter,
    gmp::{DEBUG, ELSEWHERE, G, M, MKind, OwnedP, P, SCHED},
};
use core::{
    ffi::CStr,
    fmt::Write as _,
    ptr,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// Whether this is on.
pub(crate) fn on() -> bool {
    // Relaxed: set at boot.
    DEBUG.migrate.load(Relaxed)
}

/// A new P.
pub(super) fn new_p(pp: &P) {
    pp.timer_due.store(on(), Relaxed);
}

/// A goroutine that is not locked is about to leave its stack.
pub(super) fn mark(gp: &G) {
    if on() {
        tell_astray(gp);
        gp.lockedm.set(Some(&ELSEWHERE));
    }
}

/// Whether `mp`, on its g0, runs the marked `gp`. Else somebody else does, and
/// this M has slept.
pub(super) fn comes_here(mp: &'static M, pp: OwnedP, gp: &'static G) -> bool {
    if !ptr::eq(gp.m.get(), mp) {
        gp.lockedm.set(None);
        return true;
    }
    if !pass_on(mp, pp, gp) {
        return false;
    }
    stopm(mp);
    false
}

/// Gives `gp` and this P to another M. False: there was none to be had.
fn pass_on(mp: &'static M, pp: OwnedP, gp: &'static G) -> bool {
    let idle = mget(&mut SCHED.lock());
    if let Some(other) = idle {
        other.spinning.set(false);
        other.nextg.set(Some(gp));
        other.nextp.set(Some(releasep(mp)));
        other.park.wakeup();
        return true;
    }
    // A new M finds it on its P.
    runqput(pp, gp, true);
    let old = releasep(mp);
    if newm(MKind::Worker, None, Some(old), false).is_ok() {
        return true;
    }
    acquirep(mp, old);
    if let Some(next) = runqget(pp) {
        if next.is_marked() {
            next.lockedm.set(None);
        }
        mp.nextg.set(Some(next));
    }
    false
}

/// A goroutine that leaves its thread for good or for a while has changed the
/// signal mask without a word: says so, once, and puts it back.
pub(super) fn tell_astray(gp: &G) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !sigmask::astray(gp) {
        return;
    }
    sigmask::put_back();
    if TOLD.swap(true, Relaxed) {
        return;
    }
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = write!(w, "gmprt: migrate: goroutine {}", gp.goid.get());
    let name = gp.name.load(Acquire);
    if !name.is_null() {
        // SAFETY: a C string of the goroutine that runs here.
        let name = unsafe { CStr::from_ptr(name) };
        let _ = write!(w, " \"{}\"", name.to_bytes().escape_ascii());
    }
    let _ = writeln!(
        w,
        " has changed the signal mask of its thread and leaves it: use \
         gmp_sigmask"
    );
}
