//! Files on disks, bytes moved inside the kernel, children.

use super::errno::{Errno, KeepErrno, Result};
use crate::base::alloc::Text;
use core::ffi::{CStr, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

fn count(n: isize) -> Result<usize> {
    usize::try_from(n).map_err(|_| Errno::last())
}

/// open(2).
pub(crate) fn open(path: &CStr, flags: c_int, mode: c_uint) -> Result<i32> {
    let _keep = KeepErrno::new();
    // SAFETY: a string and numbers.
    Errno::check(unsafe { libc::open(path.as_ptr(), flags, mode) })
}

/// All that is in a file whose length nobody knows, as in /proc.
///
/// `ENOMEM`; what open(2) and read(2) say.
pub(crate) fn read_all(path: &Path) -> Result<Vec<u8>> {
    const STEP: usize = 4096;
    let _keep = KeepErrno::new();
    let path = Text::copy(path.as_os_str().as_bytes()).ok_or(Errno::ENOMEM)?;
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let fd = open(path.as_c_str(), flags, 0)?;
    let mut text = Vec::new();
    let result = loop {
        let len = text.len();
        if text.try_reserve(STEP).is_err() {
            break Err(Errno::ENOMEM);
        }
        text.resize(len + STEP, 0);
        let room = text[len..].as_mut_ptr().cast();
        // SAFETY: STEP bytes of ours.
        let n = count(unsafe { libc::read(fd, room, STEP) });
        text.truncate(len + n.unwrap_or(0));
        match n {
            Ok(0) => break Ok(text),
            Ok(_) | Err(Errno(libc::EINTR)) => {}
            Err(e) => break Err(e),
        }
    };
    let _closed = super::fd::close(fd);
    result
}

/// fsync(2).
pub(crate) fn fsync(fd: i32) -> Result<()> {
    let _keep = KeepErrno::new();
    // SAFETY: takes a number.
    Errno::check(unsafe { libc::fsync(fd) }).map(drop)
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
    // SAFETY: the caller's buffer.
    count(unsafe { libc::pread(fd, buf, n, offset) })
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
    // SAFETY: the caller's buffer.
    count(unsafe { libc::pwrite(fd, buf, n, offset) })
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
    // SAFETY: the caller's offset.
    count(unsafe { libc::sendfile(to, from, offset, n) })
}

/// splice(2), which does not wait for a pipe.
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
    // SAFETY: the caller's offsets.
    count(unsafe { libc::splice(from, from_offset, to, to_offset, n, flags) })
}

/// A descriptor that is readable once the child `pid` has ended.
///
/// `ESRCH`, `EINVAL`; `ENOSYS` before Linux 5.3.
pub(crate) fn pidfd(pid: i32) -> Result<i32> {
    let _keep = KeepErrno::new();
    // SAFETY: takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    Errno::check(fd).map(|fd| fd as i32)
}

/// waitpid(2).
///
/// # Safety
/// `status`: null or writable.
pub(crate) unsafe fn waitpid(
    pid: i32,
    status: *mut c_int,
    options: c_int,
) -> Result<i32> {
    let _keep = KeepErrno::new();
    // SAFETY: the caller's room.
    Errno::check(unsafe { libc::waitpid(pid, status, options) })
}
