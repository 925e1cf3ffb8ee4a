//! Mutex: Go's `sync.Mutex`, normal and starving.
//!
//! ```text
//!   state = waiters << 3 | STARVING | WOKEN | LOCKED
//! ```
//! Normal: waiters queue in order, but one that wakes competes with those that
//! arrive, which are running already and often win. That is fast. One that
//! lost for over [`STARVING_NS`] switches the mutex to starving: then unlock
//! hands it to the first waiter, and whoever arrives queues at the end. The
//! waiter that is the last, or that did not wait long, switches back.
//!
//! It belongs to nobody: one may lock it here and another unlock it there.
//! Locking is not interrupted by a cancel.

use super::sema::{SemaWait, semacquire, semrelease};
use crate::{
    gmp::parkword::WaitKind,
    os::{Errno, Result, clock::nanotime},
    sched::park::{self, FOREVER},
};
use core::sync::atomic::{AtomicU32, Ordering::*};

const LOCKED: u32 = 1;
const WOKEN: u32 = 2;
const STARVING: u32 = 4;
const WAITER: u32 = 8;
const STARVING_NS: i64 = 1_000_000;

/// The words of a `gmp_mutex`; all zero is unlocked.
#[repr(C)]
pub struct Mutex {
    state: AtomicU32,
    sema: AtomicU32,
}

/// Locks; waits for as long as it takes.
///
/// Errors: `EDEADLK` where the caller may not park.
pub(crate) fn lock(m: &Mutex) -> Result<()> {
    if try_lock(m) { Ok(()) } else { lock_slow(m) }
}

/// Locks if that is possible at once.
pub(crate) fn try_lock(m: &Mutex) -> bool {
    let old = m.state.load(Relaxed);
    old & (LOCKED | STARVING) == 0
        // Acquire: pairs with unlock.
        && m.state
            .compare_exchange(old, old | LOCKED, Acquire, Relaxed)
            .is_ok()
}

/// What one locker knows.
#[derive(Default)]
struct Try {
    /// When it first slept; 0: not yet.
    since: i64,
    /// It was woken, and the WOKEN bit is its own.
    awoke: bool,
    starving: bool,
}

#[cold]
fn lock_slow(m: &Mutex) -> Result<()> {
    let mut me = Try::default();
    loop {
        let old = m.state.load(Relaxed);
        let mut new = old;
        if old & STARVING == 0 {
            new |= LOCKED;
        }
        if old & (LOCKED | STARVING) != 0 {
            // Who may not park must not be counted as a waiter.
            park::current()?;
            new += WAITER;
        }
        if me.starving && old & LOCKED != 0 {
            new |= STARVING;
        }
        if me.awoke {
            new &= !WOKEN;
        }
        // Acquire: pairs with unlock. Release: hands the bits on.
        if m.state.compare_exchange_weak(old, new, AcqRel, Relaxed).is_err() {
            continue;
        }
        if old & (LOCKED | STARVING) == 0 {
            return Ok(());
        }
        if sleep(m, &mut me)? {
            return Ok(());
        }
    }
}

/// Waits for an unlock. True: the mutex was handed to us.
fn sleep(m: &Mutex, me: &mut Try) -> Result<bool> {
    let waited = me.since != 0;
    if !waited {
        me.since = nanotime();
    }
    semacquire(
        &m.sema,
        SemaWait {
            kind: WaitKind::Plain,
            deadline: FOREVER,
            lifo: waited,
            reason: c"mutex",
        },
    )?;
    me.starving |= nanotime() - me.since > STARVING_NS;
    let old = m.state.load(Relaxed);
    if old & STARVING == 0 {
        me.awoke = true;
        return Ok(false);
    }
    // Handed over: LOCKED is still to be set, and we are still counted.
    let mut delta = LOCKED.wrapping_sub(WAITER);
    if !me.starving || old / WAITER == 1 {
        delta = delta.wrapping_sub(STARVING);
    }
    // Acquire: pairs with unlock.
    m.state.fetch_add(delta, AcqRel);
    Ok(true)
}

/// Unlocks. Once it has, it touches the mutex only for a waiter that it has
/// to wake, and that keeps it alive: another thread may lock it, see that it
/// is the last user, and free it.
///
/// Errors: `EPERM` if it is not locked.
pub(crate) fn unlock(m: &Mutex) -> Result<()> {
    let mut old = m.state.load(Relaxed);
    loop {
        if old & LOCKED == 0 {
            return Err(Errno(libc::EPERM));
        }
        // Starving: the mutex stays unlocked, yet nobody who arrives may take
        // it. Else one waiter is woken, unless one is awake already.
        let starving = old & STARVING != 0;
        let wakes = !starving && old >= WAITER && old & WOKEN == 0;
        let mut new = old & !LOCKED;
        if wakes {
            new = (new - WAITER) | WOKEN;
        }
        // Release: pairs with the next locker's acquire.
        match m.state.compare_exchange_weak(old, new, Release, Relaxed) {
            Ok(_) if starving || wakes => {
                semrelease(&m.sema);
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
}
