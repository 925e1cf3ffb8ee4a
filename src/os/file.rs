//! Calls on files on disks, and calls that move bytes inside the kernel.

use super::{
    errno::{Errno, KeepErrno, Result},
    raw::{self, NoCancel},
};
use core::ffi::{CStr, c_int, c_uint, c_void};

fn count(n: isize) -> Result<usize> {
    usize::try_from(n).map_err(|_| Errno::last())
}

/// open(2).
pub(crate) fn open(path: &CStr, flags: c_int, mode: c_uint) -> Result<i32> {
    let _keep = KeepErrno::new();
    // Not by `raw`: a program may have an open of its own in libc's place.
    let _later = NoCancel::new();
    // SAFETY: path ends with a NUL, the others are numbers.
    Errno::check(unsafe { raw::open(path.as_ptr(), flags, mode) })
}

/// fsync(2).
pub(crate) fn fsync(fd: i32) -> Result<()> {
    let _keep = KeepErrno::new();
    // SAFETY: takes a number.
    Errno::check(unsafe { raw::fsync(fd) }).map(drop)
}

/// pread(2).
///
/// # Safety
/// `buf`: `n` bytes that may be written.
pub(crate) unsafe fn pread(
    fd: i32,
    buf: *mut c_void,
    n: usize,
    offset: i64,
) -> Result<usize> {
    let _keep = KeepErrno::new();
    // SAFETY: `buf` has `n` bytes that may be written.
    count(unsafe { raw::pread(fd, buf, n, offset) })
}

/// pwrite(2).
///
/// # Safety
/// `buf`: `n` bytes that may be read.
pub(crate) unsafe fn pwrite(
    fd: i32,
    buf: *const c_void,
    n: usize,
    offset: i64,
) -> Result<usize> {
    let _keep = KeepErrno::new();
    // SAFETY: `buf` has `n` bytes that may be read.
    count(unsafe { raw::pwrite(fd, buf, n, offset) })
}

/// sendfile(2).
///
/// # Safety
/// `offset`: null or valid.
pub(crate) unsafe fn sendfile(
    to: i32,
    from: i32,
    offset: *mut i64,
    n: usize,
) -> Result<usize> {
    let _keep = KeepErrno::new();
    // SAFETY: `offset` is null or valid.
    count(unsafe { libc::sendfile(to, from, offset, n) })
}

/// splice(2), which does not wait for its pipe.
///
/// # Safety
/// The offsets: null or valid.
pub(crate) unsafe fn splice(
    (from, from_offset): (i32, *mut i64),
    (to, to_offset): (i32, *mut i64),
    n: usize,
    flags: c_uint,
) -> Result<usize> {
    let _keep = KeepErrno::new();
    let flags = flags | libc::SPLICE_F_NONBLOCK;
    // SAFETY: the offsets are null or valid.
    count(unsafe { libc::splice(from, from_offset, to, to_offset, n, flags) })
}
