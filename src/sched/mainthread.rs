//! Whether the main thread has left the process by `pthread_exit`.
//!
//! The destructor of a pthread key tells. What then happens is in `leave`.
//!
//! Invariant: `GONE` is set by the main thread only, and stays but in the child
//! of a fork.

use super::child;
use crate::{
    gmp::{Ask, ask},
    os::thread,
};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::*},
};

/// The pthread key of the main thread, plus 1; 0 until it is made.
static KEY: AtomicU32 = AtomicU32::new(0);

/// The main thread has left.
static GONE: AtomicBool = AtomicBool::new(false);

/// Called on any thread, at the load and when it gets a G: if it is the main
/// thread, the runtime will know when it leaves.
pub(crate) fn watch_main_thread() {
    if !thread::is_main() {
        return;
    }
    // Relaxed: this thread alone comes here.
    if KEY.load(Relaxed) == 0
        && let Ok(key) = thread::key_create(leaves)
    {
        KEY.store(key + 1, Relaxed);
    }
    if let Some(key) = KEY.load(Relaxed).checked_sub(1) {
        // Any value but null has the destructor run. An error, out of memory,
        // leaves the end of the process to its other threads.
        let _unwatched = thread::key_set(key, ptr::from_ref(&GONE).cast());
    }
}

/// In the child of a fork the calling thread is the main one, and lives.
pub(crate) fn in_child() {
    GONE.store(false, Release);
    watch_main_thread();
}

/// The main thread leaves, by `pthread_exit`.
unsafe extern "C" fn leaves(_value: *mut c_void) {
    // Release: pairs with sysmon's acquire.
    GONE.store(true, Release);
    if !child::in_child() {
        ask(Ask::Leave);
    }
}

/// Whether the main thread has left: one of the threads of the process is then
/// what the kernel keeps of it.
pub(super) fn main_has_left() -> bool {
    GONE.load(Acquire)
}
