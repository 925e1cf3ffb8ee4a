//! The short way of an allocation and of a free: what most calls take.
//!
//! It passes no gate, and does not go inside. The thread says that it is busy,
//! which keeps collections and retakers away, and looks at one word
//! (`base::shortcut`), at its P's word, and at the mcache. Whatever it does not
//! find there sends it the long way (`malloc`).
//!
//! ```text
//!   thread                                stopper, retaker
//!     busy = true               (a)         says what it wants
//!     (no fence)                            barrier in every thread
//!     open? my P?               (b)         busy?
//!       no: the long way
//! ```
//! It is the protocol of `gmp::owner`, with `busy` for the flag. But the thread
//! does not take its P back where a retaker has come: the long way lets the
//! retaker go on first (`enter::give_way`).
//!
//! Each way out is the last step of its function, and what is rare is a
//! function of its own that goes on to the end. So the usual way saves no
//! register.

use crate::{
    arch,
    base::shortcut::is_open,
    gmp::{M, P, m_word},
    heap::{
        FINE, Kind, MAX_SMALL, MCache, MHEAP, Taken, class_of, class_of_fine,
        zero_few,
    },
    sched::suspended::Busy,
};
use core::ptr;

/// Memory for an object; what `long` gives where this is not the way.
#[inline(always)]
pub(crate) fn mallocgc(
    size: usize,
    kind: Kind,
    long: impl Fn(usize, Kind) -> *mut u8,
) -> *mut u8 {
    let Some(busy) = enter() else { return long(size, kind) };
    let Some(cache) = at_hand(busy.mp()) else {
        return left_for(busy, size, kind, long);
    };
    if size > FINE {
        return large(busy, cache, size, kind, long);
    }
    let class = class_of_fine(size);
    match cache.take(class, kind) {
        Some(taken) => made(busy, &taken),
        None => refilled(busy, cache, (size, class), kind, long),
    }
}

/// The end of an allocation.
#[inline(always)]
fn made(busy: Busy, taken: &Taken) -> *mut u8 {
    if !zero_few(taken) {
        return zeroed(busy, taken.at, taken.dirty);
    }
    busy.leave_with(taken.at as *mut u8)
}

/// The end of an allocation of many bytes, `dirty` of which are to be zeroed.
#[inline(never)]
fn zeroed(busy: Busy, at: usize, dirty: usize) -> *mut u8 {
    // SAFETY: the object was handed out to the caller.
    unsafe { ptr::write_bytes(at as *mut u8, 0, dirty) };
    busy.leave_with(at as *mut u8)
}

/// An allocation of which the word of bits at hand has nothing.
#[cold]
#[inline(never)]
fn refilled(
    busy: Busy,
    cache: &MCache,
    (size, class): (usize, usize),
    kind: Kind,
    long: impl Fn(usize, Kind) -> *mut u8,
) -> *mut u8 {
    match cache.take_later(class, kind) {
        Some(taken) => made(busy, &taken),
        None => left_for(busy, size, kind, long),
    }
}

/// An allocation of a size that is not looked up in one step.
#[inline(never)]
fn large(
    busy: Busy,
    cache: &MCache,
    size: usize,
    kind: Kind,
    long: impl Fn(usize, Kind) -> *mut u8,
) -> *mut u8 {
    if size > MAX_SMALL {
        return left_for(busy, size, kind, long);
    }
    let class = class_of(size);
    match cache.take(class, kind) {
        Some(taken) => made(busy, &taken),
        None => refilled(busy, cache, (size, class), kind, long),
    }
}

/// An end of the short way.
#[cold]
#[inline(never)]
fn left_for(
    busy: Busy,
    size: usize,
    kind: Kind,
    long: impl Fn(usize, Kind) -> *mut u8,
) -> *mut u8 {
    drop(busy);
    long(size, kind)
}

/// Frees the object at `at`: 0; what `long` gives where this is not the way.
#[inline(always)]
pub(crate) fn free(at: usize, long: impl Fn(usize) -> i32) -> i32 {
    let Some(busy) = enter() else { return long(at) };
    match at_hand(busy.mp()) {
        Some(cache) if cache.free_fast(&MHEAP, at) => busy.leave_with(0),
        _ => free_left(busy, at, long),
    }
}

/// An end of the short way.
#[cold]
#[inline(never)]
fn free_left(busy: Busy, at: usize, long: impl Fn(usize) -> i32) -> i32 {
    drop(busy);
    long(at)
}

/// (a). None on a thread that the library does not know, and on one that is
/// busy already.
#[inline(always)]
fn enter() -> Option<Busy> {
    Busy::begin_alone(arch::getg()?.mp())
}

/// (b): the mcache of `mp`, this thread's busy M, or of its P. None if it has
/// none yet, if a retaker has come, and where calls take the long way.
#[inline(always)]
fn at_hand(mp: &M) -> Option<&'static MCache> {
    let holds = |pp: &P| pp.owner.is_held_by(m_word(mp));
    if !is_open() || !mp.p.get().is_none_or(holds) {
        return None;
    }
    mp.mcache_at_hand.get()
}
