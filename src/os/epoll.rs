//! Readiness of many file descriptors at once, and a way to wake who waits
//! for it.
//!
//! A [`Poller`] is an epoll instance with a bell in it. The bell is a file
//! that is always ready (a pipe with a byte that stays), reported once for
//! each time that its interest is set anew: that is what ringing it means.
//! Nothing is written to it later or read from it, so no file of the host's is
//! hit where the host has closed our numbers and uses them again. And, unlike
//! an epoll instance or an eventfd, a pipe has an inode of its own: as long as
//! the bell's number is that pipe, and epoll says that the pipe is in the
//! instance, both numbers are ours.
//!
//! Events bear a mark, so that those of an epoll instance of the host's under
//! our number are known for what they are.

use super::{
    errno::{Errno, KeepErrno, Result},
    fallback::Newer,
    fd,
    own::{self, FileId, Own},
    raw,
};
use core::{mem::MaybeUninit, ptr, slice};

/// What became ready of a descriptor.
pub(crate) type Event = libc::epoll_event;

/// What tells readers, and writers: edge-triggered.
pub(crate) const READ: i32 =
    libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;
pub(crate) const WRITE: i32 = libc::EPOLLOUT | libc::EPOLLET;

/// The upper half of what our events bear; the lower is the number.
const MARK: u64 = 0x676d_7072 << 32;
/// The bell's number there.
const BELL: i32 = -1;

/// Whom an event is for.
pub(crate) enum Source {
    /// A descriptor, with `EPOLL…` bits.
    File(i32, u32),
    Bell,
    /// Nobody of ours.
    Foreign,
}

/// Whom `event` is for.
pub(crate) fn source(event: &Event) -> Source {
    let (data, bits) = (event.u64, event.events);
    match data as i32 {
        _ if data >> 32 != MARK >> 32 => Source::Foreign,
        BELL => Source::Bell,
        fd => Source::File(fd, bits),
    }
}

/// An epoll instance, and the bell in it.
#[derive(Clone, Copy)]
pub(crate) struct Poller {
    ep: i32,
    bell: i32,
    id: FileId,
}

