//! The one poller of the process: made for the first waiter, and made anew
//! where the host has closed it.
//!
//! A daemon's start closes whatever is open, and the numbers become those of
//! the daemon's files. `os::epoll` can tell whether the poller's numbers are
//! still ours. The library asks before a number is registered for the first
//! time, now and then before a poll or another wait ([`STALE`]), and after an
//! error that a foreign number may have caused. If the numbers are lost, the
//! caller has `renew` make a new poller and wake all waiters. Each of them
//! tries again and registers there, or gets `EBADF` if its file was closed too.
//!
//! ```text
//!   none ----start----> ours        a waiter comes
//!   ours ----lost-----> lost        the host closes the numbers
//!   lost ----renew----> ours        the thread that notices
//!   lost --end_waits--> failing     renew fails
//!   ours --end_waits--> failing     PATIENCE polls in a row fail
//!   failing --poll----> ours        a poll goes through
//! ```
//! A failing poller ends all waits with its error (`end_waits`). No M sleeps
//! in it unless a goroutine waits again (`polls`).
//!
//! The end of the runtime closes the poller, in the stage Leaving: there is
//! none from then on until the next start. A thread that comes late to wait for
//! a descriptor gets `ESHUTDOWN`.
//!
//! An M that sleeps in a lost poller keeps it open and cannot be woken: the
//! scheduler makes another M the timekeeper (`gmp::keeper`).
//!
//! Rejected:
//! - high numbers, which look unlikely to be closed: closefrom(2) closes them;
//! - sleeps of a second at most, each with a look at the numbers: an idle
//!   process has no wake-ups.

use crate::{
    base::{
        lock::Rank,
        sync::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*},
    },
    gmp::{CLOSING, closing::Stage},
    os::{self, Errno, Lock, Result, epoll::Poller},
};
use core::{ops::Deref, ptr};
use std::vec::Vec;

/// In cycles: an older look at the poller's numbers does not count before a
/// poll, or a wait for a number that is registered (some 10 ms), and before a
/// number is registered (some 300 µs).
pub(super) const STALE: u64 = 30_000_000;
pub(super) const STALE_NEW: u64 = 1_000_000;
/// Null before the first wait. A poller that was replaced stays until the
/// library is unloaded: other threads may look at it still.
static POLLER: AtomicPtr<Made> = AtomicPtr::new(ptr::null_mut());

/// A poller, and the one that was made before it.
pub(super) struct Made {
    poller: Poller,
    /// From 1.
    pub nth: u32,
    old: *mut Made,
}

impl Deref for Made {
    type Target = Poller;

    fn deref(&self) -> &Poller {
        &self.poller
    }
}

/// All pollers, the newest first. lock: MAKING
static POLLERS: AtomicPtr<Made> = AtomicPtr::new(ptr::null_mut());
/// How often a poller is made at most before that fails.
const TRIES: u32 = 16;
/// When the poller was last seen to be ours, in cycles.
static SEEN: AtomicU64 = AtomicU64::new(0);
/// Polls that have failed in a row, and the error that ended all waits.
pub(super) static FAILS: AtomicU32 = AtomicU32::new(0);
pub(super) static FAILURE: AtomicI32 = AtomicI32::new(0);
/// What the files of `netpoll` say where the host has closed the poller: the
/// caller has `renew` make a new one, unless another thread has, and tries
/// again. No call on a poller fails with this error.
pub(crate) const GONE: Errno = Errno(libc::ESTALE);

/// The poller, if there is one.
pub(super) fn poller() -> Option<&'static Made> {
    // Acquire: pairs with install.
    let poller = POLLER.load(Acquire);
    // SAFETY: null, or written by install and never changed.
    unsafe { poller.as_ref() }
}

/// Makes the poller unless there is one.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOMEM`; what a sandbox says; `ESHUTDOWN` if
/// the runtime has ended.
pub(crate) fn start() -> Result<()> {
    if started() { Ok(()) } else { create() }
}

#[cold]
fn create() -> Result<()> {
    let _making = MAKING.lock();
    if started() { Ok(()) } else { install() }
}

