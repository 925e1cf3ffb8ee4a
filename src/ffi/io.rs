//! Descriptors: read, write, wait, close.

use super::{
    FOREVER, buffer, call_at, counted, framed, numbered, size, undo_at,
    watch::{self, Watch, descriptors, gated},
};
use crate::{
    block::io,
    boot,
    os::{
        Errno, Result,
        types::{iovec, ssize_t},
    },
    timers::Deadline,
};
use core::{
    ffi::{c_int, c_void},
    slice,
};

/// An event of gmp_wait_fd: a read would not wait.
pub const GMP_READABLE: c_int = 1;
/// An event of gmp_wait_fd: a write would not wait.
pub const GMP_WRITABLE: c_int = 2;

const _: () = assert!(GMP_READABLE == io::READABLE);
const _: () = assert!(GMP_WRITABLE == io::WRITABLE);

/// Vectors at most, as of readv(2). On a socket, which is read by recvmsg(2),
/// the kernel would call more of them EMSGSIZE.
const MAX_VECTORS: c_int = 1024;

/// # Safety
/// `iov`: promise 2, for `n` vectors.
unsafe fn vectors<'a>(iov: *const iovec, n: c_int) -> Result<&'a [iovec]> {
    if n > MAX_VECTORS {
        return Err(Errno::EINVAL);
    }
    let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?;
    buffer(iov, n)?;
    if n == 0 {
        return Ok(&[]);
    }
    // SAFETY: promise 2: there are `n` vectors, and `iov` is not null here.
    Ok(unsafe { slice::from_raw_parts(iov, n) })
}

/// Reads up to `n` bytes from `fd` into `buf`, as read(2): waits until there
/// are some.
///
/// On a file on a disk it takes as long as the disk does; deadlines and cancels
/// count only before it starts. On a terminal that others read too, it may keep
/// a thread waiting.
///
/// Returns the count; 0 at the end; a negative errno of read(2). May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
) -> ssize_t {
    // SAFETY: promise 2, of `buf`.
    unsafe { gmp_read_until(fd, buf, n, FOREVER) }
}

/// gmp_read with a deadline. May block.
///
/// # Safety
/// As `gmp_read`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read_until(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    if !boot::is_up() {
        // SAFETY: promise 2, of `buf`.
        return framed(unsafe { read_gated(fd, buf, n, deadline) });
    }
    // SAFETY: promise 2, of `buf`.
    size(unsafe { read(fd, buf, n, deadline) })
}

/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[inline(always)]
unsafe fn read(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    deadline: Deadline,
) -> Result<usize> {
    buffer(buf, n)?;
    // SAFETY: promise 2: `buf` has `n` bytes.
    unsafe { io::read(fd, buf.cast(), n, deadline) }
}

/// Apart, so that the usual way puts nothing into memory for it.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[cold]
#[inline(never)]
unsafe fn read_gated(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    deadline: Deadline,
) -> ssize_t {
    // SAFETY: promise 2, of `buf`.
    let all = || unsafe { read(fd, buf, n, deadline) };
    gated(boot::gate, || Watch::Input(buf, n), all, size)
}

/// Writes up to `n` bytes at `buf` to `fd`, as write(2): waits until some can
/// be written. A disk or terminal is as for gmp_read. SIGPIPE is not raised.
///
/// Returns the count, which may be less than `n`; a negative errno of write(2).
/// May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write(
    fd: c_int,
    buf: *const c_void,
    n: usize,
) -> ssize_t {
    // SAFETY: promise 2, of `buf`.
    unsafe { gmp_write_until(fd, buf, n, FOREVER) }
}

/// gmp_write with a deadline. May block.
///
/// # Safety
/// As `gmp_write`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write_until(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    if !boot::is_up() {
        // SAFETY: promise 2, of `buf`.
        return framed(unsafe { write_gated(fd, buf, n, deadline) });
    }
    // SAFETY: promise 2, of `buf`.
    size(unsafe { write(fd, buf, n, deadline) })
}

/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[inline(always)]
unsafe fn write(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    deadline: Deadline,
) -> Result<usize> {
    buffer(buf, n)?;
    // SAFETY: promise 2: `buf` has `n` bytes.
    unsafe { io::write(fd, buf.cast(), n, deadline) }
}

/// Apart, so that the usual way puts nothing into memory for it.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[cold]
#[inline(never)]
unsafe fn write_gated(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    deadline: Deadline,
) -> ssize_t {
    // SAFETY: promise 2, of `buf`.
    let all = || unsafe { write(fd, buf, n, deadline) };
    gated(boot::gate, || Watch::Output(buf, n), all, size)
}

/// Reads `n` bytes from `fd` into `buf`, by gmp_read until it has all or comes
/// to the end.
///
/// Returns the count, less than `n` at the end; the error of a gmp_read: use
/// gmp_read_full_until to know how much was read before. May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read_full(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
) -> ssize_t {
    counted(
        move || Watch::Input(buf, n),
        move || {
            buffer(buf, n)?;
            let mut done = 0;
            // SAFETY: promise 2: `buf` has `n` bytes.
            unsafe {
                io::read_full(fd, buf.cast(), n, Deadline::NEVER, &mut done)
            }?;
            Ok(done)
        },
    )
}

