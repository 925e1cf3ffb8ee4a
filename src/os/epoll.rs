//! Readiness of many descriptors at once, and a way to wake the thread that
//! waits for it.
//!
//! A [`Poller`] is an epoll instance and a *wake fd*, which is registered in
//! the instance. The wake fd is a pipe's end with a byte in it, so it is always
//! ready; with `EPOLLONESHOT` it is reported once for each time that its
//! interest is set. To *notify* is to set that interest anew.
//!
//! The byte is written before another thread knows the number. Later nothing is
//! written or read, so no file of the host's is hit where the host has closed
//! our numbers and uses them for its own files. And a pipe has an inode of its
//! own, which an epoll instance or an eventfd has not. So both numbers are ours
//! as long as the wake fd is that pipe, and epoll finds the pipe in the
//! instance.
//!
//! Each event carries a mark, by which those of an epoll instance of the host's
//! under our number are recognised.

use super::{
    errno::{Errno, KeepErrno, Result},
    fallback::Newer,
    fd,
    own::{self, FileId, Own},
    raw,
};
use crate::base::sanitize;
use core::{mem::MaybeUninit, ptr, slice};

/// An event of a descriptor that has become ready.
pub(crate) type Event = libc::epoll_event;

/// The events that concern readers, and writers: edge-triggered.
pub(crate) const READ: i32 =
    libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;
pub(crate) const WRITE: i32 = libc::EPOLLOUT | libc::EPOLLET;

/// The upper half of an event's data; the lower half is the number.
const MARK: u64 = 0x676d_7072 << 32;
/// The wake fd's number there.
const WAKE: i32 = -1;

/// The source of an event.
pub(crate) enum Source {
    /// A descriptor, with `EPOLL…` bits.
    File(i32, u32),
    /// [`Poller::notify`].
    Wake,
    /// An epoll instance that is not ours.
    Foreign,
}

/// The source of `event`.
pub(crate) fn source(event: &Event) -> Source {
    let (data, bits) = (event.u64, event.events);
    match data as i32 {
        _ if data >> 32 != MARK >> 32 => Source::Foreign,
        WAKE => Source::Wake,
        fd => Source::File(fd, bits),
    }
}

/// An epoll instance, and the wake fd in it.
#[derive(Clone, Copy)]
pub(crate) struct Poller {
    ep: i32,
    wake_fd: i32,
    /// Which file the wake fd is.
    id: FileId,
}

