//! Readiness of many file descriptors at once, and a way to wake who waits
//! for it.

use super::errno::{Errno, KeepErrno, Result};
use super::raw;
use core::{
    mem::MaybeUninit,
    ptr, slice,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// What became ready of a descriptor: its number, and `EPOLL…` bits.
pub(crate) type Event = libc::epoll_event;

/// What tells readers, and writers: edge-triggered.
pub(crate) const READ: i32 =
    libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;
pub(crate) const WRITE: i32 = libc::EPOLLOUT | libc::EPOLLET;

/// Makes an epoll instance.
///
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub(crate) fn create() -> Result<i32> {
    let _keep = KeepErrno::new();
    // SAFETY: takes flags only.
    Errno::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Reports changes of `fd` from now on, `READ` or `WRITE` or both, and what is
/// ready already. True: it is new there; false: it has been there, with what it
/// reports.
///
/// `EPERM` for a file that is always ready; `EBADF`; `ENOMEM`, `ENOSPC`.
pub(crate) fn add(ep: i32, fd: i32, bits: i32) -> Result<bool> {
    match ctl(ep, libc::EPOLL_CTL_ADD, fd, bits) {
        Ok(()) => Ok(true),
        Err(Errno(libc::EEXIST)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Reports `bits` of `fd` from now on, and what is ready of them already; it is
/// there.
///
/// `ENOENT` if it is not; `EBADF`.
pub(crate) fn modify(ep: i32, fd: i32, bits: i32) -> Result<()> {
    ctl(ep, libc::EPOLL_CTL_MOD, fd, bits)
}

/// Reports `bell` for as long as it rings.
pub(crate) fn add_bell(ep: i32, bell: i32) -> Result<()> {
    ctl(ep, libc::EPOLL_CTL_ADD, bell, libc::EPOLLIN)
}

/// Reports nothing of `fd` any more.
pub(crate) fn remove(ep: i32, fd: i32) -> Result<()> {
    ctl(ep, libc::EPOLL_CTL_DEL, fd, 0)
}

fn ctl(ep: i32, op: i32, fd: i32, events: i32) -> Result<()> {
    let _keep = KeepErrno::new();
    let mut event = Event { events: events as u32, u64: fd as u64 };
    // SAFETY: the event lives until the call returns.
    let r = unsafe { libc::epoll_ctl(ep, op, fd, &raw mut event) };
    Errno::check(r).map(drop)
}

/// Set once the kernel turns out not to know epoll_pwait2 (before 5.11).
static COARSE: AtomicBool = AtomicBool::new(false);

/// Waits for events, at most `timeout` nanoseconds; `i64::MAX` is for ever.
/// None come also for a signal.
pub(crate) fn wait(
    ep: i32,
    room: &mut [MaybeUninit<Event>],
    timeout: i64,
) -> &[Event] {
    let _keep = KeepErrno::new();
    let n = usize::try_from(wait_raw(ep, room, timeout)).unwrap_or(0);
    // SAFETY: the kernel has filled in so many.
    unsafe { slice::from_raw_parts(room.as_ptr().cast(), n) }
}

/// The number of events, or -1.
fn wait_raw(ep: i32, room: &mut [MaybeUninit<Event>], timeout: i64) -> i64 {
    if !COARSE.load(Relaxed) {
        let n = wait_fine(ep, room, timeout);
        if n != -1 || Errno::last() != Errno(libc::ENOSYS) {
            return n;
        }
        COARSE.store(true, Relaxed);
    }
    let millis = match timeout {
        i64::MAX => -1,
        // Rounded up: no timer is early.
        ns => i32::try_from((ns + 999_999) / 1_000_000).unwrap_or(i32::MAX),
    };
    let (at, len) = (room.as_mut_ptr().cast(), room.len() as i32);
    // SAFETY: at and len are those of `room`.
    i64::from(unsafe { raw::epoll_wait(ep, at, len, millis) })
}

fn wait_fine(ep: i32, room: &mut [MaybeUninit<Event>], timeout: i64) -> i64 {
    let span = libc::timespec {
        tv_sec: timeout / 1_000_000_000,
        tv_nsec: timeout % 1_000_000_000,
    };
    let span = match timeout {
        i64::MAX => ptr::null(),
        _ => &raw const span,
    };
    // SAFETY: the events and the span live until the call returns; there is
    // no mask of signals.
    unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            ep,
            room.as_mut_ptr(),
            room.len() as i32,
            span,
            ptr::null::<libc::sigset_t>(),
            0usize,
        )
    }
}

/// Makes a descriptor that becomes readable by [`ring`].
///
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub(crate) fn bell() -> Result<i32> {
    let _keep = KeepErrno::new();
    let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
    // SAFETY: takes numbers only.
    Errno::check(unsafe { libc::eventfd(0, flags) })
}

/// Wakes whoever waits for the epoll instance that has `bell`.
pub(crate) fn ring(bell: i32) {
    let _keep = KeepErrno::new();
    let one = 1u64;
    // SAFETY: eight bytes of ours. A full counter is readable all the same.
    unsafe { raw::write(bell, (&raw const one).cast(), 8) };
}

/// Takes the ringing back.
pub(crate) fn hush(bell: i32) {
    let _keep = KeepErrno::new();
    let mut count = 0u64;
    // SAFETY: room for eight bytes of ours.
    unsafe { raw::read(bell, (&raw mut count).cast(), 8) };
}
