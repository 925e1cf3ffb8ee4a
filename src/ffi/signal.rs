//! Signals: on channels, and the signal mask of a goroutine.

use super::{
    call, call_to_undo,
    chan::{chan, gmp_chan},
    code,
};
use crate::{
    block::notify,
    os::{Errno, signal::SigMask},
    sched::sigmask,
};
use core::ffi::{c_int, c_void};

/// Sends the number of each signal `signo` that comes from now on on `ch`, a
/// channel of int, if its buffer has room (signal.Notify). The signal does not
/// end the process any more; a handler that the host has installed before is
/// still called. Several signals of one kind at a time may become one. `ch` is
/// referenced until gmp_signal_stop.
///
/// Returns 0; -EINVAL for elements of another size, for a channel of
/// gmp_gc_chan_make(), and for a signal that cannot be caught or that tells of
/// a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL); -ENOMEM; a negative errno of
/// sigaction(2). Never blocks.
///
/// # Safety
/// `ch`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_signal_notify(
    ch: *mut gmp_chan,
    signo: c_int,
) -> c_int {
    call(move || {
        // SAFETY: promise 1, of `ch`.
        let ch = unsafe { chan(ch) }.ok_or(Errno::EINVAL)?;
        notify::notify(ch, signo)
    })
}

/// Undoes gmp_signal_notify. With the last channel of a signal, the host's own
/// action for that signal is back.
///
/// Returns 0; -EINVAL if `ch` did not get `signo`. Never blocks.
///
/// # Safety
/// As `gmp_signal_notify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_signal_stop(
    ch: *mut gmp_chan,
    signo: c_int,
) -> c_int {
    call_to_undo(move || {
        // SAFETY: promise 1, of `ch`.
        let ch = unsafe { chan(ch) }.ok_or(Errno::EINVAL)?;
        notify::stop(ch, signo)
    })
}

/// Changes which signals the caller blocks, as pthread_sigmask(3), with `how`
/// and the sigset_t at `set`; NULL changes nothing. Writes the mask before to
/// the sigset_t at `old`, which may be NULL.
///
/// The mask is the goroutine's own from then on, on whatever thread it runs. A
/// goroutine begins with the mask of the thread that made the first call of
/// this library. On a host thread, and on a goroutine locked to its thread, it
/// is the mask of the thread.
///
/// Returns 0; -EINVAL for an unknown `how`. Never blocks, not even for the
/// start of the runtime.
///
/// # Safety
/// `set`, `old`: promise 2, for a sigset_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sigmask(
    how: c_int,
    set: *const c_void,
    old: *mut c_void,
) -> c_int {
    // The C library's type is longer than the kernel's, which it begins with.
    // SAFETY: promise 2: `set` may be read.
    let new = unsafe { set.cast::<u64>().as_ref() };
    let result = sigmask::change(how, new.copied().map(SigMask));
    code(result.map(|was| {
        if !old.is_null() {
            // SAFETY: promise 2: `old` may be written, and is not null here.
            unsafe { old.cast::<u64>().write(was.0) };
        }
    }))
}
