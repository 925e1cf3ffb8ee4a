//! The one poller of the process: made for the first waiter, and made anew
//! where the host has closed it.
//!
//! A daemon's start closes whatever is open, and the numbers become those of
//! the daemon's files. `os::epoll` can tell whether the poller's numbers are
//! still ours. The library asks before a number is registered for the first
//! time, now and then before a poll ([`STALE`]), and after an error that a
//! foreign number may have caused. If the numbers are lost, the caller has
//! [`renew`] make a new poller and wake all waiters. Each of them tries again
//! and registers there, or gets `EBADF` if its file was closed too.
//!
//! ```text
//!   none ----start----> ours        a waiter comes
//!   ours ----lost-----> lost        the host closes the numbers
//!   lost ----renew----> ours        whoever notices
//!   lost --end_waits--> failing     renew fails
//!   ours --end_waits--> failing     PATIENCE polls in a row fail
//!   failing --poll----> ours        a poll goes through
//! ```
//! A failing poller ends all waits with its error ([`end_waits`]). Nobody
//! sleeps in it unless somebody waits again ([`polls`]).
//!
//! An M that sleeps in a lost poller keeps it open and cannot be woken: the
//! scheduler makes another M the timekeeper (`gmp::keeper`).
//!
//! Rejected:
//! - high numbers, which look unlikely to be closed: closefrom(2) closes them;
//! - sleeps of a second at most, each with a look at the numbers: an idle
//!   process has no wake-ups.

use super::{MAKING, each_desc, known, waited_for};
use crate::{
    base::sync::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*},
    gmp::{keeper::Keeper, wait::WakeList},
    os::{
        self, Errno, Result,
        epoll::{self, Poller, Source},
    },
};
use core::{mem::MaybeUninit, ptr};
use std::vec::Vec;

/// Events taken in one poll.
const EVENTS: usize = 128;
/// So many polls in a row may fail before all waits end. The timekeeper pauses
/// between two of them, for so many microseconds.
const PATIENCE: u32 = 50;
const PAUSE_US: u32 = 1_000;
/// In cycles: an older look at the poller's numbers does not count before a
/// poll (some 10 ms), and before a number is registered (some 300 µs).
const STALE: u64 = 30_000_000;
pub(super) const STALE_NEW: u64 = 1_000_000;
/// Null before anybody waits. A poller that was replaced is never freed: other
/// threads may look at it still.
static POLLER: AtomicPtr<Poller> = AtomicPtr::new(ptr::null_mut());
/// The M that sleeps in the poller.
pub(crate) static KEEPER: Keeper = Keeper::new();
/// When the poller was last seen to be ours, in cycles.
static SEEN: AtomicU64 = AtomicU64::new(0);
/// Polls that have failed in a row, and the error that ended all waits.
static FAILS: AtomicU32 = AtomicU32::new(0);
static FAILURE: AtomicI32 = AtomicI32::new(0);
/// The error of a call that finds the poller gone; see [`lost`].
pub(super) const GONE: Errno = Errno(libc::EBADF);

/// The poller, if there is one.
pub(super) fn poller() -> Option<&'static Poller> {
    // Acquire: pairs with install.
    let poller = POLLER.load(Acquire);
    // SAFETY: null, or written by install and never changed.
    unsafe { poller.as_ref() }
}

/// Makes the poller unless there is one.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOMEM`; what a sandbox says.
pub(crate) fn start() -> Result<()> {
    if started() { Ok(()) } else { create() }
}

#[cold]
fn create() -> Result<()> {
    let _making = MAKING.lock();
    if started() { Ok(()) } else { install() }
}

/// Under MAKING: makes a poller, which everybody uses from then on.
fn install() -> Result<()> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
    place.push(Poller::make()?);
    // SeqCst: before Keeper::abandon looks who sleeps in the old poller.
    POLLER.store(place.leak().as_mut_ptr(), SeqCst);
    SEEN.store(os::clock::cycles(), Relaxed);
    FAILS.store(0, Relaxed);
    Ok(())
}

/// Whether there is a poller.
pub(crate) fn started() -> bool {
    poller().is_some()
}

