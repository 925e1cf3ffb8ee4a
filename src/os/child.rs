//! Children of this process.
//!
//! Both calls go by `syscall`, past libc's functions: as points of
//! cancellation those would let a cancelled thread take goroutines along.

use super::errno::{Errno, KeepErrno, Result};
use core::{ffi::c_int, ptr};

/// Descriptors below this belong to the standard streams.
const FIRST_FREE: c_int = 3;

/// A descriptor that is readable once the child `pid` has ended, closed on
/// exec.
///
/// `ESRCH`, `EMFILE`, `ENFILE`, `ENOMEM`; `EINVAL` for a child that is a
/// thread; `ENOSYS` before Linux 5.3; whatever a sandbox answers.
pub(crate) fn pidfd(pid: i32) -> Result<i32> {
    let _keep = KeepErrno::new();
    // SAFETY: takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::check(fd)? as c_int;
    if fd >= FIRST_FREE {
        return Ok(fd);
    }
    // SAFETY: takes numbers.
    let moved = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, FIRST_FREE) };
    let moved = Errno::check(moved);
    // SAFETY: ours, and in nobody else's hands.
    unsafe { libc::close(fd) };
    moved
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
    let usage = ptr::null_mut::<libc::rusage>();
    // SAFETY: the caller's room; the usage is not wanted.
    let found =
        unsafe { libc::syscall(libc::SYS_wait4, pid, status, options, usage) };
    Errno::check(found).map(|pid| pid as i32)
}
