//! Condition variables.

use super::{
    FOREVER, call_at, fits,
    mutex::{gmp_mutex, mutex},
    undo_at,
    watch::{Watch, at},
};
use crate::{
    block::cond::{self, Cond},
    os::{Errno, Result},
    timers::Deadline,
};
use core::ffi::c_int;

/// A condition variable; begin with GMP_COND_INIT.
#[repr(C)]
pub struct gmp_cond {
    pub _waiters: u32,
    pub _reserved: u32,
    pub _spare: [u64; 2],
}

const _: () = fits::<gmp_cond, Cond>();

/// # Safety
/// `c`: promise 1.
unsafe fn cond<'a>(c: *mut gmp_cond) -> Result<&'a Cond> {
    // SAFETY: promise 1: a condition's words, which are atomic from here on.
    unsafe { c.cast::<Cond>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Unlocks `m`, waits for a signal or broadcast on `c`, and locks `m` again.
/// There are no spurious wake-ups. A cancel ends the wait, but not the wait for
/// `m` after it: `m` is locked whatever the result.
///
/// Returns 0; -EPERM if `m` is not locked, which stays so. May block.
///
/// # Safety
/// `c`, `m`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_wait(
    c: *mut gmp_cond,
    m: *mut gmp_mutex,
) -> c_int {
    // SAFETY: promise 1, of `c` and `m`.
    unsafe { gmp_cond_wait_until(c, m, FOREVER) }
}

/// gmp_cond_wait with a deadline. With a deadline in the past it returns
/// -ETIMEDOUT at once. May block.
///
/// # Safety
/// As `gmp_cond_wait`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_wait_until(
    c: *mut gmp_cond,
    m: *mut gmp_mutex,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call_at(
        move || Watch::Conds(at(c), at(m)),
        move || {
            // SAFETY: promise 1, of `c`.
            let c = unsafe { cond(c) }?;
            // SAFETY: promise 1, of `m`.
            cond::wait(c, unsafe { mutex(m) }?, deadline)
        },
    )
}

/// Wakes the one that has waited on `c` longest, if any.
///
/// Returns 0. Never blocks.
///
/// # Safety
/// `c`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_signal(c: *mut gmp_cond) -> c_int {
    undo_at(
        move || Watch::Releases(at(c)),
        move || {
            // SAFETY: promise 1, of `c`.
            cond::signal(unsafe { cond(c) }?);
            Ok(())
        },
    )
}

/// Wakes all that wait on `c`.
///
/// Returns 0. Never blocks.
///
/// # Safety
/// `c`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_broadcast(c: *mut gmp_cond) -> c_int {
    undo_at(
        move || Watch::Releases(at(c)),
        move || {
            // SAFETY: promise 1, of `c`.
            cond::broadcast(unsafe { cond(c) }?);
            Ok(())
        },
    )
}
