//! Time: the clock, deadlines, sleep.

use super::call;
use crate::{os::clock::nanotime, sched::park, timers::Deadline};
use core::ffi::c_int;

/// A deadline that never comes.
pub const GMP_FOREVER: i64 = i64::MAX;

const _: () = assert!(Deadline::from_c(GMP_FOREVER).is_never());

/// Returns the nanoseconds of the monotonic clock on which deadlines are
/// measured. It is the kernel's, even if a library replaces clock_gettime.
/// Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_now() -> i64 {
    nanotime()
}

/// Returns the deadline `ns` nanoseconds from now; GMP_FOREVER if that is
/// beyond the clock. Never blocks. (gmp_after makes a channel instead, on which
/// a tick comes.)
#[unsafe(no_mangle)]
pub extern "C" fn gmp_after_ns(ns: i64) -> i64 {
    nanotime().saturating_add(ns)
}

/// Sleeps for `ns` nanoseconds; 0 or less only yields.
///
/// Returns 0. May block.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_sleep(ns: i64) -> c_int {
    gmp_sleep_until(gmp_after_ns(ns.max(0)))
}

/// Sleeps until `deadline`; a deadline in the past only yields, and GMP_FOREVER
/// sleeps until a cancel.
///
/// Returns 0. May block.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_sleep_until(deadline: i64) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call(|| park::sleep_until(deadline))
}
