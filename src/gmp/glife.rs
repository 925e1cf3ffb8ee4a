//! Gs between two lives: taken from a free list, named, counted, given back.
//!
//! ```text
//!   galloc --> Idle --> Dead, in a free list --gfget--> a life (newproc)
//!                         ^                                |
//!                         '------- gdestroy, gfput --------'
//! ```
//! A P has a free list of its own, without a lock; batches of Gs go from and to
//! the global one.
//!
//! Invariant 1: before the G of an ended goroutine is in a free list, its
//! generation has changed (invariant 2 of `gtab`) and its rare fields are
//! empty, as `newproc` expects.
//!
//! Invariant 2: a name is taken out of its G, and read by another thread, under
//! the lock [`NAMES`]. So a reader's name is not freed while it is copied.

use super::{
    BATCH, COUNTERS, G, GOIDCACHE, GStatus, OwnedP, P, SCHED, allp, casgstatus,
    each_g, galloc, galloc_many, gflag, gtab::lookup, nallp,
};
use crate::{
    base::{
        alloc::put,
        lock::Rank,
        trace::{self, Event, Kind},
    },
    os::{Errno, Lock, Result},
};
use core::{
    ffi::{CStr, c_char, c_void},
    ptr,
    sync::atomic::Ordering::*,
};

/// Invariant 2.
static NAMES: Lock<()> = Lock::new(Rank::Names, ());

/// A dead G: from this P's list, from the global one, or new. None where memory
/// is out.
#[inline(always)]
pub(crate) fn gfget(pp: Option<OwnedP>) -> Option<&'static G> {
    match pp.and_then(|pp| pp.gfree().pop_front()) {
        Some(gp) => Some(gp),
        None => gfget_slow(pp),
    }
}

#[cold]
fn gfget_slow(pp: Option<OwnedP>) -> Option<&'static G> {
    let Some(pp) = pp else {
        let cached = SCHED.lock().gfree.pop_front();
        return cached.or_else(|| {
            let gp = galloc()?;
            casgstatus(gp, GStatus::Idle, GStatus::Dead);
            Some(gp)
        });
    };
    let batch = SCHED.lock().gfree.take();
    match batch {
        Some(batch) => pp.gfree().refill(batch),
        None => galloc_many(BATCH, |gp| {
            casgstatus(gp, GStatus::Idle, GStatus::Dead);
            gfput(Some(pp), gp);
        }),
    }
    pp.gfree().pop_front()
}

/// Puts a dead G into this P's free list, or the global one.
#[inline(always)]
pub(crate) fn gfput(pp: Option<OwnedP>, gp: &'static G) {
    let Some(pp) = pp else {
        SCHED.lock().gfree.push_front(gp);
        return;
    };
    if let Some(batch) = pp.gfree().push_front(gp) {
        SCHED.lock().gfree.put(batch);
    }
}

/// Counts the start of a goroutine of the host's.
pub(crate) fn count_start(pp: Option<OwnedP>, gp: &G) {
    if gp.has(gflag::SYSTEM) {
        return;
    }
    match pp {
        Some(pp) => pp.count_start(),
        None => COUNTERS.started.add(1),
    }
}

/// Counts the end of a goroutine of the host's.
pub(crate) fn count_end(pp: Option<OwnedP>, gp: &G) {
    if gp.has(gflag::SYSTEM) {
        return;
    }
    match pp {
        Some(pp) => pp.count_end(),
        None => COUNTERS.ended.add(1),
    }
}

/// The number of live goroutines of the host's.
pub(crate) fn gcount() -> i64 {
    let ended = gended();
    let on_ps: u64 = each_p().map(|pp| pp.counts().started).sum();
    (COUNTERS.started.get() + on_ps).saturating_sub(ended) as i64
}

/// How many goroutines of the host's have ended; to be read before the number
/// of those that were started (`P::ended`).
pub(crate) fn gended() -> u64 {
    COUNTERS.ended.get() + each_p().map(P::ended).sum::<u64>()
}

/// All Ps that there ever were.
pub(crate) fn each_p() -> impl Iterator<Item = &'static P> {
    (0..nallp()).map(allp)
}

