//! Processes: wait for children.

use super::{FOREVER, numbered, watch::Watch};
use crate::{block::child, os::types::pid_t, timers::Deadline};
use core::ffi::c_int;

/// Waits for the child `pid`, with `pid` and `options` as of waitpid(2), so
/// also for any child, stops and continues. Writes the status to `*status`,
/// which may be NULL.
///
/// The end of one child (`pid` above 0) is noticed at once, by a pidfd. For all
/// else, and without pidfds, a goroutine and a call with a deadline look at
/// least every 10 ms. With __WNOTHREAD the children are those of the thread on
/// which the goroutine happens to run. Ask for stops of a traced child with
/// WUNTRACED or __WALL.
///
/// Returns the number of the child; 0 with WNOHANG if there is none to report;
/// a negative errno of waitpid(2), such as -ECHILD, or -EINVAL for unknown
/// options. May block.
///
/// # Safety
/// `status`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitpid(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
) -> c_int {
    // SAFETY: promise 2, of `status`.
    unsafe { gmp_waitpid_until(pid, status, options, FOREVER) }
}

/// gmp_waitpid with a deadline. May block.
///
/// # Safety
/// As `gmp_waitpid`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitpid_until(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 2, of `status`.
    numbered(
        move || Watch::Nothing,
        move || unsafe { child::waitpid(pid, status, options, deadline) },
    )
}
