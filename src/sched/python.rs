//! Python: what the library does differently in a process with an interpreter.
//!
//! - A goroutine with Python frames on its stack parks locked to its thread,
//!   since the state of the GIL belongs to the thread. The goroutine need not
//!   ask for the lock: each park looks for Python frames. (The package in
//!   `python` takes the frames off the thread before it parks.)
//! - A stack is as large as the main thread's, because the interpreter counts
//!   its depth by limits made for such stacks: RecursionError comes before the
//!   stack's end.
//! - A join runs no goroutine in place (`inplace`). Python's signal handlers
//!   run on the main thread, and KeyboardInterrupt in a callback that happens
//!   to run there would not reach the caller of the join.
//!
//! libpython is looked for when a host thread makes its first call. Until it is
//! found, a park pays one test of one word (`calls::CARE`), and a join nothing.

use super::{
    calls::{self, CARE},
    lockthread::{tie, untie},
    migrate,
};
use crate::{
    gmp::{DEBUG, G, M},
    stack,
};
use core::{
    ffi::c_void,
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// `PyGILState_GetThisThreadState`, where libpython is in the process.
static PYTHON: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Default stack size once Python is found, unless GMP_STACKSIZE gives one.
const PYTHON_STACK: usize = 8 << 20;

/// Makes every park call [`pin_slow`], for `migrate`. At boot.
pub(crate) fn watch_parks() {
    // Relaxed: before the first goroutine.
    CARE.fetch_or(calls::PYTHON, Relaxed);
}

/// Looks for libpython; on a host thread, never during the start. Once it is
/// there, goroutines get stacks on which an interpreter can run, and run on
/// threads of the library only.
pub(crate) fn find_python() {
    if !PYTHON.load(Acquire).is_null() {
        return;
    }
    let f = crate::os::dl::find(c"PyGILState_GetThisThreadState");
    if f.is_null() {
        return;
    }
    // Relaxed: set at boot.
    if !DEBUG.stack_size.load(Relaxed) {
        // Within bounds; a size that cannot be had changes nothing.
        let _set = stack::set_default_size(PYTHON_STACK - stack::GUARD);
    }
    // Relaxed: a hint for joins.
    DEBUG.hostrun.store(false, Relaxed);
    PYTHON.store(f.cast(), Release);
    // Relaxed: read again with the acquire of pin_slow.
    CARE.fetch_or(calls::PYTHON, Relaxed);
}

/// Whether libpython was found so far.
pub(crate) fn has_python() -> bool {
    !PYTHON.load(Acquire).is_null()
}

/// Before a park: locks the goroutine to its thread if Python frames are on its
/// stack and it is not locked yet. Also looks for calls that the goroutine has
/// left by a jump. True: the caller calls [`unpin_python`] after the park.
#[inline(always)]
pub(crate) fn pin_python(gp: &'static G, mp: &'static M) -> bool {
    // Relaxed: a goroutine sees its own calls; the rest is a hint.
    CARE.load(Relaxed) != 0 && pin_slow(gp, mp)
}

#[cold]
fn pin_slow(gp: &'static G, mp: &'static M) -> bool {
    if !gp.defers.get().is_null() {
        calls::look(gp);
    }
    if gp.lockedm.get().is_some() {
        return false;
    }
    if !has_python_frames() {
        migrate::mark(gp);
        return false;
    }
    tie(gp, mp);
    true
}

/// Whether the interpreter says that Python frames are on this thread.
fn has_python_frames() -> bool {
    type ThisThreadState = unsafe extern "C" fn() -> *mut c_void;
    // Acquire: pairs with find_python.
    let f = PYTHON.load(Acquire);
    if f.is_null() {
        return false;
    }
    // SAFETY: find_python looked this function up by name.
    let f = unsafe { mem::transmute::<*mut (), ThisThreadState>(f) };
    // SAFETY: may be called on any thread; it takes no lock.
    !unsafe { f() }.is_null()
}

/// Unlocks a goroutine after a park for which [`pin_python`] has locked it.
pub(crate) fn unpin_python(gp: &'static G) {
    untie(gp, gp.mp());
}
