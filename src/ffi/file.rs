//! Files on disks, bytes moved inside the kernel.

use super::{buffer, call, counted, numbered};
use crate::{
    block::file,
    os::types::{mode_t, ssize_t},
    timers::FOREVER,
};
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// Opens a file, as open(2). It takes as long as it takes, while other
/// goroutines go on; a cancel counts before it starts only.
///
/// Returns the descriptor; a negative errno: those of open(2) but for EINTR;
/// -EINVAL for a null `path`; -ECANCELED. Blocks while the file system does.
///
/// # Safety
/// `path`: null, or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_open(
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_open_until(path, flags, mode, FOREVER) }
}

/// gmp_open, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
///
/// # Safety
/// As gmp_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_open_until(
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
    deadline: i64,
) -> c_int {
    numbered(|| {
        buffer(path, 1)?;
        // SAFETY: the caller's promise.
        let path = unsafe { CStr::from_ptr(path) };
        file::open(path, flags, mode, deadline)
    })
}

/// Writes what the kernel keeps of a file to its disk, as fsync(2). Else as
/// gmp_open.
///
/// Returns 0; a negative errno: those of fsync(2) but for EINTR; -ECANCELED.
/// Blocks while the disk does.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_fsync(fd: c_int) -> c_int {
    gmp_fsync_until(fd, FOREVER)
}

/// gmp_fsync, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_fsync_until(fd: c_int, deadline: i64) -> c_int {
    call(|| file::fsync(fd, deadline))
}

/// Reads from a place of a file, as pread(2). Else as gmp_open.
///
/// Returns the count; 0 at the end; a negative errno: those of pread(2) but for
/// EINTR; -EINVAL for a null `buf`; -ECANCELED. Blocks while the disk does.
///
/// # Safety
/// `buf`: null, or `n` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pread(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    offset: i64,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_pread_until(fd, buf, n, offset, FOREVER) }
}

/// gmp_pread, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
///
/// # Safety
/// As gmp_pread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pread_until(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    offset: i64,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        // SAFETY: the caller's promise.
        unsafe { file::pread(fd, buf, n, offset, deadline) }
    })
}

/// Writes to a place of a file, as pwrite(2). Else as gmp_open.
///
/// Returns the count; a negative errno: those of pwrite(2) but for EINTR;
/// -EINVAL for a null `buf`; -ECANCELED. Blocks while the disk does.
///
/// # Safety
/// `buf`: null, or `n` bytes that may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pwrite(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    offset: i64,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_pwrite_until(fd, buf, n, offset, FOREVER) }
}

/// gmp_pwrite, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
///
/// # Safety
/// As gmp_pwrite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pwrite_until(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    offset: i64,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        // SAFETY: the caller's promise.
        unsafe { file::pwrite(fd, buf, n, offset, deadline) }
    })
}

/// Copies up to `n` bytes of a file to `out_fd` inside the kernel, as
/// sendfile(2), and waits where that would. A socket in blocking mode is in
/// non-blocking mode meanwhile, which its other users see.
///
/// `offset`: NULL for the file's own, or where to begin, which is moved on.
///
/// Returns the count; 0 at the end; a negative errno: those of sendfile(2) but
/// for EINTR and EAGAIN; and as gmp_write. Parks the goroutine; blocks a host
/// thread.
///
/// # Safety
/// `offset`: null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendfile(
    out_fd: c_int,
    in_fd: c_int,
    offset: *mut i64,
    n: usize,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_sendfile_until(out_fd, in_fd, offset, n, FOREVER) }
}

/// gmp_sendfile until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_sendfile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendfile_until(
    out_fd: c_int,
    in_fd: c_int,
    offset: *mut i64,
    n: usize,
    deadline: i64,
) -> ssize_t {
    // SAFETY: the caller's promise.
    counted(|| unsafe { file::sendfile(out_fd, in_fd, offset, n, deadline) })
}

/// Moves up to `n` bytes from one descriptor to another, one of which is a
/// pipe, as splice(2), and waits where that would. Both are in non-blocking
/// mode meanwhile, which their other users see.
///
/// `off_in`, `off_out`: as of splice(2). `flags`: likewise.
///
/// Returns the count; 0 at the end; a negative errno: those of splice(2) but
/// for EINTR and EAGAIN; and as gmp_write. Parks the goroutine; blocks a host
/// thread.
///
/// # Safety
/// `off_in`, `off_out`: null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_splice(
    fd_in: c_int,
    off_in: *mut i64,
    fd_out: c_int,
    off_out: *mut i64,
    n: usize,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe {
        gmp_splice_until(fd_in, off_in, fd_out, off_out, n, flags, FOREVER)
    }
}

/// gmp_splice until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_splice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_splice_until(
    fd_in: c_int,
    off_in: *mut i64,
    fd_out: c_int,
    off_out: *mut i64,
    n: usize,
    flags: c_uint,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        let (from, to) = ((fd_in, off_in), (fd_out, off_out));
        // SAFETY: the caller's promise.
        unsafe { file::splice(from, to, n, flags, deadline) }
    })
}
