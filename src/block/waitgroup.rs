//! Wait groups: Go's `sync.WaitGroup`.
//!
//! ```text
//!   state = counter << 32 | QUEUED
//!
//!   counter  changed by add
//!   QUEUED   set by a waiter that queues; cleared by the add that brings the
//!            counter to zero, or by a waiter that gives up, which leaves the
//!            line empty
//! ```
//! The add that brings the counter to zero releases all waiters. A counter that
//! would go below zero is the caller's mistake and changes nothing.
//!
//! Invariant: QUEUED is set while waiters are in the line. It changes under the
//! lock of their bucket ([`super::parking`]), and while it is set the counter
//! goes to zero under that lock only. So the step to zero and the release are
//! one: a wait ends when the counter gets to zero after the wait began, no
//! matter who adds when.
//!
//! Rejected: to count waiters and give each a token, as Go does. Then a group
//! can be used again only after all waits have returned, and misuse has to be
//! detected.

use super::parking::{Bucket, Place, Waited, waiter};
use crate::{
    base::sync::{AtomicU64, Ordering::*},
    gmp::{
        parkword::WaitKind,
        wait::{Wait, WakeList},
    },
    os::{Errno, Result},
    sched::{cancel, ready::ready_all},
    timers::Deadline,
};

/// The word of a `gmp_waitgroup`; zero is an empty group.
#[repr(C)]
pub struct WaitGroup {
    state: AtomicU64,
}

const COUNTER: u32 = 32;
const QUEUED: u64 = 1;

impl WaitGroup {
    pub(crate) const fn new() -> Self {
        Self { state: AtomicU64::new(0) }
    }
}

impl WaitGroup {
    /// In the child of a fork, where nobody waits: the counter is `n`.
    pub(super) fn set_in_child(&self, n: u32) {
        self.state.store(u64::from(n) << COUNTER, Relaxed);
    }
}

/// The counter after `delta`.
fn sum(state: u64, delta: i64) -> Result<u64> {
    let counter = (state >> COUNTER) as i64;
    let sum = counter.checked_add(delta).ok_or(Errno::EINVAL)?;
    if !(0..=i64::from(i32::MAX)).contains(&sum) {
        return Err(Errno::EINVAL);
    }
    Ok(sum as u64)
}

/// Adds to the counter.
///
/// Errors: `EINVAL` if it would leave 0 to 2^31 - 1.
pub(crate) fn add(wg: &WaitGroup, delta: i64) -> Result<()> {
    let mut old = wg.state.load(Relaxed);
    loop {
        let sum = sum(old, delta)?;
        if sum == 0 && old & QUEUED != 0 {
            return add_to_zero(wg, delta);
        }
        let new = sum << COUNTER | old & QUEUED;
        // Release: what was done comes before the waiters' acquire. Acquire:
        // the last one sees all of it.
        match wg.state.compare_exchange_weak(old, new, AcqRel, Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
}

/// An [`add`] that seems to bring the counter to zero, with waiters to release;
/// under the bucket's lock.
#[cold]
fn add_to_zero(wg: &WaitGroup, delta: i64) -> Result<()> {
    let mut list = WakeList::new();
    let bucket = Bucket::of(wg);
    let mut old = wg.state.load(Relaxed);
    loop {
        let sum = sum(old, delta)?;
        // At zero the line becomes empty.
        let queued = if sum == 0 { 0 } else { old & QUEUED };
        let new = sum << COUNTER | queued;
        // AcqRel: as in add. The last touch.
        match wg.state.compare_exchange_weak(old, new, AcqRel, Relaxed) {
            Ok(_) if sum == 0 => break,
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
    bucket.hand_to_all(&mut list, |_| true);
    drop(bucket);
    ready_all(list);
    Ok(())
}

/// Waits until the counter is zero.
///
/// Errors: `ETIMEDOUT`, `ECANCELED`; `EDEADLK` where the caller may not park.
pub(crate) fn wait(wg: &WaitGroup, deadline: Deadline) -> Result<()> {
    wait_as(wg, &Wait::until(deadline, c"waitgroup").on(wg))
}

/// [`wait`] in the way of `wait`, which may stand for another object.
///
/// Errors: as [`wait`], where `wait` can end by them.
pub(crate) fn wait_as(wg: &WaitGroup, wait: &Wait) -> Result<()> {
    if wait.kind != WaitKind::Plain {
        cancel::check()?;
    }
    // Acquire: pairs with add.
    if wg.state.load(Acquire) >> COUNTER == 0 {
        return Ok(());
    }
    wait_slow(wg, wait)
}

fn wait_slow(wg: &WaitGroup, wait: &Wait) -> Result<()> {
    let gp = waiter(wait)?;
    let bucket = Bucket::of(wg);
    // Acquire: pairs with add.
    let queued = wg.state.fetch_update(Acquire, Acquire, |old| {
        (old >> COUNTER != 0).then_some(old | QUEUED)
    });
    if queued.is_err() {
        return Ok(());
    }
    match bucket.wait(gp, wait, Place::LAST, ()) {
        Waited::Woken { .. } => Ok(()),
        Waited::GaveUp { why, bucket, .. } => {
            if bucket.is_empty() {
                wg.state.fetch_and(!QUEUED, Relaxed);
            }
            Err(why)
        }
    }
}
