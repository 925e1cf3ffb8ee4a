//! What a goroutine, or the thread of a stand-in, has put off: one list for
//! each G, the newest first.
//!
//! ```text
//!   G::defers --> newest --> ... --> oldest
//! ```
//! | record | stands for | memory |
//! |---|---|---|
//! | Deferred | a call of `gmp_defer` | `newdefer` |
//! | Mark | a `gmp_call` under way; what it has put off first | `newdefer` |
//! | Panic | a panic under way ([`super::panicrecord`]) | `malloc` |
//! | Kept | a panic that is over, whose text the host may read | `malloc` |
//! | Call | a call of a once's function ([`super::calls`]) | `malloc` |
//! | Cleanup | library code that a `gmp_exit` may cut short | the stack |
//!
//! Invariants:
//! 1. Only the goroutine itself, or its host thread, touches its list.
//! 2. A record is taken off the list before its function is called, and what a
//!    Mark has put off is taken from it. So a function that ends the goroutine
//!    again (`gmp_exit`) does not stop the rest.
//! 3. No record lies in a frame of the host's or above one, but for Cleanup,
//!    which is on the goroutine's stack above all frames of the host. So no
//!    jump of the host's leaves a record without memory.
//! 4. A panic or `gmp_call` that began inside a `gmp_call` is newer in the list
//!    than the Mark of that, if its frame is still there.
//! 5. What a Mark has put off is older than all records before the Mark.
//! 6. At no moment is a record both in a list and kept: a fork by another
//!    thread leaves the child with any moment of it.
//! 7. A record is complete before it is in a list: a collection may stop the
//!    thread at any moment, and reads the list.
//!
//! Records of [`newdefer`] come from a stack of the M's, of bounded size (Go
//! has a list for each P): a host thread has no P.

use crate::gmp::{G, GmpFn};
#[cfg(not(shuttle))]
use crate::{base::sanitize, gmp::M};
use core::{
    cell::Cell,
    ffi::c_void,
    iter,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{Ordering::Release, compiler_fence},
};

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
    /// A `gmp_call` under way.
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
    /// The call that was put off, if there is one.
    f: Cell<Option<GmpFn>>,
    arg: Cell<*mut c_void>,
    kind: Cell<Kind>,
    /// Of a Mark: its deferred functions run behind a shield.
    pub shielded: Cell<bool>,
    /// Of a Mark: the shields of the goroutine when it began.
    pub shields: u16,
    /// Of a Mark: its frame.
    place: MaybeUninit<usize>,
}

/// A call that was put off.
pub(super) struct PutOff {
    pub f: GmpFn,
    pub arg: *mut c_void,
}

impl Defer {
    /// A record in no list.
    #[inline(always)]
    pub(super) const fn new(f: GmpFn, arg: *mut c_void, kind: Kind) -> Self {
        Self { f: Cell::new(Some(f)), arg: Cell::new(arg), ..Self::of(kind) }
    }

    /// A record with no call.
    #[inline(always)]
    const fn of(kind: Kind) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            f: Cell::new(None),
            arg: Cell::new(ptr::null_mut()),
            kind: Cell::new(kind),
            shielded: Cell::new(false),
            shields: 0,
            place: MaybeUninit::uninit(),
        }
    }

    /// That of a `gmp_call` with its frame at `place`, of a goroutine behind so
    /// many shields.
    #[cfg(not(shuttle))]
    #[inline(always)]
    pub(super) fn mark(place: usize, shields: u16) -> Self {
        let place = MaybeUninit::new(place);
        Self { shields, place, ..Self::of(Kind::Mark) }
    }

    /// The first field of a panic.
    #[cfg(not(shuttle))]
    pub(super) fn panic() -> Self {
        Self::of(Kind::Panic)
    }

    /// Puts the first call of a Mark off; false if it has one.
    #[cfg(not(shuttle))]
    #[inline(always)]
    pub(super) fn put_off(&self, f: GmpFn, arg: *mut c_void) -> bool {
        let free = self.kind.get() == Kind::Mark && self.f.get().is_none();
        if free {
            self.arg.set(arg);
            self.f.set(Some(f));
        }
        free
    }

    /// Takes the call that was put off.
    #[inline(always)]
    pub(super) fn take(&self) -> Option<PutOff> {
        let call = self.call()?;
        self.f.set(None);
        Some(call)
    }

    /// The call that was put off.
    #[inline(always)]
    pub(super) fn call(&self) -> Option<PutOff> {
        self.f.get().map(|f| PutOff { f, arg: self.arg.get() })
    }

    /// The frame of a Mark.
    #[cfg(not(shuttle))]
    pub(super) fn place(&self) -> usize {
        if self.kind() != Kind::Mark {
            crate::base::throw::throw("defers: no Mark");
        }
        // SAFETY: each Mark is from `mark`.
        unsafe { self.place.assume_init() }
    }

    /// A Mark goes, and leaves what it has put off in its place; false if that
    /// is nothing.
    #[cfg(not(shuttle))]
    pub(super) fn stays_deferred(&self) -> bool {
        let stays = self.f.get().is_some();
        if stays {
            self.kind.set(Kind::Deferred);
        }
        stays
    }

    /// Where the argument of the call is.
    pub(super) fn arg_at(&self) -> *const *mut c_void {
        self.arg.as_ptr()
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
    // Invariant 7.
    compiler_fence(Release);
    set_head(gp, record);
}

/// Writes a record of `newdefer`, and puts it before the others.
///
/// # Safety
/// `place` is memory for a record, of the caller's.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) unsafe fn push_new(gp: &G, place: *mut Defer, record: Defer) {
    record.next.set(head(gp));
    // SAFETY: the caller's.
    unsafe { place.write(record) };
    // Invariant 7.
    compiler_fence(Release);
    set_head(gp, place);
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

/// Memory for a record; null where memory is out.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn newdefer(mp: &M) -> *mut Defer {
    newdefer_kept(mp).unwrap_or_else(newdefer_slow)
}

/// Memory for a record, if the M keeps some.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn newdefer_kept(mp: &M) -> Option<*mut Defer> {
    let left = mp.ndefers.get().wrapping_sub(1);
    let record = mp.deferpool.get(left)?.get();
    mp.ndefers.set(left);
    // Invariant 6.
    compiler_fence(Release);
    Some(record.cast())
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
    match Room::of(mp) {
        Some(room) => room.keep(record),
        None => freedefer_slow(record),
    }
}

/// Room of an M for a record to keep.
#[cfg(not(shuttle))]
pub(super) struct Room<'a> {
    mp: &'a M,
    place: &'a Cell<*mut c_void>,
    kept: usize,
}

#[cfg(not(shuttle))]
impl<'a> Room<'a> {
    #[inline(always)]
    pub(super) fn of(mp: &'a M) -> Option<Self> {
        let kept = mp.ndefers.get();
        let place = mp.deferpool.get(kept)?;
        Some(Self { mp, place, kept })
    }

    /// [`freedefer`].
    #[inline(always)]
    pub(super) fn keep(self, record: *const Defer) {
        // Invariant 6.
        compiler_fence(Release);
        self.place.set(record.cast_mut().cast());
        compiler_fence(Release);
        self.mp.ndefers.set(self.kept + 1);
    }
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
    while let Some(record) = newdefer_kept(mp) {
        freedefer_slow(record);
    }
}
