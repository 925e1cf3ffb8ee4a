//! Reading, writing, connections: on any descriptor, in either mode.

use super::{buffer, call, counted, numbered};
use crate::{
    block::io,
    os::{
        Errno, Result,
        types::{iovec, msghdr, sockaddr, socklen_t, ssize_t},
    },
    timers::FOREVER,
};
use core::{
    ffi::{c_int, c_void},
    slice,
};

/// For gmp_wait_fd: reading would not wait.
pub const GMP_READABLE: c_int = 1;
/// For gmp_wait_fd: writing would not wait.
pub const GMP_WRITABLE: c_int = 2;

const _: () = assert!(GMP_READABLE == io::READABLE);
const _: () = assert!(GMP_WRITABLE == io::WRITABLE);

/// Vectors at most, as of readv(2). On a socket, which is read by recvmsg(2),
/// the kernel would call more of them EMSGSIZE.
const MAX_VECTORS: c_int = 1024;

/// # Safety
/// `iov`: null, or `n` vectors.
unsafe fn vectors<'a>(iov: *const iovec, n: c_int) -> Result<&'a [iovec]> {
    if n > MAX_VECTORS {
        return Err(Errno::EINVAL);
    }
    let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?;
    buffer(iov, n)?;
    if n == 0 {
        return Ok(&[]);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { slice::from_raw_parts(iov, n) })
}

/// Waits until `fd` is ready for `events`, GMP_READABLE or GMP_WRITABLE or
/// both, or until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none).
/// For calls of other libraries on their own descriptors.
///
/// Returns those of `events` that it is ready for, both after an error or the
/// end of a connection; -ETIMEDOUT; -EBADF, also if gmp_close closes it
/// meanwhile; -EINVAL for other events; -ECANCELED; -EDEADLK from inside an
/// unlockf; -EMFILE, -ENFILE, -ENOMEM, -ENOSPC; -EPERM, -EACCES, -ENOSYS in a
/// sandbox that refuses epoll. Parks the goroutine; blocks a host thread.
///
/// The library's own descriptors are above 2. A host may close them, as a
/// daemon does with all that is open: the library makes new ones.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_wait_fd(
    fd: c_int,
    events: c_int,
    deadline: i64,
) -> c_int {
    numbered(|| io::wait_fd(fd, events, deadline))
}

/// Reads up to `n` bytes from `fd`, as read(2), and waits where that would.
/// Works on any descriptor, in blocking or non-blocking mode, which stays as it
/// is: the goroutine waits, and no thread.
///
/// On a file on a disk it takes as long as the disk does; deadlines and cancels
/// count before it starts only. On a terminal another reader may be faster, and
/// then a thread waits.
///
/// Returns the count; 0 at the end; a negative errno: those of read(2) but for
/// EINTR and EAGAIN; -EINVAL for a null `buf`; -EBADF, also if gmp_close closes
/// it meanwhile; -ECANCELED; where it has to wait, -EDEADLK from inside an
/// unlockf, and what else keeps gmp_wait_fd from waiting. Parks the goroutine;
/// blocks a host thread.
///
/// # Safety
/// `buf`: null, or `n` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_read_until(fd, buf, n, FOREVER) }
}

/// gmp_read until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read_until(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        // SAFETY: the caller's promise.
        unsafe { io::read(fd, buf.cast(), n, deadline) }
    })
}

/// Writes up to `n` bytes to `fd`, as write(2), and waits where that would.
/// SIGPIPE is not raised. Else as gmp_read.
///
/// Returns the count, which may be less than `n`; a negative errno: those of
/// write(2) but for EINTR and EAGAIN; and as gmp_read. Parks the goroutine;
/// blocks a host thread.
///
/// # Safety
/// `buf`: null, or `n` bytes that may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write(
    fd: c_int,
    buf: *const c_void,
    n: usize,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_write_until(fd, buf, n, FOREVER) }
}

/// gmp_write until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write_until(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        // SAFETY: the caller's promise.
        unsafe { io::write(fd, buf.cast(), n, deadline) }
    })
}

