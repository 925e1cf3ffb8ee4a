//! Hooks: what the macros and hooks of the header call.

use crate::{boot, os::Errno, sched::context};
use core::ffi::{c_char, c_int, c_void};

/// What GMP_INIT makes of a function; programs do not use it.
#[repr(C)]
pub struct gmp_init_task {
    /// The function.
    pub func: Option<unsafe extern "C" fn()>,
    /// Its name.
    pub name: *const c_char,
    /// For the library.
    pub reserved: [*mut c_void; 3],
}

const _: () = assert!(size_of::<gmp_init_task>() == size_of::<boot::Task>());

/// Lists the function of `task` to be called, for GMP_INIT; programs do not
/// call it. `*task` stays until gmp_init_unregister or the end of the process.
///
/// Returns 0; -EINVAL if `task` or its function is NULL. Never blocks.
///
/// # Safety
/// `task`: promise 1, until gmp_init_unregister; its function: promise 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_init_register(task: *mut gmp_init_task) -> c_int {
    // SAFETY: promises 1 and 4, of `task` and its function.
    match unsafe { init_task(task) } {
        Some(task) => boot::register(task),
        None => return Errno::EINVAL.neg(),
    }
    0
}

/// Takes `task` off the list, for GMP_INIT, because its code is unloaded;
/// programs do not call it. A function that was not called yet never is.
///
/// Returns 0; -EINVAL if `task` or its function is NULL. Never blocks.
///
/// # Safety
/// As `gmp_init_register`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_init_unregister(
    task: *mut gmp_init_task,
) -> c_int {
    // SAFETY: promises 1 and 4, of `task` and its function.
    match unsafe { init_task(task) } {
        Some(task) => boot::unregister(task),
        None => return Errno::EINVAL.neg(),
    }
    0
}

/// # Safety
/// As `gmp_init_register`.
unsafe fn init_task(task: *mut gmp_init_task) -> Option<&'static boot::Task> {
    // SAFETY: promise 1, of `task`.
    unsafe { task.as_ref() }?.func?;
    // SAFETY: the same record, whose function is not null.
    Some(unsafe { &*task.cast::<boot::Task>() })
}

/// Tells the library where C++ keeps the state of a thread's exceptions, so
/// that each goroutine has its own; programs do not call it. `f` is
/// __cxa_get_globals.
///
/// Returns 0. Never blocks.
///
/// # Safety
/// `f`: null, or `__cxa_get_globals`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_register_cxa(
    f: Option<unsafe extern "C" fn() -> *mut c_void>,
) -> c_int {
    let Some(f) = f else { return Errno::EINVAL.neg() };
    // SAFETY: the same function: the result of `__cxa_get_globals` points to
    // two words.
    let f = unsafe {
        core::mem::transmute::<
            unsafe extern "C" fn() -> *mut c_void,
            context::GetGlobals,
        >(f)
    };
    context::set_cxa_get_globals(f);
    0
}
