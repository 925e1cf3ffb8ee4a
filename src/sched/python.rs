//! Python: a goroutine stays on its thread while it parks with Python frames on
//! its stack, for the GIL's state belongs to the thread.
//!
//! Such a goroutine is locked to its thread for the park, without being asked.
//! libpython is looked for when a host thread makes its first call. Until it is
//! there, a park pays one test of one word (`calls::CARE`).

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

/// Stack of a goroutine that may run Python, unless GMP_STACKSIZE says what.
const PYTHON_STACK: usize = 1 << 20;

/// Has every park come by [`pin_slow`], for `migrate`. At boot.
pub(crate) fn watch_parks() {
    // Relaxed: before the first goroutine.
    CARE.fetch_or(calls::PYTHON, Relaxed);
}

/// Looks for libpython; on a host thread, never during the start. Once it is
/// there, goroutines get stacks on which an interpreter can run.
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
        // A size within bounds; what cannot be is left as it is.
        let _set = stack::set_default_size(PYTHON_STACK - stack::GUARD);
    }
    PYTHON.store(f.cast(), Release);
    // Relaxed: read again with the acquire of pin_slow.
    CARE.fetch_or(calls::PYTHON, Relaxed);
}

/// Whether libpython is in the process, as far as was looked.
pub(crate) fn has_python() -> bool {
    !PYTHON.load(Acquire).is_null()
}

/// Locks a parking goroutine for the park, if Python frames are on its stack
/// and it is not locked anyway; and looks at calls that it has left by a jump.
/// True: unpin it afterwards.
#[inline(always)]
pub(crate) fn pin_python(gp: &'static G, mp: &'static M) -> bool {
    // Relaxed: what this goroutine has set itself, and a hint.
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

/// Whether Python frames are on this thread, as far as its interpreter tells.
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

/// The park of a pinned goroutine is over.
pub(crate) fn unpin_python(gp: &'static G) {
    untie(gp, gp.mp());
}