/// Under MAKING: makes a poller, which everybody uses from then on.
///
/// Errors: those of [`start`].
pub(super) fn install() -> Result<()> {
    // Under the lock, which `close` takes in that stage.
    if CLOSING.has_come(Stage::Leaving) {
        return Err(Errno(libc::ESHUTDOWN));
    }
    let mut place = Vec::new();
    place.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
    let old = POLLERS.load(Relaxed);
    // SAFETY: null, or leaked below.
    let nth = unsafe { old.as_ref() }.map_or(1, |old| old.nth + 1);
    place.push(Made { poller: make()?, nth, old });
    let made = place.leak().as_mut_ptr();
    POLLERS.store(made, Relaxed);
    // SeqCst: before Keeper::abandon looks who sleeps in the old poller.
    POLLER.store(made, SeqCst);
    SEEN.store(os::clock::cycles(), Relaxed);
    FAILS.store(0, Relaxed);
    Ok(())
}

/// Makes a poller, again where the host closes its numbers meanwhile: one that
/// closes all in a loop may meet each of them once more.
///
/// Errors: `EMFILE`, also where the host closes them each time; `ENFILE`,
/// `ENOMEM`; what a sandbox says.
fn make() -> Result<Poller> {
    for _ in 1..TRIES {
        match Poller::make() {
            Err(Errno(libc::EBADF | libc::EINVAL)) => {}
            done => return done,
        }
    }
    Poller::make().map_err(not_of_a_file)
}

/// `why` as the error of waits for the host's files: `EBADF` and `EINVAL` would
/// blame those, where the poller's numbers are bad.
pub(super) fn not_of_a_file(why: Errno) -> Errno {
    match why.0 {
        libc::EBADF | libc::EINVAL => Errno(libc::EMFILE),
        _ => why,
    }
}

/// Closes the poller, as the runtime has ended: no M polls. There is none then
/// until the next [`start`].
pub(crate) fn close() {
    let _making = MAKING.lock();
    // Not freed: see POLLER.
    let old = POLLER.swap(ptr::null_mut(), SeqCst);
    // SAFETY: null, or written by install and never changed.
    if let Some(old) = unsafe { old.as_ref() } {
        old.close();
    }
    FAILS.store(0, Relaxed);
}

/// The library is unloaded: frees what all pollers have left.
pub(crate) fn free() {
    let mut at = POLLERS.swap(ptr::null_mut(), Relaxed);
    while !at.is_null() {
        // SAFETY: from install, one in a list of its own, and nobody's now.
        let made = unsafe { Vec::from_raw_parts(at, 1, 1) };
        at = made[0].old;
    }
}

/// Whether there is a poller.
pub(crate) fn started() -> bool {
    poller().is_some()
}

/// Whether the poller's wake fd is ours, by a look `stale` cycles ago at most.
#[inline]
pub(super) fn seems_ours(poller: &Poller, stale: u64) -> bool {
    let now = os::clock::cycles();
    // Relaxed: a coarse clock.
    if now.wrapping_sub(SEEN.load(Relaxed)) < stale {
        return true;
    }
    let ours = poller.has_wake_fd();
    if ours {
        SEEN.store(now, Relaxed);
    }
    ours
}

/// A call on the poller has failed: whether the cause is that the host has
/// closed the poller. Another thread may have made a new one since.
#[cold]
pub(super) fn was_lost(used: &Made, why: Errno) -> bool {
    matches!(why.0, libc::EBADF | libc::EINVAL)
        && !(poller().is_some_and(|now| now.nth == used.nth) && used.is_ours())
}

/// The error with which `end_waits` has ended a wait.
pub(crate) fn failure() -> Errno {
    // Relaxed: written before the waiter was woken.
    Errno(FAILURE.load(Relaxed))
}

/// In the child of a fork: closes what it has inherited of the parent's poller,
/// whose registrations stay as they are.
pub(crate) fn close_in_child() {
    let Some(poller) = poller() else { return };
    poller.close_copy();
    POLLER.store(ptr::null_mut(), Relaxed);
}

/// Ends a [`poll`] that sleeps, or the next one that would. False: the host may
/// have closed the poller.
#[must_use]
pub(crate) fn break_poll() -> bool {
    poller().is_none_or(|poller| poller.notify().is_ok())
}

pub(super) static MAKING: Lock<()> = Lock::new(Rank::Netpoll, ());

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    POLLER.store(ptr::null_mut(), Relaxed);
    SEEN.store(0, Relaxed);
    FAILS.store(0, Relaxed);
    FAILURE.store(0, Relaxed);
}
