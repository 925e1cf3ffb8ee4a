//! The signal mask of a goroutine.

use super::code;
use crate::{os::signal::SigMask, sched::sigmask};
use core::ffi::{c_int, c_void};

/// Changes the signals that the caller has blocked, as pthread_sigmask(3): the
/// mask is the goroutine's own from then on, and follows it from thread to
/// thread. A goroutine begins with the mask of the thread that made the first
/// call of this library; while none runs on it, a thread has that too. On a
/// host thread, and on a goroutine locked to its thread, it is the thread's
/// mask.
///
/// `set`: a sigset_t, or NULL to ask; `old`: a sigset_t for the former mask,
/// or NULL.
///
/// Returns 0; -EINVAL for a `how` that is none of SIG_BLOCK, SIG_UNBLOCK and
/// SIG_SETMASK. Never blocks, and does not wait for the start.
///
/// # Safety
/// `set` is null or a set; `old` is null or writable for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sigmask(
    how: c_int,
    set: *const c_void,
    old: *mut c_void,
) -> c_int {
    // The C library's type is longer than the kernel's, which it begins with.
    // SAFETY: null, or a set.
    let new = unsafe { set.cast::<u64>().as_ref() };
    let result = sigmask::change(how, new.copied().map(SigMask));
    code(result.map(|was| {
        if !old.is_null() {
            // SAFETY: room for a set.
            unsafe { old.cast::<u64>().write(was.0) };
        }
    }))
}
