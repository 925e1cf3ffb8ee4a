//! Mutexes: Go's `sync.Mutex`, in its normal and its starving mode.
//!
//! ```text
//!   state = LOCKED | WOKEN | WAITERS
//!
//!   LOCKED   set by lock; cleared by unlock, unless it hands the mutex over
//!   WOKEN    set by unlock for the waiter that it wakes; cleared by that
//!            waiter's next step
//!   WAITERS  set by a waiter that queues; cleared by an unlock, or by a waiter
//!            that gives up, which leaves the line empty
//! ```
//! Normal mode: a waiter that is woken competes with newcomers, and goes to the
//! front of the line if it loses. That is fast, since the goroutine that runs
//! often locks again at once. Starving mode: a waiter that has waited for more
//! than a millisecond is handed the mutex. The mutex stays LOCKED meanwhile, so
//! no newcomer can overtake the waiter.
//!
//! While WOKEN is set, a waiter is awake and about to lock, and an unlock wakes
//! no second one. If a newcomer was faster, the waiter yields and looks again a
//! few times before it queues again: a yield costs a fraction of a wait and a
//! wake-up.
//!
//! Invariants:
//! 1. WAITERS is set while waiters are in the line. It changes under the
//!    bucket's lock.
//! 2. WOKEN is set under the bucket's lock, for one waiter.
//! 3. Under the bucket's lock, with WAITERS and without WOKEN, only the holder
//!    of the mutex unlocks.
//!
//! Rejected: to keep the number of waiters in the word, as Go does. A waiter
//! that gives up could not tell whether an unlock that is under way has counted
//! it out already. So the word says only that there are waiters, and all else
//! about them happens under the lock of their bucket ([`super::parking`]).

use super::{
    holder::Holder,
    parking::{Bucket, Place, Waited, waiter},
};
use crate::{
    base::sync::{AtomicU32, Ordering::*},
    gmp::wait::{At, Wait},
    os::{Errno, Result, clock::nanotime},
    sched::{cancel, child::is_a_child, yields::gosched},
    timers::Deadline,
};

const LOCKED: u32 = 1;
const WOKEN: u32 = 2;
const WAITERS: u32 = 4;
/// The states, as bits, in which an unlock wakes nobody.
const QUIET: u32 =
    1 << LOCKED | 1 << (LOCKED | WOKEN) | 1 << (LOCKED | WOKEN | WAITERS);
const STARVING_NS: i64 = 1_000_000;
/// How often a waiter that was woken looks whether it can lock. Few, since a
/// look takes long where many others run in between; a model explores two.
const LOOKS: u32 = if cfg!(shuttle) { 2 } else { 4 };

/// The words of a `gmp_mutex`; all zero is unlocked.
#[derive(Default)]
#[repr(C)]
pub struct Mutex {
    state: AtomicU32,
    holder: Holder,
}

/// Locks; waits for as long as it takes.
///
/// Errors: `EDEADLK` where the caller may not park.
pub(crate) fn lock(m: &Mutex) -> Result<()> {
    if lock_fast(m) { Ok(()) } else { lock_slow_uninterrupted(m) }
}

/// [`lock`], if that is possible at once; false: go on with
/// [`lock_slow_uninterrupted`].
#[inline(always)]
pub(crate) fn lock_fast(m: &Mutex) -> bool {
    // Without a load before, which the read-modify-write would have to wait
    // for. Acquire: pairs with unlock.
    let free = m.state.fetch_or(LOCKED, Acquire) & LOCKED == 0;
    if free {
        m.holder.set();
    }
    free
}

/// The rest of [`lock`].
///
/// Errors: as there.
pub(crate) fn lock_slow_uninterrupted(m: &Mutex) -> Result<()> {
    lock_slow(m, &waits(m, Wait::uninterrupted(c"mutex")))
}

/// `wait`, for `m`.
fn waits(m: &Mutex, wait: Wait) -> Wait {
    wait.on(m).held_by(&m.holder)
}

/// Locks, unless the deadline passes or the caller is cancelled.
///
/// Errors: as [`lock`]; `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn lock_until(m: &Mutex, deadline: Deadline) -> Result<()> {
    cancel::check()?;
    if try_lock(m) {
        return Ok(());
    }
    lock_slow(m, &waits(m, Wait::until(deadline, c"mutex")))
}

