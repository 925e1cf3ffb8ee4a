//! Calls on descriptors: one try each, which does not wait where the kernel
//! lets us ask for that and leave the mode of the file as it is.
//!
//! | file | how a try does not wait |
//! |---|---|
//! | a socket | `MSG_DONTWAIT` |
//! | most others | `RWF_NOWAIT` |
//! | a terminal, an old kernel | poll(2) first; waits if others are faster |
//! | on a disk | it waits, as long as the disk takes |
//!
//! No call here raises `SIGPIPE`.
//!
//! `recv` and `send` go by `syscall`, past libc's functions of these names.
//! Those are points of cancellation: each pays for two locked instructions, and
//! a thread that is cancelled there would take goroutines along.

use super::{
    errno::{Errno, KeepErrno, Result},
    fallback::Newer,
    raw::{self, NoCancel},
};
use crate::base::sanitize;
use core::{mem::MaybeUninit, ptr};
use libc::{c_int, iovec, msghdr, sockaddr, socklen_t};

/// Linux 6.18's flag of pwritev2 for no `SIGPIPE`.
const RWF_NOSIGNAL: c_int = 0x100;
/// pwritev2 with that flag.
static NOSIGNAL: Newer = Newer::call();
/// preadv2 and pwritev2 without waiting.
static READ_NOWAIT: Newer = Newer::by_file();
static WRITE_NOWAIT: Newer = Newer::by_file();
static ACCEPT4: Newer = Newer::call();
/// fstat by its number, before libc's fstat(3).
static FSTAT: Newer = Newer::call();

/// Whether a call on a file can be made not to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No, on a disk: poll(2) calls such a file ready at any time.
    Disk,
    /// Yes, on anything else.
    Other,
}

/// A count, or this thread's `errno` if it is -1.
fn count(n: isize) -> Result<usize> {
    usize::try_from(n).map_err(|_| Errno::last())
}

/// fstat(2).
///
/// `EBADF`.
pub(super) fn stat(fd: i32) -> Result<libc::stat> {
    let _keep = KeepErrno::new();
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    let room = stat.as_mut_ptr();
    // libc's function asks by an empty path, which takes longer, and which
    // sandboxes refuse. SAFETY: room for a stat.
    let by_number = || unsafe { libc::syscall(libc::SYS_fstat, fd, room) };
    // SAFETY: room for a stat.
    let by_path = || i64::from(unsafe { libc::fstat(fd, room) });
    FSTAT.or(|| Errno::check(by_number()), || Errno::check(by_path()))?;
    // SAFETY: the call succeeded, so it has written stat.
    Ok(unsafe { stat.assume_init() })
}

/// The kind of `fd`.
///
/// `EBADF`.
pub(crate) fn kind(fd: i32) -> Result<Kind> {
    let mode = stat(fd)?.st_mode & libc::S_IFMT;
    let disk = [libc::S_IFREG, libc::S_IFBLK, libc::S_IFDIR];
    Ok(if disk.contains(&mode) { Kind::Disk } else { Kind::Other })
}

/// Whether a socket's call has failed because `fd` is no socket, or because a
/// sandbox refuses all calls of sockets and `fd` is none.
#[inline]
pub(crate) fn no_socket<T>(fd: i32, done: &Result<T>) -> bool {
    match done {
        Ok(_) => false,
        Err(Errno(libc::ENOTSOCK)) => true,
        Err(e) => e.is_absence() && is_no_socket(fd),
    }
}

#[cold]
fn is_no_socket(fd: i32) -> bool {
    stat(fd).is_ok_and(|s| s.st_mode & libc::S_IFMT != libc::S_IFSOCK)
}

/// Reads what is there: readv(2) on a file of `kind`, no socket.
///
/// `EAGAIN`: the call would wait.
///
/// # Safety
/// `iov`: buffers that may be written.
pub(crate) unsafe fn read(fd: i32, kind: Kind, iov: &[iovec]) -> Result<usize> {
    let _keep = KeepErrno::new();
    let (at, len) = (iov.as_ptr(), iov.len() as c_int);
    if kind == Kind::Disk {
        // SAFETY: `iov` has buffers that may be written.
        return count(unsafe { raw::readv(fd, at, len) });
    }
    READ_NOWAIT.or(
        // SAFETY: `iov` has buffers that may be written.
        || unsafe { count(raw::preadv2(fd, at, len, -1, libc::RWF_NOWAIT)) },
        || {
            ready(fd, libc::POLLIN)?;
            // SAFETY: `iov` has buffers that may be written.
            count(unsafe { raw::readv(fd, at, len) })
        },
    )
}

