//! Reading and writing: a try, and if it would wait, a wait for the poller.
//!
//! The first try makes no look at anything: most calls go through at once.
//! Which try it is depends on the file (`os::fd`): a socket's is one system
//! call in either mode.

use crate::{
    gmp::{
        parkword::WaitKind,
        wait::{Sudog, WakeList},
    },
    netpoll::{self, Desc, Quiet, Side},
    os::{
        Errno, Result,
        clock::nanotime,
        fd, net,
        types::{iovec, msghdr, sockaddr, socklen_t},
    },
    sched::{
        cancel,
        enter::Inside,
        park::{self, FOREVER, Wait, gopark, ready_all},
        timing,
    },
};
use core::{ffi::c_int, ptr};

/// The events of `gmp_wait_fd`.
pub(crate) const READABLE: i32 = 1;
pub(crate) const WRITABLE: i32 = 2;
/// How long a connection waits that a full Unix socket refuses for now.
const FULL_NS: i64 = 1_000_000;

/// Tries until it goes through, and waits in between.
///
/// Errors: those of `attempt` but `EAGAIN` and `EINTR`; those of [`wait_for`].
#[inline]
fn until_done<T>(
    fd: i32,
    side: Side,
    deadline: i64,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    cancel::check()?;
    let mut vain = 0;
    loop {
        let seen = note(fd, side);
        match attempt() {
            Err(Errno(libc::EINTR)) => {}
            Err(Errno::EAGAIN) => {
                vain += 1;
                if vain > 1 && side == Side::Write && full_yet_writable(fd) {
                    pause(deadline)?;
                } else {
                    wait_for(fd, side.alone(), [seen; 2], deadline)?;
                }
            }
            done => return done,
        }
    }
}

/// The edges of a side before a try; None where nobody has waited yet.
fn note(fd: i32, side: Side) -> Option<u32> {
    netpoll::known(fd).map(|desc| desc.edges(side))
}

/// Whether the kernel calls writable what has just refused, as it does a Unix
/// socket whose receiver is full: no edge tells when that changes.
#[cold]
fn full_yet_writable(fd: i32) -> bool {
    fd::ready(fd, libc::POLLOUT).is_ok()
}

/// Lets a little time pass where nothing tells when to try again.
#[cold]
fn pause(deadline: i64) -> Result<()> {
    park::before_blocking(deadline)?;
    let soon = nanotime() + FULL_NS;
    park::sleep_until(soon.min(deadline))
}

/// Waits for any of `sides` until an edge has come, or may have, since `seen`
/// was noted before a try.
///
/// Errors: `ETIMEDOUT`, `ECANCELED`; `EBADF` if it is closed; `EDEADLK` where
/// the caller may not park; `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
#[cold]
fn wait_for(
    fd: i32,
    sides: &[Side],
    seen: [Option<u32>; 2],
    deadline: i64,
) -> Result<()> {
    let gp = park::current()?;
    if deadline != FOREVER && deadline <= nanotime() {
        return Err(Errno(libc::ETIMEDOUT));
    }
    let desc = netpoll::desc(fd)?;
    let inside = Inside::enter();
    let mut gone = WakeList::new();
    desc.lock();
    let quiet =
        sides.iter().zip(seen).try_fold(true, |quiet, (&side, seen)| {
            let found = desc.may_wait(side, seen, &mut gone)?;
            Ok(quiet && found == Quiet::Yes)
        });
    if quiet != Ok(true) {
        desc.unlock();
        drop(inside);
        ready_all(gone);
        return quiet.map(drop);
    }
    let generation = desc.generation();
    let ticket = gp.park.arm(WaitKind::Cancellable);
    let record = || Sudog::new(gp, ticket, ptr::null_mut());
    let records = [record(), record()];
    for (&side, sg) in sides.iter().zip(&records) {
        desc.enqueue(side, sg);
    }
    ready_all(gone);
    timing::heed_net();
    let wait = Wait {
        ticket,
        unlock: unlock_desc,
        arg: ptr::from_ref(desc).addr(),
        reason: match sides {
            [Side::Read] => c"IO wait (read)",
            [Side::Write] => c"IO wait (write)",
            _ => c"IO wait",
        },
        deadline,
    };
    let cause = gopark(gp, wait);
    for (&side, sg) in sides.iter().zip(&records) {
        desc.awake(side, sg, !sg.woken.get());
    }
    park::outcome(cause)?;
    // The number may be another file's by now.
    if desc.generation() == generation {
        Ok(())
    } else {
        Err(Errno(libc::EBADF))
    }
}

