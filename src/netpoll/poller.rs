//! The one poller of the process: made when somebody waits for the first time,
//! and anew where the host has closed it.
//!
//! A daemon's start closes whatever is open, and the numbers are used again.
//! `os::epoll` can tell whether both are still ours. That is looked at before a
//! number is registered that was not there and now and then before a poll
//! ([`STALE`]), and after an error that may come of it. Then the caller has
//! [`renew`] make new ones, which wakes all who wait: these try again and
//! register there, or are told that their file is gone too. An M that sleeps in
//! the poller that is gone keeps it alive and cannot be reached: the scheduler
//! puts another in its place (`gmp::keeper`).
//!
//! A poller that fails though it is ours, [`PATIENCE`] times in a row, ends
//! all waits with the error ([`end_waits`]), and so does one that cannot be
//! made anew: whoever waits is told, and nobody polls for nothing.
//!
//! ```text
//!   none --start--> ours --the host closes it--> lost --renew--> ours
//!                    |  ^                         |
//!                    |  '-- a poll works --.      | renew fails: end_waits
//!                    '-- polls fail --> failing <-'
//! ```
//! Rejected: descriptors that only look unlikely to be used (high numbers):
//! closefrom closes them too. One sleep of a second at most: an idle process
//! makes no wake-ups.

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

/// Events taken at a time.
const EVENTS: usize = 128;
/// How often a poll may fail before all waits end, and how long whoever sleeps
/// in the poller waits before it tries again, in microseconds.
const PATIENCE: u32 = 50;
const PAUSE_US: u32 = 1_000;
/// After so many cycles it is looked whether the poller's numbers are ours:
/// some 10 ms, before a poll; some 300 µs, before a number is registered.
const STALE: u64 = 30_000_000;
pub(super) const STALE_NEW: u64 = 1_000_000;
/// The epoll instance and the bell in it; null before anybody waits. One that
/// was replaced stays where it is, for who still looks at it.
static POLLER: AtomicPtr<Poller> = AtomicPtr::new(ptr::null_mut());
/// Who sleeps in it.
pub(crate) static KEEPER: Keeper = Keeper::new();
/// When it was last seen to be ours, in cycles.
static SEEN: AtomicU64 = AtomicU64::new(0);
/// Polls that have failed in a row, and the last one's error.
static FAILS: AtomicU32 = AtomicU32::new(0);
static FAILURE: AtomicI32 = AtomicI32::new(0);
/// The error of a call that finds the poller gone; see [`lost`].
pub(super) const GONE: Errno = Errno(libc::EBADF);

/// The epoll instance and the bell in it.
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

/// With MAKING: makes a poller, and has everybody use it.
fn install() -> Result<()> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
    place.push(Poller::make()?);
    // SeqCst: before abandonment looks who sleeps in the one before.
    POLLER.store(place.leak().as_mut_ptr(), SeqCst);
    SEEN.store(os::clock::cycles(), Relaxed);
    FAILS.store(0, Relaxed);
    Ok(())
}

/// Whether there is a poller.
pub(crate) fn started() -> bool {
    poller().is_some()
}

/// Whether to sleep in it: not if it fails, and nobody waits to be told so.
pub(crate) fn polls() -> bool {
    // Relaxed: a poll finds out again.
    started() && (FAILS.load(Relaxed) < PATIENCE || waited_for())
}

/// Whether the poller's numbers are ours, as was seen within so many cycles.
#[inline]
pub(super) fn seems_ours(poller: &Poller, stale: u64) -> bool {
    let now = os::clock::cycles();
    // Relaxed: a coarse clock.
    if now.wrapping_sub(SEEN.load(Relaxed)) < stale {
        return true;
    }
    let ours = poller.has_bell();
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

/// Makes a poller anew if the host has closed it. In the list are all who
/// wait, to try again; None: it is there. The caller has somebody else sleep
/// in the new one, then readies those in the list.
///
/// Errors: those of [`start`]; then no wait can be served, and `end_waits`
/// follows.
#[cold]
pub(crate) fn renew() -> Result<Option<WakeList>> {
    let making = MAKING.lock();
    match poller() {
        Some(old) if !old.is_ours() => old.drop_bell(),
        _ => return Ok(None),
    }
    install()?;
    drop(making);
    let mut list = WakeList::new();
    each_desc(|desc| desc.restart(true, &mut list));
    Ok(Some(list))
}

/// Ends all waits with `why`, which [`failure`] says to those in the list.
#[cold]
pub(crate) fn end_waits(why: Errno) -> WakeList {
    FAILURE.store(why.0, Relaxed);
    FAILS.store(PATIENCE, Relaxed);
    let mut list = WakeList::new();
    each_desc(|desc| desc.restart(false, &mut list));
    list
}

/// Why [`end_waits`] has ended a wait.
pub(crate) fn failure() -> Errno {
    // Relaxed: written before the waiter was woken.
    Errno(FAILURE.load(Relaxed))
}

/// What a poll has brought.
#[must_use]
pub(crate) enum Polled {
    /// Those whose files are ready.
    Ready(WakeList),
    /// The same, and the host has closed the poller: [`renew`] it.
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
            // It rings for who sleeps, who has heard it by this, or has to.
            // Where nobody does any more, it has rung too late.
            Source::Bell => {
                if timeout == 0 && KEEPER.asleep() {
                    let _ours = poller.ring();
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

/// A poll has failed: waits a little, or no longer.
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
    poller().is_none_or(|poller| poller.ring().is_ok())
}
