//! Signal masks: that of all threads which run goroutines, and that of a
//! goroutine which has one of its own.
//!
//! # The mask of the threads
//! The library's threads exist before the program has decided which threads
//! take which signals. Where `main` blocks `SIGTERM` first, to wait for it, a
//! thread that did not block it would take it, and the process would end. So a
//! thread of ours blocks every signal until it runs goroutines of the host, and
//! then takes on the mask of the thread that made the host's *first call*:
//!
//! ```text
//!                              the first call has been made,
//!   made --> blocks all         and there is something to run     it has
//!            (MKind::Early) ------------------------------------> that mask
//!                                                                 (Worker)
//!
//!   first call, before it starts anything   Early M, about to run something
//!     MASK = the thread's mask                TOLD?  yes: own mask = MASK  (c)
//!     TOLD = true                 (a)                no: stays Early
//!     queue a goroutine           (b)
//! ```
//! (a) pairs with (c): an M that takes a goroutine of the host's from a queue,
//! after (b), sees TOLD. An Early M runs goroutines of the library only.
//!
//! sysmon and the template thread never run goroutines: they block all signals
//! for good, but for those that sysmon takes on behalf of `gmp_signal_notify`.
//! No thread blocks the signals of faults, for the handler of stack overflows.
//! From the first call of the collected heap on `MASK` is without the signal of
//! its collections: a thread that runs a goroutine must be one that they can
//! stop, and where `main` blocks all signals before its first call the program
//! means those that it waits for.
//! A host that makes the threads itself has given m0 the mask that it wants; on
//! the exe path m0 is the main thread, with the program's mask.
//!
//! A goroutine begins with `MASK` wherever it runs, also in place on a host
//! thread ([`InPlace`]).
//!
//! # The mask of a goroutine
//! The kernel keeps a mask for each thread, and to ask it costs more than a
//! switch. A goroutine that changes its mask by `gmp_sigmask`, which gmp.h puts
//! in the place of `pthread_sigmask`, gets the flag [`gflag::SIGMASK`]. Only
//! with the flag does a switch ask the kernel:
//!
//! | the goroutine | its own mask | the thread's mask |
//! |---|---|---|
//! | leaves its thread | is kept in its G | becomes `MASK` again |
//! | … and had `MASK` | the flag is cleared | stays `MASK` |
//! | comes onto a thread | | becomes the goroutine's |
//! | is locked | stays with its thread | stays |
//!
//! Invariants:
//! 1. `MASK` is written before `TOLD`; after that only on the exe path, once,
//!    by the first call, and by the first call of the heap.
//! 2. An M of kind Worker has the mask `MASK`, unless it runs a goroutine with
//!    the flag, or is locked. One that had it before the heap's first call gets
//!    the new one with its next goroutine (`M::direct`), or by a call of the
//!    heap (`M::listens`).
//! 3. A goroutine without the flag has the mask `MASK`, if the host changes
//!    masks by `gmp_sigmask` only: the flag is set before the mask changes, and
//!    cleared only where the kernel has shown that the mask is `MASK`.
//!
//! Rejected: to ask the kernel at each park (100 ns); to define the C library's
//! `pthread_sigmask` (a program's names are its own, and `dlopen` would not
//! find ours); to keep the mask of a locked goroutine in its G too (its thread
//! waits for it, and takes signals meanwhile as the goroutine wants).

use super::current;
use crate::{
    arch,
    gmp::{Ask, G, M, MKind, ask, each_m, gflag},
    os::{
        Result,
        signal::{self, SigMask},
    },
};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*, fence};

/// The mask of the thread that loaded the library.
static AT_LOAD: AtomicU64 = AtomicU64::new(0);
/// The mask of threads that run goroutines.
static MASK: AtomicU64 = AtomicU64::new(0);
/// `MASK` is known (invariant 1).
static TOLD: AtomicBool = AtomicBool::new(false);
/// What `MASK` never has, of those that a thread may block.
static NEVER: AtomicU64 = AtomicU64::new(0);
/// The signals that sysmon takes.
static SYSMON_TAKES: AtomicU64 = AtomicU64::new(0);
/// No call changes `MASK` any more.
static FIXED: AtomicBool = AtomicBool::new(false);

/// Notes the mask of this thread, which loads the library.
pub(crate) fn at_load() {
    // Relaxed: only threads that this one makes, and it, read the value.
    AT_LOAD.store(SigMask::current().0, Relaxed);
}

/// Takes the mask of m0's thread, which is the host's. `made`: the host has
/// made the thread for us, and its mask is final.
pub(crate) fn msigsave(made: bool) {
    tell(SigMask::current());
    FIXED.store(made, Relaxed);
}

