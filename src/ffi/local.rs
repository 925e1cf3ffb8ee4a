//! Storage: values that belong to a goroutine.

use super::{call, call_to_undo};
use crate::sched::{host, local};
use core::ffi::{c_int, c_void};

/// The handle of a key of goroutine-local storage.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_key;

/// Makes a key, under which each goroutine and each host thread has a value of
/// its own, NULL at first.
///
/// `destructor` is called with the value when a goroutine or host thread ends
/// whose value is not NULL; it may be NULL. The value is NULL by then. As in
/// POSIX, destructors run in up to four rounds, since they may set values
/// again; their order is not defined. They run after what gmp_defer deferred.
/// An exception that leaves a destructor is uncaught.
///
/// Returns the key; NULL if all 4096 keys are taken. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_key_create(
    destructor: Option<unsafe extern "C" fn(value: *mut c_void)>,
) -> *mut gmp_key {
    local::create(destructor).cast()
}

/// Deletes `k`. Its destructor is not called any more: free the values
/// yourself.
///
/// Returns 0; -EINVAL for a stale key. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_key_delete(k: *mut gmp_key) -> c_int {
    call_to_undo(move || local::delete(k.cast()))
}

/// Sets the caller's value of `k`.
///
/// Returns 0; -EINVAL for a stale key; -EDEADLK inside an unlockf; -ENOMEM.
/// Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_setspecific(
    k: *mut gmp_key,
    value: *mut c_void,
) -> c_int {
    call(move || {
        let key = local::find(k.cast())?;
        local::set(host::current_until_its_end()?, key, value)
    })
}

/// Returns the caller's value of `k`; NULL if none was set, and for a stale
/// key. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_getspecific(k: *mut gmp_key) -> *mut c_void {
    local::get(k.cast())
}
