//! Time: the clock, deadlines, sleep.

use super::call;
use crate::{os::clock::nanotime, sched::park};
use core::ffi::c_int;

/// A deadline that never comes.
pub const GMP_FOREVER: i64 = i64::MAX;

/// The monotonic clock in nanoseconds; what deadlines are measured on. It is
/// the kernel's, also where another library has replaced clock_gettime. Never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_now() -> i64 {
    nanotime()
}

/// The deadline `ns` nanoseconds from now; a sum beyond the clock's range is
/// GMP_FOREVER. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_after_ns(ns: i64) -> i64 {
    nanotime().saturating_add(ns)
}

/// Sleeps for `ns` nanoseconds; 0 or less only lets others run.
///
/// Returns 0; -ECANCELED; -EDEADLK from inside an unlockf. Parks the
/// goroutine; blocks a host thread.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_sleep(ns: i64) -> c_int {
    gmp_sleep_until(gmp_after_ns(ns.max(0)))
}

/// Sleeps until `deadline` (nanoseconds of gmp_now); one in the past only lets
/// others run; GMP_FOREVER sleeps until cancelled.
///
/// Returns 0; -ECANCELED; -EDEADLK from inside an unlockf. Parks the
/// goroutine; blocks a host thread.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_sleep_until(deadline: i64) -> c_int {
    call(|| park::sleep_until(deadline))
}
