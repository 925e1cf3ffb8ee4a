//! `GMPDEBUG=migrate=1`: a goroutine continues on another thread each time that
//! it parks or yields.
//!
//! Foreign code takes things of the thread for the goroutine's own: the owner
//! of a recursive mutex, the locale. As a rule it is chance whether a goroutine
//! still has them after a park. Here it never has them, so a program that
//! relies on them fails the first time (`docs/hazards.md`).
//!
//! ```text
//!   parks ---mark---> lockedm = ELSEWHERE --scheduled by another M--> runs
//!                          ^                                |
//!                          +---- P and goroutine go to -----+ by its last M
//!                                another M, ours sleeps
//! ```
//!
//! Every switch looks at `lockedm` and goes by g0 if it is set. So this costs
//! nothing while it is off: parks set the mark behind a test that they make for
//! Python (`python::pin_python`), and yields leave the stack because
//! `timer_due` of each P is always set. A goroutine that is locked to its
//! thread, or has Python frames, stays there.
//!
//! Invariant 1: `lockedm` is `ELSEWHERE` from before a goroutine leaves its
//! stack until an M is about to run it, and never while it runs.

use super::{
    idle::{mget, stopm},
    procs::{acquirep, releasep},
    queue::{runqget, runqput},
    sigmask,
    threads::newm,
};
use crate::{
    base::print::SigWriter,
    gmp::{DEBUG, ELSEWHERE, G, M, MKind, OwnedP, P, SCHED, wait::Turn},
};
use core::{
    ffi::CStr,
    fmt::Write as _,
    ptr,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// Whether `migrate=1` is set.
pub(crate) fn on() -> bool {
    // Relaxed: set at boot.
    DEBUG.migrate.load(Relaxed)
}

/// Prepares a new P: with `migrate=1` each switch on it goes by g0.
pub(super) fn new_p(pp: &P) {
    pp.timer_due.store(on(), Relaxed);
}

/// Marks `gp`, which is not locked and about to leave its stack.
pub(super) fn mark(gp: &G) {
    if on() {
        tell_astray(gp);
        gp.lockedm.set(Some(&ELSEWHERE));
    }
}

/// Whether `mp`, on its g0, is to run the marked `gp`. If not, `gp` and the P
/// have gone to another M and this one has slept; or no other was to be had.
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

/// Gives `gp` and this P to another M. False: none was to be had, and this M
/// runs the next goroutine of its P.
fn pass_on(mp: &'static M, pp: OwnedP, gp: &'static G) -> bool {
    let idle = mget(&mut SCHED.lock());
    if let Some(other) = idle {
        other.spinning.set(false);
        other.nextg.set(Some(gp));
        other.nextp.set(Some(releasep(mp)));
        other.park.wakeup();
        return true;
    }
    // A new M finds gp on the P.
    runqput(pp, gp, Turn::Next);
    let old = releasep(mp);
    if newm(MKind::Worker, None, Some(old)).is_ok() {
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

/// If `gp`, which leaves its thread, has changed the signal mask without
/// `gmp_sigmask`: restores the thread's mask, and warns once.
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