impl Poller {
    /// Makes one.
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`; what a sandbox says.
    pub(crate) fn make() -> Result<Self> {
        let _keep = KeepErrno::new();
        let bell = make_bell()?;
        // SAFETY: takes flags only.
        let made = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let ep = Errno::check(made)?;
        let this = Self { ep, bell: bell.fd(), id: bell.id() };
        if let Err(e) = this.set_bell(libc::EPOLL_CTL_ADD) {
            let _closed = fd::close(ep);
            return Err(e);
        }
        let lifted = own::lifted(ep);
        if lifted != Ok(ep) && this.is_ours() {
            // The low number, unless the host has put a file there.
            let _closed = fd::close(ep);
        }
        bell.into_raw();
        Ok(Self { ep: lifted.inspect_err(|_| this.drop_bell())?, ..this })
    }

    /// Whether the bell's number still is the bell. The host closes both
    /// numbers or none, but for an accident.
    pub(crate) fn has_bell(&self) -> bool {
        self.id.is(self.bell)
    }

    /// Whether both numbers are still ours. Rings.
    pub(crate) fn is_ours(&self) -> bool {
        self.ring().is_ok()
    }

    /// Wakes whoever waits, or who does so next; once.
    ///
    /// Errors: one of the numbers is not ours any more.
    pub(crate) fn ring(&self) -> Result<()> {
        if !self.has_bell() {
            return Err(Errno(libc::EBADF));
        }
        self.set_bell(libc::EPOLL_CTL_MOD)
    }

    /// Gives up what is left of one that is not ours any more.
    pub(crate) fn drop_bell(&self) {
        own::close(self.bell, self.id);
    }

    fn set_bell(&self, op: i32) -> Result<()> {
        let bits = libc::EPOLLIN | libc::EPOLLONESHOT;
        self.ctl(op, self.bell, BELL, bits)
    }

    /// Reports changes of `fd` from now on, `READ` or `WRITE` or both, and
    /// what is ready already. True: it is new there; false: it has been there,
    /// with what it reports.
    ///
    /// `EPERM` for a file that is always ready; `EBADF`; `ENOMEM`, `ENOSPC`.
    pub(crate) fn add(&self, fd: i32, bits: i32) -> Result<bool> {
        match self.ctl(libc::EPOLL_CTL_ADD, fd, fd, bits) {
            Ok(()) => Ok(true),
            Err(Errno(libc::EEXIST)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Reports `bits` of `fd` from now on, and what is ready of them already;
    /// it is there.
    ///
    /// `ENOENT` if it is not; `EBADF`.
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
        let r = unsafe { libc::epoll_ctl(self.ep, op, fd, &raw mut event) };
        Errno::check(r).map(drop)
    }

    /// Waits for events, at most `timeout` nanoseconds; `i64::MAX` is for
    /// ever. None come also for a signal.
    ///
    /// `EBADF`, `EINVAL`: it is not ours any more; what a sandbox says.
    pub(crate) fn wait<'a>(
        &self,
        room: &'a mut [MaybeUninit<Event>],
        timeout: i64,
    ) -> Result<&'a [Event]> {
        /// epoll_pwait2 (Linux 5.11).
        static FINE: Newer = Newer::call();
        let _keep = KeepErrno::new();
        let (at, len) = (room.as_mut_ptr().cast(), room.len() as i32);
        let n = FINE.or(
            // SAFETY: at and len are those of `room`.
            || unsafe { wait_fine(self.ep, at, len, timeout) },
            // SAFETY: as above.
            || unsafe { wait_coarse(self.ep, at, len, timeout) },
        );
        let n = match n {
            Err(Errno(libc::EINTR)) => 0,
            n => n?,
        };
        // SAFETY: the kernel has filled in so many.
        Ok(unsafe { slice::from_raw_parts(room.as_ptr().cast(), n) })
    }
}

/// # Safety
/// `at`: room for `len` events.
unsafe fn wait_fine(
    ep: i32,
    at: *mut Event,
    len: i32,
    timeout: i64,
) -> Result<usize> {
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

/// The same in milliseconds.
///
/// # Safety
/// As there.
unsafe fn wait_coarse(
    ep: i32,
    at: *mut Event,
    len: i32,
    timeout: i64,
) -> Result<usize> {
    let millis = match timeout {
        i64::MAX => -1,
        // Rounded up: no timer is early.
        ns => {
            i32::try_from((ns as u64).div_ceil(1_000_000)).unwrap_or(i32::MAX)
        }
    };
    // SAFETY: the caller's room.
    let n = unsafe { raw::epoll_wait(ep, at, len, millis) };
    Errno::check(n).map(|n| n as usize)
}

/// A pipe's end to read from, with a byte in it that nobody reads.
fn make_bell() -> Result<Own> {
    let mut ends = [0; 2];
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: room for two numbers.
    Errno::check(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
    // Ready for good, also where the other end cannot be closed.
    // SAFETY: a byte of ours.
    unsafe { libc::write(ends[1], c"!".as_ptr().cast(), 1) };
    let reader = Own::new(ends[0]);
    match FileId::of(ends[1]) {
        // Both ends are one file.
        Ok(id) => own::close(ends[1], id),
        Err(_) => drop(fd::close(ends[1])),
    }
    reader
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
    fn a_bell_rings_once_for_each_time() {
        let poller = Poller::make().unwrap();
        for _ in 0..3 {
            poller.ring().unwrap();
            poller.ring().unwrap();
            assert!(matches!(sources(&poller)[..], [Source::Bell]));
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
            assert!(poller.ep >= 3 && poller.bell >= 3);
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
            assert!(ours.has_bell() && !ours.is_ours());
            // SAFETY: takes numbers.
            unsafe { libc::dup2(theirs.bell, ours.bell) };
            assert!(!ours.has_bell());
            assert!(theirs.is_ours());
        });
    }
}
