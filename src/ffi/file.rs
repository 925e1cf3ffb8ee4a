//! Files on disks, bytes moved inside the kernel.

use super::{
    FOREVER, buffer, call_at, counted, numbered,
    watch::{Watch, descriptors},
};
use crate::{
    block::file,
    os::types::{mode_t, ssize_t},
    timers::Deadline,
};
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// Opens the file at `path`, with `flags` and `mode` as of open(2).
///
/// Returns the descriptor; a negative errno of open(2). May block.
///
/// # Safety
/// `path`: promise 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_open(
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: promise 3, of `path`.
    unsafe { gmp_open_until(path, flags, mode, FOREVER) }
}

/// gmp_open with a deadline. May block.
///
/// # Safety
/// As `gmp_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_open_until(
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    numbered(
        move || Watch::Acquires(descriptors()),
        move || {
            buffer(path, 1)?;
            // SAFETY: promise 3: `path` is a C string, and is not null here.
            let path = unsafe { CStr::from_ptr(path) };
            file::open(path, flags, mode, deadline)
        },
    )
}

/// Writes to the disk what the kernel keeps of the file `fd`, as fsync(2).
///
/// Returns 0; a negative errno of fsync(2). May block.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_fsync(fd: c_int) -> c_int {
    gmp_fsync_until(fd, FOREVER)
}

/// gmp_fsync with a deadline. May block.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_fsync_until(fd: c_int, deadline: i64) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call_at(
        move || Watch::Orders(descriptors()),
        move || file::fsync(fd, deadline),
    )
}

/// Reads up to `n` bytes from the file `fd` at `offset` into `buf`, as
/// pread(2).
///
/// Returns the count; 0 at the end; a negative errno of pread(2). May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pread(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    offset: i64,
) -> ssize_t {
    // SAFETY: promise 2, of `buf`.
    unsafe { gmp_pread_until(fd, buf, n, offset, FOREVER) }
}

/// gmp_pread with a deadline. May block.
///
/// # Safety
/// As `gmp_pread`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pread_until(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    offset: i64,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Input(buf, n),
        move || {
            buffer(buf, n)?;
            // SAFETY: promise 2: `buf` has `n` bytes.
            unsafe { file::pread(fd, buf, n, offset, deadline) }
        },
    )
}

/// Writes up to `n` bytes at `buf` to the file `fd` at `offset`, as pwrite(2).
///
/// Returns the count; a negative errno of pwrite(2). May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pwrite(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    offset: i64,
) -> ssize_t {
    // SAFETY: promise 2, of `buf`.
    unsafe { gmp_pwrite_until(fd, buf, n, offset, FOREVER) }
}

/// gmp_pwrite with a deadline. May block.
///
/// # Safety
/// As `gmp_pwrite`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_pwrite_until(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    offset: i64,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Output(buf, n),
        move || {
            buffer(buf, n)?;
            // SAFETY: promise 2: `buf` has `n` bytes.
            unsafe { file::pwrite(fd, buf, n, offset, deadline) }
        },
    )
}

/// Copies up to `n` bytes of the file `in_fd` to `out_fd` inside the kernel, as
/// sendfile(2): waits until some can be written. A socket in blocking mode is
/// in non-blocking mode meanwhile, which its other users see.
///
/// Reads at `*offset` and moves that on; if `offset` is NULL, at the position
/// of the file.
///
/// Returns the count; 0 at the end; a negative errno of sendfile(2), or an
/// error of gmp_write. May block.
///
/// # Safety
/// `offset`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendfile(
    out_fd: c_int,
    in_fd: c_int,
    offset: *mut i64,
    n: usize,
) -> ssize_t {
    // SAFETY: promise 2, of `offset`.
    unsafe { gmp_sendfile_until(out_fd, in_fd, offset, n, FOREVER) }
}

/// gmp_sendfile with a deadline. May block.
///
/// # Safety
/// As `gmp_sendfile`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendfile_until(
    out_fd: c_int,
    in_fd: c_int,
    offset: *mut i64,
    n: usize,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 2, of `offset`.
    counted(
        move || Watch::Orders(descriptors()),
        move || unsafe { file::sendfile(out_fd, in_fd, offset, n, deadline) },
    )
}

/// Moves up to `n` bytes from `fd_in` to `fd_out`, one of which is a pipe, with
/// `off_in`, `off_out` and `flags` as of splice(2): waits until some can be
/// moved. Both are in non-blocking mode meanwhile, which their other users see.
///
/// Returns the count; 0 at the end; a negative errno of splice(2), or an error
/// of gmp_write. May block.
///
/// # Safety
/// `off_in`, `off_out`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_splice(
    fd_in: c_int,
    off_in: *mut i64,
    fd_out: c_int,
    off_out: *mut i64,
    n: usize,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: promise 2, of `off_in` and `off_out`.
    unsafe {
        gmp_splice_until(fd_in, off_in, fd_out, off_out, n, flags, FOREVER)
    }
}

/// gmp_splice with a deadline. May block.
///
/// # Safety
/// As `gmp_splice`.
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
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Orders(descriptors()),
        move || {
            let (from, to) = ((fd_in, off_in), (fd_out, off_out));
            // SAFETY: promise 2, of `off_in` and `off_out`.
            unsafe { file::splice(from, to, n, flags, deadline) }
        },
    )
}
