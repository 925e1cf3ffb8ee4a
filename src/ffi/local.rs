//! What belongs to a goroutine: values of keys, and what it puts off.

use super::{call, goroutine::gmp_fn};
use crate::{
    os::Errno,
    sched::{ending, host, local},
};
use core::ffi::{c_int, c_void};

/// A key of goroutine-local storage: not an address, and found out when it is
/// stale.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_key;

/// Makes a key under which each goroutine, and each host thread, has a value
/// of its own, NULL at first.
///
/// `destructor`: NULL, or called with the value when a goroutine, or a host
/// thread, ends whose value is not NULL; the value is NULL by then. As in
/// POSIX, destructors run in up to four rounds, for those that set values
/// again; in no particular order; after what gmp_defer put off.
///
/// Returns NULL where all 4096 keys are taken. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_key_create(
    destructor: Option<unsafe extern "C" fn(value: *mut c_void)>,
) -> *mut gmp_key {
    local::create(destructor).cast()
}

/// Deletes `k`; no destructor is called for it any more, and its values are
/// their owners' to free.
///
/// Returns 0; -EINVAL for null or a stale key. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_key_delete(k: *mut gmp_key) -> c_int {
    call(|| local::delete(k.cast()))
}

/// Sets the caller's value of `k`.
///
/// Returns 0; -EINVAL for null or a stale key; -EDEADLK from inside an
/// unlockf; -ENOMEM. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_setspecific(
    k: *mut gmp_key,
    value: *mut c_void,
) -> c_int {
    call(|| {
        let key = local::find(k.cast())?;
        local::set(host::current()?, key, value)
    })
}

/// The caller's value of `k`: NULL where none was set, and for a stale key.
/// Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_getspecific(k: *mut gmp_key) -> *mut c_void {
    local::get(k.cast())
}

/// Puts off a call of `fn(arg)` until the calling goroutine ends, by return or
/// by gmp_exit; the last one put off comes first. A cancel does not interrupt
/// what it does. An exception that leaves it is uncaught, as one that leaves
/// the destructor of a key.
///
/// Returns 0; -EINVAL for a null `fn`; -EPERM on a host thread and in an
/// unlockf; -ENOMEM. Never blocks.
///
/// # Safety
/// `func` may be called with `arg` then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_defer(func: gmp_fn, arg: *mut c_void) -> c_int {
    call(|| ending::defer(func.ok_or(Errno::EINVAL)?, arg))
}
