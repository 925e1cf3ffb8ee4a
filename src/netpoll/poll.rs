//! A poll, and what follows where the host has closed the poller, or where it
//! fails.

use super::{
    desc::{each_desc, known, waited_for},
    poller::{
        FAILS, FAILURE, MAKING, Made, STALE, install, not_of_a_file, poller,
        seems_ours, started, was_lost,
    },
};
use crate::{
    arch,
    base::sync::Ordering::*,
    gmp::{COUNTERS, G, KEEPER, MKind, wait::WakeList},
    os::{
        self, Errno, Result,
        epoll::{self, Source},
    },
};
use core::mem::MaybeUninit;

/// Events taken in one poll.
const EVENTS: usize = 128;

/// So many polls in a row may fail before all waits end. The timekeeper pauses
/// between two of them, for so many microseconds.
const PATIENCE: u32 = 50;

const PAUSE_US: u32 = 1_000;

/// Whether to sleep in the poller: not in one that fails, unless there are
/// waiters, which the next poll serves, or ends with the error.
pub(crate) fn polls() -> bool {
    // Relaxed: a poll finds out again.
    started() && (FAILS.load(Relaxed) < PATIENCE || waited_for())
}

/// Makes the poller anew if the host has closed it; None if it has not. Once it
/// is there, `installed` makes another M sleep in it. In the list are all
/// waiters, to try again.
///
/// Errors: those of [`start`]. Then no wait can be served, and the caller calls
/// [`end_waits`].
#[cold]
pub(crate) fn renew(installed: impl FnOnce()) -> Result<Option<WakeList>> {
    let making = MAKING.lock();
    match poller() {
        Some(old) if !old.is_ours() => old.drop_wake_fd(),
        _ => return Ok(None),
    }
    install()?;
    drop(making);
    installed();
    let mut list = WakeList::new();
    each_desc(|desc| desc.restart(true, &mut list));
    Ok(Some(list))
}

/// Ends all waits with `why`: those in the list get it from [`failure`].
#[cold]
pub(crate) fn end_waits(why: Errno) -> WakeList {
    FAILURE.store(not_of_a_file(why).0, Relaxed);
    FAILS.store(PATIENCE, Relaxed);
    let mut list = WakeList::new();
    each_desc(|desc| desc.restart(false, &mut list));
    list
}

/// The runtime has ended, and the poller is closed: no file is registered. The
/// caller readies those in the list.
#[cold]
pub(crate) fn forget_files() -> WakeList {
    let mut list = WakeList::new();
    each_desc(|desc| desc.restart(true, &mut list));
    list
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
    count(events.len());
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
            // the wake-up away, and hands it on. If no M sleeps any more, the
            // wake-up has come too late.
            Source::Wake => {
                if timeout == 0 && KEEPER.sleeps_in_poller() {
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

/// Counts a poll: by the M, if that is one of ours.
fn count(events: usize) {
    match arch::getg().map(G::mp) {
        Some(mp) if mp.kind.get() != MKind::Host => mp.count_poll(events),
        _ => {
            COUNTERS.polls.add(1);
            COUNTERS.poll_events.add(events as u64);
        }
    }
}

/// A poll has failed: pauses, or ends all waits.
#[cold]
fn failed(poller: &Made, why: Errno, timeout: i64) -> Polled {
    if was_lost(poller, why) {
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