/// Takes the mask of this thread, which makes the host's first call.
pub(crate) fn first_call() {
    if FIXED.load(Relaxed) {
        return;
    }
    let early =
        arch::getg().is_some_and(|gp| gp.mp().kind.get() == MKind::Early);
    // An Early M calls from a hook of the start: no host thread has called yet.
    tell(if early {
        SigMask(AT_LOAD.load(Relaxed))
    } else {
        SigMask::current()
    });
}

/// The runtime has ended: the first call after the next start tells the mask.
pub(super) fn forget() {
    // Relaxed: no other thread of the runtime is left.
    TOLD.store(false, Relaxed);
    FIXED.store(false, Relaxed);
    SYSMON_TAKES.store(0, Relaxed);
}

/// Publishes the mask of the threads.
fn tell(mask: SigMask) {
    MASK.store(mask.without_faults().0, SeqCst);
    // SeqCst: this thread or `never_blocks` comes second, and sees both.
    MASK.fetch_and(!NEVER.load(SeqCst), SeqCst);
    // Release (a): pairs with take_on (invariant 1).
    TOLD.store(true, Release);
}

/// The mask of the threads, once it is known.
fn mask() -> SigMask {
    // Relaxed: a thread that runs goroutines has seen TOLD.
    SigMask(MASK.load(Relaxed))
}

/// No thread that runs goroutines blocks `sig` from now on, unless a goroutine
/// does so itself.
pub(crate) fn never_blocks(sig: i32) {
    let mut one = SigMask(0);
    one.add(sig);
    NEVER.fetch_or(one.0, SeqCst);
    MASK.fetch_and(!one.0, SeqCst);
    for mp in each_m() {
        // SeqCst: after the masks. An M that comes first takes them on with its
        // next goroutine.
        mp.direct.store(false, SeqCst);
    }
}

/// Begins a new M's thread, which blocks all signals.
pub(crate) fn minit(mp: &M) {
    if mp.kind.get() == MKind::Worker {
        mp.kind.set(MKind::Early);
        mp.direct.store(false, Relaxed);
        take_on(mp);
    }
}

/// Gives an M, which is about to run something, its mask: an Early M, if the
/// mask is known, or one that has missed a change.
#[cold]
#[inline(never)]
pub(crate) fn take_on(mp: &M) {
    match mp.kind.get() {
        // Acquire (c): pairs with tell.
        MKind::Early if TOLD.load(Acquire) => {
            mp.becomes_worker();
            // The masks come second: who changes them later has `direct`
            // cleared again.
            fence(SeqCst);
            mask().restore();
        }
        MKind::Worker => {
            mp.has_its_mask();
            fence(SeqCst);
            let never = NEVER.load(Relaxed);
            if never != 0 && !mp.listens.replace(true) {
                // What else a locked goroutine blocks stays.
                SigMask(SigMask::current().0 & !never).restore();
            }
        }
        _ => {}
    }
}

/// A host thread has the threads' mask until this goes.
pub(crate) struct InPlace {
    theirs: SigMask,
    given: SigMask,
}

impl InPlace {
    pub(crate) fn enter() -> Self {
        let given = mask();
        Self { theirs: given.swap(), given }
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        // The thread has `given`, or `MASK` if that has changed meanwhile.
        if self.theirs != self.given || self.theirs != mask() {
            self.theirs.restore();
        }
    }
}

/// `gmp_sigmask`: changes the mask of the calling goroutine or host thread.
/// Returns the former mask.
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

/// Makes sysmon take `sig`, which all other threads may block, or block it
/// again.
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

/// Makes a new sysmon take the signals that the last one has taken.
pub(crate) fn tell_sysmon() {
    if SYSMON_TAKES.load(SeqCst) != 0 {
        ask(Ask::Mask);
    }
}

/// sysmon: unblocks the signals that it is to take, and no others.
pub(super) fn of_sysmon() {
    SigMask(SigMask::all().0 & !SYSMON_TAKES.load(SeqCst)).restore();
}

/// Keeps the mask of a goroutine with the flag, which leaves its thread.
#[cold]
pub(super) fn save(gp: &G) {
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

/// Gives this thread the mask of a goroutine with the flag.
#[cold]
pub(super) fn restore(gp: &G) {
    if !gp.is_locked() {
        SigMask(gp.sigmask()).restore();
    }
}

/// Gives this thread the threads' mask again.
pub(super) fn put_back() {
    mask().restore();
}

/// Whether `gp`, which runs here, has changed the mask without `gmp_sigmask`:
/// invariant 3 does not hold then.
pub(super) fn astray(gp: &G) -> bool {
    gp.mp().kind.get() != MKind::Early
        && !gp.has(gflag::SIGMASK)
        && SigMask::current() != mask()
}
