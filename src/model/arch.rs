//! The stack switches in a model: each goroutine has a thread of shuttle's, and
//! this file holds that thread's G.

use crate::gmp::G;
use core::cell::Cell;

shuttle::thread_local! {
    static CURRENT: Cell<Option<&'static G>> = const { Cell::new(None) };
}

/// The G of this thread.
pub(crate) fn getg() -> Option<&'static G> {
    CURRENT.with(Cell::get)
}

/// A model has no thread pointers.
pub(crate) fn thread_pointer() -> usize {
    0
}

/// No thread's tid.
pub(crate) fn tid_word() -> u32 {
    0
}

/// Whether `gp` is the G of this thread.
pub(crate) fn is_running(gp: &G) -> bool {
    getg().is_some_and(|me| core::ptr::eq(me, gp))
}

/// Makes `gp` the G of this thread.
pub(crate) fn setg(gp: Option<&'static G>) {
    CURRENT.with(|current| current.set(gp));
}

/// As the real function, without a frame.
///
/// # Safety
/// `f` may be called with `arg`.
pub(crate) unsafe fn call_last(
    f: unsafe extern "C" fn(*mut core::ffi::c_void),
    arg: *mut core::ffi::c_void,
) {
    // SAFETY: `f` may be called with `arg`, the caller promises.
    unsafe { f(arg) }
}

/// As the real function, without a frame.
///
/// # Safety
/// `f` is a function that may be called with the first of the arguments, and
/// returns an integer.
pub(crate) unsafe fn call_base(
    f: *const (),
    args: [usize; 3],
) -> Option<usize> {
    type Plain = unsafe extern "C" fn(usize) -> usize;
    // SAFETY: the caller promises.
    let f = unsafe { core::mem::transmute::<*const (), Plain>(f) };
    // SAFETY: the caller promises.
    Some(unsafe { f(args[0]) })
}
