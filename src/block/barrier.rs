//! Barriers: rounds in which a fixed number of callers wait for each other, as
//! in `pthread_barrier_t` and `std::barrier`.
//!
//! ```text
//!   arrived   0 --> 1 --> ... --> count - 1 --> 0, and the next round
//!               one that arrives        the last one lets all others go on
//! ```
//! A caller whose deadline or cancel comes first takes its arrival back, and
//! the round goes on as if the caller had not come. So no round is ever broken,
//! and a barrier needs no repair.
//!
//! Invariants, under the lock of the bucket ([`super::parking`]):
//! 1. `arrived` is the number of records in the line. It changes under that
//!    lock only, and is read without it for hints.
//! 2. Each round has exactly `count` callers whose wait succeeds. The last one
//!    takes all records out of the line and marks each one
//!    ([`Bucket::release_all`]), also that of a caller whose deadline has just
//!    passed and which waits for the lock: such a caller was counted, so its
//!    wait succeeds too.
//! 3. After the last one has unlocked the bucket, no caller of that round
//!    touches the barrier: those that were in the line look at their own
//!    records. So a caller whose wait has succeeded may free the barrier if no
//!    other round has begun.
//!
//! Rejected:
//! - an arrival by a read-modify-write without the lock, as in glibc: all but
//!   one caller of a round park anyway;
//! - a number of the round in the object, by which a late caller sees that its
//!   round is over: the object may be gone by then.

use super::parking::{Bucket, Place, Waited, waiter};
use crate::{
    base::sync::{AtomicU32, Ordering::*},
    gmp::{
        G,
        wait::{Wait, WakeList},
    },
    os::{Errno, Result},
    sched::{cancel, ready::ready_all},
    timers::Deadline,
};

/// The words of a `gmp_barrier`.
#[repr(C)]
pub struct Barrier {
    /// const: callers of a round
    count: u32,
    arrived: AtomicU32,
}

impl Barrier {
    /// A barrier for so many callers.
    #[cfg(shuttle)]
    pub(crate) fn new(count: u32) -> Self {
        Self { count, arrived: AtomicU32::new(0) }
    }

    /// Whether one more caller completes the round.
    fn is_last(&self, arrived: u32) -> bool {
        arrived >= self.count - 1
    }
}

/// Waits until `count` callers wait. True for the last one of them.
///
/// Errors: `EINVAL` for a barrier of nobody; `ETIMEDOUT`, `ECANCELED`, and then
/// the caller has not arrived; `EDEADLK` where the caller may not park.
pub(crate) fn wait(b: &Barrier, deadline: Deadline) -> Result<bool> {
    if b.count == 0 {
        return Err(Errno::EINVAL);
    }
    cancel::check()?;
    let wait = Wait::until(deadline, c"barrier").on(b);
    loop {
        // Relaxed: a hint. The last one needs no G, which is not made under a
        // lock.
        let gp = match b.is_last(b.arrived.load(Relaxed)) {
            true => None,
            false => Some(waiter(&wait)?),
        };
        if let Some(last) = arrive(b, gp, &wait)? {
            return Ok(last);
        }
        // Another caller has left, or has completed the round.
    }
}

/// Arrives: completes the round, or waits for that. True for the last one; None
/// if the caller has to wait and brings no G.
fn arrive(
    b: &Barrier,
    gp: Option<&'static G>,
    wait: &Wait,
) -> Result<Option<bool>> {
    let bucket = Bucket::of(b);
    if bucket.is_empty() {
        // In the child of a fork the parent's waiters are gone.
        b.arrived.store(0, Relaxed);
    }
    let arrived = b.arrived.load(Relaxed);
    if b.is_last(arrived) {
        b.arrived.store(0, Relaxed);
        let mut list = WakeList::new();
        bucket.release_all(&mut list);
        drop(bucket);
        ready_all(list);
        return Ok(Some(true));
    }
    let Some(gp) = gp else { return Ok(None) };
    b.arrived.store(arrived + 1, Relaxed);
    match bucket.wait(gp, wait, Place::LAST, ()) {
        Waited::Woken { .. } => Ok(Some(false)),
        Waited::GaveUp { why, bucket: _bucket, .. } => {
            // Under the bucket's lock, which `_bucket` holds.
            b.arrived.store(b.arrived.load(Relaxed) - 1, Relaxed);
            Err(why)
        }
    }
}
