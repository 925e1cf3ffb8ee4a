//! What a goroutine has put off until its end: `gmp_defer`, and the clean-up
//! of calls of the library that a `gmp_exit` may cut short.
//!
//! ```text
//!   G::defers --> newest --> ... --> oldest
//! ```
//! Invariants:
//! 1. Only the goroutine itself touches its list.
//! 2. A record is taken off before its function is called, so one that ends
//!    the goroutine again (`gmp_exit`) goes on with the rest.
//! 3. A [`Cleanup`] is on the stack below whoever may run the list, and leaves
//!    the list before it goes.

use super::{cancel, local, park::current_goroutine};
use crate::{
    gmp::{G, GmpFn},
    os::{Errno, Result},
};
use core::{cell::Cell, ffi::c_void, ptr};

/// One function to call.
#[repr(C)]
struct Defer {
    next: Cell<*mut Defer>,
    f: GmpFn,
    arg: *mut c_void,
    /// From `malloc`.
    owned: bool,
}

fn head(gp: &G) -> *mut Defer {
    gp.defers.get().cast()
}

fn set_head(gp: &G, to: *mut Defer) {
    gp.defers.set(to.cast());
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
    let next = Cell::new(head(gp));
    // SAFETY: fresh memory of this size; malloc aligns it.
    unsafe { place.write(Defer { next, f, arg, owned: true }) };
    set_head(gp, place);
    Ok(())
}

/// Runs what was put off: the defers, then the destructors of keys. On the
/// goroutine's stack, outside the runtime; nothing there is cancelled.
#[cold]
pub(super) fn run(gp: &G) {
    cancel::shield_for_good(gp);
    while !gp.defers.get().is_null() || !gp.locals.get().is_null() {
        run_defers(gp);
        // These may put off more.
        local::destroy(gp);
    }
}

fn run_defers(gp: &G) {
    // SAFETY: null, or a record that lives while it is in the list.
    while let Some(first) = unsafe { head(gp).as_ref() } {
        let (f, arg, owned) = (first.f, first.arg, first.owned);
        let place = ptr::from_ref(first).cast_mut();
        set_head(gp, first.next.get());
        if owned {
            // SAFETY: from malloc in defer, and out of the list.
            unsafe { libc::free(place.cast()) };
        }
        // SAFETY: as its owner promised when it was put off.
        unsafe { f(arg) };
    }
}

/// Calls `f(arg)` if the goroutine ends while `body` runs, which calls the
/// host's code; on a host thread it just runs `body`.
pub(crate) fn with_cleanup<R>(
    f: GmpFn,
    arg: *mut c_void,
    body: impl FnOnce() -> R,
) -> R {
    let Ok(gp) = current_goroutine() else { return body() };
    let record = Defer { next: Cell::new(head(gp)), f, arg, owned: false };
    let place = ptr::from_ref(&record).cast_mut();
    set_head(gp, place);
    let result = body();
    remove(gp, place);
    result
}

/// Takes a record out; what `body` has put off meanwhile lies above it.
fn remove(gp: &G, record: *mut Defer) {
    // SAFETY: in the list, so alive.
    let next = unsafe { (*record).next.get() };
    if head(gp) == record {
        set_head(gp, next);
        return;
    }
    let mut at = head(gp);
    // SAFETY: null, or in the list, so alive.
    while let Some(above) = unsafe { at.as_ref() } {
        if above.next.get() == record {
            above.next.set(next);
            return;
        }
        at = above.next.get();
    }
    crate::base::throw::throw("ending: a record is not in its list");
}
