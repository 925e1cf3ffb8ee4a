//! Waiting for a descriptor: between a try in vain and the next one.
//!
//! A call stands for the file that its number meant when it began
//! ([`File`]): once `gmp_close` has closed that, the call fails with `EBADF`
//! and leaves alone whatever has the number now. A plain close(2) tells us
//! nothing; the poller notices it when the number is registered anew.

use crate::{
    gmp::{
        G,
        parkword::WaitKind,
        wait::{Sudog, WakeList},
    },
    netpoll::{self, Desc, Quiet, Side, Trust},
    os::{Errno, Result, clock::nanotime, fd, net},
    sched::{
        cancel,
        current::on_goroutine,
        enter::{Inside, current_p},
        host,
        park::{self, Wait, gopark},
        ready::ready_all,
        timing,
    },
    timers::FOREVER,
};
use core::ptr;

/// The error of a call whose file has been closed.
const CLOSED: Errno = Errno(libc::EBADF);
/// How long a call waits where nothing tells when to try again.
const SOON_NS: i64 = 1_000_000;

/// What a number stood for when a call began.
#[derive(Clone, Copy)]
pub(super) struct File {
    pub fd: i32,
    /// None where nobody had asked for it yet.
    desc: Option<&'static Desc>,
    /// How often the number had been closed by then.
    closes: u32,
}

impl File {
    #[inline]
    pub(super) fn of(fd: i32) -> Self {
        let desc = netpoll::known(fd);
        Self { fd, desc, closes: desc.map_or(0, Desc::closes) }
    }

    /// Errors: `EBADF` once `gmp_close` has closed it.
    pub(super) fn check(self) -> Result<()> {
        let desc = self.desc.or_else(|| netpoll::known(self.fd));
        let same = desc.map_or(0, Desc::closes) == self.closes;
        if same { Ok(()) } else { Err(CLOSED) }
    }

    /// A try is about to begin: the edges of that side so far, if anybody may
    /// have waited.
    #[inline]
    pub(super) fn trying(self, side: Side) -> Option<u32> {
        self.desc.map(|desc| desc.edges(side))
    }

    /// Waits for any of `sides` until there is reason to try again; with each,
    /// the edges from before the last try.
    ///
    /// Errors: `ETIMEDOUT`, `ECANCELED`; `EBADF` if it is closed; `EDEADLK`
    /// where the caller may not park; `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`;
    /// what a sandbox says that refuses epoll.
    #[cold]
    pub(super) fn wait<const N: usize>(
        self,
        sides: [(Side, Option<u32>); N],
        deadline: i64,
    ) -> Result<()> {
        self.wait_with(Trust::None, sides, deadline).map(drop)
    }

