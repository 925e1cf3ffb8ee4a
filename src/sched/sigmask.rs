//! Signal masks: that of all threads which run goroutines, and that of a
//! goroutine which has one of its own.
//!
//! # The mask of the threads
//! The library's threads are there before the program has said which signals
//! it wants taken where. One that blocks `SIGTERM` first thing in `main`, to
//! wait for it, would be ended by the thread that does not. So a thread of
//! ours blocks every signal until it runs goroutines of the host, and then has
//! the mask that the host's *first call* had:
//!
//! ```text
//!                              the first call has been made,
//!   made --> blocks all         and there is something to run     it has
//!            (MKind::Early) ------------------------------------> that mask
//!                                                                 (Worker)
//! ```
//!
//! sysmon and the template never run goroutines: they block all for good, but
//! for what sysmon takes on behalf of `gmp_signal_notify`. None of them blocks
//! the signals of faults, for the handler of stack overflows. A host that makes
//! the threads itself has given m0 the mask that it wants; on the exe path m0
//! is the main thread, which has its mask.
//!
//! A goroutine begins with that mask wherever it runs: a host thread that runs
//! one in place has it for that time ([`InPlace`]).
//!
//! # The mask of a goroutine
//! The kernel keeps a mask for each thread, and to ask it at each switch would
//! cost more than the switch. A goroutine that changes its mask says so, by
//! `gmp_sigmask`, which gmp.h puts in the place of `pthread_sigmask`: from then
//! on it has the flag [`gflag::SIGMASK`]. One that has it takes its mask along
//! when it leaves a thread, which gets the threads' mask again, and brings it
//! when it comes; the flag goes when the two are the same. Without the flag a
//! switch costs one test.
//!
//! Invariants:
//! 1. `MASK` is written before `TOLD`; after that by the first call only, on
//!    the exe path.
//! 2. An M of kind Worker has the mask `MASK` but while it runs a goroutine
//!    with the flag, or what is locked to it.
//! 3. The flag may be set for nothing, never missing: it is set before the
//!    mask changes, and cleared where the kernel has shown that it is `MASK`.
//!
//! Rejected: to ask the kernel at each park (100 ns); to define the C library's
//! `pthread_sigmask` (a program's names are its own; `dlopen` would not find
//! it); to keep the mask of a locked goroutine too (its thread waits for it,
//! and takes signals meanwhile as it said).

use super::current;
use crate::{
    arch,
    gmp::{Ask, G, M, MKind, ask, gflag},
    os::{
        Result,
        signal::{self, SigMask},
    },
};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// The mask of the thread that loaded the library.
static AT_LOAD: AtomicU64 = AtomicU64::new(0);
/// The mask of threads that run goroutines.
static MASK: AtomicU64 = AtomicU64::new(0);
/// `MASK` is known.
static TOLD: AtomicBool = AtomicBool::new(false);
/// The signals that sysmon takes.
static SYSMON_TAKES: AtomicU64 = AtomicU64::new(0);
/// Nobody changes it any more.
static FIXED: AtomicBool = AtomicBool::new(false);

/// The library is being loaded, by this thread.
pub(crate) fn at_load() {
    // Relaxed: read by threads that this one makes, or by itself.
    AT_LOAD.store(SigMask::current().0, Relaxed);
}

/// m0's thread is the host's. `made`: for us, with the mask that it wants.
pub(crate) fn of_m0(made: bool) {
    tell(SigMask::current());
    FIXED.store(made, Relaxed);
}

/// A host's first call, by this thread.
pub(crate) fn first_call() {
    if FIXED.load(Relaxed) {
        return;
    }
    let early =
        arch::getg().is_some_and(|gp| gp.mp().kind.get() == MKind::Early);
    // From a hook, on m0: no thread of the host's has called yet.
    tell(if early {
        SigMask(AT_LOAD.load(Relaxed))
    } else {
        SigMask::current()
    });
}

fn tell(mask: SigMask) {
    MASK.store(mask.without_faults().0, Relaxed);
    // Release: pairs with settle (invariant 1).
    TOLD.store(true, Release);
}

fn mask() -> SigMask {
    // Relaxed: what runs goroutines has seen TOLD.
    SigMask(MASK.load(Relaxed))
}

/// On a new M's thread, which blocks all.
pub(crate) fn minit(mp: &M) {
    if mp.kind.get() == MKind::Worker {
        mp.kind.set(MKind::Early);
        settle(mp);
    }
}

/// An Early M is about to run something: takes on the mask, if it is known.
#[cold]
pub(crate) fn settle(mp: &M) {
    // Acquire: pairs with tell.
    if TOLD.load(Acquire) {
        mask().restore();
        mp.kind.set(MKind::Worker);
    }
}

/// While a host thread runs a goroutine in place.
pub(crate) struct InPlace {
    theirs: SigMask,
}

impl InPlace {
    pub(crate) fn enter() -> Self {
        Self { theirs: mask().swap() }
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        if self.theirs != mask() {
            self.theirs.restore();
        }
    }
}

/// `gmp_sigmask`: changes the caller's mask, which is the goroutine's from
/// then on; a host thread's own. The former mask.
///
/// Errors: `EINVAL` for a `how` that does not exist.
pub(crate) fn change(how: i32, set: Option<SigMask>) -> Result<SigMask> {
    if set.is_some()
        && let Some(gp) = current::on_goroutine()
    {
        // Invariant 3.
        gp.set_flag(gflag::SIGMASK);
    }
    signal::sigmask(how, set)
}

/// sysmon is to take `sig`, or no more: somebody has to where all others may
/// block it, as for a program that waits for it by `gmp_signal_notify`.
pub(crate) fn sysmon_takes(sig: i32, takes: bool) {
    let mut one = SigMask(0);
    one.add(sig);
    if takes {
        SYSMON_TAKES.fetch_or(one.0, SeqCst);
    } else {
        SYSMON_TAKES.fetch_and(!one.0, SeqCst);
    }
    ask(Ask::Mask);
}

/// sysmon: takes what it is to take.
pub(super) fn of_sysmon() {
    SigMask(SigMask::all().0 & !SYSMON_TAKES.load(SeqCst)).restore();
}

/// A goroutine with the flag leaves its thread.
#[cold]
pub(super) fn leave(gp: &G) {
    if gp.is_locked() {
        return;
    }
    let its = mask().swap();
    if its == mask() {
        gp.clear_flag(gflag::SIGMASK);
    } else {
        gp.set_sigmask(its.0);
    }
}

/// A goroutine with the flag comes onto a thread.
#[cold]
pub(super) fn come(gp: &G) {
    if !gp.is_locked() {
        SigMask(gp.sigmask()).restore();
    }
}

/// Gives this thread the threads' mask again.
pub(super) fn put_back() {
    mask().restore();
}

/// Whether this thread, on which `gp` runs, has another mask than it should:
/// one that was changed behind our back.
pub(super) fn astray(gp: &G) -> bool {
    gp.mp().kind.get() != MKind::Early
        && !gp.has(gflag::SIGMASK)
        && SigMask::current() != mask()
}