/// Whether to sleep in the poller: not in one that fails, unless somebody
/// waits, whom the next poll serves, or ends with the error.
pub(crate) fn polls() -> bool {
    // Relaxed: a poll finds out again.
    started() && (FAILS.load(Relaxed) < PATIENCE || waited_for())
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

/// After a call on the poller that has failed: whether the host has closed it.
#[cold]
pub(crate) fn lost() -> bool {
    poller().is_some_and(|poller| !poller.is_ours())
}

/// Makes the poller anew if the host has closed it; None if it has not. In the
/// list are all waiters, to try again. The caller makes another M sleep in the
/// new poller, then readies those in the list.
///
/// Errors: those of [`start`]. Then no wait can be served, and the caller calls
/// [`end_waits`].
#[cold]
pub(crate) fn renew() -> Result<Option<WakeList>> {
    let making = MAKING.lock();
    match poller() {
        Some(old) if !old.is_ours() => old.drop_wake_fd(),
        _ => return Ok(None),
    }
    install()?;
    drop(making);
    let mut list = WakeList::new();
    each_desc(|desc| desc.restart(true, &mut list));
    Ok(Some(list))
}

/// Ends all waits with `why`: those in the list get it from [`failure`].
#[cold]
pub(crate) fn end_waits(why: Errno) -> WakeList {
    FAILURE.store(why.0, Relaxed);
    FAILS.store(PATIENCE, Relaxed);
    let mut list = WakeList::new();
    each_desc(|desc| desc.restart(false, &mut list));
    list
}

/// The error with which [`end_waits`] has ended a wait.
pub(crate) fn failure() -> Errno {
    // Relaxed: written before the waiter was woken.
    Errno(FAILURE.load(Relaxed))
}

/// The result of a poll.
#[must_use]
pub(crate) enum Polled {
    /// The waiters whose files are ready.
    Ready(WakeList),
    /// The same, and the host has closed the poller: the caller has [`renew`]
    /// make a new one.
    Lost(WakeList),
}

/// Takes what has become ready, waiting at most `timeout` nanoseconds
/// (`i64::MAX`: for ever; 0: not at all) or until [`break_poll`]. The caller
/// readies those in the list.
pub(crate) fn poll(timeout: i64) -> Polled {
    let Some(poller) = poller() else { return Polled::Ready(WakeList::new()) };
    let mut list = WakeList::new();
    if !seems_ours(poller, STALE) {
        return Polled::Lost(list);
    }
    let mut events = [const { MaybeUninit::uninit() }; EVENTS];
    let events = match poller.wait(&mut events, timeout) {
        Ok(events) => events,
        Err(why) => return failed(poller, why, timeout),
    };
    // Relaxed: see polls.
    if FAILS.load(Relaxed) != 0 {
        FAILS.store(0, Relaxed);
    }
    let mut foreign = false;
    for event in events {
        match epoll::source(event) {
            Source::File(fd, bits) => {
                if let Some(desc) = known(fd) {
                    desc.happened(bits, &mut list);
                }
            }
            // Meant for the timekeeper. A poll that does not sleep has taken
            // the wake-up away, and hands it on. If nobody sleeps any more, the
            // wake-up has come too late.
            Source::Wake => {
                if timeout == 0 && KEEPER.asleep() {
                    let _ours = poller.notify();
                }
            }
            Source::Foreign => foreign = true,
        }
    }
    if foreign && !poller.is_ours() {
        return Polled::Lost(list);
    }
    Polled::Ready(list)
}

/// A poll has failed: pauses, or ends all waits.
#[cold]
fn failed(poller: &Poller, why: Errno, timeout: i64) -> Polled {
    if matches!(why.0, libc::EBADF | libc::EINVAL) && !poller.is_ours() {
        return Polled::Lost(WakeList::new());
    }
    // Relaxed: a count.
    if FAILS.fetch_add(1, Relaxed) + 1 >= PATIENCE {
        return Polled::Ready(end_waits(why));
    }
    if timeout != 0 {
        os::clock::usleep(PAUSE_US);
    }
    Polled::Ready(WakeList::new())
}

/// Ends a [`poll`] that sleeps, or the next one that would. False: the poller
/// may be [`lost`].
#[must_use]
pub(crate) fn break_poll() -> bool {
    poller().is_none_or(|poller| poller.notify().is_ok())
}
