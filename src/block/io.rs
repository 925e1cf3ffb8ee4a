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
    netpoll::{self, Desc, Side},
    os::{
        Errno, Result,
        clock::nanotime,
        fd,
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
/// Errors: those of `attempt` but `EAGAIN` and `EINTR`; those of
/// [`wait_ready`].
#[inline]
fn until_done<T>(
    fd: i32,
    side: Side,
    deadline: i64,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    cancel::check()?;
    loop {
        match attempt() {
            Err(Errno(libc::EINTR)) => {}
            Err(Errno::EAGAIN) => wait_ready(fd, side, deadline)?,
            done => return done,
        }
    }
}

/// Waits until an edge has come, or may have, since the caller tried.
///
/// Errors: `ETIMEDOUT`, `ECANCELED`; `EBADF` if it is closed; `EDEADLK` where
/// the caller may not park; `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
#[cold]
fn wait_ready(fd: i32, side: Side, deadline: i64) -> Result<()> {
    let sides: &[Side] = match side {
        Side::Read => &[Side::Read],
        Side::Write => &[Side::Write],
    };
    wait_for(fd, sides, deadline, false)
}

/// Waits for any of `sides`. `level`: what is ready now counts, though others
/// may have seen its edge.
fn wait_for(fd: i32, sides: &[Side], deadline: i64, level: bool) -> Result<()> {
    let gp = park::current()?;
    if deadline != FOREVER && deadline <= nanotime() {
        return Err(Errno(libc::ETIMEDOUT));
    }
    let (desc, first) = netpoll::desc(fd)?;
    let inside = Inside::enter();
    let mut gone = WakeList::new();
    desc.lock();
    let may = sides.iter().try_fold(true, |may, &side| {
        desc.may_wait(side, &mut gone).map(|quiet| may && quiet)
    });
    let may = may.and_then(|quiet| {
        if quiet && level {
            desc.report_again()?
        };
        Ok(quiet)
    });
    if may != Ok(true) {
        desc.unlock();
        drop(inside);
        ready_all(gone);
        return may.map(drop);
    }
    let ticket = gp.park.arm(WaitKind::Cancellable);
    let record = || Sudog::new(gp, ticket, ptr::null_mut());
    let records = [record(), record()];
    for (&side, sg) in sides.iter().zip(&records) {
        desc.enqueue(side, sg);
    }
    ready_all(gone);
    timing::heed_net(first);
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
    let mut fine = false;
    for (&side, sg) in sides.iter().zip(&records) {
        desc.awake(side, sg, !sg.woken.get());
        fine |= sg.success.get();
    }
    park::outcome(cause)?;
    if fine { Ok(()) } else { Err(Errno(libc::EBADF)) }
}

/// What gopark calls once the goroutine is off its stack.
fn unlock_desc(arg: usize) {
    // SAFETY: a Desc, which stays; locked by wait_for.
    let desc = unsafe { &*(arg as *const Desc) };
    desc.unlock();
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
    let desc = netpoll::known(fd);
    if desc.is_some_and(Desc::is_drained) && n > 0 {
        cancel::check()?;
        wait_ready(fd, Side::Read, deadline)?;
    }
    until_done(fd, Side::Read, deadline, || {
        let edges = desc.and_then(Desc::edges);
        // SAFETY: the caller's buffer.
        let done = unsafe { fd::recv(fd, buf, n) };
        if let (Some(desc), Some(edges), Ok(count)) = (desc, edges, done)
            && count < n
        {
            desc.took_all(edges);
        }
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
    fd::set_nonblocking(fd, true)?;
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
    if !was {
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
            Err(Errno::EAGAIN) => {
                park::before_blocking(deadline)?;
                let soon = nanotime() + FULL_NS;
                park::sleep_until(soon.min(deadline))?;
            }
            Err(Errno(libc::EINPROGRESS | libc::EALREADY | libc::EINTR)) => {
                break;
            }
            r => return r,
        }
    }
    loop {
        match fd::ready(fd, libc::POLLOUT) {
            Ok(_) => return fd::take_error(fd),
            Err(Errno::EAGAIN) => wait_ready(fd, Side::Write, deadline)?,
            Err(e) => return Err(e),
        }
    }
}

/// Waits until `fd` is ready for any of `events` (`READABLE`, `WRITABLE`), and
/// gives those that it is ready for.
///
/// Errors: `EINVAL`; those of [`wait_ready`].
pub(crate) fn wait_fd(fd: i32, events: i32, deadline: i64) -> Result<i32> {
    let (sides, bits): (&[Side], i16) = match events {
        READABLE => (&[Side::Read], libc::POLLIN),
        WRITABLE => (&[Side::Write], libc::POLLOUT),
        3 => (&[Side::Read, Side::Write], libc::POLLIN | libc::POLLOUT),
        _ => return Err(Errno::EINVAL),
    };
    cancel::check()?;
    loop {
        match fd::ready(fd, bits) {
            Ok(found) => return Ok(told(found, events)),
            Err(Errno::EAGAIN) => wait_for(fd, sides, deadline, true)?,
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
