//! Sockets: messages, accept, connect.

use super::{
    FOREVER, buffer, call_at, counted, numbered,
    watch::{Watch, descriptors},
};
use crate::{
    block::io,
    os::types::{iovec, msghdr, sockaddr, socklen_t, ssize_t},
    timers::Deadline,
};
use core::ffi::{c_int, c_void};

/// Accepts a connection from the socket `fd`, as accept(2): waits for one. `fd`
/// is put into non-blocking mode and stays so. The new socket is in blocking
/// mode, which suits all functions here, and closed on exec.
///
/// The client's address is written to `*addr`, which has `*len` bytes, as by
/// accept(2); both may be NULL.
///
/// Returns the new descriptor; a negative errno of accept(2), but not what the
/// network did to a client before it was accepted, such as ECONNABORTED. After
/// -EMFILE and -ENFILE the client still waits. May block.
///
/// # Safety
/// `len`: promise 2. `addr`: promise 2, for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_accept(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: promise 2, of `addr` and `len`.
    unsafe { gmp_accept_until(fd, addr, len, FOREVER) }
}

/// gmp_accept with a deadline. May block.
///
/// # Safety
/// As `gmp_accept`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_accept_until(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 2, of `addr` and `len`.
    numbered(
        move || Watch::Acquires(descriptors()),
        move || unsafe { io::accept(fd, addr, len, deadline) },
    )
}

/// Connects the socket `fd` to the address of `len` bytes at `addr`, as
/// connect(2): waits until it is connected. A socket in blocking mode is in
/// non-blocking mode meanwhile.
///
/// Returns 0; a negative errno of connect(2), but not -EINPROGRESS or
/// -EALREADY. After -ETIMEDOUT and -ECANCELED the connection may still come
/// about: close `fd`. May block.
///
/// # Safety
/// `addr`: promise 2, for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_connect(
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: promise 2, of `addr`.
    unsafe { gmp_connect_until(fd, addr, len, FOREVER) }
}

/// gmp_connect with a deadline. May block.
///
/// # Safety
/// As `gmp_connect`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_connect_until(
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call_at(
        move || Watch::Orders(descriptors()),
        move || {
            buffer(addr, 1)?;
            // SAFETY: promise 2, of `addr`.
            unsafe { io::connect(fd, addr, len, deadline) }
        },
    )
}

/// Receives a message with its ancillary data, as recvmsg(2): waits for one.
/// MSG_WAITALL has no effect.
///
/// Returns the count; a negative errno of recvmsg(2). May block.
///
/// # Safety
/// `msg`: promise 2, also of the buffers in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_recvmsg(
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: promise 2, of `msg`.
    unsafe { gmp_recvmsg_until(fd, msg, flags, FOREVER) }
}

/// gmp_recvmsg with a deadline. May block.
///
/// # Safety
/// As `gmp_recvmsg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_recvmsg_until(
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Acquires(descriptors()),
        move || {
            buffer(msg, 1)?;
            // SAFETY: promise 2, of `msg` and its buffers.
            unsafe { io::recvmsg(fd, msg, flags, deadline) }
        },
    )
}

/// Sends a message with its ancillary data, as sendmsg(2): waits until it can
/// be sent. SIGPIPE is not raised.
///
/// Returns the count; a negative errno of sendmsg(2). May block.
///
/// # Safety
/// `msg`: promise 2, also of the buffers in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendmsg(
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: promise 2, of `msg`.
    unsafe { gmp_sendmsg_until(fd, msg, flags, FOREVER) }
}

/// gmp_sendmsg with a deadline. May block.
///
/// # Safety
/// As `gmp_sendmsg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendmsg_until(
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
    deadline: i64,
) -> ssize_t {
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Releases(descriptors()),
        move || {
            buffer(msg, 1)?;
            // SAFETY: promise 2, of `msg` and its buffers.
            unsafe { io::sendmsg(fd, msg, flags, deadline) }
        },
    )
}

/// Receives a datagram or up to `n` bytes into `buf`, as recvfrom(2): waits for
/// it. MSG_WAITALL has no effect. The sender's address is written to `*addr`,
/// which has `*len` bytes; both may be NULL.
///
/// Returns the count; a negative errno of recvfrom(2). May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes. `len`: promise 2. `addr`: promise 2, for
/// `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_recvfrom(
    fd: c_int,
    buf: *mut c_void,
    n: usize,
    flags: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: promise 2, of `buf`, `addr` and `len`.
    unsafe { gmp_recvfrom_until(fd, buf, n, flags, addr, len, FOREVER) }
}

/// gmp_recvfrom with a deadline. May block.
///
/// # Safety
/// As `gmp_recvfrom`.
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
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Input(buf, n),
        move || {
            buffer(buf, n)?;
            let into = iovec { iov_base: buf, iov_len: n };
            // SAFETY: promise 2, of `buf`, `addr` and `len`.
            unsafe { io::recvfrom(fd, into, flags, (addr, len), deadline) }
        },
    )
}

/// Sends the `n` bytes at `buf`, as sendto(2): waits until they can be sent. To
/// the address of `len` bytes at `addr`, which may be NULL. SIGPIPE is not
/// raised.
///
/// Returns the count; a negative errno of sendto(2). May block.
///
/// # Safety
/// `buf`: promise 2, for `n` bytes. `addr`: promise 2, for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sendto(
    fd: c_int,
    buf: *const c_void,
    n: usize,
    flags: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> ssize_t {
    // SAFETY: promise 2, of `buf` and `addr`.
    unsafe { gmp_sendto_until(fd, buf, n, flags, addr, len, FOREVER) }
}

/// gmp_sendto with a deadline. May block.
///
/// # Safety
/// As `gmp_sendto`.
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
    let deadline = Deadline::from_c(deadline);
    counted(
        move || Watch::Output(buf, n),
        move || {
            buffer(buf, n)?;
            let from = iovec { iov_base: buf.cast_mut(), iov_len: n };
            // SAFETY: promise 2, of `buf` and `addr`.
            unsafe { io::sendto(fd, from, flags, (addr, len), deadline) }
        },
    )
}
