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
//! 3. While the runtime is up there is a reference. So it is dropped by the
//!    thread that has made the state Closing, and before Down: after that it
//!    may be that of a start which another thread has begun.

use crate::{
    base::sync::{AtomicPtr, Ordering::*},
    os::dl,
};
use core::{ffi::c_void, ptr};

static SELF: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Keeps the library loaded.
pub(super) fn hold() {
    if holds() {
        return;
    }
    let this = dl::hold_self();
    let first = SELF.compare_exchange(ptr::null_mut(), this, AcqRel, Relaxed);
    if first.is_err() {
        // Invariant 2.
        dl::release(this);
    }
}

/// Whether there is a reference.
pub(super) fn holds() -> bool {
    !SELF.load(Acquire).is_null()
}

/// The reference, which is the caller's to give up by `dlclose` as its very
/// last action; null where there is none. Invariant 3, or in the child of a
/// fork, which has no runtime.
pub(super) fn drop_hold() -> *mut c_void {
    SELF.swap(ptr::null_mut(), AcqRel)
}