/// Locks if that is possible at once.
#[inline]
pub(crate) fn try_lock(m: &Mutex) -> bool {
    let old = m.state.load(Relaxed);
    let locked = old & LOCKED == 0
        // Acquire: pairs with unlock.
        && m.state
            .compare_exchange(old, old | LOCKED, Acquire, Relaxed)
            .is_ok();
    if locked {
        m.holder.set();
    }
    locked
}

/// Whether the mutex is locked now.
pub(crate) fn is_locked(m: &Mutex) -> bool {
    m.state.load(Relaxed) & LOCKED != 0
}

#[cold]
fn lock_slow(m: &Mutex, wait: &Wait) -> Result<()> {
    wait_to_lock(m, wait)?;
    m.holder.set();
    Ok(())
}

fn wait_to_lock(m: &Mutex, wait: &Wait) -> Result<()> {
    let gp = waiter(wait)?;
    // When it began to wait, 0 before that; and WOKEN if that bit is its own.
    let mut since = 0;
    let mut awake = 0;
    loop {
        let bucket = Bucket::of(m);
        if is_a_child() && bucket.is_empty() {
            // The waiter that WOKEN stands for may be the parent's. If it is
            // not, one waiter more is awake for a while.
            m.state.fetch_and(!WOKEN, Relaxed);
        }
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
            at: if since == 0 { At::Back } else { At::Front },
            since: if since == 0 { nanotime() } else { since },
            wants: 0,
        };
        since = place.since;
        match bucket.wait(gp, wait, place, ()) {
            Waited::Woken { handed: true } => return Ok(()),
            Waited::Woken { handed: false } => awake = WOKEN,
            Waited::GaveUp { why, bucket, .. } => {
                if bucket.is_empty() {
                    m.state.fetch_and(!WAITERS, Relaxed);
                }
                return Err(why);
            }
        }
        if take_awake(m) {
            return Ok(());
        }
    }
}

/// A waiter that was woken tries to lock, without the bucket.
fn take_awake(m: &Mutex) -> bool {
    for _ in 1..LOOKS {
        if take_free(m) {
            return true;
        }
        gosched();
    }
    take_free(m)
}

/// Locks a mutex that is free, and clears WOKEN; false if it is not.
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

/// Unlocks. The change of the word is the last touch of the mutex: another
/// thread may lock it, find that it is the last user, and free it.
///
/// Errors: `EPERM` if the mutex is not locked.
pub(crate) fn unlock(m: &Mutex) -> Result<()> {
    if !is_locked(m) {
        return Err(Errno(libc::EPERM));
    }
    m.holder.leave();
    release(m)
}

/// [`unlock`] by the goroutine that has locked, if nobody has to be woken;
/// false: go on with [`unlock`].
#[inline(always)]
pub(crate) fn unlock_fast(m: &Mutex) -> bool {
    let old = m.state.load(Relaxed);
    if QUIET >> (old % u32::BITS) & 1 == 0 || !m.holder.is_my_g() {
        return false;
    }
    m.holder.clear();
    // Release: as in release.
    let new = old & !LOCKED;
    let unlocked = m.state.compare_exchange(old, new, Release, Relaxed).is_ok();
    if !unlocked {
        m.holder.set();
    }
    unlocked
}

/// The caller is about to [`release`] the mutex from another stack.
pub(super) fn leave(m: &Mutex) {
    m.holder.leave();
}

/// Unlocks, once the holder is no longer in its word.
///
/// Errors: as [`unlock`].
pub(super) fn release(m: &Mutex) -> Result<()> {
    let mut old = m.state.load(Relaxed);
    loop {
        if old & LOCKED == 0 {
            return Err(Errno(libc::EPERM));
        }
        if old & (WAITERS | WOKEN) == WAITERS {
            return release_slow(m);
        }
        // Release: pairs with lock_fast, try_lock, lock_slow and take_free.
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

/// Unlocks and wakes a waiter, or hands the mutex to a waiter that starves.
#[cold]
fn release_slow(m: &Mutex) -> Result<()> {
    let bucket = Bucket::of(m);
    // Look again: the last waiter may have given up, or another thread may
    // have unlocked the mutex by mistake.
    if m.state.load(Relaxed) & (LOCKED | WAITERS | WOKEN) != LOCKED | WAITERS {
        drop(bucket);
        return release(m);
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
    // Release: pairs with lock_fast, try_lock, lock_slow and take_free. Only
    // this thread changes the word (invariant 3): it is LOCKED, so nobody
    // locks, and a try sets what is set.
    m.state.store(bits, Release);
    drop(bucket);
    if let Some(next) = next {
        next.wake();
    }
    Ok(())
}