/// Reads all `n` bytes from `fd`, or what comes before the end, by gmp_read.
///
/// Returns the count, less than `n` at the end of the file; a negative errno as
/// gmp_read, and how many bytes were done before is not told: the _until
/// twin tells it. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `buf`: null, or `n` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read_full(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        let mut done = 0;
        // SAFETY: the caller's promise.
        unsafe { io::read_full(fd, buf.cast(), n, FOREVER, &mut done) }?;
        Ok(done)
    })
}

/// gmp_read_full until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none).
///
/// `done`: NULL, or set to how many bytes were done, also with an error.
///
/// Returns 0; -ETIMEDOUT; a negative errno as gmp_read_full.
///
/// # Safety
/// As gmp_read_full; `done`: null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_read_full_until(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    done: *mut usize,
    deadline: i64,
) -> c_int {
    let mut count = 0;
    let result = call(|| {
        buffer(buf, n)?;
        // SAFETY: the caller's promise.
        unsafe { io::read_full(fd, buf.cast(), n, deadline, &mut count) }
    });
    if !done.is_null() {
        // SAFETY: the caller's promise.
        unsafe { done.write(count) };
    }
    result
}

/// Writes all `n` bytes to `fd`, by gmp_write.
///
/// Returns the count; a negative errno as
/// gmp_write, and how many bytes were done before is not told: the _until
/// twin tells it. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `buf`: null, or `n` bytes that may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write_all(
    fd: c_int,
    buf: *const c_void,
    n: usize,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        let mut done = 0;
        // SAFETY: the caller's promise.
        unsafe { io::write_all(fd, buf.cast(), n, FOREVER, &mut done) }?;
        Ok(done)
    })
}

/// gmp_write_all until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none).
///
/// `done`: NULL, or set to how many bytes were done, also with an error.
///
/// Returns 0; -ETIMEDOUT; a negative errno as gmp_write_all.
///
/// # Safety
/// As gmp_write_all; `done`: null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_write_all_until(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    done: *mut usize,
    deadline: i64,
) -> c_int {
    let mut count = 0;
    let result = call(|| {
        buffer(buf, n)?;
        // SAFETY: the caller's promise.
        unsafe { io::write_all(fd, buf.cast(), n, deadline, &mut count) }
    });
    if !done.is_null() {
        // SAFETY: the caller's promise.
        unsafe { done.write(count) };
    }
    result
}

/// gmp_read into several buffers, as readv(2): -EINVAL for more than 1024.
///
/// # Safety
/// `iov`: `n` vectors whose buffers may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_readv(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_readv_until(fd, iov, n, FOREVER) }
}

/// gmp_readv until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_readv.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_readv_until(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        // SAFETY: the caller's promise.
        let iov = unsafe { vectors(iov, n) }?;
        // SAFETY: likewise.
        unsafe { io::readv(fd, iov, deadline) }
    })
}

/// gmp_write from several buffers, as writev(2): -EINVAL for more than 1024.
///
/// # Safety
/// `iov`: `n` vectors whose buffers may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_writev(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_writev_until(fd, iov, n, FOREVER) }
}

/// gmp_writev until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_writev.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_writev_until(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        // SAFETY: the caller's promise.
        let iov = unsafe { vectors(iov, n) }?;
        // SAFETY: likewise.
        unsafe { io::writev(fd, iov, deadline) }
    })
}

/// Receives a message, as recvmsg(2), with its ancillary data, and waits where
/// that would. MSG_WAITALL has no effect.
///
/// Returns the count; a negative errno: those of recvmsg(2) but for EINTR and
/// EAGAIN; -EINVAL for a null `msg`; and as gmp_read. Parks the goroutine;
/// blocks a host thread.
///
/// # Safety
/// `msg`: null, or a message whose buffers may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_recvmsg(
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_recvmsg_until(fd, msg, flags, FOREVER) }
}

/// gmp_recvmsg until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_recvmsg.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_recvmsg_until(
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(msg, 1)?;
        // SAFETY: the caller's promise.
        unsafe { io::recvmsg(fd, msg, flags, deadline) }
    })
}

/// Sends a message, as sendmsg(2), with its ancillary data, and waits where
/// that would. SIGPIPE is not raised.
///
/// Returns the count; a negative errno: those of sendmsg(2) but for EINTR and
/// EAGAIN; -EINVAL for a null `msg`; and as gmp_read. Parks the goroutine;
/// blocks a host thread.
///
/// # Safety
/// `msg`: null, or a message whose buffers may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendmsg(
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_sendmsg_until(fd, msg, flags, FOREVER) }
}

