//! Timers and tickers.

use super::{call, chan::gmp_chan, goroutine::gmp_fn};
use crate::{
    block::{firing, ticker::Ticker},
    boot,
    os::{Errno, Result},
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

/// A timer; gmp_timer_free ends it.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_timer;

/// # Safety
/// `t`: null, or a timer.
unsafe fn timer<'a>(t: *mut gmp_timer) -> Result<&'a Ticker> {
    // SAFETY: the caller's promise.
    unsafe { t.cast::<Ticker>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Starts a timer that calls `fn(arg)` on a goroutine of its own, `ns`
/// nanoseconds from now (0 or less: at once), and then every `period_ns`
/// nanoseconds (0: once). Runs of one timer do not overlap: a periodic one
/// misses the times that come while `fn` runs, and one that was reset from
/// `fn` or meanwhile runs again after it.
///
/// Returns NULL for a null `fn`, a negative period, or out of memory. Never
/// blocks.
///
/// # Safety
/// `func` may be called with `arg`, on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_start(
    ns: i64,
    period_ns: i64,
    func: gmp_fn,
    arg: *mut c_void,
) -> *mut gmp_timer {
    let Some(func) = func else { return ptr::null_mut() };
    if period_ns < 0 || boot::gate().is_err() {
        return ptr::null_mut();
    }
    firing::start(func, arg, ns, period_ns).cast_mut().cast()
}

/// Lets `t` fire `ns` nanoseconds from now, whatever it did before, and then
/// with its period, if it has one. Nothing of an earlier start or reset begins
/// once this has returned.
///
/// Returns 0; -EINVAL for null. Never blocks.
///
/// # Safety
/// `t`: null, or a timer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_reset(t: *mut gmp_timer, ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        unsafe { timer(t) }?.reset(ns);
        Ok(())
    })
}

/// Stops `t`; gmp_timer_reset starts it again.
///
/// Returns 1 if it was pending: its function does not begin any more, even if
/// its time had come; 0 if it was not: it was stopped already, or its only run
/// has begun, which is not waited for; -EINVAL for null. Never blocks. Of a
/// timer that repeats, one run that was let in just before may still begin.
///
/// # Safety
/// `t`: null, or a timer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_stop(t: *mut gmp_timer) -> c_int {
    let mut pending = 0;
    let code = call(|| {
        // SAFETY: the caller's promise.
        pending = unsafe { timer(t) }?.stop().into();
        Ok(())
    });
    if code == 0 { pending } else { code }
}

/// Stops `t` and frees it, also from its own function; does not wait for one
/// that runs. NULL does nothing. Never blocks.
///
/// # Safety
/// `t`: null, or a timer that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_free(t: *mut gmp_timer) {
    if !t.is_null() {
        // SAFETY: the caller's promise.
        unsafe { Ticker::free(t.cast()) };
    }
}

/// A channel on which a tick comes `ns` nanoseconds from now (time.After): an
/// int64_t, gmp_now() at that moment. It buffers one element. Unref it, before
/// the tick or after.
///
/// Returns NULL for out of memory. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_after(ns: i64) -> *mut gmp_chan {
    match boot::gate() {
        Ok(()) => firing::channel(ns, 0).cast(),
        Err(_) => ptr::null_mut(),
    }
}

/// A channel on which ticks come every `period_ns` nanoseconds (time.Tick), as
/// of gmp_after. It buffers one, and a receiver that is slow misses some.
/// Closing it stops the ticks, and so does the last unref.
///
/// Returns NULL for a period of 0 or less, and for out of memory. Never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_tick(period_ns: i64) -> *mut gmp_chan {
    if period_ns <= 0 || boot::gate().is_err() {
        return ptr::null_mut();
    }
    firing::channel(period_ns, period_ns).cast()
}
