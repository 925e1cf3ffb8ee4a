//! Calls on descriptors: try; if that would wait, wait; try again.
//!
//! [`until_done`] is that sentence. A read may begin with a wait instead of a
//! try, where `netpoll::speculation` says that a try would find nothing.
//!
//! A call is on the file that its number meant when the call began ([`File`]).
//! Once `gmp_close` has closed that file, the call fails with `EBADF` and
//! leaves alone whatever has the number now. Nothing tells of a plain close(2):
//! the poller notices it when the number is registered anew.
//!
//! Rejected: a file in non-blocking mode, as Go has it. The mode belongs to all
//! who have the file, other processes too. Only calls that take no flag for it
//! use the mode, and put it back ([`nonblocking`]).

use crate::{
    gmp::{
        G,
        wait::{Sudog, Unlock, Wait, WakeList},
    },
    netpoll::{self, Caller, Desc, Quiet, Side, Speculation},
    os::{Errno, Result, fd, net},
    sched::{
        cancel,
        current::on_goroutine,
        enter::{Inside, current_p},
        host,
        park::{self, park},
        ready::ready_all,
        timing,
    },
    timers::Deadline,
};
use core::ptr;

/// The error of a call whose file has been closed.
const CLOSED: Errno = Errno(libc::EBADF);
/// The wait before another try where no edge tells when to try.
const SOON_NS: i64 = 1_000_000;

/// The file that a number meant when a call began.
#[derive(Clone, Copy)]
pub(super) struct File {
    pub fd: i32,
    /// None where the number had no Desc yet.
    desc: Option<&'static Desc>,
    /// How often `gmp_close` had closed the number by then.
    closes: u32,
}

impl File {
    #[inline]
    pub(super) fn of(fd: i32) -> Self {
        let desc = netpoll::known(fd);
        Self { fd, desc, closes: desc.map_or(0, Desc::closes) }
    }

    /// Errors: `EBADF` once `gmp_close` has closed the file.
    pub(super) fn check(self) -> Result<()> {
        let desc = self.desc.or_else(|| netpoll::known(self.fd));
        let same = desc.map_or(0, Desc::closes) == self.closes;
        if same { Ok(()) } else { Err(CLOSED) }
    }

    /// The edges of a side before a try, which the wait after it compares; None
    /// where no goroutine can have waited.
    #[inline]
    pub(super) fn edges(self, side: Side) -> Option<u32> {
        self.desc.map(|desc| desc.edges(side))
    }

    /// The call as speculation knows it; None where it need not know: on a host
    /// thread, and where the number had no Desc.
    #[inline]
    fn caller(self) -> Option<Caller> {
        let (desc, gp) = self.desc.zip(on_goroutine())?;
        Some(Caller { desc, goid: gp.goid.get() })
    }

    /// Waits for any of `sides` until there is reason to try again; with each,
    /// the edges from before the last try.
    ///
    /// Errors: `ETIMEDOUT`, `ECANCELED`; `EBADF` if the file is closed;
    /// `EDEADLK` where the caller may not park; `EMFILE`, `ENFILE`, `ENOMEM`,
    /// `ENOSPC`; what a sandbox says that refuses epoll.
    #[cold]
    pub(super) fn wait<const N: usize>(
        self,
        sides: [(Side, Option<u32>); N],
        deadline: Deadline,
    ) -> Result<()> {
        self.wait_with(Speculation::None, sides, deadline).map(drop)
    }