/// gmp_read_full with a deadline. Writes to `*done` how many bytes were read,
/// also after an error; `done` may be NULL.
///
/// Returns 0; -ETIMEDOUT; the error of a gmp_read. May block.
///
/// # Safety
/// As `gmp_read_full`. `done`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read_full_until(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    done: *mut usize,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let mut count = 0;
    let result = call_at(
        move || Watch::Orders(descriptors()),
        || {
            buffer(buf, n)?;
            // SAFETY: promise 2: `buf` has `n` bytes.
            unsafe { io::read_full(fd, buf.cast(), n, deadline, &mut count) }
        },
    );
    watch::written(buf, count);
    if !done.is_null() {
        // SAFETY: promise 2: `done` may be written.
        unsafe { done.write(count) };
    }
    result
}

/// Writes all `n` bytes at `buf` to `fd`, by gmp_write until they are written.
///
/// Returns `n`; the error of a gmp_write: use gmp_write_all_until to know how
/// much was written before. May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write_all(
    fd: c_int,
    buf: *const c_void,
    n: usize,
) -> ssize_t {
    counted(
        move || Watch::Output(buf, n),
        move || {
            buffer(buf, n)?;
            let mut done = 0;
            // SAFETY: promise 2: `buf` has `n` bytes.
            unsafe {
                io::write_all(fd, buf.cast(), n, Deadline::NEVER, &mut done)
            }?;
            Ok(done)
        },
    )
}

/// gmp_write_all with a deadline. Writes to `*done` how many bytes were
/// written, also after an error; `done` may be NULL.
///
/// Returns 0; -ETIMEDOUT; the error of a gmp_write. May block.
///
/// # Safety
/// As `gmp_write_all`. `done`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write_all_until(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    done: *mut usize,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let mut count = 0;
    let result = call_at(
        move || Watch::Output(buf, n),
        || {
            buffer(buf, n)?;
            // SAFETY: promise 2: `buf` has `n` bytes.
            unsafe { io::write_all(fd, buf.cast(), n, deadline, &mut count) }
        },
    );
    if !done.is_null() {
        // SAFETY: promise 2: `done` may be written.
        unsafe { done.write(count) };
    }
    result
}

/// gmp_read into the `n` buffers of `iov`, as readv(2); `n` is at most 1024,
/// else -EINVAL. May block.
///
/// # Safety
/// `iov`: promise 2, for `n` vectors, each with a buffer to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_readv(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
) -> ssize_t {
    // SAFETY: promise 2, of `iov`.
    unsafe { gmp_readv_until(fd, iov, n, FOREVER) }
}

/// gmp_readv with a deadline. May block.
///
/// # Safety
/// As `gmp_readv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_readv_until(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Acquires(descriptors()),
        move || {
            // SAFETY: promise 2, of `iov`.
            let iov = unsafe { vectors(iov, n) }?;
            // SAFETY: promise 2, of each buffer.
            unsafe { io::readv(fd, iov, deadline) }
        },
    )
}

/// gmp_write from the `n` buffers of `iov`, as writev(2); `n` is at most 1024,
/// else -EINVAL. May block.
///
/// # Safety
/// `iov`: promise 2, for `n` vectors, each with a buffer to be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_writev(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
) -> ssize_t {
    // SAFETY: promise 2, of `iov`.
    unsafe { gmp_writev_until(fd, iov, n, FOREVER) }
}

/// gmp_writev with a deadline. May block.
///
/// # Safety
/// As `gmp_writev`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_writev_until(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Releases(descriptors()),
        move || {
            // SAFETY: promise 2, of `iov`.
            let iov = unsafe { vectors(iov, n) }?;
            // SAFETY: promise 2, of each buffer.
            unsafe { io::writev(fd, iov, deadline) }
        },
    )
}

/// Waits until `fd` is ready for one of `events`, GMP_READABLE, GMP_WRITABLE or
/// both, or until `deadline`. Use it before another library's call on its own
/// descriptor.
///
/// Returns those of `events` that `fd` is ready for, both after an error or the
/// end of a connection; -ETIMEDOUT; -EBADF; -EINVAL for other events. May
/// block.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_wait_fd(
    fd: c_int,
    events: c_int,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    numbered(
        move || Watch::Acquires(descriptors()),
        move || io::wait_fd(fd, events, deadline),
    )
}

/// Closes `fd`, as close(2). Calls of this library that wait on `fd` return
/// -EBADF. After a plain close(2) such calls return when the number is used
/// again in a call of this library that waits.
///
/// As with close(2), a call on another thread that is just about to use the
/// number may get the next file that has it: let calls end before you open
/// that. If dup2(2) puts another file at `fd` while a goroutine waits in
/// gmp_read, the goroutine may read from that file once, and then gets -EBADF.
///
/// Returns 0, or a negative errno of close(2). Blocks only as close(2) does.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_close(fd: c_int) -> c_int {
    undo_at(move || Watch::Releases(descriptors()), move || io::close(fd))
}