/// gmp_sendmsg until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_sendmsg.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendmsg_until(
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(msg, 1)?;
        // SAFETY: the caller's promise.
        unsafe { io::sendmsg(fd, msg, flags, deadline) }
    })
}

/// Receives a datagram or bytes, as recvfrom(2), and waits where that would.
/// Else as gmp_recvmsg.
///
/// `addr`, `len`: NULL, or where the sender's address goes and how large that
/// is.
///
/// Returns as gmp_recvmsg. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `buf`: `n` bytes that may be written; `addr`, `len`: null, or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_recvfrom(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    flags: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_recvfrom_until(fd, buf, n, flags, addr, len, FOREVER) }
}

/// gmp_recvfrom until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_recvfrom.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_recvfrom_until(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    flags: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        let into = iovec { iov_base: buf, iov_len: n };
        // SAFETY: the caller's promise.
        unsafe { io::recvfrom(fd, into, flags, (addr, len), deadline) }
    })
}

/// Sends a datagram or bytes, as sendto(2), and waits where that would. Else as
/// gmp_sendmsg.
///
/// `addr`: NULL, or the receiver's address of `len` bytes.
///
/// Returns as gmp_sendmsg. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `buf`: `n` bytes that may be read; `addr`: null, or `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendto(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    flags: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { gmp_sendto_until(fd, buf, n, flags, addr, len, FOREVER) }
}

/// gmp_sendto until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_sendto.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendto_until(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    flags: c_int,
    addr: *const sockaddr,
    len: socklen_t,
    deadline: i64,
) -> ssize_t {
    counted(|| {
        buffer(buf, n)?;
        let from = iovec { iov_base: buf.cast_mut(), iov_len: n };
        // SAFETY: the caller's promise.
        unsafe { io::sendto(fd, from, flags, (addr, len), deadline) }
    })
}

/// Accepts a connection, as accept(2), and waits for one. The socket that
/// listens is put into non-blocking mode and stays so; the new one is in
/// blocking mode, which no gmp_ call minds, and closed on exec.
///
/// `addr`, `len`: NULL, or where the client's address goes and how large that
/// is.
///
/// Returns the descriptor; a negative errno: those of accept(2) but for EINTR,
/// EAGAIN, ECONNABORTED and what the network did to a client before it was
/// accepted: of these -EMFILE and -ENFILE leave the client waiting; and as
/// gmp_read. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `addr`, `len`: null, or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_accept(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_accept_until(fd, addr, len, FOREVER) }
}

/// gmp_accept until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_accept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_accept_until(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    numbered(|| unsafe { io::accept(fd, addr, len, deadline) })
}

/// Connects a socket, as connect(2), and waits until it is connected. A socket
/// in blocking mode is in non-blocking mode meanwhile.
///
/// Returns 0; a negative errno: those of connect(2) but for EINTR, EAGAIN,
/// EINPROGRESS and EALREADY; -EINVAL for a null `addr`; and as gmp_read. After
/// -ETIMEDOUT and -ECANCELED it may connect all the same: close it. Parks the
/// goroutine; blocks a host thread.
///
/// # Safety
/// `addr`: null, or an address of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_connect(
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_connect_until(fd, addr, len, FOREVER) }
}

/// gmp_connect until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. One in the past tries once.
///
/// # Safety
/// As gmp_connect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_connect_until(
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
    deadline: i64,
) -> c_int {
    call(|| {
        buffer(addr, 1)?;
        // SAFETY: the caller's promise.
        unsafe { io::connect(fd, addr, len, deadline) }
    })
}

/// Closes `fd`, as close(2): who waits on it in a gmp_ call gets -EBADF.
/// close(2) itself does not wake them; they are when the number is used again
/// in a gmp_ call that waits.
///
/// As with close(2), a call on another thread that is just about to try may
/// find the file that has the number next: let calls end before that is opened.
/// Where dup2(2) puts another file there while a goroutine waits in gmp_read,
/// that one may read from it once, and then get -EBADF.
///
/// Returns 0, or a negative errno of close(2). Never waits for others.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_close(fd: c_int) -> c_int {
    call(|| io::close(fd))
}
