//! Counting semaphores, first come first served.
//!
//! ```text
//!   state = QUEUED | tokens
//!
//!   tokens  one less for each acquire; one more for each release that finds
//!           no waiter
//!   QUEUED  set by a waiter that queues; cleared by a release, or by a waiter
//!           that gives up, which leaves the line empty
//! ```
//! Invariants:
//! 1. QUEUED is set while waiters are in the line, and then there are no
//!    tokens. It changes under the lock of their bucket ([`super::parking`]).
//! 2. A waiter that is woken has been handed its token.

use super::parking::{Bucket, Place, Waited, waiter};
use crate::{
    base::sync::{AtomicU32, Ordering::*},
    gmp::wait::Wait,
    os::{Errno, Result},
    sched::cancel,
    timers::Deadline,
};

const QUEUED: u32 = 1 << 31;
const MAX: u32 = QUEUED - 1;

/// The word of a `gmp_sema`.
#[derive(Default)]
#[repr(C)]
pub struct Sema {
    state: AtomicU32,
}

impl Sema {
    /// A semaphore with so many tokens.
    pub(crate) const fn new(tokens: u32) -> Self {
        Self { state: AtomicU32::new(tokens) }
    }
}

/// `old` without one token; None if there is none to take.
fn one_less(old: u32) -> Option<u32> {
    if old & QUEUED != 0 { None } else { old.checked_sub(1) }
}

/// How many tokens there are.
pub(crate) fn value(s: &Sema) -> u32 {
    // Relaxed: the answer may be out of date at once anyway.
    s.state.load(Relaxed) & !QUEUED
}

/// Takes a token if there is one.
pub(crate) fn try_acquire(s: &Sema) -> bool {
    // Acquire: pairs with `release`.
    s.state.fetch_update(Acquire, Relaxed, one_less).is_ok()
}

/// Takes a token, and waits until there is one.
///
/// Errors: `ETIMEDOUT`, `ECANCELED`; `EDEADLK` where the caller may not park.
pub(crate) fn acquire(s: &Sema, deadline: Deadline) -> Result<()> {
    cancel::check()?;
    if try_acquire(s) {
        return Ok(());
    }
    acquire_slow(s, &Wait::until(deadline, c"semaphore").on(s))
}

#[cold]
fn acquire_slow(s: &Sema, wait: &Wait) -> Result<()> {
    let gp = waiter(wait)?;
    let bucket = Bucket::of(s);
    // Acquire: pairs with `release`. Never fails: it is always Some.
    let old = s.state.fetch_update(Acquire, Relaxed, |old| {
        Some(one_less(old).unwrap_or(QUEUED))
    });
    if old.is_ok_and(|old| one_less(old).is_some()) {
        return Ok(());
    }
    match bucket.wait(gp, wait, Place::LAST, ()) {
        Waited::Woken { .. } => Ok(()),
        Waited::GaveUp { why, bucket, .. } => {
            if bucket.is_empty() {
                s.state.fetch_and(!QUEUED, Relaxed);
            }
            Err(why)
        }
    }
}

/// Gives a token to the first waiter, or leaves it for the next caller.
///
/// Errors: `EOVERFLOW` beyond 2^31 - 1 tokens.
pub(crate) fn release(s: &Sema) -> Result<()> {
    let mut old = s.state.load(Relaxed);
    loop {
        if old & QUEUED != 0 {
            let bucket = Bucket::of(s);
            old = s.state.load(Relaxed);
            if old & QUEUED == 0 {
                continue;
            }
            let next = bucket.pop();
            let queued = if bucket.is_empty() { 0 } else { QUEUED };
            let token = u32::from(next.is_none());
            // Release: pairs with try_acquire and acquire_slow. Nobody else
            // changes the word: without tokens nobody takes one, and with
            // QUEUED nobody adds one without the bucket. The last touch.
            s.state.store(queued | token, Release);
            drop(bucket);
            if let Some(next) = next {
                next.wake();
            }
            return Ok(());
        }
        if old == MAX {
            return Err(Errno(libc::EOVERFLOW));
        }
        // Release: pairs with try_acquire and acquire_slow.
        match s.state.compare_exchange_weak(old, old + 1, Release, Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
}
