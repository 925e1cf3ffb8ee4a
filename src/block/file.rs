//! Files on disks, and bytes moved inside the kernel.
//!
//! A call on a disk blocks for as long as the disk takes. Deadline and cancel
//! count before such a call; sysmon gives the P of a slow one to others.

use super::{
    fdwait::{File, nonblocking},
    io::{self, READABLE, WRITABLE},
};
use crate::{
    os::{Errno, Result, fd, file},
    sched::{cancel, park::before_blocking, suspended::safely},
    timers::Deadline,
};
use core::ffi::{CStr, c_int, c_uint, c_void};

/// Does what neither deadline nor cancel can end, again after each signal.
///
/// Errors: those of `attempt` but `EINTR`; `ETIMEDOUT`, `ECANCELED` before the
/// first attempt.
fn uninterrupted<T>(
    deadline: Deadline,
    attempt: impl Fn() -> Result<T>,
) -> Result<T> {
    before_blocking(deadline)?;
    loop {
        match safely(&attempt) {
            Err(Errno(libc::EINTR)) => {}
            done => return done,
        }
    }
}

/// open(2).
pub(crate) fn open(
    path: &CStr,
    flags: c_int,
    mode: c_uint,
    deadline: Deadline,
) -> Result<i32> {
    uninterrupted(deadline, || file::open(path, flags, mode))
}

/// fsync(2).
pub(crate) fn fsync(fd: i32, deadline: Deadline) -> Result<()> {
    uninterrupted(deadline, || file::fsync(fd))
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
    deadline: Deadline,
) -> Result<usize> {
    // SAFETY: the caller's buffer.
    uninterrupted(deadline, || unsafe { file::pread(fd, buf, n, offset) })
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
    deadline: Deadline,
) -> Result<usize> {
    // SAFETY: the caller's buffer.
    uninterrupted(deadline, || unsafe { file::pwrite(fd, buf, n, offset) })
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
    deadline: Deadline,
) -> Result<usize> {
    // SAFETY: the caller's offset.
    let attempt = || unsafe { file::sendfile(to, from, offset, n) };
    nonblocking(to, |to| moved(File::of(from), to, deadline, attempt))
}

/// splice(2).
///
/// # Safety
/// The offsets: null or valid.
pub(crate) unsafe fn splice(
    from: (i32, *mut i64),
    to: (i32, *mut i64),
    n: usize,
    flags: c_uint,
    deadline: Deadline,
) -> Result<usize> {
    // SAFETY: the caller's offsets.
    let attempt = || unsafe { file::splice(from, to, n, flags) };
    nonblocking(from.0, |from| {
        nonblocking(to.0, |to| moved(from, to, deadline, attempt))
    })
}

/// Tries to move bytes from one file to another until that goes through; in
/// between, waits for the file that is not ready.
fn moved(
    from: File,
    to: File,
    deadline: Deadline,
    mut attempt: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    cancel::check()?;
    loop {
        from.check()?;
        to.check()?;
        match attempt() {
            Err(Errno(libc::EINTR)) => {}
            Err(Errno::EAGAIN) => {
                let (file, events) = match fd::ready(from.fd, libc::POLLIN) {
                    Err(Errno::EAGAIN) => (from, READABLE),
                    _ => (to, WRITABLE),
                };
                io::wait_file(file, events, deadline)?;
            }
            done => return done,
        }
    }
}
