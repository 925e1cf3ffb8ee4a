//! What a goroutine, or the thread of a stand-in, has put off: one list for
//! each G, the newest first.
//!
//! ```text
//!   G::defers --> newest --> ... --> oldest
//! ```
//! | record | stands for | memory |
//! |---|---|---|
//! | Deferred | a call of `gmp_defer` | `newdefer` |
//! | Mark | a `gmp_call` under way: newer ones are its own | `newdefer` |
//! | Panic | a panic under way ([`super::panicrecord`]) | `malloc` |
//! | Kept | a panic that is over, whose text the host may read | `malloc` |
//! | Call | a call of a once's function ([`super::calls`]) | `malloc` |
//! | Cleanup | library code that a `gmp_exit` may cut short | the stack |
//!
//! Invariants:
//! 1. Only the goroutine itself, or its host thread, touches its list.
//! 2. A record is taken off the list before its function is called. So a
//!    function that ends the goroutine again (`gmp_exit`) does not stop the
//!    rest.
//! 3. No record lies in a frame of the host's or above one, but for Cleanup,
//!    which is on the goroutine's stack above all frames of the host. So no
//!    jump of the host's leaves a record without memory.
//! 4. A panic or `gmp_call` that began inside a `gmp_call` is newer in the list
//!    than the Mark of that, if its frame is still there.
//!
//! Records of [`newdefer`] come from a list of the M's (Go has one for each P):
//! a host thread has no P.

use crate::gmp::{G, GmpFn};
#[cfg(not(shuttle))]
use crate::{base::sanitize, gmp::M};
use core::{cell::Cell, ffi::c_void, iter, ptr};

/// Where a frame is, and where it returns to.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub cfa: usize,
    pub ret: usize,
}

/// The kind of a record, and so the owner of its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(shuttle, expect(dead_code, reason = "a model has no panics"))]
pub(super) enum Kind {
    /// From `gmp_defer`; freed before `f` is called.
    Deferred,
    /// A `gmp_call` under way, whose frame is `arg`.
    Mark,
    /// The first field of a panic under way.
    Panic,
    /// The first field of a panic that is over.
    Kept,
    /// The first field of a call, which `super::calls` owns.
    Call,
    /// On the goroutine's stack (invariant 3).
    Cleanup,
}

#[repr(C)]
pub(super) struct Defer {
    next: Cell<*const Defer>,
    pub f: GmpFn,
    pub arg: *mut c_void,
    kind: Cell<Kind>,
    /// Of a Mark: its deferred functions run behind a shield.
    pub shielded: Cell<bool>,
    /// Of a Mark: the shields of the goroutine when it began.
    pub shields: u16,
}

impl Defer {
    /// A record in no list.
    pub(super) const fn new(f: GmpFn, arg: *mut c_void, kind: Kind) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            f,
            arg,
            kind: Cell::new(kind),
            shielded: Cell::new(false),
            shields: 0,
        }
    }

    /// That of a `gmp_call` with its frame at `place`, of a goroutine behind so
    /// many shields.
    #[cfg(not(shuttle))]
    pub(super) fn mark(place: usize, shields: u16) -> Self {
        let arg = place as *mut c_void;
        Self { shields, ..Self::new(nothing, arg, Kind::Mark) }
    }

    /// The first field of a panic.
    #[cfg(not(shuttle))]
    pub(super) fn panic() -> Self {
        Self::new(nothing, ptr::null_mut(), Kind::Panic)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind.get()
    }

    /// A panic that is over from now on.
    #[cfg(not(shuttle))]
    pub(super) fn keep(&self) {
        self.kind.set(Kind::Kept);
    }

    /// The record behind it: an older one, or null.
    pub(super) fn next(&self) -> *const Defer {
        self.next.get()
    }
}

#[cfg(not(shuttle))]
unsafe extern "C" fn nothing(_arg: *mut c_void) {}

/// The newest record of `gp`, or null.
#[inline(always)]
pub(super) fn head(gp: &G) -> *const Defer {
    gp.defers.get().cast_const().cast()
}

#[inline(always)]
pub(super) fn set_head(gp: &G, to: *const Defer) {
    gp.defers.set(to.cast_mut().cast());
}