impl Poller {
    /// Makes one.
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`; what a sandbox says; `EBADF` or
    /// `EINVAL` if the host has closed one of the numbers meanwhile.
    pub(crate) fn make() -> Result<Self> {
        let _keep = KeepErrno::new();
        let wake_fd = make_wake_fd()?;
        // SAFETY: takes flags only.
        let made = unsafe { raw::epoll_create1(libc::EPOLL_CLOEXEC) };
        let ep = Errno::check(made)?;
        let this = Self { ep, wake_fd: wake_fd.fd(), id: wake_fd.id() };
        if let Err(e) = this.set_wake_fd(libc::EPOLL_CTL_ADD) {
            // EINVAL: the host has closed the number, and it is its file's. So
            // it may be where there is nothing else to be bad.
            let gone =
                e.0 == libc::EINVAL || e.0 == libc::EBADF && this.has_wake_fd();
            if !gone {
                let _closed = fd::close(ep);
            }
            // EPERM: a file that cannot be polled has the number by now.
            let lost = e.0 == libc::EPERM && !this.has_wake_fd();
            return Err(if lost { Errno(libc::EBADF) } else { e });
        }
        let lifted = own::lifted(ep);
        if lifted != Ok(ep) && this.is_ours() {
            // The low number, unless the host has put a file there.
            let _closed = fd::close(ep);
        }
        wake_fd.into_raw();
        Ok(Self { ep: lifted.inspect_err(|_| this.drop_wake_fd())?, ..this })
    }

    /// Whether the wake fd's number is still that of the pipe. A host closes
    /// both of our numbers or none, but for an accident.
    pub(crate) fn has_wake_fd(&self) -> bool {
        self.id.is(self.wake_fd)
    }

    /// Whether both numbers are still ours. Notifies.
    pub(crate) fn is_ours(&self) -> bool {
        self.notify().is_ok()
    }

    /// Ends one [`Poller::wait`]: one that sleeps, or else the next one.
    ///
    /// Errors: one of the numbers is not ours any more.
    pub(crate) fn notify(&self) -> Result<()> {
        if !self.has_wake_fd() {
            return Err(Errno(libc::EBADF));
        }
        self.set_wake_fd(libc::EPOLL_CTL_MOD)
    }

    /// Closes both descriptors, where they are still ours.
    pub(crate) fn close(&self) {
        if self.is_ours() {
            let _closed = fd::close(self.ep);
        }
        self.drop_wake_fd();
    }

    /// Closes what is left of a poller that is not ours any more.
    pub(crate) fn drop_wake_fd(&self) {
        own::close(self.wake_fd, self.id);
    }

    /// Closes both numbers in the child of a fork, if they are still ours. A
    /// host closes both or none.
    pub(crate) fn close_copy(&self) {
        if self.has_wake_fd() {
            let _closed = fd::close(self.ep);
            own::close(self.wake_fd, self.id);
        }
    }

    fn set_wake_fd(&self, op: i32) -> Result<()> {
        let bits = libc::EPOLLIN | libc::EPOLLONESHOT;
        self.ctl(op, self.wake_fd, WAKE, bits)
    }

    /// Reports changes of `fd` from now on, `READ` or `WRITE` or both, and
    /// what is ready already. True: `fd` is new there. False: it was there, and
    /// its bits stay as they are.
    ///
    /// `EPERM` for a file that is always ready; `EBADF`; `ENOMEM`, `ENOSPC`.
    pub(crate) fn add(&self, fd: i32, bits: i32) -> Result<bool> {
        match self.ctl(libc::EPOLL_CTL_ADD, fd, fd, bits) {
            Ok(()) => Ok(true),
            Err(Errno(libc::EEXIST)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Reports `bits` of `fd`, which is there, from now on, and what is ready
    /// of them already.
    ///
    /// `ENOENT` if `fd` is not there; `EBADF`.
    pub(crate) fn modify(&self, fd: i32, bits: i32) -> Result<()> {
        self.ctl(libc::EPOLL_CTL_MOD, fd, fd, bits)
    }

    /// Reports nothing of `fd` any more.
    pub(crate) fn remove(&self, fd: i32) -> Result<()> {
        self.ctl(libc::EPOLL_CTL_DEL, fd, fd, 0)
    }

    fn ctl(&self, op: i32, fd: i32, name: i32, events: i32) -> Result<()> {
        let _keep = KeepErrno::new();
        let data = MARK | u64::from(name as u32);
        let mut event = Event { events: events as u32, u64: data };
        // SAFETY: the event lives until the call returns.
        let r = unsafe { raw::epoll_ctl(self.ep, op, fd, &raw mut event) };
        Errno::check(r).map(drop)
    }

    /// Waits for events, at most `timeout` nanoseconds; `i64::MAX` is for
    /// ever. A signal ends the wait too, without events, and so does a slice of
    /// `sanitize`.
    ///
    /// `EBADF`, `EINVAL`: the poller is not ours any more; what a sandbox says.
    pub(crate) fn wait<'a>(
        &self,
        room: &'a mut [MaybeUninit<Event>],
        mut timeout: i64,
    ) -> Result<&'a [Event]> {
        /// epoll_pwait2 (Linux 5.11).
        static FINE: Newer = Newer::call();
        let _keep = KeepErrno::new();
        let (at, len) = (room.as_mut_ptr().cast(), room.len() as i32);
        if sanitize::raceenabled() {
            timeout = timeout.min(sanitize::SLICE);
        }
        let n = FINE.or(
            // SAFETY: at and len are those of `room`.
            || unsafe { wait_fine(self.ep, at, len, timeout) },
            // SAFETY: at and len are those of `room`.
            || unsafe { wait_coarse(self.ep, at, len, timeout) },
        );
        sanitize::run_handlers();
        let n = match n {
            Err(Errno(libc::EINTR)) => 0,
            n => n?,
        };
        // SAFETY: the kernel has filled in the first n.
        Ok(unsafe { slice::from_raw_parts(room.as_ptr().cast(), n) })
    }
}

/// epoll_pwait2(2).
///
/// # Safety
/// `at`: room for `len` events.
unsafe fn wait_fine(
    ep: i32,
    at: *mut Event,
    len: i32,
    timeout: i64,
) -> Result<usize> {
    if sanitize::valgrind() {
        // Valgrind 3.19 does not know the call, and says so each time.
        return Err(Errno(libc::ENOSYS));
    }
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
    let n = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            ep,
            at,
            len,
            span,
            ptr::null::<libc::sigset_t>(),
            0usize,
        )
    };
    Errno::check(n).map(|n| n as usize)
}

/// epoll_wait(2): the timeout in milliseconds.
///
/// # Safety
/// `at`: room for `len` events.
unsafe fn wait_coarse(
    ep: i32,
    at: *mut Event,
    len: i32,
    timeout: i64,
) -> Result<usize> {
    let millis = match timeout {
        i64::MAX => -1,
        // Rounded up, so that no timer is early.
        ns => {
            i32::try_from((ns as u64).div_ceil(1_000_000)).unwrap_or(i32::MAX)
        }
    };
    // SAFETY: room for `len` events, as the caller promises.
    let n = unsafe { raw::epoll_wait(ep, at, len, millis) };
    Errno::check(n).map(|n| n as usize)
}

/// A pipe's end to read from, with a byte in it that nobody reads.
///
/// `EBADF`: the host has closed an end meanwhile. Both ends of a pipe are one
/// file, and where they are not, nobody can tell which number is the host's.
/// Then both stay open.
fn make_wake_fd() -> Result<Own> {
    let mut ends = [0; 2];
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: room for two numbers.
    Errno::check(unsafe { raw::pipe2(ends.as_mut_ptr(), flags) })?;
    let id = FileId::of(ends[1])?;
    if !id.is(ends[0]) {
        return Err(Errno(libc::EBADF));
    }
    // Without the byte, the pipe would be ready only once the other end is
    // closed, and that may be refused. The host may have closed this end.
    fd::without_sigpipe(|| {
        // SAFETY: one byte of a constant.
        unsafe { raw::write(ends[1], c"!".as_ptr().cast(), 1) }
    });
    own::close(ends[1], id);
    let reader = Own::new(ends[0])?;
    if reader.id() != id {
        // Not ours to close.
        reader.into_raw();
        return Err(Errno(libc::EBADF));
    }
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::child;

    fn sources(poller: &Poller) -> Vec<Source> {
        let mut room = [const { MaybeUninit::uninit() }; 4];
        let events = poller.wait(&mut room, 0).unwrap();
        events.iter().map(source).collect()
    }

    #[test]
    fn a_poller_is_woken_once_for_each_notify() {
        let poller = Poller::make().unwrap();
        for _ in 0..3 {
            poller.notify().unwrap();
            poller.notify().unwrap();
            assert!(matches!(sources(&poller)[..], [Source::Wake]));
            assert!(sources(&poller).is_empty());
        }
    }

    #[test]
    fn numbers_are_above_stderr_though_these_are_closed() {
        child::returns(|| {
            for low in 0..3 {
                // SAFETY: takes a number; this child needs none of them.
                unsafe { libc::close(low) };
            }
            let poller = Poller::make().unwrap();
            assert!(poller.ep >= 3 && poller.wake_fd >= 3);
            assert!((0..3).all(|low| fd::stat(low).is_err()));
            assert!(poller.is_ours());
        });
    }

    #[test]
    fn a_poller_of_the_hosts_under_our_number_is_not_ours() {
        child::returns(|| {
            let (ours, theirs) =
                (Poller::make().unwrap(), Poller::make().unwrap());
            // SAFETY: takes numbers.
            unsafe { libc::dup2(theirs.ep, ours.ep) };
            assert!(ours.has_wake_fd() && !ours.is_ours());
            // SAFETY: takes numbers.
            unsafe { libc::dup2(theirs.wake_fd, ours.wake_fd) };
            assert!(!ours.has_wake_fd());
            assert!(theirs.is_ours());
        });
    }
}