    /// [`File::wait`]; with trust it is instead of the last try, and may return
    /// without a reason. True: it has waited.
    fn wait_with<const N: usize>(
        self,
        trust: Trust,
        sides: [(Side, Option<u32>); N],
        deadline: i64,
    ) -> Result<bool> {
        let gp = host::current()?;
        if deadline != FOREVER && deadline <= nanotime() {
            return Err(Errno(libc::ETIMEDOUT));
        }
        netpoll::start()?;
        let desc = self.desc.map_or_else(|| netpoll::desc(self.fd), Ok)?;
        let inside = Inside::enter();
        // What is on trust is looked after while a P is busy.
        if trust != Trust::None && current_p().is_none() {
            return Ok(false);
        }
        let mut gone = WakeList::new();
        desc.lock();
        let quiet = self.check().and_then(|()| {
            sides.iter().try_fold(true, |quiet, &(side, seen)| {
                let found = desc.may_wait(side, seen, trust, &mut gone)?;
                Ok(quiet && found == Quiet::Yes)
            })
        });
        if quiet != Ok(true) {
            desc.unlock();
            let poller_is_gone =
                matches!(quiet, Err(Errno(libc::EBADF | libc::EINVAL)))
                    && netpoll::lost();
            let quiet = if poller_is_gone {
                // It is not the file's fault: another try, and then anew.
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

    /// Tries until it goes through, and waits in between. `attempt` is told the
    /// edges so far. True: it has waited.
    #[inline]
    fn try_until<T>(
        self,
        side: Side,
        deadline: i64,
        mut attempt: impl FnMut(Option<u32>) -> Result<T>,
    ) -> Result<(T, bool)> {
        let mut waited = false;
        loop {
            let seen = self.trying(side);
            match attempt(seen) {
                Err(Errno(libc::EINTR)) => {}
                Err(Errno::EAGAIN) => {
                    if waited
                        && side == Side::Write
                        && full_yet_writable(self.fd)
                    {
                        self.pause(deadline)?;
                    } else {
                        self.wait([(side, seen)], deadline)?;
                    }
                    waited = true;
                }
                done => return done.map(|done| (done, waited)),
            }
        }
    }

    /// Lets a little time pass where nothing tells when to try again.
    ///
    /// Errors: `ETIMEDOUT`, `ECANCELED`; `EBADF` if it is closed meanwhile.
    #[cold]
    pub(super) fn pause(self, deadline: i64) -> Result<()> {
        park::before_blocking(deadline)?;
        let soon = nanotime() + SOON_NS;
        park::sleep_until(soon.min(deadline))?;
        self.check()
    }
}

/// [`File::wait`], under the lock of `desc`, which goes once the goroutine is
/// off its stack.
fn wait_locked<const N: usize>(
    gp: &'static G,
    desc: &'static Desc,
    sides: [Side; N],
    gone: WakeList,
    deadline: i64,
) -> Result<()> {
    let generation = desc.generation();
    let ticket = gp.park.arm(WaitKind::Cancellable);
    let records =
        sides.map(|side| (side, Sudog::new(gp, ticket, ptr::null_mut())));
    for (side, sg) in &records {
        desc.enqueue(*side, sg);
    }
    ready_all(gone);
    timing::heed_net();
    let wait = Wait {
        ticket,
        unlock: unlock_desc,
        arg: ptr::from_ref(desc).addr(),
        reason: match sides[..] {
            [Side::Read] => c"IO wait (read)",
            [Side::Write] => c"IO wait (write)",
            _ => c"IO wait",
        },
        deadline,
    };
    let cause = gopark(gp, wait);
    for (side, sg) in &records {
        desc.awake(*side, sg, !sg.woken.get());
    }
    park::outcome(cause)?;
    // The number may be another file's by now.
    if desc.generation() != generation {
        return Err(CLOSED);
    }
    let told = |sg: &Sudog| sg.woken.get() && !sg.success.get();
    if records.iter().any(|(_, sg)| told(sg)) {
        return Err(netpoll::failure());
    }
    Ok(())
}

/// What gopark calls once the goroutine is off its stack.
fn unlock_desc(arg: usize) {
    // SAFETY: a Desc, which stays; locked by File::wait.
    let desc = unsafe { &*(arg as *const Desc) };
    desc.unlock();
}

/// A call on a file, as the file's [`Desc`] is told of it: see
/// `netpoll::trust`. On a host thread, and where nobody has asked for the Desc
/// yet, it is told nothing.
struct Visit {
    file: File,
    by: Option<(&'static Desc, u64)>,
    /// When it began, if it may be on trust.
    came: Option<u64>,
}

impl Visit {
    #[inline]
    fn begin(fd: i32) -> Self {
        let file = File::of(fd);
        let goid = on_goroutine().map(|gp| gp.goid.get());
        let by = file.desc.zip(goid);
        let came = by.and_then(|(desc, goid)| desc.come(goid));
        Self { file, by, came }
    }

    #[inline]
    fn end(&self) {
        if let Some((desc, goid)) = self.by {
            desc.leave(goid);
        }
    }

    /// Waits for what can be read, if the goroutine knows that there is
    /// nothing. True: it has waited.
    ///
    /// Errors: `ECANCELED`; `EBADF` if it is closed.
    #[inline]
    fn wait_if_drained(&self, deadline: i64) -> Result<bool> {
        let known = self
            .by
            .zip(self.came)
            .and_then(|((desc, goid), came)| desc.trust(goid, came));
        let Some((trust, edges)) = known else { return Ok(false) };
        let read = [(Side::Read, Some(edges))];
        match self.file.wait_with(trust, read, deadline) {
            Ok(waited) => Ok(waited),
            Err(e @ (CLOSED | Errno(libc::ECANCELED))) => Err(e),
            // It tries first.
            Err(_) => Ok(false),
        }
    }

    /// It has waited, and its read, after `seen`, left nothing.
    #[inline]
    fn drained(&self, seen: Option<u32>) {
        if let Some(((desc, goid), edges)) = self.by.zip(seen) {
            desc.drained(goid, edges);
        }
    }
}

/// Tries until it goes through, and waits in between.
///
/// Errors: those of `attempt` but `EAGAIN` and `EINTR`; those of
/// [`File::wait`].
#[inline]
pub(super) fn until_done<T>(
    fd: i32,
    side: Side,
    deadline: i64,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    cancel::check()?;
    let visit = Visit::begin(fd);
    let (done, _) = visit.file.try_until(side, deadline, |_| attempt())?;
    visit.end();
    Ok(done)
}

/// [`until_done`], of a read into `room` bytes.
#[inline]
pub(super) fn until_read(
    fd: i32,
    room: usize,
    deadline: i64,
    mut attempt: impl FnMut() -> Result<usize>,
) -> Result<usize> {
    cancel::check()?;
    let visit = Visit::begin(fd);
    let waited_before = visit.wait_if_drained(deadline)?;
    let mut last = None;
    let once = |seen| {
        last = seen;
        attempt()
    };
    let (n, waited) = visit.file.try_until(Side::Read, deadline, once)?;
    if (waited || waited_before) && 0 < n && n < room {
        visit.drained(last);
    } else {
        visit.end();
    }
    Ok(n)
}

/// Whether the kernel calls writable what has just refused, as it does a Unix
/// socket whose receiver is full: no edge tells when that changes.
#[cold]
fn full_yet_writable(fd: i32) -> bool {
    fd::ready(fd, libc::POLLOUT).is_ok()
}

/// Does `f` with the file in non-blocking mode, for calls that look at nothing
/// else, and puts it back into what it was; not where the number is another
/// file's by then.
///
/// Errors: those of `f`, of which `EBADF` means that the file is gone; `EBADF`
/// instead of others if `gmp_close` has closed it meanwhile; `ENOMEM`.
pub(super) fn nonblocking<T>(
    fd: i32,
    f: impl FnOnce(File) -> Result<T>,
) -> Result<T> {
    let desc = netpoll::desc(fd)?;
    let file = File::of(fd);
    let generation = desc.generation();
    locked(desc, || desc.enter_nonblocking())?;
    let result = f(file);
    // Nobody closes it meanwhile.
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

/// Closes `fd`; who waits on it gets `EBADF`.
///
/// Errors: those of close(2).
pub(crate) fn close(fd: i32) -> Result<()> {
    // Also where nobody has waited yet: somebody may be about to.
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
    // Outside: it may take a while for other reasons.
    let closed = fd::close(fd);
    desc.unlock();
    ready_all(gone);
    closed
}

/// The rest of [`close`] without the lock: the number is free long before the
/// call is over, and the next file's.
#[cold]
fn close_slowly(desc: &Desc, fd: i32) -> Result<()> {
    let closed = fd::close(fd);
    let mut list = WakeList::new();
    locked(desc, || desc.closed(&mut list));
    ready_all(list);
    closed
}
