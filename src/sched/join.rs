//! Who waits for a goroutine's end.
//!
//! `G::joiner` says what becomes of an ended goroutine:
//!
//! | word | meaning | moves |
//! |---|---|---|
//! | DETACHED | nobody holds it: freed at its end | |
//! | JOINABLE | a handle is out | join -> waiter, release -> DETACHED |
//! | a pointer | the record of who waits, on its stack | timeout -> JOINABLE |
//! | ENDING | `ended` is looking, for a few instructions | -> EXITED |
//! | EXITED | it has ended, and a handle is out | join, release: freed |
//!
//! All but the first and the pointer carry the generation of the G, so that
//! who comes with a handle that goes stale under its hands changes nothing of
//! the next goroutine in the same place.
//!
//! Invariants:
//! 1. `ended` moves the word to ENDING once; whoever finds ENDING waits for
//!    EXITED, so that a record on a stack is not left while `ended` reads it.
//! 2. Of all who find EXITED, the one whose compare-and-swap takes it frees
//!    the descriptor.

use super::{
    cancel,
    enter::{Inside, current_p},
    host,
    newproc::{gdestroy, lookup},
    park::{self, Wait, gopark, ready},
};
use crate::{
    gmp::{
        G, GStatus, OwnedP, generation_of,
        parkword::{Cause, Fire, Ticket, WaitKind},
    },
    os::{Errno, Result, clock::nanotime, thread::osyield},
};
use core::{ffi::c_void, ptr, sync::atomic::Ordering::*};

const DETACHED: usize = 0;

/// The words of one generation.
#[derive(Clone, Copy)]
struct Words {
    joinable: usize,
    exited: usize,
    ending: usize,
}

impl Words {
    fn of(generation: u32) -> Self {
        // A record's address is a multiple of 8.
        let base = (generation as usize) << 3;
        Self { joinable: base | 1, exited: base | 2, ending: base | 3 }
    }

    /// Of `gp`, which its caller owns or holds alive.
    fn now(gp: &G) -> Self {
        Self::of(gp.park.generation())
    }
}

/// Who waits.
struct Joiner {
    gp: &'static G,
    ticket: Ticket,
}

/// The word of a new goroutine.
pub(crate) fn initial(gp: &G, joinable: bool) -> usize {
    if joinable { Words::now(gp).joinable } else { DETACHED }
}

/// From the hook of `goexit1`: `gp` has ended, and nobody uses its stack.
pub(crate) fn ended(gp: &'static G, pp: Option<OwnedP>) {
    // Relaxed: a detached goroutine stays so.
    if gp.joiner.load(Relaxed) == DETACHED {
        gdestroy(gp, pp);
        return;
    }
    let words = Words::now(gp);
    // AcqRel: the waiter's record; our end, for who joins.
    let word = gp.joiner.swap(words.ending, AcqRel);
    if word == DETACHED {
        gp.joiner.store(DETACHED, Relaxed);
        gdestroy(gp, pp);
    } else if word == words.joinable {
        gp.joiner.store(words.exited, Release);
    } else {
        let joiner = word as *const Joiner;
        // SAFETY: the waiter stays until it finds EXITED (invariant 1).
        let &Joiner { gp: waiter, ticket } = unsafe { &*joiner };
        gp.joiner.store(words.exited, Release);
        if waiter.park.fire(ticket, Cause::Wake) == Fire::Parked {
            ready(waiter, true);
        }
    }
}

/// Waits for `handle`'s goroutine to end, and releases it.
///
/// Errors: `EINVAL` (stale, not joinable, or somebody joins it already),
/// `EDEADLK` (itself, or inside a callback), `ETIMEDOUT`, `ECANCELED`: it can
/// be joined again after the last two.
pub(crate) fn join(handle: *mut c_void, deadline: i64) -> Result<()> {
    cancel::check()?;
    let target = lookup(handle)?;
    let words = Words::of(generation_of(handle));
    if park::on_goroutine().is_some_and(|gp| ptr::eq(gp, target)) {
        return Err(Errno(libc::EDEADLK));
    }
    let gp = park::current()?;
    if gp.is_host() && deadline == park::FOREVER && unstarted(target) {
        host::run_in_place(gp, target);
    }
    loop {
        let word = settled(target, words);
        if word == words.exited {
            return take_exited(target, words);
        }
        if word != words.joinable {
            return Err(Errno::EINVAL);
        }
        if let Some(result) = wait(gp, target, words, deadline) {
            return result;
        }
    }
}

fn unstarted(target: &G) -> bool {
    target.readgstatus() == GStatus::Runnable
}

/// The word, once it is not ENDING.
fn settled(target: &G, words: Words) -> usize {
    loop {
        // Acquire: pairs with ended.
        let word = target.joiner.load(Acquire);
        if word != words.ending {
            return word;
        }
        osyield();
    }
}

/// Frees what has ended, if nobody else does.
fn take_exited(target: &'static G, words: Words) -> Result<()> {
    target
        .joiner
        .compare_exchange(words.exited, DETACHED, AcqRel, Relaxed)
        .map_err(|_| Errno::EINVAL)?;
    let _inside = Inside::enter();
    gdestroy(target, current_p());
    Ok(())
}

/// Waits once; None: the word changed before, look again.
fn wait(
    gp: &'static G,
    target: &'static G,
    words: Words,
    deadline: i64,
) -> Option<Result<()>> {
    if deadline <= nanotime() {
        return Some(Err(Errno(libc::ETIMEDOUT)));
    }
    let ticket = gp.park.arm(WaitKind::Cancellable);
    let joiner = Joiner { gp, ticket };
    let record = ptr::from_ref(&joiner) as usize;
    let joinable = words.joinable;
    // Release: the record, for ended.
    let entered =
        target.joiner.compare_exchange(joinable, record, AcqRel, Relaxed);
    if entered.is_err() {
        // Nobody has the ticket: we end the wait ourselves.
        let _early = gp.park.fire(ticket, Cause::Wake);
        gp.park.finish();
        return None;
    }
    let cause = gopark(
        gp,
        Wait {
            ticket,
            unlock: park::unlock_nothing,
            arg: 0,
            reason: c"join",
            deadline,
        },
    );
    let left = cause != Cause::Wake
        && target
            .joiner
            .compare_exchange(record, joinable, AcqRel, Relaxed)
            .is_ok();
    if left {
        return Some(park::outcome(cause));
    }
    // It has ended, perhaps at the same moment as the deadline.
    settled(target, words);
    Some(take_exited(target, words))
}

/// Gives a handle up: the goroutine is freed at its end, or now.
///
/// Errors: `EINVAL` as for [`join`].
pub(crate) fn release(handle: *mut c_void) -> Result<()> {
    let target = lookup(handle)?;
    let words = Words::of(generation_of(handle));
    loop {
        let word = settled(target, words);
        if word == words.exited {
            return take_exited(target, words);
        }
        if word != words.joinable {
            return Err(Errno::EINVAL);
        }
        let gone = target
            .joiner
            .compare_exchange(word, DETACHED, AcqRel, Relaxed)
            .is_ok();
        if gone {
            return Ok(());
        }
    }
}
