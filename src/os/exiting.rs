//! Whether the process exits, where the functions of `.fini_array` run: they
//! run when the library is unloaded too, and nothing tells them which it is.
//!
//! At an exit the C library calls the functions of `atexit` before those of any
//! `.fini_array`. So one that only notes the exit is among them. It is not of
//! the library's handle, whose functions an unload calls too, but of one of its
//! own, by which it is taken back.
//!
//! In a namespace of `dlmopen` the C library is another copy, and calls nothing
//! at the exit of the process. Nor does one that has no memory for the note.
//! Then it is not known, and may be an exit.

use super::{dl, errno::KeepErrno};
use crate::base::sync::{AtomicBool, Ordering::*};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

unsafe extern "C" {
    fn __cxa_atexit(
        f: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
        handle: *const c_void,
    ) -> c_int;
    fn __cxa_finalize(handle: *const c_void);
}

/// [`watch`] was called.
static WANTED: AtomicBool = AtomicBool::new(false);
/// An exit will be noted.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// The process exits. Its address is the handle.
static EXITS: AtomicBool = AtomicBool::new(false);

fn handle() -> *const c_void {
    (&raw const EXITS).cast()
}

unsafe extern "C" fn note(_arg: *mut c_void) {
    EXITS.store(true, Relaxed);
}

/// From now on an exit is noted.
pub(crate) fn watch() {
    if WANTED.load(Relaxed) || WANTED.swap(true, Relaxed) {
        return;
    }
    let _keep = KeepErrno::new();
    // SAFETY: `note` may be called at any time until `unwatch`.
    let done = unsafe { __cxa_atexit(note, ptr::null_mut(), handle()) };
    WATCHED.store(done == 0, Release);
}

/// In a function of `.fini_array`: whether this may be the exit of the process,
/// and somebody has wanted to know.
pub(crate) fn may_be() -> bool {
    // Acquire: pairs with watch.
    let knows = WATCHED.load(Acquire) && !dl::is_apart();
    WANTED.load(Relaxed) && (!knows || EXITS.load(Relaxed))
}

/// The library goes, and the C library is to call nothing of it.
pub(crate) fn unwatch() {
    if WATCHED.swap(false, Acquire) {
        // SAFETY: it calls `note`, if nothing has yet, and knows it no more.
        unsafe { __cxa_finalize(handle()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unload_is_one_until_it_is_done() {
        watch();
        watch();
        assert!(!may_be());
        unwatch();
        assert!(may_be());
        unwatch();
        assert!(may_be());
    }
}
