//! Reading and writing: a try, and if it would wait, a wait for the poller.
//!
//! The loop of that is `fdwait`'s; here is what a try of each call is. The
//! first try looks at nothing before it, since most calls go through at once. A
//! try on a socket is one system call in either mode of the file; if the kernel
//! says that the file is no socket, the try goes on as one for other files
//! (`os::fd`).

pub(crate) use super::fdwait::close;
use super::fdwait::{File, nonblocking, until_done, until_read};
use crate::{
    netpoll::{self, Side},
    os::{
        Errno, Result, fd, net,
        types::{iovec, msghdr, sockaddr, socklen_t},
    },
    sched::{cancel, park::before_blocking, suspended::safely},
    timers::Deadline,
};
use core::ffi::c_int;

/// The events of `gmp_wait_fd`.
pub(crate) const READABLE: i32 = 1;
pub(crate) const WRITABLE: i32 = 2;

/// A read of no bytes. It asks what `fd` is, as recv(2) would take a datagram
/// from a socket.
fn nothing(fd: i32) -> Result<usize> {
    cancel::check()?;
    fd::kind(fd).map(|_| 0)
}

/// read(2).
///
/// # Safety
/// `buf`: `n` bytes that may be written.
pub(crate) unsafe fn read(
    fd: i32,
    buf: *mut u8,
    n: usize,
    deadline: Deadline,
) -> Result<usize> {
    if n == 0 {
        return nothing(fd);
    }
    until_read(fd, n, deadline, || {
        // SAFETY: the caller's buffer.
        let done = unsafe { fd::recv(fd, buf, n) };
        if !fd::no_socket(fd, &done) {
            return done;
        }
        let iov = [iovec { iov_base: buf.cast(), iov_len: n }];
        // SAFETY: the caller's buffer.
        unsafe { other_read(fd, &iov, deadline) }
    })
}

/// write(2).
///
/// # Safety
/// `buf`: `n` bytes that may be read.
pub(crate) unsafe fn write(
    fd: i32,
    buf: *const u8,
    n: usize,
    deadline: Deadline,
) -> Result<usize> {
    until_done(fd, Side::Write, deadline, || {
        // SAFETY: the caller's buffer.
        let done = unsafe { fd::send(fd, buf, n) };
        if !fd::no_socket(fd, &done) {
            return done;
        }
        let iov = [iovec { iov_base: buf.cast_mut().cast(), iov_len: n }];
        // SAFETY: the caller's buffer.
        unsafe { other_write(fd, &iov, deadline) }
    })
}

/// All `n` bytes by [`read`], or fewer at the end; `done` tells how many, also
/// with an error.
///
/// # Safety
/// As [`read`].
pub(crate) unsafe fn read_full(
    fd: i32,
    buf: *mut u8,
    n: usize,
    deadline: Deadline,
    done: &mut usize,
) -> Result<()> {
    while *done < n {
        // SAFETY: within the caller's buffer.
        let at = unsafe { buf.add(*done) };
        // SAFETY: the rest of it.
        match unsafe { read(fd, at, n - *done, deadline) }? {
            0 => break,
            more => *done += more,
        }
    }
    Ok(())
}

/// All `n` bytes by [`write`]; `done` tells how many, also with an error.
///
/// # Safety
/// As [`write`].
pub(crate) unsafe fn write_all(
    fd: i32,
    buf: *const u8,
    n: usize,
    deadline: Deadline,
    done: &mut usize,
) -> Result<()> {
    while *done < n {
        // SAFETY: within the caller's buffer.
        let at = unsafe { buf.add(*done) };
        // SAFETY: the rest of it.
        *done += unsafe { write(fd, at, n - *done, deadline) }?;
    }
    Ok(())
}

/// readv(2).
///
/// # Safety
/// `iov`: buffers that may be written.
pub(crate) unsafe fn readv(
    fd: i32,
    iov: &[iovec],
    deadline: Deadline,
) -> Result<usize> {
    if iov.iter().all(|part| part.iov_len == 0) {
        return nothing(fd);
    }
    until_done(fd, Side::Read, deadline, || {
        let mut msg = fd::message(iov);
        // SAFETY: the caller's buffers.
        let done = unsafe { fd::recvmsg(fd, &raw mut msg, 0) };
        if !fd::no_socket(fd, &done) {
            return done;
        }
        // SAFETY: the caller's buffers.
        unsafe { other_read(fd, iov, deadline) }
    })
}

