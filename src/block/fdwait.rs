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
    netpoll::{self, Desc, Quiet, Side},
    os::{Errno, Result, clock::nanotime, fd},
    sched::{
        cancel,
        enter::Inside,
        park::{self, FOREVER, Wait, gopark, ready_all},
        timing,
    },
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

    /// Waits for any of `sides` until there is reason to try again; `seen`
    /// is from before the last try.
    ///
    /// Errors: `ETIMEDOUT`, `ECANCELED`; `EBADF` if it is closed; `EDEADLK`
    /// where the caller may not park; `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
    #[cold]
    pub(super) fn wait(
        self,
        sides: &[Side],
        seen: [Option<u32>; 2],
        deadline: i64,
    ) -> Result<()> {
        let gp = park::current()?;
        if deadline != FOREVER && deadline <= nanotime() {
            return Err(Errno(libc::ETIMEDOUT));
        }
        netpoll::start()?;
        let desc = self.desc.map_or_else(|| netpoll::desc(self.fd), Ok)?;
        let inside = Inside::enter();
        let mut gone = WakeList::new();
        desc.lock();
        let quiet = self.check().and_then(|()| {
            sides.iter().zip(seen).try_fold(true, |quiet, (&side, seen)| {
                let found = desc.may_wait(side, seen, &mut gone)?;
                Ok(quiet && found == Quiet::Yes)
            })
        });
        if quiet != Ok(true) {
            desc.unlock();
            drop(inside);
            ready_all(gone);
            return quiet.map(drop);
        }
        wait_locked(gp, desc, sides, gone, deadline)
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
fn wait_locked(
    gp: &'static G,
    desc: &'static Desc,
    sides: &[Side],
    gone: WakeList,
    deadline: i64,
) -> Result<()> {
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
    if desc.generation() == generation { Ok(()) } else { Err(CLOSED) }
}

/// What gopark calls once the goroutine is off its stack.
fn unlock_desc(arg: usize) {
    // SAFETY: a Desc, which stays; locked by File::wait.
    let desc = unsafe { &*(arg as *const Desc) };
    desc.unlock();
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
    let file = File::of(fd);
    let mut again = false;
    loop {
        let seen = file.trying(side);
        match attempt() {
            Err(Errno(libc::EINTR)) => {}
            Err(Errno::EAGAIN) => {
                if again && side == Side::Write && full_yet_writable(fd) {
                    file.pause(deadline)?;
                } else {
                    file.wait(side.alone(), [seen; 2], deadline)?;
                }
                again = true;
            }
            done => return done,
        }
    }
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
    let inside = Inside::enter();
    let mut gone = WakeList::new();
    desc.lock();
    desc.close(&mut gone);
    drop(inside);
    // Outside: it may linger.
    let closed = fd::close(fd);
    desc.unlock();
    ready_all(gone);
    closed
}
