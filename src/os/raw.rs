//! System calls whose libc functions are cancellation points.
//!
//! A host thread may be cancelled (`pthread_cancel`) during a call of ours. If
//! the thread ended inside, locks would stay taken and records queued. So the
//! library has no cancellation points: it bypasses libc's functions for these
//! calls, and the thread ends only when it is back in the host's code.
//! [`NoCancel`] holds a cancel off during larger functions of libc with
//! cancellation points inside, and while the thread sleeps.
//!
//! ThreadSanitizer watches libc's functions that open and close descriptors.
//! Those that open are here too, so it keeps no notes about descriptors of
//! ours. `fd::close` tells it of the end of the host's.
//!
//! Each function is the system call of its name, with C's result: -1 and
//! `errno`.

use super::errno::{Errno, errno_location};
use core::{
    ffi::{c_char, c_int, c_long, c_void},
    ptr,
};
use libc::{
    epoll_event, iovec, msghdr, off_t, pid_t, pollfd, sigset_t, sockaddr,
    socklen_t, ssize_t, syscall, timespec,
};

unsafe extern "C" {
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

const CANCEL_DISABLE: c_int = 1;
const CANCEL_DEFERRED: c_int = 0;

/// Makes the calling thread, which is about to wait, cancellable at
/// cancellation points only, whatever the host has chosen.
pub(crate) fn defer_cancel() {
    // SAFETY: a valid type; null asks for nothing.
    unsafe { pthread_setcanceltype(CANCEL_DEFERRED, ptr::null_mut()) };
}

/// Keeps the calling thread from being cancelled while the value lives.
#[must_use]
pub(crate) struct NoCancel {
    before: c_int,
}

impl NoCancel {
    pub(crate) fn new() -> Self {
        let mut before = 0;
        // SAFETY: a valid state, and a local variable.
        unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut before) };
        Self { before }
    }
}

impl Drop for NoCancel {
    fn drop(&mut self) {
        // SAFETY: the state from before.
        unsafe { pthread_setcancelstate(self.before, ptr::null_mut()) };
    }
}

/// Defines functions that are one system call each, with the kernel's
/// arguments.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $result:ty
        = $number:ident($($pass:expr),*);)*) => {
        $($(#[$doc])*
        /// # Safety
        /// The arguments are valid for the system call.
        pub(super) unsafe fn $name($($arg: $type),*) -> $result {
            // SAFETY: valid arguments, the caller promises.
            unsafe { syscall(libc::$number, $($pass),*) as $result }
        })*
    };
}

/// Bytes of the kernel's set of signals.
const SET: usize = 8;
const NO_SET: *const sigset_t = ptr::null();

calls! {
    close(fd: c_int) -> c_int = SYS_close(fd);
    open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int
        = SYS_openat(libc::AT_FDCWD, path, flags, mode);
    socket(family: c_int, kind: c_int, protocol: c_int) -> c_int
        = SYS_socket(family, kind, protocol);
    epoll_create1(flags: c_int) -> c_int = SYS_epoll_create1(flags);
    epoll_ctl(ep: c_int, op: c_int, fd: c_int, event: *mut epoll_event)
        -> c_int = SYS_epoll_ctl(ep, op, fd, event);
    pipe2(ends: *mut c_int, flags: c_int) -> c_int = SYS_pipe2(ends, flags);
    read(fd: c_int, buf: *mut c_void, n: usize) -> ssize_t
        = SYS_read(fd, buf, n);
    write(fd: c_int, buf: *const c_void, n: usize) -> ssize_t
        = SYS_write(fd, buf, n);
    readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t
        = SYS_readv(fd, iov, n);
    writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t
        = SYS_writev(fd, iov, n);
    pread(fd: c_int, buf: *mut c_void, n: usize, at: off_t) -> ssize_t
        = SYS_pread64(fd, buf, n, at);
    pwrite(fd: c_int, buf: *const c_void, n: usize, at: off_t) -> ssize_t
        = SYS_pwrite64(fd, buf, n, at);
    fsync(fd: c_int) -> c_int = SYS_fsync(fd);
    poll(fds: *mut pollfd, n: usize, ms: c_int) -> c_int
        = SYS_poll(fds, n, ms);
    recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t
        = SYS_recvmsg(fd, msg, flags);
    sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t
        = SYS_sendmsg(fd, msg, flags);
    accept4(fd: c_int, to: *mut sockaddr, len: *mut socklen_t, flags: c_int)
        -> c_int = SYS_accept4(fd, to, len, flags);
    waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t
        = SYS_wait4(pid, status, options, ptr::null_mut::<c_void>());
    epoll_wait(ep: c_int, to: *mut epoll_event, n: c_int, ms: c_int) -> c_int
        = SYS_epoll_pwait(ep, to, n, ms, NO_SET, SET);
    sigtimedwait(
        set: *const sigset_t,
        info: *mut libc::siginfo_t,
        span: *const timespec
    ) -> c_int = SYS_rt_sigtimedwait(set, info, span, SET);
}

/// preadv2(2). A kernel without the call gives `EOPNOTSUPP`, as in the C
/// library.
///
/// # Safety
/// The arguments are valid for the system call.
pub(super) unsafe fn preadv2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    // The offset has two halves, of which this machine ignores the second.
    // SAFETY: valid arguments, the caller promises.
    known(unsafe {
        // All of the register: valgrind looks at it.
        let flags = c_long::from(flags);
        syscall(libc::SYS_preadv2, fd, iov, n, at, 0usize, flags)
    })
}

/// pwritev2(2), with the same error for a kernel without it.
///
/// # Safety
/// The arguments are valid for the system call.
pub(super) unsafe fn pwritev2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: valid arguments, the caller promises.
    known(unsafe {
        let flags = c_long::from(flags);
        syscall(libc::SYS_pwritev2, fd, iov, n, at, 0usize, flags)
    })
}

#[inline]
fn known(result: c_long) -> ssize_t {
    if result == -1 && Errno::last().0 == libc::ENOSYS {
        // SAFETY: this thread's errno.
        unsafe { *errno_location() = libc::EOPNOTSUPP };
    }
    result as ssize_t
}
