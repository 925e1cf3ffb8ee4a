//! Mutexes: Go's `sync.Mutex`, with its normal and its starving ways.
//!
//! ```text
//!   state = LOCKED | WOKEN | WAITERS
//! ```
//! Normal: a waiter that is woken competes with whoever arrives meanwhile, and
//! goes to the front of the line if it loses. That is fast, since the one who
//! runs often locks again at once. Starving: a waiter that has waited for more
//! than a millisecond is handed the mutex, which stays LOCKED in between, so
//! nobody can come before it.
//!
//! WOKEN: a waiter is awake and about to lock; unlock wakes no second one. If
//! somebody came before it, it lets others run a few times, and looks again,
//! before it waits in the line again: a yield costs a fraction of a wait and a
//! wake-up, and meanwhile nobody pays for these.
//!
//! Go keeps the number of waiters in the word; here whoever leaves the line
//! could not tell then whether an unlock that is under way has counted it out
//! already. So the word only says that there are some, and everything about
//! them happens under the lock of their bucket ([`super::parking`]).
//!
//! Invariants:
//! 1. WAITERS is set while anybody is in the line. It changes under the
//!    bucket's lock.
//! 2. WOKEN is set by an unlock, under the bucket's lock, for the one waiter
//!    that it wakes, and cleared by that waiter's next step.
//! 3. Under the bucket's lock, with WAITERS and without WOKEN, only its holder
//!    unlocks.

use super::parking::{Bucket, End, How, Place, waiter};
use crate::{
    base::sync::{AtomicU32, Ordering::*},
    os::{Errno, Result, clock::nanotime},
    sched::{cancel, yields::gosched},
};

const LOCKED: u32 = 1;
const WOKEN: u32 = 2;
const WAITERS: u32 = 4;
const STARVING_NS: i64 = 1_000_000;
/// How often a waiter that was woken looks whether it can lock. Few, since
/// with many others to run each look takes long; a model explores two.
const LOOKS: u32 = if cfg!(shuttle) { 2 } else { 4 };

/// The word of a `gmp_mutex`; zero is unlocked.
#[derive(Default)]
#[repr(C)]
pub struct Mutex {
    state: AtomicU32,
}

/// Locks; waits for as long as it takes.
///
/// Errors: `EDEADLK` where the caller may not park.
#[inline]
pub(crate) fn lock(m: &Mutex) -> Result<()> {
    // No look before, which this would have to wait for. Acquire: pairs with
    // unlock.
    if m.state.fetch_or(LOCKED, Acquire) & LOCKED == 0 {
        return Ok(());
    }
    lock_slow(m, How::uninterrupted(c"mutex"))
}

/// Locks, unless the deadline passes or the caller is cancelled.
///
/// Errors: as [`lock`]; `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn lock_until(m: &Mutex, deadline: i64) -> Result<()> {
    cancel::check()?;
    if try_lock(m) {
        return Ok(());
    }
    lock_slow(m, How::until(deadline, c"mutex"))
}

/// Locks if that is possible at once.
#[inline]
pub(crate) fn try_lock(m: &Mutex) -> bool {
    let old = m.state.load(Relaxed);
    old & LOCKED == 0
        // Acquire: pairs with unlock.
        && m.state
            .compare_exchange(old, old | LOCKED, Acquire, Relaxed)
            .is_ok()
}

/// Whether somebody has it locked now.
pub(crate) fn is_locked(m: &Mutex) -> bool {
    m.state.load(Relaxed) & LOCKED != 0
}

#[cold]
fn lock_slow(m: &Mutex, how: How) -> Result<()> {
    let gp = waiter(&how)?;
    // When it first waited, and whether the WOKEN bit is its own.
    let mut since = 0;
    let mut awake = 0;
    loop {
        let bucket = Bucket::of(m);
        let step = |old: u32| {
            let rest = old & !awake;
            let bit = if old & LOCKED == 0 { LOCKED } else { WAITERS };
            Some(rest | bit)
        };
        // Acquire: pairs with unlock. Never fails: `step` is always Some.
        let old = m.state.fetch_update(Acquire, Relaxed, step);
        if old.is_ok_and(|old| old & LOCKED == 0) {
            return Ok(());
        }
        let place = Place {
            front: since != 0,
            since: if since == 0 { nanotime() } else { since },
            wants: 0,
        };
        since = place.since;
        match bucket.wait(gp, how, place, None) {
            End::Woken { handed: true } => return Ok(()),
            End::Woken { handed: false } => awake = WOKEN,
            End::Left(e, bucket) => {
                if bucket.is_empty() {
                    m.state.fetch_and(!WAITERS, Relaxed);
                }
                return Err(e);
            }
        }
        if take_awake(m) {
            return Ok(());
        }
    }
}

/// The waiter that was woken tries to lock, without the bucket.
fn take_awake(m: &Mutex) -> bool {
    for _ in 1..LOOKS {
        if take_free(m) {
            return true;
        }
        gosched();
    }
    take_free(m)
}

/// Its next step, if the mutex is free.
fn take_free(m: &Mutex) -> bool {
    let mut old = m.state.load(Relaxed);
    while old & LOCKED == 0 {
        let new = (old | LOCKED) & !WOKEN;
        // Acquire: pairs with unlock.
        match m.state.compare_exchange_weak(old, new, Acquire, Relaxed) {
            Ok(_) => return true,
            Err(now) => old = now,
        }
    }
    false
}

/// Unlocks. Once it has, it touches the mutex no more: another thread may
/// lock it, see that it is the last user, and free it.
///
/// Errors: `EPERM` if it is not locked.
#[inline]
pub(crate) fn unlock(m: &Mutex) -> Result<()> {
    let mut old = m.state.load(Relaxed);
    loop {
        if old & LOCKED == 0 {
            return Err(Errno(libc::EPERM));
        }
        if old & (WAITERS | WOKEN) == WAITERS {
            return unlock_slow(m);
        }
        // Release: pairs with lock, try_lock, lock_slow and take_free.
        match m.state.compare_exchange_weak(
            old,
            old & !LOCKED,
            Release,
            Relaxed,
        ) {
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
}

/// Unlocks and wakes a waiter, or hands the mutex to one that starves.
#[cold]
fn unlock_slow(m: &Mutex) -> Result<()> {
    let bucket = Bucket::of(m);
    // Somebody may have unlocked it besides, which is a mistake, or the last
    // waiter may have left: look again.
    if m.state.load(Relaxed) & (LOCKED | WAITERS | WOKEN) != LOCKED | WAITERS {
        drop(bucket);
        return unlock(m);
    }
    let next = bucket.pop();
    let more = if bucket.is_empty() { 0 } else { WAITERS };
    let starving = next.as_ref().is_some_and(|w| {
        let waited = nanotime() - w.since();
        waited > STARVING_NS
    });
    let bits = match &next {
        Some(_) if starving => LOCKED | more,
        Some(_) => WOKEN | more,
        None => more,
    };
    if starving && let Some(next) = &next {
        next.hand_over();
    }
    // Release: pairs with lock, try_lock, lock_slow and take_free. Nobody else
    // changes the word (invariant 3): it is LOCKED, so nobody locks, and a try
    // sets what is set.
    m.state.store(bits, Release);
    drop(bucket);
    if let Some(next) = next {
        next.wake();
    }
    Ok(())
}
