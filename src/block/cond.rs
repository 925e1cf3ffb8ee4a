//! Condition variables: Go's `sync.Cond`, with the mutex named at each wait.
//!
//! A waiter enters the line, then leaves its stack, then the hook of that
//! park unlocks the mutex: who locks it from then on and signals finds the
//! waiter. No wake-up is spurious, and a signal that meets a waiter whose
//! deadline has just passed goes to the next one.
//!
//! Invariant: `waiters` is the number in the line, or more while somebody who
//! has stopped waiting is about to count itself out. It changes under the
//! lock of the bucket ([`super::parking`]).

use super::{
    mutex::{self, Mutex},
    parking::{Bucket, End, How, Place, waiter},
};
use crate::{
    base::sync::{AtomicU32, Ordering::*},
    gmp::wait::WakeList,
    os::{Errno, Result},
    sched::ready::ready_all,
};
use core::ptr;

/// The word of a `gmp_cond`; zero is one without waiters.
#[derive(Default)]
#[repr(C)]
pub struct Cond {
    waiters: AtomicU32,
}

/// Unlocks `m`, waits for a signal, and locks `m` again, which nothing
/// interrupts.
///
/// Errors: `EPERM` if `m` is not locked, `ECANCELED`, `EDEADLK` before it is
/// unlocked; `ETIMEDOUT`, `ECANCELED` once it is locked again.
pub(crate) fn wait(c: &Cond, m: &Mutex, deadline: i64) -> Result<()> {
    let how = How::until(deadline, c"condition");
    let gp = waiter(&how)?;
    if !mutex::is_locked(m) {
        return Err(Errno(libc::EPERM));
    }
    let bucket = Bucket::of(c);
    count(c, 1);
    let unlock = Some((unlock_mutex as fn(usize), ptr::from_ref(m).addr()));
    let result = match bucket.wait(gp, how, Place::LAST, unlock) {
        End::Woken { .. } => Ok(()),
        End::Left(e, bucket) => {
            count(c, -1);
            drop(bucket);
            Err(e)
        }
    };
    mutex::lock(m)?;
    result
}

/// Under the bucket's lock.
fn count(c: &Cond, change: i32) {
    let waiters = c.waiters.load(Relaxed);
    c.waiters.store(waiters.wrapping_add_signed(change), Relaxed);
}

/// From the hook of the wait.
fn unlock_mutex(m: usize) {
    // SAFETY: the mutex of a waiter that locks it again before it goes on.
    let m = unsafe { &*(m as *const Mutex) };
    // It was locked when the wait began; if another has unlocked it since,
    // that is its mistake.
    let _unlocked = mutex::unlock(m);
}

/// Wakes the one that has waited longest.
pub(crate) fn signal(c: &Cond) {
    // Relaxed: who signals for a waiter has held the mutex after it.
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
    // Relaxed: as in signal.
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
