//! Children and signals.

use super::{call, chan::gmp_chan, numbered};
use crate::{
    block::{chan::GmpChan, child, notify},
    os::{Errno, Result, types::pid_t},
    timers::FOREVER,
};
use core::ffi::c_int;

/// Waits for a child, as waitpid(2), for any of several and for stops and
/// continues too. The end of one child (`pid` above 0) is told at once, by a
/// pidfd; all else, and where no pidfd is to be had, on a goroutine or with a
/// deadline by looking again at least every 10 ms.
///
/// `status`: NULL, or where its status goes. `options`: as of waitpid(2). With
/// __WNOTHREAD the children are those of whatever thread the goroutine runs on;
/// stops of a traced child are told with WUNTRACED or __WALL.
///
/// Returns the child's number, 0 with WNOHANG if there is nothing to tell; a
/// negative errno: those of waitpid(2) but for EINTR, at once: -ECHILD,
/// -EINVAL for unknown options; -ECANCELED; -EDEADLK from inside an unlockf
/// where it would have to wait. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `status`: null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitpid(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_waitpid_until(pid, status, options, FOREVER) }
}

/// gmp_waitpid until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_waitpid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitpid_until(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    numbered(|| unsafe { child::waitpid(pid, status, options, deadline) })
}

/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference.
unsafe fn chan<'a>(ch: *mut gmp_chan) -> Result<&'a GmpChan> {
    // SAFETY: the caller's promise.
    unsafe { ch.cast::<GmpChan>().as_ref() }.ok_or(Errno::EINVAL)
}

/// From now on, whenever the signal `signo` comes, its number is sent on `ch`,
/// if that has room (signal.Notify): so `ch` needs a buffer. Signals of one
/// kind that come at once may be one. The process does not end by it then;
/// a handler that the host has installed before is called as before.
///
/// `ch`: a channel of int. It keeps a reference until gmp_signal_stop.
///
/// Returns 0; -EINVAL for null, elements of another size, or a signal that
/// cannot be caught or tells of a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL);
/// -ENOMEM; what sigaction(2) says. Never blocks.
///
/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_signal_notify(
    ch: *mut gmp_chan,
    signo: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| notify::notify(unsafe { chan(ch) }?, signo))
}

/// Undoes gmp_signal_notify. With the last channel of a signal, the host's
/// own way with that signal is back.
///
/// Returns 0; -EINVAL for null, or if `ch` did not get that signal. Never
/// blocks.
///
/// # Safety
/// As gmp_signal_notify.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_signal_stop(
    ch: *mut gmp_chan,
    signo: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| notify::stop(unsafe { chan(ch) }?, signo))
}
