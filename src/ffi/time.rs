//! Time: the clock, deadlines, sleep.

use super::call;
use crate::{
    os::{
        Errno,
        clock::{at_realtime, nanotime},
        types::timespec,
    },
    sched::park,
    timers::Deadline,
};
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

/// Returns the deadline at which CLOCK_REALTIME shows `*t`, as the timed calls
/// of POSIX take it: GMP_FOREVER if that is beyond the clock, and a deadline in
/// the past for a time that is over. If the clock is set afterwards, the
/// deadline stays as it is.
///
/// Returns -EINVAL, which is a deadline in the past, if `t` is NULL or its
/// tv_nsec is not from 0 to 999999999. Never blocks.
///
/// ```c
/// // const struct timespec *noon
/// int rc = gmp_sleep_until(gmp_realtime_deadline(noon));
/// if (rc < 0)
///     fprintf(stderr, "gmp_sleep_until: %s\n", gmp_strerror(rc));
/// ```
///
/// # Safety
/// `t`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_realtime_deadline(t: *const timespec) -> i64 {
    // SAFETY: promise 2, of `t`.
    let t = unsafe { t.as_ref() }.ok_or(Errno::EINVAL);
    t.and_then(at_realtime).unwrap_or_else(|e| e.neg().into())
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
    call(move || park::sleep_until(deadline))
}