/// writev(2).
///
/// # Safety
/// `iov`: buffers that may be read.
pub(crate) unsafe fn writev(
    fd: i32,
    iov: &[iovec],
    deadline: Deadline,
) -> Result<usize> {
    until_done(fd, Side::Write, deadline, || {
        let msg = fd::message(iov);
        // SAFETY: the caller's buffers.
        let done = unsafe { fd::sendmsg(fd, &raw const msg, 0) };
        if !fd::no_socket(fd, &done) {
            return done;
        }
        // SAFETY: the caller's buffers.
        unsafe { other_write(fd, iov, deadline) }
    })
}

/// A try on a file that is no socket. On a disk the try blocks, and sysmon
/// gives the P to others; deadline and cancel count before it only.
///
/// # Safety
/// `iov`: buffers that may be written.
unsafe fn other_read(
    fd: i32,
    iov: &[iovec],
    deadline: Deadline,
) -> Result<usize> {
    let kind = fd::kind(fd)?;
    if kind == fd::Kind::Disk {
        before_blocking(deadline)?;
        // SAFETY: the caller's buffers.
        return safely(|| unsafe { fd::read(fd, kind, iov) });
    }
    // SAFETY: the caller's buffers.
    unsafe { fd::read(fd, kind, iov) }
}

/// [`other_read`], for writing.
///
/// # Safety
/// `iov`: buffers that may be read.
unsafe fn other_write(
    fd: i32,
    iov: &[iovec],
    deadline: Deadline,
) -> Result<usize> {
    let kind = fd::kind(fd)?;
    if kind == fd::Kind::Disk {
        before_blocking(deadline)?;
        // SAFETY: the caller's buffers.
        return safely(|| unsafe { fd::write(fd, kind, iov) });
    }
    // SAFETY: the caller's buffers.
    unsafe { fd::write(fd, kind, iov) }
}

/// recvmsg(2).
///
/// # Safety
/// `msg`: a message whose buffers may be written.
pub(crate) unsafe fn recvmsg(
    fd: i32,
    msg: *mut msghdr,
    flags: c_int,
    deadline: Deadline,
) -> Result<usize> {
    until_done(fd, Side::Read, deadline, || {
        // SAFETY: the caller's message.
        unsafe { fd::recvmsg(fd, msg, flags) }
    })
}

/// sendmsg(2).
///
/// # Safety
/// `msg`: a message whose buffers may be read.
pub(crate) unsafe fn sendmsg(
    fd: i32,
    msg: *const msghdr,
    flags: c_int,
    deadline: Deadline,
) -> Result<usize> {
    until_done(fd, Side::Write, deadline, || {
        // SAFETY: the caller's message.
        unsafe { fd::sendmsg(fd, msg, flags) }
    })
}

/// recvfrom(2), into one buffer.
///
/// # Safety
/// The buffer may be written; the address: null, or room for one.
pub(crate) unsafe fn recvfrom(
    fd: i32,
    into: iovec,
    flags: c_int,
    (addr, len): (*mut sockaddr, *mut socklen_t),
    deadline: Deadline,
) -> Result<usize> {
    let into = [into];
    let mut msg = fd::message(&into);
    msg.msg_name = addr.cast();
    // SAFETY: null or valid, the caller's.
    msg.msg_namelen = unsafe { len.as_ref() }.copied().unwrap_or(0);
    // SAFETY: the caller's buffers.
    let n = unsafe { recvmsg(fd, &raw mut msg, flags, deadline) }?;
    // SAFETY: null or valid, the caller's.
    if let Some(len) = unsafe { len.as_mut() } {
        *len = msg.msg_namelen;
    }
    Ok(n)
}

/// sendto(2), from one buffer.
///
/// # Safety
/// The buffer may be read; the address: null, or as long as it says.
pub(crate) unsafe fn sendto(
    fd: i32,
    from: iovec,
    flags: c_int,
    (addr, len): (*const sockaddr, socklen_t),
    deadline: Deadline,
) -> Result<usize> {
    let from = [from];
    let mut msg = fd::message(&from);
    msg.msg_name = addr.cast_mut().cast();
    msg.msg_namelen = if addr.is_null() { 0 } else { len };
    // SAFETY: the caller's buffers.
    unsafe { sendmsg(fd, &raw const msg, flags, deadline) }
}

