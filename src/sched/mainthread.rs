//! Whether the main thread has left the process by `pthread_exit`.
//!
//! The destructor of a pthread key tells. `nomain` says what follows from it.
//!
//! Invariant 1: only the main thread sets `GONE`, and only the child of a fork
//! clears it.

use super::child;
use crate::{
    gmp::{Ask, ask},
    os::{key::Key, thread},
};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// Has a value for the main thread. Only that thread makes it.
static KEY: Key = Key::new();

/// The main thread has left.
static GONE: AtomicBool = AtomicBool::new(false);

/// If this is the main thread: from now on the runtime learns of its end. For
/// any thread, when it loads the library and when it gets a G.
pub(crate) fn watch_main_thread() {
    if !thread::is_main() {
        return;
    }
    // The destructor runs for any value but null. On an error (no memory, or
    // the runtime ends) the process ends with its other threads, or not at all.
    let _is_watched =
        KEY.make(leaves).and_then(|()| KEY.set(ptr::from_ref(&GONE).cast()));
}

/// The main thread's end is no concern of the library's any more.
pub(crate) fn unwatch() {
    // The main thread makes a key at the next start, or at a call that passes
    // the gate then.
    KEY.delete();
}

/// In the child of a fork, where the calling thread is the main one.
pub(crate) fn in_child() {
    GONE.store(false, Release);
    watch_main_thread();
}

/// The key's destructor: the main thread leaves by `pthread_exit`.
unsafe extern "C" fn leaves(_value: *mut c_void) {
    // Release: pairs with main_has_left.
    GONE.store(true, Release);
    if !child::in_child() {
        ask(Ask::NoMain);
    }
}

/// The main thread is one of ours, and the goroutine that it stood for has
/// ended: in the child of a fork.
pub(super) fn has_left() {
    GONE.store(true, Release);
    ask(Ask::NoMain);
}

/// Whether the main thread has left. The kernel still counts it among the
/// threads of the process then.
pub(super) fn main_has_left() -> bool {
    // Acquire: pairs with leaves.
    GONE.load(Acquire)
}
