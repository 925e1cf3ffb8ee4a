//! Condition variables: Go's `sync.Cond`, with the mutex named at each wait.
//!
//! A waiter enters the line, then leaves its stack, and then the hook of that
//! park unlocks the mutex. So a signaller that locks the mutex after that finds
//! the waiter. No wake-up is spurious. A signal that meets a waiter whose
//! deadline has just passed goes to the next waiter.
//!
//! Invariant: `waiters` is the number of those in the line, or more while one
//! that gives up is about to count itself out. It changes under the lock of
//! the bucket ([`super::parking`]).

use super::{
    mutex::{self, Mutex},
    parking::{Bucket, Place, Waited, waiter},
};
use crate::{
    base::sync::{AtomicU32, Ordering::*},
    gmp::wait::{Unlock, Wait, WakeList},
    os::{Errno, Result},
    sched::{host, ready::ready_all},
    timers::Deadline,
};

/// The word of a `gmp_cond`; zero is one without waiters.
#[derive(Default)]
#[repr(C)]
pub struct Cond {
    waiters: AtomicU32,
}

/// Unlocks `m`, waits for a signal, and locks `m` again. Nothing interrupts
/// that last lock.
///
/// Errors: before `m` is unlocked, `EPERM` if it was not locked, `ECANCELED`,
/// `EDEADLK`; once it is locked again, `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn wait(c: &Cond, m: &Mutex, deadline: Deadline) -> Result<()> {
    let line = &Wait::until(deadline, c"condition").on(c);
    let gp = waiter(line)?;
    if !mutex::is_locked(m) {
        return Err(Errno(libc::EPERM));
    }
    let bucket = Bucket::of(c);
    count(c, 1);
    // Here, since the hook runs on another stack.
    mutex::leave(m);
    let result = match bucket.wait(gp, line, Place::LAST, m) {
        Waited::Woken { .. } => Ok(()),
        Waited::GaveUp { why, bucket, .. } => {
            count(c, -1);
            drop(bucket);
            // Before the next wait of this thread.
            let ends = host::take_shutdown();
            Err(if ends { Errno(libc::ESHUTDOWN) } else { why })
        }
    };
    mutex::lock(m)?;
    result
}

/// Under the bucket's lock: adds to the number of waiters.
fn count(c: &Cond, change: i32) {
    let waiters = c.waiters.load(Relaxed);
    c.waiters.store(waiters.wrapping_add_signed(change), Relaxed);
}

// SAFETY: the waiter locks the mutex again before it goes on.
unsafe impl Unlock for &Mutex {
    fn unlock(self) {
        // It was locked when the wait began. If another thread has unlocked it
        // since, the mistake is the host's.
        let _unlocked = mutex::release(self);
    }
}

/// Wakes the waiter that has waited longest.
pub(crate) fn signal(c: &Cond) {
    // Relaxed: a signaller that is to find a waiter has locked the mutex after
    // it.
    if c.waiters.load(Relaxed) == 0 {
        return;
    }
    let bucket = Bucket::of(c);
    let next = bucket.pop();
    if next.is_some() {
        count(c, -1);
    }
    drop(bucket);
    if let Some(next) = next {
        next.wake();
    }
}

/// Wakes all.
pub(crate) fn broadcast(c: &Cond) {
    // Relaxed: a signaller that is to find a waiter has locked the mutex after
    // it.
    if c.waiters.load(Relaxed) == 0 {
        return;
    }
    let mut list = WakeList::new();
    let bucket = Bucket::of(c);
    let n = bucket.hand_to_all(&mut list, |_| true);
    count(c, -(n as i32));
    drop(bucket);
    ready_all(list);
}