/// A new goroutine id; a P takes them in batches.
pub(crate) fn next_goid(pp: Option<OwnedP>) -> u64 {
    let Some(pp) = pp else {
        return SCHED.goidgen.fetch_add(1, Relaxed) + 1;
    };
    let (mut next, mut end) = pp.goidcache.get();
    if next == end {
        next = SCHED.goidgen.fetch_add(GOIDCACHE, Relaxed) + 1;
        end = next + GOIDCACHE;
    }
    pp.goidcache.set((next + 1, end));
    next
}

/// Names a goroutine; copies the name.
///
/// Errors: `ENOMEM`.
pub(crate) fn set_name(gp: &'static G, name: &CStr) -> Result<()> {
    // SAFETY: strdup reads a C string, which `name` is.
    let copy = unsafe { libc::strdup(name.as_ptr()) };
    if copy.is_null() {
        return Err(Errno::ENOMEM);
    }
    if gp.readgstatus() != GStatus::Dead {
        let event = Event::of(Kind::Name, gp.goid.get());
        trace::event(move || Event { text: name.to_bytes(), ..event });
    }
    free_name(gp, copy);
    Ok(())
}

/// Puts `next` in the place of the name, and frees that.
fn free_name(gp: &G, next: *mut c_char) {
    let names = NAMES.lock();
    let old = gp.name.swap(next, AcqRel);
    drop(names);
    // SAFETY: null, or from strdup, and taken out just now (invariant 2). A
    // dump may still read it, but runs when the process dies, or takes care of
    // itself.
    unsafe { libc::free(old.cast()) };
}

/// Copies the name of the goroutine with this handle to `to`, with its NUL; an
/// empty one if the goroutine has none, or has ended.
///
/// Errors: `EINVAL` for a stale handle, and where `to` is empty; `ERANGE` if
/// the name is longer than `to`.
pub(crate) fn get_name(handle: *mut c_void, to: &mut [u8]) -> Result<()> {
    let gp = lookup(handle)?;
    let names = NAMES.lock();
    let name = gp.name.load(Acquire);
    let name = if name.is_null() {
        c"".to_bytes_with_nul()
    } else {
        // SAFETY: from strdup, and not freed before the lock is (invariant 2).
        unsafe { CStr::from_ptr(name) }.to_bytes_with_nul()
    };
    let len = name.len();
    let room = to.get_mut(..len);
    let copied = room.map(|room| room.copy_from_slice(name));
    drop(names);
    // The name was that of this goroutine, as the handle is still good.
    lookup(handle)?;
    if to.is_empty() {
        return Err(Errno::EINVAL);
    }
    copied.ok_or(Errno(libc::ERANGE))
}

/// Frees the name of a G, which nobody else names at the same time.
#[inline(always)]
pub(crate) fn drop_name(gp: &G) {
    if !gp.name.load(Relaxed).is_null() {
        drop_name_slow(gp);
    }
}

#[cold]
fn drop_name_slow(gp: &G) {
    free_name(gp, ptr::null_mut());
}

/// Gives the descriptor of an ended goroutine back. Handles to it go stale.
#[inline(always)]
pub(crate) fn gdestroy(gp: &'static G, pp: Option<OwnedP>) {
    // Invariant 2 of `gtab`.
    gp.park.next_generation();
    gp.shields.set(0);
    gp.rounds.set(0);
    gp.flags.set(0);
    gp.waiting.store(ptr::null_mut(), Relaxed);
    gfput(pp, gp);
}

/// Ends all Gs but those that `stays` accepts, for `boot::reset`: handles to
/// them go stale, and they are Dead and in the global free list. What they
/// refer to is not given back.
///
/// # Safety
/// No other thread runs code of the library, and no M runs one of them.
pub(crate) unsafe fn reset_gs(stays: impl Fn(&G) -> bool) {
    for gp in each_g().filter(|gp| !stays(gp)) {
        let park = gp.park.next_life();
        // SAFETY: in the table, and nobody uses it, the caller promises.
        unsafe { put(ptr::from_ref(gp), G::new(gp.index)) };
        // SAFETY: the same.
        unsafe { put(&raw const gp.park, park) };
        casgstatus(gp, GStatus::Idle, GStatus::Dead);
        SCHED.lock().gfree.push_front(gp);
    }
}