    /// [`File::wait`], or with a speculation the wait instead of a try, which
    /// may return at once. True: it has waited.
    fn wait_with<const N: usize>(
        self,
        speculation: Speculation,
        sides: [(Side, Option<u32>); N],
        deadline: Deadline,
    ) -> Result<bool> {
        let gp = host::current()?;
        deadline.check()?;
        netpoll::start()?;
        let desc = self.desc.map_or_else(|| netpoll::desc(self.fd), Ok)?;
        let inside = Inside::enter();
        // Sysmon verifies speculations while a P is busy: invariant 3 there.
        if speculation != Speculation::None && current_p().is_none() {
            return Ok(false);
        }
        let mut gone = WakeList::new();
        desc.lock();
        let quiet = self.check().and_then(|()| {
            sides.iter().try_fold(true, |quiet, &(side, seen)| {
                let found =
                    desc.may_wait(side, seen, speculation, &mut gone)?;
                Ok(quiet && found == Quiet::Yes)
            })
        });
        if quiet != Ok(true) {
            desc.unlock();
            let quiet = if quiet == Err(netpoll::GONE) {
                // The file may be good: a new poller, and another try.
                timing::renew_poller().map(|()| false)
            } else {
                quiet
            };
            drop(inside);
            ready_all(gone);
            return quiet;
        }
        let sides = sides.map(|(side, _)| side);
        wait_locked(gp, desc, sides, gone, deadline).map(|()| true)
    }

    /// The wait instead of a first try. True: it has waited.
    ///
    /// Errors: `ECANCELED`; `EBADF` if the file is closed. After any other
    /// error the caller tries.
    fn wait_speculating(
        self,
        speculation: Speculation,
        deadline: Deadline,
    ) -> Result<bool> {
        let read = [(Side::Read, speculation.edges())];
        match self.wait_with(speculation, read, deadline) {
            Err(e @ (CLOSED | Errno(libc::ECANCELED))) => Err(e),
            waited => Ok(waited.unwrap_or(false)),
        }
    }

    /// The wait after a try. `again`: the call has waited before.
    ///
    /// Errors: those of [`File::wait`].
    #[cold]
    fn wait_to_retry(
        self,
        side: Side,
        edges: Option<u32>,
        again: bool,
        deadline: Deadline,
    ) -> Result<()> {
        // The kernel may call writable what has just refused, as it does a Unix
        // socket whose receiver is full. No edge tells when that changes.
        if again
            && side == Side::Write
            && fd::ready(self.fd, libc::POLLOUT).is_ok()
        {
            return self.pause(deadline);
        }
        self.wait([(side, edges)], deadline)
    }

    /// Lets a little time pass where no edge tells when to try again.
    ///
    /// Errors: `ETIMEDOUT`, `ECANCELED`; `EBADF` if the file is closed
    /// meanwhile.
    #[cold]
    pub(super) fn pause(self, deadline: Deadline) -> Result<()> {
        park::before_blocking(deadline)?;
        park::sleep_until(Deadline::after(SOON_NS).min(deadline))?;
        self.check()
    }
}

/// Try; if that would wait, wait; try again.
///
/// Errors: those of `attempt` but `EAGAIN` and `EINTR`; those of
/// [`File::wait`].
#[inline]
pub(super) fn until_done<T>(
    fd: i32,
    side: Side,
    deadline: Deadline,
    attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    repeat(fd, side, None::<fn(&T) -> bool>, deadline, attempt)
}

/// [`until_done`], of a read into `room` bytes.
#[inline]
pub(super) fn until_read(
    fd: i32,
    room: usize,
    deadline: Deadline,
    attempt: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    let short = |&n: &usize| 0 < n && n < room;
    repeat(fd, Side::Read, Some(short), deadline, attempt)
}

/// [`until_done`]; `short`: of a read, whether it has drained a stream.
#[inline]
fn repeat<T>(
    fd: i32,
    side: Side,
    short: Option<impl Fn(&T) -> bool>,
    deadline: Deadline,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    cancel::check()?;
    let file = File::of(fd);
    let caller = file.caller();
    let mut waited = match caller.map(|c| c.before_try(short.is_some())) {
        None | Some(Speculation::None) => false,
        Some(speculation) => file.wait_speculating(speculation, deadline)?,
    };
    loop {
        let edges = file.edges(side);
        match attempt() {
            Err(Errno(libc::EINTR)) => {}
            Err(Errno::EAGAIN) => {
                file.wait_to_retry(side, edges, waited, deadline)?;
                waited = true;
            }
            Err(e) => return Err(e),
            Ok(done) => {
                let drained = waited && short.is_some_and(|f| f(&done));
                if let Some(caller) = caller {
                    caller.after_try(edges.filter(|_| drained));
                }
                return Ok(done);
            }
        }
    }
}