/// accept(2); the socket that listens is put into non-blocking mode.
///
/// # Safety
/// `addr`, `len`: null, or room for an address.
pub(crate) unsafe fn accept(
    fd: i32,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    deadline: Deadline,
) -> Result<i32> {
    // Made now: later, clients may have taken the last descriptors.
    netpoll::start()?;
    // If it does not listen, accept(2) says what is wrong.
    if net::listens(fd) {
        fd::set_nonblocking(fd, true)?;
    }
    until_done(fd, Side::Read, deadline, || {
        // SAFETY: the caller's room.
        match unsafe { fd::accept(fd, addr, len) } {
            // The client has gone already; another may be behind it.
            Err(e) if is_of_client(e) => Err(Errno(libc::EINTR)),
            r => r,
        }
    })
}

/// Whether an error of accept(2) is that of one client, which Linux has taken
/// off the queue, and not that of the socket that listens.
fn is_of_client(e: Errno) -> bool {
    const OF_CLIENT: [c_int; 9] = [
        libc::ECONNABORTED,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
        libc::ECONNRESET,
    ];
    OF_CLIENT.contains(&e.0)
}

/// connect(2). The socket's mode is the same afterwards.
///
/// # Safety
/// `addr`: an address of `len` bytes.
pub(crate) unsafe fn connect(
    fd: i32,
    addr: *const sockaddr,
    len: socklen_t,
    deadline: Deadline,
) -> Result<()> {
    cancel::check()?;
    nonblocking(fd, |file| {
        // SAFETY: the caller's address.
        unsafe { connect_without(file, addr, len, deadline) }
    })
}

/// [`connect`], while the socket is in non-blocking mode.
///
/// # Safety
/// As [`connect`].
unsafe fn connect_without(
    file: File,
    addr: *const sockaddr,
    len: socklen_t,
    deadline: Deadline,
) -> Result<()> {
    loop {
        // SAFETY: the caller's address.
        match unsafe { fd::connect(file.fd, addr, len) } {
            // A Unix socket's queue is full. No edge tells when there is room.
            Err(Errno::EAGAIN) => file.pause(deadline)?,
            Err(Errno(libc::EINPROGRESS | libc::EALREADY | libc::EINTR)) => {
                break;
            }
            r => return r,
        }
    }
    wait_file(file, WRITABLE, deadline)?;
    fd::take_error(file.fd)
}

/// Waits until `fd` is ready for any of `events` (`READABLE`, `WRITABLE`).
/// Returns those it is ready for.
///
/// Errors: `EINVAL`; those of [`File::wait`].
pub(crate) fn wait_fd(fd: i32, events: i32, deadline: Deadline) -> Result<i32> {
    wait_file(File::of(fd), events, deadline)
}

/// [`wait_fd`], within a call on the file.
pub(super) fn wait_file(
    file: File,
    events: i32,
    deadline: Deadline,
) -> Result<i32> {
    let bits = match events {
        READABLE => wait_sides(file, [Side::Read], libc::POLLIN, deadline),
        WRITABLE => wait_sides(file, [Side::Write], libc::POLLOUT, deadline),
        3 => {
            let sides = [Side::Read, Side::Write];
            wait_sides(file, sides, libc::POLLIN | libc::POLLOUT, deadline)
        }
        _ => Err(Errno::EINVAL),
    };
    bits.map(|found| events_of(found) & events)
}

/// Waits until poll(2) finds any of `bits`, which belong to `sides`.
fn wait_sides<const N: usize>(
    file: File,
    sides: [Side; N],
    bits: i16,
    deadline: Deadline,
) -> Result<i16> {
    cancel::check()?;
    loop {
        let seen = sides.map(|side| (side, file.edges(side)));
        match fd::ready(file.fd, bits) {
            Err(Errno::EAGAIN) => file.wait(seen, deadline)?,
            found => return found,
        }
    }
}

/// The events that poll(2)'s bits mean. After an error or at the end, both a
/// read and a write go through, with that result.
fn events_of(found: i16) -> i32 {
    let bit = |bits, event| if found & bits != 0 { event } else { 0 };
    let end = libc::POLLERR | libc::POLLHUP;
    bit(libc::POLLIN | end, READABLE) | bit(libc::POLLOUT | end, WRITABLE)
}
