//! Child processes.
//!
//! The calls bypass libc's functions, which are cancellation points (`raw`).

use super::{
    errno::{Errno, KeepErrno, Result},
    own::Own,
    raw,
};
use crate::base::sanitize;
use core::ffi::c_int;

/// A descriptor that is readable once the child `pid` has ended, closed on
/// exec.
///
/// `ESRCH`, `EMFILE`, `ENFILE`, `ENOMEM`; `EINVAL` for a child that is a
/// thread; `ENOSYS` before Linux 5.3; whatever a sandbox answers.
pub(crate) fn pidfd(pid: i32) -> Result<i32> {
    if sanitize::valgrind() {
        // Valgrind 3.19 does not know the call, and says so each time.
        return Err(Errno(libc::ENOSYS));
    }
    let _keep = KeepErrno::new();
    // SAFETY: takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    Own::new(Errno::check(fd)? as c_int).map(Own::into_raw)
}

/// waitpid(2).
///
/// `ECHILD`, `EINVAL`, `ESRCH`; `EINTR`.
///
/// # Safety
/// `status`: null or writable.
pub(crate) unsafe fn waitpid(
    pid: i32,
    status: *mut c_int,
    options: c_int,
) -> Result<i32> {
    let _keep = KeepErrno::new();
    // SAFETY: `status` is null or writable, the caller promises.
    Errno::check(unsafe { raw::waitpid(pid, status, options) })
}