/// Puts a record before the others.
#[inline(always)]
pub(super) fn push(gp: &G, record: &Defer) {
    record.next.set(head(gp));
    set_head(gp, record);
}

/// Puts a record behind `newer`, which is in the list.
#[cfg(not(shuttle))]
pub(super) fn push_behind(newer: &Defer, record: &Defer) {
    record.next.set(newer.next.get());
    newer.next.set(record);
}

/// The records from `first` on, the newest first.
fn from<'a>(first: *const Defer) -> impl Iterator<Item = &'a Defer> {
    // SAFETY: null, or in the list: a record is taken off before its memory
    // goes, by this thread (invariants 1 and 2).
    let record = |at: *const Defer| unsafe { at.as_ref() };
    iter::successors(record(first), move |r| record(r.next.get()))
}

/// The records of `gp`, the newest first.
pub(super) fn records(gp: &G) -> impl Iterator<Item = &Defer> {
    from(head(gp))
}

/// Those that are older than `record`, which is in the list.
#[cfg(not(shuttle))]
pub(super) fn older(record: &Defer) -> impl Iterator<Item = &Defer> {
    from(record.next.get())
}

/// Whether a record is in the list.
pub(super) fn is_listed(gp: &G, record: &Defer) -> bool {
    records(gp).any(|r| ptr::eq(r, record))
}

/// Takes a record out of the list. Newer records may stand before it.
pub(super) fn remove(gp: &G, record: &Defer) {
    let next = record.next.get();
    if ptr::eq(head(gp), record) {
        set_head(gp, next);
        return;
    }
    let above = records(gp).find(|r| ptr::eq(r.next.get(), record));
    let Some(above) = above else {
        crate::base::throw::throw("defers: a record is not in its list");
    };
    above.next.set(next);
}

/// The most records that an M keeps.
#[cfg(not(shuttle))]
const KEPT: u32 = 64;

/// Memory for a record; null where memory is out.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn newdefer(mp: &M) -> *mut Defer {
    let first = mp.deferpool.get().cast::<Defer>();
    // SAFETY: null, or a record that freedefer has put there; this thread's.
    let Some(record) = (unsafe { first.as_ref() }) else {
        return newdefer_slow();
    };
    mp.deferpool.set(record.next.get().cast_mut().cast());
    // In the child of a fork the number may lag behind.
    mp.ndefers.set(mp.ndefers.get().saturating_sub(1));
    first
}

#[cfg(not(shuttle))]
#[cold]
#[inline(never)]
fn newdefer_slow() -> *mut Defer {
    // A record goes from one goroutine to the next in an order that a sanitizer
    // does not see, and lies in Ms, which are no place that it knows.
    sanitize::ignore();
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(size_of::<Defer>()) };
    sanitize::heed();
    sanitize::no_leak(place.cast());
    place.cast()
}

/// Gives the memory of a record back, which is in no list.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn freedefer(mp: &M, record: *const Defer) {
    let kept = mp.ndefers.get();
    if kept >= KEPT {
        freedefer_slow(record);
        return;
    }
    // SAFETY: from newdefer, and in no list: this thread's.
    let record = unsafe { &*record };
    record.next.set(mp.deferpool.get().cast());
    mp.deferpool.set(ptr::from_ref(record).cast_mut().cast());
    mp.ndefers.set(kept + 1);
}

#[cfg(not(shuttle))]
#[cold]
#[inline(never)]
fn freedefer_slow(record: *const Defer) {
    sanitize::ignore();
    // SAFETY: from malloc in newdefer, and in no list.
    unsafe { libc::free(record.cast_mut().cast()) };
    sanitize::heed();
}

/// Frees the records that an M keeps, whose thread has ended or has no more
/// use for them.
#[cfg(not(shuttle))]
pub(super) fn free_kept(mp: &M) {
    mp.ndefers.set(0);
    let mut at = mp.deferpool.replace(ptr::null_mut()).cast::<Defer>();
    // SAFETY: null, or a record that freedefer has put there.
    while let Some(record) = unsafe { at.as_ref() } {
        at = record.next.get().cast_mut();
        freedefer_slow(record);
    }
}
