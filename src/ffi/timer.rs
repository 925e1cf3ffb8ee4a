//! Timers and tickers.

use super::{
    call_at, call_to_undo,
    chan::gmp_chan,
    goroutine::gmp_fn,
    watch::{Watch, timers, ungated},
    with_caller,
};
use crate::{
    block::{
        firing,
        ticker::{Call, Ticker},
    },
    boot,
    os::{Errno, Result},
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

/// A timer: calls a function later, once or again and again.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_timer;

/// # Safety
/// `t`: promise 1.
unsafe fn timer<'a>(t: *mut gmp_timer) -> Result<&'a Ticker> {
    // SAFETY: promise 1: a timer of gmp_timer_start's, or null.
    unsafe { t.cast::<Ticker>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Starts a timer that calls `func(arg)` on a goroutine of its own: `ns`
/// nanoseconds from now, or at once if `ns` is 0 or less; and then every
/// `period_ns` nanoseconds, or once if that is 0. Calls of one timer do not
/// overlap: while `func` runs, periods pass without a call, and a reset takes
/// effect afterwards.
///
/// Returns the timer; NULL for a negative `period_ns`, or if there is no
/// memory. Never blocks.
///
/// # Safety
/// `func`: promise 4, with `arg`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_start(
    ns: i64,
    period_ns: i64,
    func: gmp_fn,
    arg: *mut c_void,
) -> *mut gmp_timer {
    with_caller!("r8", timer_start)
}

extern "C" fn timer_start(
    ns: i64,
    period_ns: i64,
    func: gmp_fn,
    arg: *mut c_void,
    gopc: usize,
) -> *mut gmp_timer {
    let Some(func) = func else { return ptr::null_mut() };
    if period_ns < 0 || boot::gate().is_err() {
        return ptr::null_mut();
    }
    let call = Call { f: func, arg, gopc };
    ungated(
        move || Watch::Releases(timers()),
        move || firing::start(call, ns, period_ns),
    )
    .cast_mut()
    .cast()
}

/// Makes `t` fire `ns` nanoseconds from now, whether it was pending, stopped or
/// done, and then with its period, if it has one. No call of an earlier start
/// or reset begins after the return.
///
/// Returns 0. Never blocks.
///
/// # Safety
/// `t`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_reset(t: *mut gmp_timer, ns: i64) -> c_int {
    call_at(
        move || Watch::Releases(timers()),
        move || {
            // SAFETY: promise 1, of `t`.
            unsafe { timer(t) }?.reset(ns);
            Ok(())
        },
    )
}

/// Stops `t`; gmp_timer_reset starts it again. Does not wait for a call that
/// has begun.
///
/// Returns 1 if `t` was pending: no call begins any more, though with a period
/// one that was about to begin still may; 0 if it was not: it was stopped
/// already, or its only call has begun. Never blocks.
///
/// # Safety
/// `t`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_stop(t: *mut gmp_timer) -> c_int {
    let mut pending = 0;
    let code = call_to_undo(|| {
        // SAFETY: promise 1, of `t`.
        pending = unsafe { timer(t) }?.stop().into();
        Ok(())
    });
    if code == 0 { pending } else { code }
}

/// Stops `t` and frees it; NULL does nothing. Its own function may do so. Does
/// not wait for a call that has begun. Never blocks.
///
/// # Safety
/// `t`: promise 1; nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_timer_free(t: *mut gmp_timer) {
    if !t.is_null() {
        // SAFETY: promise 1, of `t`, which goes here.
        ungated(move || Watch::Nothing, || unsafe { Ticker::free(t.cast()) });
    }
}

/// Makes a channel on which one tick comes, `ns` nanoseconds from now
/// (time.After): an int64_t, the time of gmp_now() by then. Its buffer holds
/// the tick. Drop it with gmp_chan_unref, before the tick or after. (For a
/// deadline call gmp_after_ns.)
///
/// Returns the channel; NULL if there is no memory. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_after(ns: i64) -> *mut gmp_chan {
    match boot::gate() {
        Ok(()) => {
            ungated(move || Watch::Nothing, || firing::channel(ns, 0)).cast()
        }
        Err(_) => ptr::null_mut(),
    }
}

/// Makes a channel on which a tick like that of gmp_after comes every
/// `period_ns` nanoseconds (time.Tick). Its buffer holds one; a slow receiver
/// misses some. gmp_chan_close and the last gmp_chan_unref stop the ticks.
///
/// Returns the channel; NULL if `period_ns` is 0 or less, or if there is no
/// memory. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_tick(period_ns: i64) -> *mut gmp_chan {
    if period_ns <= 0 || boot::gate().is_err() {
        return ptr::null_mut();
    }
    ungated(move || Watch::Nothing, || firing::channel(period_ns, period_ns))
        .cast()
}
