//! Wait groups.

use super::{
    call_at, fits, undo_at,
    watch::{Watch, at},
};
use crate::{
    block::waitgroup::{self, WaitGroup},
    os::{Errno, Result},
    timers::Deadline,
};
use core::ffi::c_int;

/// A counter that one can wait for: add one for each goroutine that is started,
/// let each call gmp_waitgroup_done. Begin with GMP_WAITGROUP_INIT.
#[repr(C)]
pub struct gmp_waitgroup {
    pub _state: u64,
    pub _reserved: u64,
    pub _spare: [u64; 2],
}

const _: () = fits::<gmp_waitgroup, WaitGroup>();

/// # Safety
/// `wg`: promise 1.
unsafe fn group<'a>(wg: *mut gmp_waitgroup) -> Result<&'a WaitGroup> {
    // SAFETY: promise 1: a wait group's words, which are atomic from here on.
    unsafe { wg.cast::<WaitGroup>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Adds `delta`, which may be negative, to the counter of `wg`. If that makes
/// it zero, all waiters go on.
///
/// Returns 0; -EINVAL, and the counter stays, if it would leave 0 to 2^31 - 1.
/// Never blocks.
///
/// # Safety
/// `wg`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_add(
    wg: *mut gmp_waitgroup,
    delta: i64,
) -> c_int {
    // SAFETY: promise 1, of `wg`.
    undo_at(
        move || Watch::Releases(at(wg)),
        move || waitgroup::add(unsafe { group(wg) }?, delta),
    )
}

/// gmp_waitgroup_add of -1. Never blocks.
///
/// # Safety
/// As `gmp_waitgroup_add`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_done(wg: *mut gmp_waitgroup) -> c_int {
    // SAFETY: promise 1, of `wg`.
    undo_at(
        move || Watch::Releases(at(wg)),
        move || waitgroup::add(unsafe { group(wg) }?, -1),
    )
}

/// Waits until the counter of `wg` is zero, or has been since the call began.
/// The group can be used again at any time.
///
/// Returns 0. May block.
///
/// # Safety
/// As `gmp_waitgroup_add`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_wait(wg: *mut gmp_waitgroup) -> c_int {
    // SAFETY: promise 1, of `wg`.
    call_at(
        move || Watch::Acquires(at(wg)),
        move || waitgroup::wait(unsafe { group(wg) }?, Deadline::NEVER),
    )
}

/// gmp_waitgroup_wait with a deadline. May block.
///
/// # Safety
/// As `gmp_waitgroup_add`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_wait_until(
    wg: *mut gmp_waitgroup,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 1, of `wg`.
    call_at(
        move || Watch::Acquires(at(wg)),
        move || waitgroup::wait(unsafe { group(wg) }?, deadline),
    )
}