/// Writes what there is room for: writev(2) on a file of `kind`, no socket.
///
/// `EAGAIN`: the call would wait.
///
/// # Safety
/// `iov`: buffers that may be read.
pub(crate) unsafe fn write(
    fd: i32,
    kind: Kind,
    iov: &[iovec],
) -> Result<usize> {
    let _keep = KeepErrno::new();
    let (at, len) = (iov.as_ptr(), iov.len() as c_int);
    if kind == Kind::Disk {
        // SAFETY: `iov` has buffers that may be read.
        return count(unsafe { raw::writev(fd, at, len) });
    }
    let attempt = |flags| {
        let flags = flags | libc::RWF_NOWAIT;
        // SAFETY: `iov` has buffers that may be read.
        count(unsafe { raw::pwritev2(fd, at, len, -1, flags) })
    };
    WRITE_NOWAIT.or(
        || {
            NOSIGNAL
                .or(|| attempt(RWF_NOSIGNAL), || without_sigpipe(|| attempt(0)))
        },
        // SAFETY: `iov` has buffers that may be read.
        || without_sigpipe(|| unsafe { write_after_look(fd, iov) }),
    )
}

/// Writes all of `bytes`, and waits as the file does, also where the file is in
/// the mode that does not wait. No signal comes of a reader that is gone.
///
/// Errors: those of write(2), but `EINTR` and `EAGAIN`.
pub(crate) fn write_all(fd: i32, mut bytes: &[u8]) -> Result<()> {
    let _keep = KeepErrno::new();
    while !bytes.is_empty() {
        let (at, len) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: the pointer and the length are those of a slice.
        let write = || count(unsafe { raw::write(fd, at, len) });
        match without_sigpipe(write) {
            Ok(0) => return Err(Errno(libc::EIO)),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno(libc::EINTR)) => {}
            Err(Errno::EAGAIN) => wait_for(fd, libc::POLLOUT),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Waits until a write or a read has something to tell.
fn wait_for(fd: i32, events: i16) {
    let mut look = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd, for this call.
    unsafe { raw::poll(&raw mut look, 1, -1) };
}

/// [`write`] where the kernel has no flag for not waiting.
///
/// # Safety
/// As [`write`].
unsafe fn write_after_look(fd: i32, iov: &[iovec]) -> Result<usize> {
    ready(fd, libc::POLLOUT)?;
    // A FIFO that is ready takes PIPE_BUF bytes; a larger write might wait.
    let total: usize = iov.iter().map(|part| part.iov_len).sum();
    if total <= libc::PIPE_BUF {
        let (at, len) = (iov.as_ptr(), iov.len() as c_int);
        // SAFETY: `iov` has buffers that may be read.
        return count(unsafe { raw::writev(fd, at, len) });
    }
    let Some(first) = iov.iter().find(|part| part.iov_len > 0) else {
        return Ok(0);
    };
    let n = first.iov_len.min(libc::PIPE_BUF);
    // SAFETY: `first` is a buffer that may be read.
    count(unsafe { raw::write(fd, first.iov_base, n) })
}

/// Calls `f` with `SIGPIPE` blocked on this thread, and drops a `SIGPIPE` that
/// `f` may have raised.
pub(super) fn without_sigpipe<R>(f: impl FnOnce() -> R) -> R {
    let mut pipe = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: room for a set.
    unsafe { libc::sigemptyset(pipe.as_mut_ptr()) };
    // SAFETY: an initialised set.
    unsafe { libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: room for a set.
    unsafe { libc::sigpending(pending.as_mut_ptr()) };
    let (how, set) = (libc::SIG_BLOCK, pipe.as_ptr());
    // SAFETY: both are sets, one to read and one to write.
    unsafe { libc::pthread_sigmask(how, set, old.as_mut_ptr()) };
    let result = f();
    // SAFETY: sigpending has written it.
    let theirs = unsafe { libc::sigismember(pending.as_ptr(), libc::SIGPIPE) };
    if theirs == 0 {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a set and a span; null, as nothing is asked of the signal.
        unsafe { raw::sigtimedwait(set, ptr::null_mut(), &raw const now) };
    }
    let (how, set) = (libc::SIG_SETMASK, old.as_ptr());
    // SAFETY: a set that pthread_sigmask has written.
    unsafe { libc::pthread_sigmask(how, set, ptr::null_mut()) };
    result
}

/// Those of `events` (`POLL…`) that are ready now.
///
/// `EAGAIN`: nothing; `EBADF`; what poll(2) says.
pub(crate) fn ready(fd: i32, events: i16) -> Result<i16> {
    let _keep = KeepErrno::new();
    if fd < 0 {
        return Err(Errno(libc::EBADF));
    }
    let mut look = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd, for this call.
    let n = unsafe { raw::poll(&raw mut look, 1, 0) };
    match look.revents {
        _ if n < 0 && Errno::last() != Errno(libc::EINTR) => Err(Errno::last()),
        _ if n <= 0 => Err(Errno::EAGAIN),
        bits if bits & libc::POLLNVAL != 0 => Err(Errno(libc::EBADF)),
        bits => Ok(bits),
    }
}

/// recv(2) without waiting.
///
/// # Safety
/// `buf`: `n` bytes that may be written.
#[inline]
pub(crate) unsafe fn recv(fd: i32, buf: *mut u8, n: usize) -> Result<usize> {
    let _keep = KeepErrno::new();
    let (nobody, no_len) = (ptr::null::<sockaddr>(), ptr::null::<socklen_t>());
    let (number, flags) = (libc::SYS_recvfrom, libc::MSG_DONTWAIT);
    // SAFETY: `buf` has `n` bytes to write to; null asks for no address.
    count(unsafe {
        libc::syscall(number, fd, buf, n, flags, nobody, no_len) as isize
    })
}

/// send(2) without waiting.
///
/// # Safety
/// `buf`: `n` bytes that may be read.
#[inline]
pub(crate) unsafe fn send(fd: i32, buf: *const u8, n: usize) -> Result<usize> {
    let _keep = KeepErrno::new();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (number, nobody) = (libc::SYS_sendto, ptr::null::<sockaddr>());
    // SAFETY: the caller's buffer; no address, as the socket is connected.
    count(unsafe {
        libc::syscall(number, fd, buf, n, flags, nobody, 0usize) as isize
    })
}

/// recvmsg(2) without waiting.
///
/// # Safety
/// `msg`: a message whose buffers may be written.
pub(crate) unsafe fn recvmsg(
    fd: i32,
    msg: *mut msghdr,
    flags: c_int,
) -> Result<usize> {
    let _keep = KeepErrno::new();
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: `msg` has buffers that may be written, the caller promises.
    count(unsafe { raw::recvmsg(fd, msg, flags) })
}

/// sendmsg(2) without waiting.
///
/// # Safety
/// `msg`: a message whose buffers may be read.
pub(crate) unsafe fn sendmsg(
    fd: i32,
    msg: *const msghdr,
    flags: c_int,
) -> Result<usize> {
    let _keep = KeepErrno::new();
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `msg` has buffers that may be read, the caller promises.
    count(unsafe { raw::sendmsg(fd, msg, flags) })
}

/// A message that has `iov` and nothing else.
pub(crate) fn message(iov: &[iovec]) -> msghdr {
    msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: iov.as_ptr().cast_mut(),
        msg_iovlen: iov.len(),
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

/// accept4(2), close-on-exec, on a socket in non-blocking mode.
///
/// # Safety
/// `addr`, `len`: null, or room for an address.
pub(crate) unsafe fn accept(
    fd: i32,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> Result<i32> {
    let _keep = KeepErrno::new();
    ACCEPT4.or(
        // SAFETY: `addr` and `len` are null or room for an address.
        || unsafe {
            Errno::check(raw::accept4(fd, addr, len, libc::SOCK_CLOEXEC))
        },
        || {
            // SAFETY: `addr` and `len` are null or room for an address.
            let new = Errno::check(unsafe { libc::accept(fd, addr, len) })?;
            // A moment after accept: an exec on another thread may be faster.
            // SAFETY: takes numbers.
            unsafe { libc::fcntl(new, libc::F_SETFD, libc::FD_CLOEXEC) };
            Ok(new)
        },
    )
}

/// connect(2).
///
/// # Safety
/// `addr`: an address of `len` bytes.
pub(crate) unsafe fn connect(
    fd: i32,
    addr: *const sockaddr,
    len: socklen_t,
) -> Result<()> {
    let _keep = KeepErrno::new();
    // Not by `raw`: a program may have a connect of its own in libc's place.
    let _later = NoCancel::new();
    // SAFETY: `addr` has `len` bytes, the caller promises.
    Errno::check(unsafe { libc::connect(fd, addr, len) }).map(drop)
}

/// Takes the error that a socket has kept (`SO_ERROR`).
pub(crate) fn take_error(fd: i32) -> Result<()> {
    let _keep = KeepErrno::new();
    let mut error: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: room for an int.
    let r = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut len,
        )
    };
    Errno::check(r)?;
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

/// Puts `fd` into non-blocking mode, or out of it. Returns whether it was in
/// it.
///
/// `EBADF`.
pub(crate) fn set_nonblocking(fd: i32, on: bool) -> Result<bool> {
    let _keep = KeepErrno::new();
    // SAFETY: takes numbers.
    let old = Errno::check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let was = old & libc::O_NONBLOCK != 0;
    if was != on {
        // SAFETY: takes numbers.
        let set =
            unsafe { libc::fcntl(fd, libc::F_SETFL, old ^ libc::O_NONBLOCK) };
        Errno::check(set)?;
    }
    Ok(was)
}

/// close(2). An interrupted call has closed `fd` all the same.
///
/// `EBADF`; an error of earlier writes (`EIO`, ...).
pub(crate) fn close(fd: i32) -> Result<()> {
    let _keep = KeepErrno::new();
    let closed = if sanitize::raceenabled() {
        close_seen(fd)
    } else {
        // SAFETY: takes a number.
        unsafe { raw::close(fd) }
    };
    match Errno::check(closed) {
        Err(Errno(libc::EINTR)) => Ok(()),
        r => r.map(drop),
    }
}

/// By libc's function, which ThreadSanitizer takes the place of. It keeps notes
/// about a descriptor that the host has opened, and must learn of its end: the
/// next file with this number is not ordered by the last one.
#[cold]
fn close_seen(fd: i32) -> c_int {
    let _no_cancel = NoCancel::new();
    // SAFETY: takes a number.
    unsafe { libc::close(fd) }
}
