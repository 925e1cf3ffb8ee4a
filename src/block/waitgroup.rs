//! Wait groups: Go's `sync.WaitGroup`.
//!
//! ```text
//!   state = counter << 32 | waiters
//! ```
//! Whoever brings the counter to zero releases all waiters. The group can be
//! used again once their waits have returned. A counter that would go below
//! zero is the caller's mistake and changes nothing.

use super::sema::{SemaWait, semacquire, semrelease};
use crate::{
    gmp::parkword::WaitKind,
    os::{Errno, Result},
    sched::park::{self, FOREVER},
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

/// The words of a `gmp_waitgroup`; all zero is an empty group.
#[repr(C)]
pub struct WaitGroup {
    state: AtomicU64,
    sema: AtomicU32,
}

const COUNTER: u32 = 32;
const WAITERS: u64 = (1 << COUNTER) - 1;

/// Adds to the counter.
///
/// Errors: `EINVAL` if it would leave 0 to 2^31 - 1.
pub(crate) fn add(wg: &WaitGroup, delta: i64) -> Result<()> {
    let mut old = wg.state.load(Relaxed);
    loop {
        let counter = (old >> COUNTER) as i64;
        let sum = counter.checked_add(delta).ok_or(Errno::EINVAL)?;
        if !(0..=i64::from(i32::MAX)).contains(&sum) {
            return Err(Errno::EINVAL);
        }
        // At zero the waiters go, all at once.
        let waiters = if sum == 0 { 0 } else { old & WAITERS };
        let new = (sum as u64) << COUNTER | waiters;
        // Release: what was done comes before the waiters' acquire. Acquire:
        // the last one sees all of it.
        match wg.state.compare_exchange_weak(old, new, AcqRel, Relaxed) {
            Ok(_) if sum == 0 => {
                for _ in 0..old & WAITERS {
                    semrelease(&wg.sema);
                }
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
}

/// Waits until the counter is zero.
///
/// Errors: `EDEADLK` where the caller may not park.
pub(crate) fn wait(wg: &WaitGroup) -> Result<()> {
    // Who may not park must not be counted.
    park::current()?;
    let mut old = wg.state.load(Relaxed);
    loop {
        if old >> COUNTER == 0 {
            // Pairs with add.
            fence(Acquire);
            return Ok(());
        }
        match wg.state.compare_exchange_weak(old, old + 1, AcqRel, Relaxed) {
            Ok(_) => break,
            Err(now) => old = now,
        }
    }
    let how = SemaWait {
        kind: WaitKind::Plain,
        deadline: FOREVER,
        lifo: false,
        reason: c"waitgroup",
    };
    semacquire(&wg.sema, how)
}
