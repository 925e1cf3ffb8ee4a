//! Wait groups: Go's `sync.WaitGroup`.
//!
//! ```text
//!   state = counter << 32 | QUEUED
//! ```
//! Whoever brings the counter to zero releases all waiters. A counter that
//! would go below zero is the caller's mistake and changes nothing.
//!
//! Go counts waiters and gives each a token, so that a group may be used
//! again only once all waits have returned, and it detects the rest. Here the
//! step to zero and the release of those in the line are one, under the lock
//! of their bucket ([`super::parking`]): a wait ends when the counter gets to
//! zero after it began, whoever adds when.
//!
//! Invariant: QUEUED is set while anybody is in the line. It is set and
//! cleared under the bucket's lock, and the counter goes to zero from such a
//! state under it only.

use super::parking::{Bucket, End, How, Place, waiter};
use crate::{
    base::sync::{AtomicU64, Ordering::*},
    gmp::wait::WakeList,
    os::{Errno, Result},
    sched::{cancel, ready::ready_all},
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

/// The same under the bucket's lock, with waiters to release, unless the
/// counter has changed by now.
#[cold]
fn add_to_zero(wg: &WaitGroup, delta: i64) -> Result<()> {
    let mut list = WakeList::new();
    let bucket = Bucket::of(wg);
    let mut old = wg.state.load(Relaxed);
    loop {
        let sum = sum(old, delta)?;
        // Zero: nobody will wait for it any more.
        let queued = if sum == 0 { 0 } else { old & QUEUED };
        let new = sum << COUNTER | queued;
        // As in add. The last touch.
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
pub(crate) fn wait(wg: &WaitGroup, deadline: i64) -> Result<()> {
    cancel::check()?;
    // Acquire: pairs with add.
    if wg.state.load(Acquire) >> COUNTER == 0 {
        return Ok(());
    }
    wait_slow(wg, How::until(deadline, c"waitgroup"))
}

/// The same for what nothing may interrupt.
///
/// Errors: `EDEADLK` where the caller may not park.
pub(crate) fn wait_for_sure(
    wg: &WaitGroup,
    why: &'static core::ffi::CStr,
) -> Result<()> {
    if wg.state.load(Acquire) >> COUNTER == 0 {
        return Ok(());
    }
    wait_slow(wg, How::uninterrupted(why))
}

fn wait_slow(wg: &WaitGroup, how: How) -> Result<()> {
    let gp = waiter(&how)?;
    let bucket = Bucket::of(wg);
    // Acquire: pairs with add.
    let queued = wg.state.fetch_update(Acquire, Acquire, |old| {
        (old >> COUNTER != 0).then_some(old | QUEUED)
    });
    if queued.is_err() {
        return Ok(());
    }
    match bucket.wait(gp, how, Place::LAST, None) {
        End::Woken { .. } => Ok(()),
        End::Left(e, bucket) => {
            if bucket.is_empty() {
                wg.state.fetch_and(!QUEUED, Relaxed);
            }
            Err(e)
        }
    }
}