/// What gopark calls once the goroutine is off its stack.
fn unlock_desc(arg: usize) {
    // SAFETY: a Desc, which stays; locked by wait_for.
    let desc = unsafe { &*(arg as *const Desc) };
    desc.unlock();
}

/// Reads no bytes: of a datagram socket too, which recv(2) would take one from.
fn nothing(fd: i32) -> Result<usize> {
    cancel::check()?;
    fd::kind(fd).map(|_| 0)
}

/// Whether a failed try on a socket's call was for a file of another sort.
fn no_socket<T: PartialEq>(result: &Result<T>) -> bool {
    matches!(result, Err(Errno(libc::ENOTSOCK)))
}

/// read(2).
///
/// # Safety
/// `buf`: `n` bytes that may be written.
pub(crate) unsafe fn read(
    fd: i32,
    buf: *mut u8,
    n: usize,
    deadline: i64,
) -> Result<usize> {
    if n == 0 {
        return nothing(fd);
    }
    until_done(fd, Side::Read, deadline, || {
        // SAFETY: the caller's buffer.
        let done = unsafe { fd::recv(fd, buf, n) };
        if !no_socket(&done) {
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
    deadline: i64,
) -> Result<usize> {
    until_done(fd, Side::Write, deadline, || {
        // SAFETY: the caller's buffer.
        let done = unsafe { fd::send(fd, buf, n) };
        if !no_socket(&done) {
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
    deadline: i64,
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
    deadline: i64,
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
    deadline: i64,
) -> Result<usize> {
    if iov.iter().all(|part| part.iov_len == 0) {
        return nothing(fd);
    }
    until_done(fd, Side::Read, deadline, || {
        let mut msg = fd::message(iov);
        // SAFETY: the caller's buffers.
        let done = unsafe { fd::recvmsg(fd, &raw mut msg, 0) };
        if !no_socket(&done) {
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
    deadline: i64,
) -> Result<usize> {
    until_done(fd, Side::Write, deadline, || {
        let msg = fd::message(iov);
        // SAFETY: the caller's buffers.
        let done = unsafe { fd::sendmsg(fd, &raw const msg, 0) };
        if !no_socket(&done) {
            return done;
        }
        // SAFETY: the caller's buffers.
        unsafe { other_write(fd, iov, deadline) }
    })
}

/// A try on a file that is no socket. One on a disk takes as long as it takes,
/// and is looked after by sysmon: deadline and cancel count before it only.
///
/// # Safety
/// `iov`: buffers that may be written.
unsafe fn other_read(fd: i32, iov: &[iovec], deadline: i64) -> Result<usize> {
    if fd::kind(fd)? == fd::Kind::Disk {
        park::before_blocking(deadline)?;
    }
    // SAFETY: the caller's buffers.
    unsafe { fd::read(fd, iov) }
}

/// The same for writing.
///
/// # Safety
/// `iov`: buffers that may be read.
unsafe fn other_write(fd: i32, iov: &[iovec], deadline: i64) -> Result<usize> {
    if fd::kind(fd)? == fd::Kind::Disk {
        park::before_blocking(deadline)?;
    }
    // SAFETY: the caller's buffers.
    unsafe { fd::write(fd, iov) }
}

/// recvmsg(2).
///
/// # Safety
/// `msg`: a message whose buffers may be written.
pub(crate) unsafe fn recvmsg(
    fd: i32,
    msg: *mut msghdr,
    flags: c_int,
    deadline: i64,
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
    deadline: i64,
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
    deadline: i64,
) -> Result<usize> {
    let into = [into];
    let mut msg = fd::message(&into);
    msg.msg_name = addr.cast();
    // SAFETY: null or valid, as the caller promises.
    msg.msg_namelen = unsafe { len.as_ref() }.copied().unwrap_or(0);
    // SAFETY: the caller's buffers.
    let n = unsafe { recvmsg(fd, &raw mut msg, flags, deadline) }?;
    // SAFETY: as above.
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
    deadline: i64,
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
    deadline: i64,
) -> Result<i32> {
    // Else it says what is wrong with it.
    if net::listens(fd) {
        fd::set_nonblocking(fd, true)?;
    }
    until_done(fd, Side::Read, deadline, || {
        // SAFETY: the caller's room.
        match unsafe { fd::accept(fd, addr, len) } {
            // A client that has gone already: the next one.
            Err(Errno(libc::ECONNABORTED)) => Err(Errno(libc::EINTR)),
            r => r,
        }
    })
}

/// connect(2); a socket in blocking mode is put back into it.
///
/// # Safety
/// `addr`: an address of `len` bytes.
pub(crate) unsafe fn connect(
    fd: i32,
    addr: *const sockaddr,
    len: socklen_t,
    deadline: i64,
) -> Result<()> {
    cancel::check()?;
    let was = fd::set_nonblocking(fd, true)?;
    // SAFETY: the caller's address.
    let result = unsafe { connect_without(fd, addr, len, deadline) };
    // Not where the number is another file's by now.
    if !was && result != Err(Errno(libc::EBADF)) {
        // It has just worked.
        let _restored = fd::set_nonblocking(fd, false);
    }
    result
}

/// # Safety
/// As [`connect`].
unsafe fn connect_without(
    fd: i32,
    addr: *const sockaddr,
    len: socklen_t,
    deadline: i64,
) -> Result<()> {
    loop {
        // SAFETY: the caller's address.
        match unsafe { fd::connect(fd, addr, len) } {
            // A Unix socket whose queue is full, which is not told to epoll.
            Err(Errno::EAGAIN) => pause(deadline)?,
            Err(Errno(libc::EINPROGRESS | libc::EALREADY | libc::EINTR)) => {
                break;
            }
            r => return r,
        }
    }
    wait_fd(fd, WRITABLE, deadline)?;
    fd::take_error(fd)
}

/// Waits until `fd` is ready for any of `events` (`READABLE`, `WRITABLE`), and
/// gives those that it is ready for.
///
/// Errors: `EINVAL`; those of [`wait_for`].
pub(crate) fn wait_fd(fd: i32, events: i32, deadline: i64) -> Result<i32> {
    let (sides, bits): (&[Side], i16) = match events {
        READABLE => (Side::Read.alone(), libc::POLLIN),
        WRITABLE => (Side::Write.alone(), libc::POLLOUT),
        3 => (&[Side::Read, Side::Write], libc::POLLIN | libc::POLLOUT),
        _ => return Err(Errno::EINVAL),
    };
    cancel::check()?;
    loop {
        let mut seen = [None; 2];
        for (seen, &side) in seen.iter_mut().zip(sides) {
            *seen = note(fd, side);
        }
        match fd::ready(fd, bits) {
            Ok(found) => return Ok(told(found, events)),
            Err(Errno::EAGAIN) => wait_for(fd, sides, seen, deadline)?,
            Err(e) => return Err(e),
        }
    }
}

/// What poll found, for the caller of `wait_fd`: after an error or the end,
/// both directions are ready to say so.
fn told(found: i16, events: i32) -> i32 {
    let bit = |bits, event| if found & bits != 0 { event } else { 0 };
    let end = libc::POLLERR | libc::POLLHUP;
    let told =
        bit(libc::POLLIN | end, READABLE) | bit(libc::POLLOUT | end, WRITABLE);
    told & events
}

/// Closes `fd`; who waits on it gets `EBADF`.
///
/// Errors: those of close(2).
pub(crate) fn close(fd: i32) -> Result<()> {
    let Some(desc) = netpoll::known(fd) else { return fd::close(fd) };
    let inside = Inside::enter();
    let mut gone = WakeList::new();
    desc.lock();
    desc.close(&mut gone);
    let closed = fd::close(fd);
    desc.unlock();
    drop(inside);
    ready_all(gone);
    closed
}
