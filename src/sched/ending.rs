//! Functions that a goroutine has put off until its end: those of `gmp_defer`,
//! and the clean-up of library calls that a `gmp_exit` may cut short.
//!
//! ```text
//!   G::defers --> newest --> ... --> oldest
//! ```
//! Invariants:
//! 1. Only the goroutine itself, or its host thread, touches its list.
//! 2. A record is taken off the list before its function is called. So a
//!    function that ends the goroutine again (`gmp_exit`) does not stop the
//!    rest.
//! 3. A record of [`with_cleanup`] is on the goroutine's stack above all
//!    frames of the host: no jump of the host's can pass it by, only the end of
//!    the goroutine. Calls below frames of the host are `super::calls`'s.

use super::{cancel, current::current_goroutine, local};
use crate::{
    arch,
    gmp::{G, GmpFn},
    os::{Errno, Result},
};
use core::{cell::Cell, ffi::c_void, ptr};

/// The kind of a record, and so the owner of its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From `gmp_defer`: in memory of `malloc`, freed before `f` is called.
    Deferred,
    /// On the goroutine's stack (invariant 3).
    Cleanup,
    /// The first field of a call, which `super::calls` owns.
    Call,
}

#[repr(C)]
pub(super) struct Defer {
    next: Cell<*const Defer>,
    f: GmpFn,
    arg: *mut c_void,
    kind: Kind,
}

impl Defer {
    /// A record in no list.
    pub(super) const fn new(f: GmpFn, arg: *mut c_void, kind: Kind) -> Self {
        Self { next: Cell::new(ptr::null()), f, arg, kind }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

fn head(gp: &G) -> *const Defer {
    gp.defers.get().cast()
}

fn set_head(gp: &G, to: *const Defer) {
    gp.defers.set(to.cast_mut().cast());
}

/// Puts a record before the others.
pub(super) fn push(gp: &G, record: &Defer) {
    record.next.set(head(gp));
    set_head(gp, record);
}

/// The records of `gp`, the newest first.
pub(super) fn records(gp: &G) -> impl Iterator<Item = &Defer> {
    // SAFETY: null, or in the list: a record is taken off before its memory
    // goes, by this thread (invariants 1 and 2).
    let record = |at: *const Defer| unsafe { at.as_ref() };
    core::iter::successors(record(head(gp)), move |r| record(r.next.get()))
}

/// `gmp_defer`: calls `f(arg)` when this goroutine ends.
///
/// Errors: `EPERM` on a host thread and in a callback; `ENOMEM`.
pub(crate) fn defer(f: GmpFn, arg: *mut c_void) -> Result<()> {
    let gp = current_goroutine()?;
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(size_of::<Defer>()) }.cast::<Defer>();
    if place.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: fresh memory of this size; malloc aligns it.
    unsafe { place.write(Defer::new(f, arg, Kind::Deferred)) };
    // SAFETY: just written; `run_records` alone frees it.
    push(gp, unsafe { &*place });
    Ok(())
}

/// Runs the records, then the destructors of keys. On the goroutine's stack,
/// outside the runtime, behind a shield against cancels. In the child of a fork
/// the thread ends here.
#[cold]
pub(super) fn run(gp: &G) {
    cancel::shield_for_good(gp);
    while !gp.defers.get().is_null() || !gp.locals.get().is_null() {
        run_records(gp);
        // The destructors may put off more functions.
        local::destroy(gp);
    }
    #[cfg(not(shuttle))]
    {
        if super::child::in_child() {
            super::child::end_child();
        }
        if super::child::is_of_child(gp) {
            // The process's first thread no longer stands for it.
            super::mainthread::has_left();
        }
    }
}

/// Calls the functions of all records, the newest first.
pub(super) fn run_records(gp: &G) {
    // SAFETY: null, or in the list, which only we touch (invariant 1).
    while let Some(first) = unsafe { head(gp).as_ref() } {
        let Defer { f, arg, kind, .. } = *first;
        let place = ptr::from_ref(first).cast_mut();
        set_head(gp, first.next.get());
        if kind == Kind::Deferred {
            // SAFETY: from malloc in defer, and out of the list (invariant 2).
            unsafe { libc::free(place.cast()) };
        }
        // SAFETY: the owner of the record promised that f(arg) may be called.
        unsafe { arch::call_last(f, arg) };
    }
}

/// In the child of a fork: makes sure that the end of `gp` calls [`run`], even
/// if `gp` has put nothing off.
#[cfg(not(shuttle))]
pub(super) fn see_to_end(gp: &G) {
    unsafe extern "C" fn nothing(_arg: *mut c_void) {}
    /// In one list only: a child has one goroutine.
    struct Last(Defer);
    // SAFETY: used in the child, on its only thread.
    unsafe impl Sync for Last {}
    static LAST: Last =
        Last(Defer::new(nothing, ptr::null_mut(), Kind::Cleanup));
    if !records(gp).any(|r| ptr::eq(r, &raw const LAST.0)) {
        push(gp, &LAST.0);
    }
}

/// Runs `body`, which calls the host's code; calls `f(arg)` if the goroutine
/// ends meanwhile. No frame of the host's may be above (invariant 3).
pub(crate) fn with_cleanup<R>(
    f: GmpFn,
    arg: *mut c_void,
    body: impl FnOnce() -> R,
) -> R {
    let Ok(gp) = current_goroutine() else { return body() };
    let record = Defer::new(f, arg, Kind::Cleanup);
    push(gp, &record);
    let result = body();
    remove(gp, &record);
    result
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
        crate::base::throw::throw("ending: a record is not in its list");
    };
    above.next.set(next);
}
