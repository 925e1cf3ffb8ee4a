//! What goroutines wait for, as the search for leaks sees it (`gc::reach`).
//!
//! Whether somebody can end a wait follows from its reason: a channel, a lock
//! and the like are used by those who can reach them, and nobody sends to no
//! channel. All other waits, such as one for a descriptor, a group or the end
//! of a goroutine, may end by themselves.

use crate::{
    block::{parking, select},
    gc::{
        leaks::{self, Searched},
        reach::Waits,
    },
    gmp::{G, wait::Wait},
};
use core::{ffi::CStr, sync::atomic::Ordering::*};

/// Searches for leaked goroutines, where the heap is in use.
pub(super) fn search_leaks() -> Searched {
    let table = parking::table();
    leaks::search(&Waits { each_object, each_record, table })
}

/// Calls `is` with the address of each object for which a parked goroutine
/// waits, and whether it is a channel, while that is true. False if `is` was,
/// or if something else may end the wait. The world is stopped (invariant 1 of
/// `gc::reach`).
fn each_object(gp: &G, is: &mut dyn FnMut(usize, bool) -> bool) -> bool {
    // SAFETY: null, or on its stack.
    let Some(wait) = (unsafe { gp.waiting.load(Acquire).as_ref() }) else {
        return false;
    };
    if !wait.deadline.is_never() || wait.reason.is_null() {
        return false;
    }
    // SAFETY: a C string that outlives the wait.
    let reason = unsafe { CStr::from_ptr(wait.reason) };
    let mut all = true;
    // SAFETY: the waiter stands still.
    let selects = unsafe {
        select::each_waited(reason, wait.object, &mut |ch| {
            all = all && is(ch, true)
        })
    };
    if selects {
        return all;
    }
    match kind_of(wait, reason) {
        Kind::Other => false,
        Kind::Channel => is(wait.object, true),
        Kind::Lock => is(wait.object, false),
        Kind::Nothing => true,
    }
}

/// Calls `found` with the library's memory that a parked goroutine uses for its
/// wait, where that is not on its stack: from, to. The world is stopped.
fn each_record(gp: &G, found: &mut dyn FnMut(usize, usize)) {
    // SAFETY: null, or on its stack.
    let wait = unsafe { gp.waiting.load(Acquire).as_ref() };
    let Some(wait) = wait.filter(|wait| !wait.reason.is_null()) else { return };
    // SAFETY: a C string that outlives the wait.
    let reason = unsafe { CStr::from_ptr(wait.reason) };
    // SAFETY: the waiter stands still.
    let room = unsafe { select::records(reason, wait.object) };
    if let Some((from, to)) = room.filter(|(from, _)| !gp.on_stack(*from)) {
        found(from, to);
    }
}

/// What a wait is for that is no select.
enum Kind {
    Channel,
    Lock,
    /// Nothing: nobody ends it.
    Nothing,
    /// Not only an object.
    Other,
}

fn kind_of(wait: &Wait, reason: &CStr) -> Kind {
    match reason.to_bytes() {
        b"chan send" | b"chan receive" => Kind::Channel,
        b"mutex" | b"rwmutex read" | b"rwmutex write" | b"condition"
        | b"semaphore" | b"waitgroup" | b"barrier" | b"once" => Kind::Lock,
        b"chan send (null)" | b"chan receive (null)" | b"select (no cases)"
            if wait.object == 0 =>
        {
            Kind::Nothing
        }
        _ => Kind::Other,
    }
}
