//! The library's reference to itself, from the start until a shutdown drops it:
//! the threads of the runtime execute its code, so a `dlclose` of the host must
//! leave it mapped meanwhile.
//!
//! Invariants:
//! 1. [`hold`] takes the loader's lock, and is called only where no other
//!    thread waits for what its caller does next: by the constructor, whose
//!    thread has that lock, and by a call before it changes the state of the
//!    start.
//! 2. `SELF` is null or one reference. A second one is given up at once.

use crate::{
    base::sync::{AtomicPtr, Ordering::*},
    os::dl,
};
use core::{ffi::c_void, ptr};

static SELF: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Keeps the library loaded.
pub(super) fn hold() {
    if !SELF.load(Acquire).is_null() {
        return;
    }
    let this = dl::hold_self();
    let first = SELF.compare_exchange(ptr::null_mut(), this, AcqRel, Relaxed);
    if first.is_err() {
        // Invariant 2.
        dl::release(this);
    }
}

/// The reference, which is the caller's to give up by `dlclose` as its very
/// last action; null where there is none.
pub(crate) fn drop_hold() -> *mut c_void {
    SELF.swap(ptr::null_mut(), AcqRel)
}