/// [`File::wait`] under the lock of `desc`, which is unlocked once the
/// goroutine is off its stack.
fn wait_locked<const N: usize>(
    gp: &'static G,
    desc: &'static Desc,
    sides: [Side; N],
    gone: WakeList,
    deadline: Deadline,
) -> Result<()> {
    let generation = desc.generation();
    let reason = match sides[..] {
        [Side::Read] => c"IO wait (read)",
        [Side::Write] => c"IO wait (write)",
        _ => c"IO wait",
    };
    let wait = Wait::until(deadline, reason).on(desc.number());
    let ticket = wait.begin(gp);
    let records =
        sides.map(|side| (side, Sudog::new(gp, ticket, ptr::null_mut())));
    for (side, sg) in &records {
        desc.enqueue(*side, sg);
    }
    ready_all(gone);
    timing::waiter_comes();
    let cause = park(gp, &wait, ticket, desc);
    for (side, sg) in &records {
        desc.awake(*side, sg, !sg.woken.get());
    }
    cause.outcome()?;
    // Another file may have the number by now.
    if desc.generation() != generation {
        return Err(CLOSED);
    }
    let failed = |sg: &Sudog| sg.woken.get() && !sg.success.get();
    if records.iter().any(|(_, sg)| failed(sg)) {
        return Err(netpoll::failure());
    }
    Ok(())
}

// SAFETY: a Desc stays (invariant 1 of `netpoll::desc`).
unsafe impl Unlock for &'static Desc {
    fn unlock(self) {
        Desc::unlock(self);
    }
}

/// Does `f` with the file in non-blocking mode, for calls that take no flag for
/// it, and puts the mode back; not where another file has the number by then.
///
/// Errors: those of `f`, of which `EBADF` means that the file is gone; `EBADF`
/// instead of these if `gmp_close` has closed the file meanwhile; `ENOMEM`.
pub(super) fn nonblocking<T>(
    fd: i32,
    f: impl FnOnce(File) -> Result<T>,
) -> Result<T> {
    let desc = netpoll::desc(fd)?;
    let file = File::of(fd);
    let generation = desc.generation();
    locked(desc, || desc.enter_nonblocking())?;
    let result = f(file);
    // Under the lock, so that no `close` comes in between.
    locked(desc, || {
        let closed = file.check();
        if closed.is_ok() {
            let gone = matches!(result, Err(CLOSED));
            desc.leave_nonblocking(!gone || desc.generation() == generation);
        }
        match closed {
            Err(e) if result.is_err() => Err(e),
            _ => result,
        }
    })
}

/// Does `f` with the descriptor locked.
fn locked<T>(desc: &Desc, f: impl FnOnce() -> T) -> T {
    let _inside = Inside::enter();
    desc.lock();
    let result = f();
    desc.unlock();
    result
}

/// Closes `fd`; its waiters get `EBADF`.
///
/// Errors: those of close(2).
pub(crate) fn close(fd: i32) -> Result<()> {
    // Made also before the first wait: a waiter may be about to come.
    let Ok(desc) = netpoll::desc(fd) else { return fd::close(fd) };
    let mut gone = WakeList::new();
    let inside = Inside::enter();
    desc.lock();
    desc.close(&mut gone);
    if net::lingers(fd) {
        desc.unlock();
        drop(inside);
        ready_all(gone);
        return close_slowly(desc, fd);
    }
    drop(inside);
    // Outside, as a blocked call: it may take a while for other reasons.
    let closed = fd::close(fd);
    desc.unlock();
    ready_all(gone);
    closed
}

/// The rest of [`close`] without the lock: the number is free, and may be the
/// next file's, long before the call is over.
#[cold]
fn close_slowly(desc: &Desc, fd: i32) -> Result<()> {
    let closed = fd::close(fd);
    let mut list = WakeList::new();
    locked(desc, || desc.closed(&mut list));
    ready_all(list);
    closed
}
