//! The end of a goroutine: what it has put off runs, the newest first, and then
//! the destructors of keys. The list of what it has put off, with its
//! invariants, is [`super::defers`].

use super::{
    cancel,
    current::current_goroutine,
    defers::{self, Defer, Kind, PutOff, head, push, records, set_head},
    local,
};
use crate::{
    arch,
    gmp::{G, GmpFn},
};
use core::ffi::c_void;

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
    // SAFETY: null, or in the list, which only we touch (invariant 1 of
    // `defers`).
    while let Some(first) = unsafe { head(gp).as_ref() } {
        set_head(gp, first.next());
        if let Some(call) = dispose(gp, first) {
            // SAFETY: the owner of the record promised that f(arg) may be
            // called.
            unsafe { arch::call_last(call.f, call.arg) };
        }
    }
}

/// Ends a record, which is out of the list: the call that it stands for.
pub(super) fn dispose(gp: &G, record: &Defer) -> Option<PutOff> {
    let call = record.take();
    match record.kind() {
        Kind::Call | Kind::Cleanup => call,
        #[cfg(shuttle)]
        _ => {
            let _in_no_model = gp;
            None
        }
        #[cfg(not(shuttle))]
        Kind::Deferred | Kind::Mark => {
            defers::freedefer(gp.mp(), record);
            call
        }
        #[cfg(not(shuttle))]
        Kind::Panic | Kind::Kept => {
            super::panicrecord::free(record);
            None
        }
    }
}

/// Frees what a host thread has left, which has ended or makes no more calls.
/// Nothing is called.
#[cfg(not(shuttle))]
pub(super) fn forget(gp: &G) {
    // SAFETY: null, or in the list, which nobody else uses.
    while let Some(first) = unsafe { head(gp).as_ref() } {
        set_head(gp, first.next());
        if first.kind() != Kind::Call {
            let _not_called = dispose(gp, first);
        }
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
        Last(Defer::new(nothing, core::ptr::null_mut(), Kind::Cleanup));
    if !defers::is_listed(gp, &LAST.0) {
        push(gp, &LAST.0);
    }
}

/// Runs `body`, which calls the host's code by `arch::call_base`; calls
/// `f(arg)` if the goroutine ends meanwhile. None: it has done so, and the
/// goroutine ends. No frame of the host's may be above (invariant 3 of
/// `defers`).
pub(crate) fn with_cleanup<R>(
    f: GmpFn,
    arg: *mut c_void,
    body: impl FnOnce() -> R,
) -> Option<R> {
    let Ok(gp) = current_goroutine() else { return Some(body()) };
    let record = Defer::new(f, arg, Kind::Cleanup);
    push(gp, &record);
    let result = body();
    if !defers::is_listed(gp, &record) {
        return None;
    }
    defers::remove(gp, &record);
    Some(result)
}

/// Whether `gp` has a panic under way.
pub(super) fn panics(gp: &G) -> bool {
    records(gp).any(|r| r.kind() == Kind::Panic)
}
